"""The folder of a run: what it holds besides checkpoints and logs.

config.json is the config; dataset.json is what evaluation, prediction and a resume
must know of the images. Both are written before the first step.
"""

import dataclasses
import json
from pathlib import Path

from jaxcnn import config_fields, errors
from jaxcnn.config import AUTO, Config
from jaxcnn.data.examples import Dataset

CHECKPOINTS = "checkpoints"
METRICS = "metrics.jsonl"
BAD_IMAGES = "bad_images.txt"
PROFILE = "profile"
_CONFIG = "config.json"
_DATASET = "dataset.json"


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """A data.examples.Dataset without its images.

    Attributes:
        class_names: Name of each class; the label is the position.
        num_examples: Split -> number of its examples.
        channels, mean, std, fingerprint, decoder: As in Dataset.
    """

    class_names: tuple[str, ...]
    num_examples: dict[str, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str
    decoder: str | None


def describe(dataset: Dataset) -> DatasetInfo:
    """What dataset.json keeps of a dataset."""
    return DatasetInfo(
        class_names=tuple(dataset.class_names),
        num_examples={name: len(split) for name, split in dataset.splits.items()},
        channels=dataset.channels,
        mean=tuple(dataset.mean),
        std=tuple(dataset.std),
        fingerprint=dataset.fingerprint,
        decoder=dataset.decoder,
    )


def read(workdir: Path) -> tuple[Config, DatasetInfo]:
    """The config and the data set of a run.

    Raises:
        UserError: The folder holds no run.
    """
    for name in (_CONFIG, _DATASET):
        if not (workdir / name).is_file():
            raise errors.UserError(f"No run in {workdir}: it has no {name}.")
    config = config_fields.from_json((workdir / _CONFIG).read_text())
    info = json.loads((workdir / _DATASET).read_text())
    for name in ("class_names", "mean", "std"):
        info[name] = tuple(info[name])
    return config, DatasetInfo(**info)


def has_checkpoints(workdir: Path) -> bool:
    """Whether a run has begun in a folder: before that nothing can be lost."""
    return any(path.name.isdecimal() for path in workdir.glob(f"{CHECKPOINTS}/*"))


def begun(workdir: Path) -> DatasetInfo | None:
    """The data set of the run that has begun in a folder; None: none has."""
    return read(workdir)[1] if has_checkpoints(workdir) else None


def settled(workdir: Path, config: Config) -> Config:
    """The config with what "auto" stands for in the run that has begun in a folder."""
    if config.data.micro_batch_size != AUTO or not has_checkpoints(workdir):
        return config
    size = read(workdir)[0].data.micro_batch_size
    return config_fields.replace(config, {"data.micro_batch_size": size})


def check(workdir: Path, config: Config, info: DatasetInfo | None = None) -> None:
    """Raises UserError where the folder holds a run with other numbers.

    Args:
        workdir: A folder, which need not exist.
        config: Of the run that is to go on there.
        info: Of its images, where they are known already.
    """
    if not has_checkpoints(workdir):
        return
    old_config, old_info = read(workdir)
    changed = config_fields.differences(old_config, config)
    if info is not None:
        old, new = dataclasses.asdict(old_info), dataclasses.asdict(info)
        changed += [
            f"dataset's {name}: {old[name]!r} -> {new[name]!r}"
            for name in ("class_names", "num_examples", "fingerprint", "decoder")
            if old[name] != new[name]
        ]
    if changed:
        raise errors.UserError(
            f"{workdir} holds another run ({'; '.join(changed)}); "
            "give another --workdir, or the same config and images."
        )


def write(workdir: Path, config: Config, info: DatasetInfo) -> None:
    """Writes config.json and dataset.json, each whole or not at all."""
    workdir.mkdir(parents=True, exist_ok=True)
    info_json = json.dumps(dataclasses.asdict(info), indent=2) + "\n"
    # Last the config: with it the folder is a run.
    for name, text in ((_DATASET, info_json), (_CONFIG, config_fields.to_json(config))):
        unfinished = workdir / f"{name}.tmp"
        unfinished.write_text(text)
        unfinished.replace(workdir / name)
