"""The folder of a study that can be stopped and gone on with."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from jaxcnn import config_fields, errors
from jaxcnn.config import Config

_FILE = "study.json"


def check(folder: Path, config: Config, **choices: Any) -> None:
    """Raises UserError where a folder holds another study, with what differs.

    Args:
        folder: Which need not exist.
        config: What each run of the study starts from.
        choices: What else its results depend on, as JSON has it.
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
    """Makes a folder that of a study, after the same check."""
    check(folder, config, **choices)
    folder.mkdir(parents=True, exist_ok=True)
    study = {**choices, "config": dataclasses.asdict(config)}
    write(folder / _FILE, json.dumps(study, indent=2) + "\n")


def write(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    unfinished = path.with_name(f"{path.name}.tmp")
    unfinished.write_text(text)
    unfinished.replace(path)
