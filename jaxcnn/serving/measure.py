"""A trained network measured on a split of a data set."""

import dataclasses
from pathlib import Path
from typing import Any

from jaxcnn import errors
from jaxcnn.training import network, setup, workdir


@dataclasses.dataclass(frozen=True)
class Measured:
    """An evaluation.

    Attributes:
        split: Which examples.
        step: Of the checkpoint.
        same_images: Whether they are those of the run's own data set.
        class_names: Of rows and columns of the confusion matrix.
        metrics: What the task measures; "confusion" is [K, K], rows true.
    """

    split: str
    step: int
    same_images: bool
    class_names: tuple[str, ...]
    metrics: dict[str, Any]


def evaluate(
    folder: str | Path,
    checkpoint: str = "best",
    split: str = "test",
    *,
    data_name: str | None = None,
    data_dir: str | None = None,
    raw: bool = False,
) -> Measured:
    """Metrics of a run's checkpoint, each example counted once.

    Args:
        folder: The run's folder.
        checkpoint: As in predictor.load.
        split: "train", "validation" or "test".
        data_name: Another data set with the same classes; None: the run's.
        data_dir: Where data sets are; None: where the run found them.
        raw: As in predictor.load.

    Raises:
        UserError: No run, checkpoint, data or split of that name; other classes.
    """
    folder = Path(folder)
    config, info = workdir.read(folder)
    # The devices of the training do not matter here.
    config = dataclasses.replace(
        config,
        num_devices=None,
        parallel="jit",
        data=dataclasses.replace(
            config.data,
            name=data_name or config.data.name,
            dir=data_dir or config.data.dir,
        ),
    )
    # Images are normalised as in training, whatever the mean of this data set is.
    run = setup.prepare(config, info)
    if tuple(run.info.class_names) != info.class_names:
        raise errors.UserError(
            f"The classes of {config.data.name} are {_few(run.info.class_names)}; the "
            f"run in {folder} was trained on {_few(info.class_names)}."
        )
    if split not in run.dataset.splits:
        raise errors.unknown("split", split, run.dataset.splits)
    step, variables = network.load_variables(
        folder, config, info, checkpoint, run.mesh, raw=raw
    )
    return Measured(
        split=split,
        step=step,
        same_images=run.info.fingerprint == info.fingerprint,
        class_names=info.class_names,
        metrics=run.evaluator(None)(split, variables),
    )


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
