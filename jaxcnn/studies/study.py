"""The folder of a study, which can be stopped and resumed."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from jaxcnn import config_fields, errors
from jaxcnn.config import Config

_FILE = "study.json"


def check(folder: Path, config: Config, **choices: Any) -> None:
    """Raises UserError if a folder holds another study; the message says what differs.

    Args:
        folder: The study's folder, which need not exist.
        config: Config from which each run of the study starts.
        choices: Other values that the results depend on, of types that JSON has.
    """
    if not (folder / _FILE).exists():
        return
    old = json.loads((folder / _FILE).read_text())
    before = config_fields.from_json(json.dumps(old.pop("config")))
    changed = [
        f"{name}: {old.get(name)!r} -> {choices.get(name)!r}"
        for name in {**old, **choices}
        if old.get(name) != choices.get(name)
    ]
    changed += config_fields.differences(before, config)
    if changed:
        raise errors.UserError(
            f"{folder} holds another study ({'; '.join(changed)}); give another "
            "--output, or the same config, images and flags."
        )


def claim(folder: Path, config: Config, **choices: Any) -> None:
    """Makes a folder the study's, after the check that it holds no other study."""
    check(folder, config, **choices)
    folder.mkdir(parents=True, exist_ok=True)
    study = {**choices, "config": dataclasses.asdict(config)}
    write(folder / _FILE, json.dumps(study, indent=2) + "\n")


def write(path: Path, text: str) -> None:
    """Writes a file completely or not at all."""
    unfinished = path.with_name(f"{path.name}.tmp")
    unfinished.write_text(text)
    unfinished.replace(path)
