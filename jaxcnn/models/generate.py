"""Writes the catalogue of networks: python -m jaxcnn.models.generate.

To be run after a row of a VARIANTS table has changed. Counting takes some seconds a
network, too long for a verb that lists them all.
"""

import json
from typing import Any

from jaxcnn import models


def row(name: str) -> dict[str, Any]:
    """What models.catalogue says of a network, computed."""
    variant = models.MODELS[name]
    shape = (variant.image_size, variant.image_size, variant.channels)
    model = models.create_model(name, variant.num_classes)
    return {
        "model": name,
        "paper": variant.paper,
        "image_size": variant.image_size,
        "channels": variant.channels,
        "num_classes": variant.num_classes,
        "parameters": models.count_params(model, shape),
        "macs": models.count_macs(model, shape),
        "top1": variant.top1,
        "top1_source": variant.top1_source,
        "reference": "",
    }


def main() -> None:
    rows = [json.dumps(row(name)) for name in models.list_models()]
    models.CATALOGUE.write_text("[\n" + ",\n".join(rows) + "\n]\n")


if __name__ == "__main__":
    main()
