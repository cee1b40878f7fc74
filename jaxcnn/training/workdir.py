"""The folder of a run: what it holds besides checkpoints and logs.

config.json is the config; dataset.json is what evaluation, prediction and a resume
must know of the images. Both are written before the first step.
"""

from collections.abc import Callable
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from jaxcnn import config_fields, errors
from jaxcnn.config import AUTO, Config
from jaxcnn.data.examples import DatasetInfo
from jaxcnn.targets import Target

CHECKPOINTS = "checkpoints"
METRICS = "metrics.jsonl"
BAD_IMAGES = "bad_images.txt"
PROFILE = "profile"
_CONFIG = "config.json"
_DATASET = "dataset.json"


def read(workdir: Path) -> tuple[Config, DatasetInfo]:
    """The config and the data set of a run.

    Raises:
        UserError: The folder holds no run, or one that cannot be read.
    """
    for name in (_CONFIG, _DATASET):
        if not (workdir / name).is_file():
            raise errors.UserError(f"No run in {workdir}: it has no {name}.")
    config = _read(workdir / _CONFIG, config_fields.from_json)
    return config, _read(workdir / _DATASET, lambda text: _from_json(json.loads(text)))


def _read(file: Path, parse: Callable[[str], Any]) -> Any:
    """What a file says; UserError where it cannot be read."""
    try:
        return parse(file.read_text())
    except errors.UserError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise errors.UserError(
            f"{file} cannot be read; it is damaged, or of another version of jaxcnn "
            f"({type(error).__name__}: {error})."
        ) from error


def _to_json(info: DatasetInfo) -> dict[str, Any]:
    """What json.dumps writes, with lists for tuples."""
    return json.loads(json.dumps(dataclasses.asdict(info)))


def _from_json(values: dict[str, Any]) -> DatasetInfo:
    targets = {
        name: Target(**{k: tuple(v) if type(v) is list else v for k, v in row.items()})
        for name, row in values["targets"].items()
    }
    scale = {name: tuple(values[name]) for name in ("mean", "std")}
    if values["value_range"] is not None:
        scale["value_range"] = tuple(values["value_range"])
    return DatasetInfo(**values | scale | {"targets": targets})


def check_folder(workdir: Path) -> None:
    """Raises UserError where no folder of that name can be."""
    there = workdir
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise errors.UserError(
            f"The folder of the run cannot be {workdir}: {there} is a file."
        )
    if not os.access(there, os.W_OK):
        raise errors.UserError(
            f"The folder of the run cannot be {workdir}: {there} may not be written."
        )


def has_checkpoints(workdir: Path) -> bool:
    """Whether a run has begun in a folder: before that nothing can be lost."""
    return any(path.name.isdecimal() for path in workdir.glob(f"{CHECKPOINTS}/*"))


def existing_run(workdir: Path) -> tuple[Config, DatasetInfo] | None:
    """Config and data set of the run that has begun in a folder; None: none has."""
    return read(workdir) if has_checkpoints(workdir) else None


def resolve_auto(config: Config, existing: Config) -> Config:
    """The config with what "auto" stands for in the run that is resumed."""
    if config.data.micro_batch_size != AUTO:
        return config
    size = existing.data.micro_batch_size
    return config_fields.replace(config, {"data.micro_batch_size": size})


def check_config(workdir: Path, existing: Config, config: Config) -> None:
    """Raises UserError where the run of a folder has other numbers than a config."""
    _check(workdir, config_fields.differences(existing, config))


def check_dataset(workdir: Path, existing: DatasetInfo, info: DatasetInfo) -> None:
    """Raises UserError where the run of a folder has another data set."""
    old, new = _to_json(existing), _to_json(info)
    names = ("targets", "num_examples", "fingerprint", "decoder")
    _check(
        workdir,
        [
            f"dataset's {name}: {old[name]!r} -> {new[name]!r}"
            for name in names
            if old[name] != new[name]
        ],
    )


def _check(workdir: Path, changed: list[str]) -> None:
    if changed:
        raise errors.UserError(
            f"{workdir} holds another run ({'; '.join(changed)}); "
            "give another --workdir, or the same config and images."
        )


def write(workdir: Path, config: Config, info: DatasetInfo) -> None:
    """Writes config.json and dataset.json, each whole or not at all."""
    workdir.mkdir(parents=True, exist_ok=True)
    info_json = json.dumps(_to_json(info), indent=2) + "\n"
    # Last the config: with it the folder is a run.
    for name, text in ((_DATASET, info_json), (_CONFIG, config_fields.to_json(config))):
        unfinished = workdir / f"{name}.tmp"
        unfinished.write_text(text)
        unfinished.replace(workdir / name)
