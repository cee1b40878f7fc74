"""The network of a run, and its variables in the run's checkpoints."""

import functools
from pathlib import Path
from typing import Any

from flax import linen as nn
import jax
from jax.sharding import Mesh

from jaxcnn import models, tasks
from jaxcnn.config import Config
from jaxcnn.data.examples import DatasetInfo
from jaxcnn.data.transforms import height_and_width
from jaxcnn.errors import UserError
from jaxcnn.models import adapter
from jaxcnn.tasks import Task
from jaxcnn.training import checkpoint, parallel
from jaxcnn.training.state import init_variables
from jaxcnn.training.workdir import CHECKPOINTS


def make_model(config: Config, task: Task, given: Any = None) -> nn.Module:
    """The network of a run, with the outputs that its task needs.

    Args:
        config: The run's choices.
        task: The run's task.
        given: A Linen module, or what gives one; None: config.model names it.
    """
    fields = dict(config.model_fields)
    if given is None:
        clash = ", ".join(sorted(fields.keys() & task.outputs.keys()))
        # A user's own class that was given as an object has all of its fields there.
        if clash and config.model in models.MODELS:
            raise UserError(
                f"model_fields of {config.model} may not name {clash}, which follows "
                "from the task and the data."
            )
        model = models.build(config.model, fields, task.outputs)
    else:
        # The config of a run has the fields of a module that was given to it.
        fields = {} if isinstance(given, nn.Module) else fields
        model = models.adapt(given, fields, task.outputs)
    field, value = "axis_name", parallel.layout(config.parallel).norm_axis
    if config.norm_examples is not None:
        field, value = "num_examples", config.norm_examples
    if value and norm_takes(model, field):
        model = model.clone(norm=functools.partial(model.norm, **{field: value}))
    return model


def norm_takes(model: Any, argument: str) -> bool:
    """Whether the network has a field `norm` like ours, a class or function, that can
    be called with an argument of that name."""
    return adapter.takes(getattr(model, "norm", None), argument)


def image_shape(config: Config, info: DatasetInfo) -> tuple[int, int, int]:
    """(H, W, C) of what the network sees."""
    return (*height_and_width(config.data.image_size), info.channels)


def open_task(config: Config, info: DatasetInfo, given: Any = None) -> Task:
    """The task of a run that has begun.

    Args:
        config: The run's choices.
        info: Description of its data set.
        given: A task, or its class; None: config.task names it.
    """
    return tasks.create_task(
        config.task, info.targets, info.statistics, given, info.channels
    )


def load_variables(
    folder: Path,
    config: Config,
    info: DatasetInfo,
    which: str,
    mesh: Mesh,
    *,
    raw: bool = False,
    model: Any = None,
    task: Any = None,
) -> tuple[int, dict[str, Any]]:
    """(step, {"params", "batch_stats"}) of a run's checkpoint, on a mesh's devices.

    Args:
        folder: The run's folder.
        config: The run's choices.
        info: Description of the run's data set.
        which: "best", "latest", a step, or "mean:K", the mean of the newest K.
        mesh: The devices.
        raw: The parameters themselves, where the run keeps an average of them.
        model: A Linen module, or what gives one; None: the config names it.
        task: A task, or its class; None: the config names it.

    Raises:
        UserError: There is no such checkpoint, or it does not fit.
    """
    shape, task = image_shape(config, info), open_task(config, info, task)
    init = functools.partial(
        init_variables, make_model(config, task, model), image_shape=shape
    )
    shapes = jax.eval_shape(init, jax.random.key(0))
    everywhere = parallel.LAYOUTS["jit"].shardings(shapes, mesh)
    target = parallel.described(shapes, everywhere)
    averaged = config.average.name != "none" and not raw
    if averaged:
        target = {"average": target}
    step, part = checkpoint.load_part(
        folder / CHECKPOINTS, which, task.metric(config.best_metric), target
    )
    return step, part["average"] if averaged else part
