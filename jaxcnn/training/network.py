"""The network of a run, and its variables in the run's checkpoints."""

import functools
from pathlib import Path
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxcnn import errors, models
from jaxcnn.config import Config
from jaxcnn.tasks import METRICS
from jaxcnn.training import checkpoint, parallel
from jaxcnn.training.state import init_variables
from jaxcnn.training.workdir import CHECKPOINTS, DatasetInfo


def compute_dtype(name: str) -> jnp.dtype:
    """The dtype of the forward and backward pass; UserError for an unknown name.

    float32 is float64 under jax_enable_x64, as everything else is then.
    """
    dtypes = {
        "float32": jnp.result_type(float),
        "bfloat16": jnp.bfloat16,
        "float16": jnp.float16,
    }
    if name not in dtypes:
        raise errors.unknown("compute_dtype", name, dtypes)
    return jnp.dtype(dtypes[name])


def precision(config: Config) -> dict[str, Any]:
    """How precisely a step computes: arguments of the functions of step.py."""
    return {
        "compute_dtype": compute_dtype(config.compute_dtype),
        "matmul_precision": "default" if config.tf32 else "highest",
    }


def make_model(config: Config, info: DatasetInfo) -> nn.Module:
    """The network of a run, for the classes that its data set has."""
    fields = dict(config.model_fields)
    model = models.create_model(
        config.model, num_classes=len(info.class_names), **fields
    )
    choices = {"axis_name": parallel.layout(config.parallel).norm_axis}
    if config.norm_examples is not None:
        choices = {"num_examples": config.norm_examples}
    if hasattr(model, "norm") and any(choices.values()):
        model = model.clone(norm=functools.partial(model.norm, **choices))
    return model


def image_shape(config: Config, info: DatasetInfo) -> tuple[int, int, int]:
    """(H, W, C) of what the network sees."""
    return (config.data.image_size, config.data.image_size, info.channels)


def numerics(config: Config, info: DatasetInfo) -> dict[str, Any]:
    """What evaluation and prediction do to images, and how precisely."""
    return {"mean": info.mean, "std": info.std, **precision(config)}


def load_variables(
    folder: Path,
    config: Config,
    info: DatasetInfo,
    which: str,
    mesh: Mesh,
    *,
    raw: bool = False,
) -> tuple[int, dict[str, Any]]:
    """(step, {"params", "batch_stats"}) of a run's checkpoint, on a mesh's devices.

    Args:
        folder: The run's folder.
        config: Of the run.
        info: Of the run.
        which: "best", "latest", a step, or "mean:K", the mean of the newest K.
        mesh: The devices.
        raw: The parameters themselves, where the run keeps an average of them.

    Raises:
        UserError: There is no such checkpoint, or it does not fit.
    """
    shape = image_shape(config, info)
    init = functools.partial(
        init_variables, make_model(config, info), image_shape=shape
    )
    shapes = jax.eval_shape(init, jax.random.key(0))
    everywhere = parallel.LAYOUTS["jit"].shardings(shapes, mesh)
    target = parallel.described(shapes, everywhere)
    averaged = config.average.name != "none" and not raw
    if averaged:
        target = {"average": target}
    step, part = checkpoint.load_part(
        folder / CHECKPOINTS, which, METRICS[config.best_metric], target
    )
    return step, part["average"] if averaged else part
