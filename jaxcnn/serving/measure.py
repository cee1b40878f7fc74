"""Evaluates a trained network on a split of a data set."""

from collections.abc import Mapping, Sequence
import dataclasses
from pathlib import Path
from typing import Any

from jaxcnn import errors
from jaxcnn.data import datasets
from jaxcnn.data.examples import Dataset
from jaxcnn.ops import backends
from jaxcnn.tasks import Task
from jaxcnn.training import evaluation, network, prepare, used, workdir
from jaxcnn.training.evaluation import Measured, Sample


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Metrics of a run's checkpoint on a split.

    Attributes:
        task: Task of the run.
        split: Name of the split.
        step: Step of the checkpoint.
        same_images: Whether the examples are those of the run's own data set.
        num_used: "train" and "validation" -> number of the measured examples that the
            run was trained or validated on; {} where it is not known.
        measured: Metrics of the split.
        samples: First examples of the split, as many as were asked for.
    """

    task: Task
    split: str
    step: int
    same_images: bool
    num_used: Mapping[str, int]
    measured: Measured
    samples: Sequence[Sample] = ()

    @property
    def remark(self) -> str | None:
        """How many of the examples the run has used before; None: none is known."""
        verbs = {"train": "trained on", "validation": "used for validation"}
        known = [
            f"{self.num_used[s]} were {verb}"
            for s, verb in verbs.items()
            if self.num_used.get(s)
        ]
        return f"in this run, {' and '.join(known)} already" if known else None


def evaluate(
    folder: str | Path,
    checkpoint: str = "best",
    split: str = "test",
    *,
    data_name: str | None = None,
    data_dir: str | None = None,
    raw: bool = False,
    model: Any = None,
    dataset: Dataset | None = None,
    task: Any = None,
    num_samples: int = 0,
) -> Evaluation:
    """Metrics of a run's checkpoint, each example counted once.

    Args:
        folder: The run's folder.
        checkpoint: "best", "latest", a step, or "mean:K" of the newest K.
        split: "train", "validation" or "test".
        data_name: Name of another data set with the same targets. None: the run's.
        data_dir: Folder of the data sets. None: the run's.
        raw: Whether to use the raw parameters instead of their average.
        model: The network that was given to fit. None: it is built by its name.
        dataset: The data set that was given to fit, or one with the same targets. None:
            it is loaded by its name.
        task: The task that was given to fit. None: it is created by its name.
        num_samples: Number of examples of which is kept what the network says.

    Raises:
        UserError: There is no such run, checkpoint, data set or split, or the targets
            differ from the run's.
    """
    folder = Path(folder)
    config, info = workdir.read(folder)
    name = data_name or config.data.name
    rule = f"None for {name}, which is not in data.dir"
    holds = data_dir is None or datasets.reads(name, "dir")
    errors.require(holds, "data_dir", data_dir, rule)
    # The devices used in training do not matter here.
    config = dataclasses.replace(
        config,
        num_devices=None,
        parallel="jit",
        ops=backends.kept(config.ops, None),
        data=dataclasses.replace(
            config.data,
            name=name,
            dir=data_dir or config.data.dir,
        ),
    )
    # Images are normalised as in training, not with this data set's mean.
    run = prepare.prepare(config, info, dataset, model=model, task=task)
    trained_on = network.open_task(config, info, task).targets
    for name, target in run.task.targets.items():
        if name not in trained_on:
            raise errors.UserError(
                f"{config.data.name} has target {name!r}; the run in {folder} was "
                f"trained on {', '.join(trained_on)}."
            )
        if target != trained_on[name]:
            raise errors.UserError(
                f"The {name}s of {config.data.name} are {_few(target.names)}; the "
                f"run in {folder} was trained on {_few(trained_on[name].names)}."
            )
    if split not in run.dataset.splits:
        if split == "test":  # a data set need not have one
            raise errors.UserError(
                "The data of this run have no test split; they have "
                f"{', '.join(run.dataset.splits)}."
            )
        raise errors.unknown("split", split, run.dataset.splits)
    step, variables = network.load_variables(
        folder, config, info, checkpoint, run.mesh, raw=raw, model=model, task=task
    )
    return Evaluation(
        task=run.task,
        split=split,
        step=step,
        num_used=used.count(folder, run.dataset.splits[split]),
        same_images=run.info.fingerprint == info.fingerprint,
        measured=evaluation.evaluator(run, None)(split, variables),
        samples=evaluation.samples(run, split, variables, num_samples)
        if num_samples
        else (),
    )


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
