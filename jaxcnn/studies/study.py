"""The folder of a study, which can be stopped and resumed."""

import dataclasses
from pathlib import Path
from typing import Any

from jaxcnn import config_fields, errors, json_files
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
    before, old = json_files.read(folder / _FILE, _config_and_choices)
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
    json_files.write(folder / _FILE, {**choices, "config": dataclasses.asdict(config)})


def _config_and_choices(values: dict[str, Any]) -> tuple[Config, dict[str, Any]]:
    """(config, other values) of a study's file."""
    others = {name: value for name, value in values.items() if name != "config"}
    return config_fields.from_values(values.get("config")), others
