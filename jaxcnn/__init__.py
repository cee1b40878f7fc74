"""A JAX functional training framework for image CNNs.

    import jaxcnn
    result = jaxcnn.fit(config, "runs/mine")        # train or resume
    measured = jaxcnn.evaluate("runs/mine")         # on the test images
    predictor = jaxcnn.load("runs/mine")            # a function of images
    model = jaxcnn.create_model("resnet50", num_classes=10)

JAX itself is loaded on first use, so that `import jaxcnn` is quick.
"""

from collections.abc import Callable, Sequence
import functools
import importlib
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxcnn import config as _config
from jaxcnn import pretrained as pretrained
from jaxcnn.errors import UserError

if TYPE_CHECKING:
    from flax import linen as nn

    from jaxcnn.data.examples import Dataset as Dataset
    from jaxcnn.models import layers as layers
    from jaxcnn.serving.maps import Passes as Passes
    from jaxcnn.serving.measure import Evaluation
    from jaxcnn.serving.predictor import Predictor
    from jaxcnn.tasks import Task as Task
    from jaxcnn.training.fit import Callback as Callback
    from jaxcnn.training.fit import Result

__version__ = metadata.version("jaxcnn")


def create_model(name: str, num_classes: int, **fields: Any) -> "nn.Module":
    """The Linen module of an architecture; see models.create_model."""
    from jaxcnn import models

    return models.create_model(name, num_classes, **fields)


def list_models(pattern: str = "*") -> list[str]:
    """Names of the architectures that match a shell pattern, such as "resnet*"."""
    from jaxcnn import models

    return models.list_models(pattern)


def fit(
    config: _config.Config,
    workdir: str | Path,
    *,
    model: Any = None,
    dataset: "Dataset | Callable[[_config.DataConfig], Dataset] | None" = None,
    task: Any = None,
    callbacks: "Sequence[Callback]" = (),
    writers: Sequence[Any] | None = None,
    profile_steps: tuple[int, int] | None = None,
) -> "Result":
    """Trains, or resumes, the run in a folder; what `jaxcnn train` calls.

    Args:
        config: Config of the run.
        workdir: The run's folder: config, checkpoints, metrics and events.
        model: A Linen module, or a class or function that returns one; it is called
            with config.model_fields and, if it takes them, the outputs that the task
            needs, such as num_classes=10. None: the network named by config.model.
        dataset: A Dataset, or a function that is called with config.data and returns
            one. None: the one named by config.data.
        task: A tasks.Task, or its class. None: the one named by config.task.
        callbacks: Callbacks of the run, see training.fit.Callback.
        writers: Destinations of the metrics: names in report.writers.WRITERS, or
            functions (folder, first step) -> writer. None: those named by
            config.writers.
        profile_steps: (first, stop): the steps first to stop - 1, counted from 1, are
            traced into workdir/profile. None: no step is traced.

    Returns:
        A training.fit.Result, with the test metrics of the best checkpoint.

    Raises:
        errors.UserError: A ValueError for a mistake in config, data or workdir,
            before anything is compiled.
    """
    from jaxcnn.report import writers as log
    from jaxcnn.training import fit, hosts

    for value, kind, what in (
        (config, _config.Config, "config, a jaxcnn.config.Config"),
        (workdir, str | Path, "workdir, the path of a folder"),
    ):
        if not isinstance(value, kind):
            raise UserError(f"fit needs {what}, not a {type(value).__name__}.")
    chosen = config.writers if writers is None else writers
    log.check(chosen)
    make_writer = functools.partial(log.make, chosen)
    return fit.fit(
        config,
        workdir,
        make_writer=make_writer if hosts.is_first() else log.for_nobody,
        model=model,
        dataset=dataset,
        task=task,
        callbacks=callbacks,
        profile_steps=profile_steps,
    )


def evaluate(
    workdir: str | Path,
    checkpoint: str = "best",
    split: str = "test",
    *,
    raw: bool = False,
    model: Any = None,
    dataset: "Dataset | None" = None,
    task: Any = None,
) -> "Evaluation":
    """Evaluates a run's network on a split of its data, as `jaxcnn evaluate` does.

    Args:
        workdir: The run's folder.
        checkpoint: Checkpoint: "best", "latest", a step, or "mean:K", the mean
            of the newest K.
        split: "train", "validation" or "test".
        raw: Whether to use the raw parameters instead of their average.
        model: The network that was given to fit, if its class cannot be imported.
        dataset: The data set that was given to fit, or one with the same targets.
        task: The task that was given to fit.

    Returns:
        A serving.measure.Evaluation; its measured.metrics holds the metrics, and its
        remark says how many of the examples the run has used before.
    """
    from jaxcnn.serving import measure

    return measure.evaluate(
        workdir, checkpoint, split, raw=raw, model=model, dataset=dataset, task=task
    )


def load(
    workdir: str | Path,
    checkpoint: str = "best",
    *,
    raw: bool = False,
    model: Any = None,
    task: Any = None,
    passes: "Passes | None" = None,
) -> "Predictor":
    """Loads a run's network as a function of images.

    Args:
        workdir: The run's folder, or that of imported weights.
        checkpoint: Checkpoint of a run: "best", "latest", a step, or "mean:K",
            the mean of the newest K.
        raw: Whether to use the raw parameters instead of their average.
        model: The network that was given to fit, if its class cannot be imported.
        task: The task that was given to fit.
        passes: Tiles, scales and mirroring with which a network that predicts maps
            passes over an image. None: once, over the whole image.
    """
    from jaxcnn.serving import predictor

    return predictor.load(
        workdir, checkpoint, raw=raw, model=model, task=task, passes=passes
    )


_LAZY = {  # name -> its module, which loads NumPy or JAX
    "Callback": "jaxcnn.training.fit",
    "Dataset": "jaxcnn.data.examples",
    "Passes": "jaxcnn.serving.maps",
    "Task": "jaxcnn.tasks",
    "layers": "jaxcnn.models",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'jaxcnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
