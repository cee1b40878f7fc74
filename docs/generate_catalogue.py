"""Writes jaxcnn/models/catalogue.json: python docs/generate_catalogue.py.

Run it after a row of a VARIANTS table or of docs/parity.md has changed. Counting takes
some seconds per network, too long for the command that lists them all.
"""

import json
from pathlib import Path
from typing import Any

from jaxcnn import models

PARITY = Path(__file__).parent / "parity.md"


def references() -> dict[str, str]:
    """Returns the libraries that each network in docs/parity.md is compared with.

    If a network is compared only with changes, they are given in brackets.
    """
    plain: dict[str, list[str]] = {}
    changed: dict[str, list[str]] = {}
    for line in PARITY.read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 4 and cells[1] in models.MODELS:
            model, library, change = cells[1], cells[3], cells[4]
            found = (changed if change else plain).setdefault(model, [])
            text = f"{library} ({change})" if change else library
            if text not in found:
                found.append(text)
    return {model: ", ".join(found) for model, found in (changed | plain).items()}


def row(name: str) -> dict[str, Any]:
    """Computes the entry of a network in models.catalogue."""
    variant = models.MODELS[name]
    shape = variant.image_shape
    model = models.create_model(name, variant.num_classes)
    return {
        "model": name,
        "paper": variant.paper,
        "image_size": variant.image_size,
        "channels": variant.channels,
        "num_classes": variant.num_classes,
        "task": variant.task,
        "parameters": models.count_params(model, shape),
        "macs": models.count_macs(model, shape),
        "top1": variant.top1,
        "top1_source": variant.top1_source,
        "reference": variant.reference or references()[name],
    }


def main() -> None:
    rows = [json.dumps(row(name)) for name in models.list_models()]
    models.CATALOGUE.write_text("[\n" + ",\n".join(rows) + "\n]\n")


if __name__ == "__main__":
    main()
