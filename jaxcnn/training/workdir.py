"""The folder of a run: what it holds besides checkpoints and logs.

config.json is the config; dataset.json is what evaluation, prediction and a resume
must know of the images. Both are written before the first step.
"""

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

from jaxcnn import config_fields, errors, json_files
from jaxcnn import targets as targets_lib
from jaxcnn.config import AUTO, Config
from jaxcnn.data.examples import DatasetInfo
from jaxcnn.ops import backends
from jaxcnn.targets import Targets

CHECKPOINTS = "checkpoints"
METRICS = "metrics.jsonl"
BAD_IMAGES = "bad_images.txt"
PROFILE = "profile"
_CONFIG = "config.json"
_DATASET = "dataset.json"
_MAX_NUMBERS = 2**31  # of one target of an example
_MAX_SHOWN = 10  # items of a list in an error


def read(workdir: Path) -> tuple[Config, DatasetInfo]:
    """The config and the data set of a run.

    Raises:
        UserError: The folder holds no run, or one that cannot be read.
    """
    for name in (_CONFIG, _DATASET):
        if not os.path.isfile(workdir / name):
            raise errors.UserError(f"No run in {workdir}: it has no {name}.")
    config = json_files.read(workdir / _CONFIG, config_fields.from_values)
    return config, json_files.read(workdir / _DATASET, _info)


def _info(values: dict[str, Any]) -> DatasetInfo:
    """The description of a data set; UserError for a value that is not allowed."""
    info = json_files.build(DatasetInfo, values)
    holds = "train" in info.num_examples and all(
        0 <= number < 2**48 for number in info.num_examples.values()
    )
    rule = "a number of examples for train and each other split"
    errors.require(holds, "num_examples", info.num_examples, rule)
    errors.require(info.channels in (1, 3), "channels", info.channels, "1 or 3")
    for name, numbers in (("mean", info.mean), ("std", info.std)):
        holds = len(numbers) == info.channels and max(map(abs, numbers)) < 1e6
        rule = f"{info.channels} numbers, one for each channel"
        errors.require(holds, name, numbers, rule)
    errors.require(min(info.std) > 0, "std", info.std, "over 0")
    value_range = info.value_range
    holds = value_range is None or value_range[0] < value_range[1]
    errors.require(holds, "value_range", value_range, "(black, white), black first")
    targets_lib.check_targets(info.targets)
    for name, target in info.targets.items():
        size = math.prod(target.shape)
        rule = f"of at most {_MAX_NUMBERS:,} numbers"
        errors.require(
            size <= _MAX_NUMBERS, f"targets.{name}.shape", target.shape, rule
        )
    return info


def has_checkpoints(workdir: Path) -> bool:
    """Whether a run has begun in a folder: before that nothing can be lost."""
    return any(path.name.isdecimal() for path in workdir.glob(f"{CHECKPOINTS}/*"))


def was_written(workdir: Path) -> bool:
    """Whether a run has been started in a folder, if it has saved nothing yet."""
    return (workdir / _CONFIG).is_file()


def begun(workdir: Path) -> tuple[bytes, bool]:
    """What tells a run in a folder from another that begins there meanwhile."""
    file = workdir / _CONFIG
    return file.read_bytes() if file.is_file() else b"", has_checkpoints(workdir)


def existing_run(workdir: Path) -> tuple[Config, DatasetInfo] | None:
    """Config and data set of the run that has begun in a folder; None: none has."""
    return read(workdir) if has_checkpoints(workdir) else None


def resolve_auto(config: Config, existing: Config) -> Config:
    """The config with what "auto" stands for in the run that is resumed."""
    found = {}
    if config.data.micro_batch_size == AUTO:
        found["data.micro_batch_size"] = existing.data.micro_batch_size
    if config.ops == AUTO:
        found["ops"] = backends.kept(existing.ops, config.num_devices)
    return config_fields.replace(config, found)


def check_config(workdir: Path, existing: Config, config: Config) -> None:
    """Raises UserError where the run of a folder has other numbers than a config."""
    _check(workdir, config_fields.differences(existing, config))


def check_targets(workdir: Path, existing: Targets, targets: Targets) -> None:
    """Raises UserError where the run of a folder has other targets."""
    old, new = (
        {name: dataclasses.asdict(target) for name, target in those.items()}
        for those in (existing, targets)
    )
    _check(workdir, _differences("targets", old, new))


def check_dataset(workdir: Path, existing: DatasetInfo, info: DatasetInfo) -> None:
    """Raises UserError where the run of a folder has another data set."""
    check_targets(workdir, existing.targets, info.targets)
    changed = [
        text
        for name in ("num_examples", "decoder")
        for text in _differences(name, getattr(existing, name), getattr(info, name))
    ]
    if not changed and existing.fingerprint != info.fingerprint:
        changed = ["dataset's files or arrays are others than before"]
    _check(workdir, changed)


def _differences(path: str, old: Any, new: Any) -> list[str]:
    """A text for each value in which two nested dicts differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        names = {**old, **new}
        return [
            text
            for name in names
            for text in _differences(f"{path}.{name}", old.get(name), new.get(name))
        ]
    if old == new:
        return []
    if isinstance(old, tuple) and isinstance(new, tuple):
        same = [a == b for a, b in zip(old, new, strict=False)]
        first = [*same, False].index(False)
        path += f" from {first} on" if first else ""
        old, new = old[first:], new[first:]
    return [f"dataset's {path}: {_in_words(old)} -> {_in_words(new)}"]


def _in_words(value: Any) -> str:
    """A value; of a dict its keys, of a long tuple its first items."""
    if not isinstance(value, dict | tuple):
        return errors.shown(value)
    items = [*map(errors.shown, [*value][:_MAX_SHOWN])]
    return ", ".join(items + ["..."] * (len(value) > _MAX_SHOWN)) or "none"


def _check(workdir: Path, changed: list[str]) -> None:
    if changed:
        raise errors.UserError(
            f"{workdir} holds another run ({'; '.join(changed)}); "
            "give another --workdir, or the same config and images."
        )


def write(workdir: Path, config: Config, info: DatasetInfo) -> None:
    """Writes config.json and dataset.json, each whole or not at all."""
    workdir.mkdir(parents=True, exist_ok=True)
    # Last the config: with it the folder is a run.
    json_files.write(workdir / _DATASET, dataclasses.asdict(info))
    json_files.write(workdir / _CONFIG, dataclasses.asdict(config))
