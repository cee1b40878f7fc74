"""Features of a frozen base, computed once.

Where the first layers of a network are frozen and every image is seen the same each
time, their output never changes, and replaces the images. Each step then computes only
the rest of the network; if only the head is trained, one linear layer.
"""

from collections.abc import Callable
import dataclasses
import functools
import math
from pathlib import Path
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import targets as targets_lib
from jaxcnn import tasks
from jaxcnn.config import AugmentConfig
from jaxcnn.data import transforms
from jaxcnn.data.examples import Examples
from jaxcnn.data.memory import DecodedExamples
from jaxcnn.errors import UserError
from jaxcnn.training import feed, intercept, network, parallel
from jaxcnn.training.run import Run
from jaxcnn.training.state import TrainState

TOLERANCE = 1e-5  # relative error of outputs from features


@dataclasses.dataclass(frozen=True)
class AfterBase:
    """A network whose input is what its first trained child takes.

    It is applied as the network is. What comes before that child is traced with images
    of zeros, and left out by the compiler, since nothing depends on it.

    Attributes:
        model: The whole network.
        child: Name of the first of its children that is trained.
        image_shape: (H, W, C) of its images.
    """

    model: nn.Module
    child: str
    image_shape: tuple[int, int, int]

    def apply(self, variables: Any, features: jax.Array, **kwargs: Any) -> Any:
        images = jnp.zeros((len(features), *self.image_shape), features.dtype)
        with intercept.input_replaced(self.child, features):
            return self.model.apply(variables, images, **kwargs)


def check(run: Run) -> None:
    """Raises UserError where a run cannot take features for images."""
    config, why = run.config, None
    if config.augment != AugmentConfig():
        why = "augment changes the images at random"
    elif tasks.changes_inputs(run.task):
        why = f"task.name={config.task.name!r} changes the images at random"
    elif transforms.find(config.data.train_transform).random:
        why = f"data.train_transform={config.data.train_transform!r} is random"
    elif config.data.train_transform != config.data.eval_transform:
        why = "data.train_transform and data.eval_transform differ"
    elif config.parallel != "jit":
        why = f"parallel is {config.parallel!r}"
    elif jax.process_count() > 1:
        why = "the run has several processes"
    elif config.data.image_size_stages:
        why = "data.image_size_stages changes the size of the images"
    elif config.average.name == "swa":
        why = "average.name='swa' needs the images"
    elif getattr(run.model, "backbone", None) is not None:
        why = f"the decoder of {config.model} reads more than one layer's output"
    elif len(run.plan.boundaries) > 1:
        why = "optim.unfreeze trains more of the network later"
    else:
        child, shape = _first_trained(run)
        earlier = _trained_before(run, child)
        if child is None:
            why = "the first layers are not frozen, or no layer is trained"
        elif earlier:
            why = f"{earlier[0]!r} is trained and used before {child!r}"
        elif shape is None:
            why = f"{child!r} takes more than one array"
    if why is not None:
        raise UserError(f"cache_features is not possible: {why}.")


def _first_trained(run: Run) -> tuple[str | None, tuple[int, ...] | None]:
    """(the first child of the network that is trained, the shape [...] of its input);
    (None, None) where that is the very first child, or there is none."""
    params = run.variable_shapes["params"]
    frozen = intercept.frozen_groups(params, run.trained(0))

    def inputs(variables: Any) -> Any:
        images = jnp.zeros((1, *network.image_shape(run.config, run.info)))
        with intercept.inputs_recorded() as calls:
            run.model.apply(variables, images, train=False)
        order.extend(calls)
        return ()

    order: list[tuple[str, Any]] = []
    jax.eval_shape(inputs, run.variable_shapes)
    calls = [
        (name, x.shape[1:] if isinstance(x, jax.Array) else None) for name, x in order
    ]
    trained = [pair for pair in calls if pair[0] not in frozen]
    if not trained or trained[0] is calls[0]:
        return None, None
    return trained[0]


def _trained_before(run: Run, child: str | None) -> list[str]:
    """Groups that are trained and come before a child, such as a parameter of the
    network itself."""
    params = run.variable_shapes["params"]
    frozen = intercept.frozen_groups(params, run.trained(0))
    before = run.groups[: run.groups.index(child)] if child is not None else ()
    return [group for group in before if group not in frozen]


def cached(
    run: Run,
    state: TrainState,
    folder: Path | None,
    splits: dict[str, Examples] | None = None,
) -> Run:
    """The run with features for images, and a network that takes them.

    Args:
        run: A run that check lets pass.
        state: Its state, of which the frozen part is used.
        folder: The run's folder, where unreadable images are listed. None: they are
            not listed.
        splits: Those that the run is to have; None: all of its own.

    Raises:
        UserError: They do not fit into data.in_memory_mib.
        FloatingPointError: The outputs from features are not those from images.
    """
    if splits is not None:
        dataset = dataclasses.replace(run.dataset, splits=splits)
        run = dataclasses.replace(run, dataset=dataset)
    child, shape = _first_trained(run)
    count = sum(len(split) for split in run.dataset.splits.values())
    mib, limit = 4 * count * math.prod(shape) / 2**20, run.config.data.in_memory_mib
    if mib > limit:
        raise UserError(
            f"cache_features is not possible: the features of {count} images take "
            f"{mib:.0f} MiB, and data.in_memory_mib is {limit}."
        )
    image_shape = network.image_shape(run.config, run.info)
    after = AfterBase(run.model, child, image_shape)
    base = functools.partial(_features, forward=run.forward, child=child)
    base = parallel.jit_eval(base, run.mesh, run.compiler_options)
    names = targets_lib.batch_shapes(run.task.targets, 0, 0)
    splits = {}
    for split in run.dataset.splits:
        parts: dict[str, list[np.ndarray]] = {"image": [], "weight": []}
        for batch in feed.eval_batches(run, split, folder):
            on_devices = parallel.put_batch(batch, run.mesh)
            if not splits and not parts["image"]:
                _compare(run, after, base, state.variables, on_devices)
            features = np.asarray(base(state.variables, on_devices))
            for name, x in {**batch, "image": features}.items():
                parts.setdefault(name, []).append(x)
        size = len(run.dataset.splits[split])
        whole = {name: np.concatenate(x)[:size] for name, x in parts.items()}
        splits[split] = DecodedExamples(
            whole["image"],
            {name: whole[name] for name in names},
            dict.fromkeys(np.flatnonzero(whole["weight"] == 0).tolist(), "unreadable"),
        )
    dataset = dataclasses.replace(run.dataset, splits=splits)
    return dataclasses.replace(run, dataset=dataset, model=after, has_features=True)


def _features(
    variables: Any, batch: dict[str, Any], *, forward: Callable, child: str
) -> jax.Array:
    """What a child of a network takes: float [B, ...]."""
    with intercept.inputs_recorded() as calls:
        forward(variables, batch["image"])
    features = next(x for name, x in calls if name == child)
    return features.astype(jnp.result_type(float))


def _compare(
    run: Run, after: AfterBase, base: Callable, variables: Any, batch: dict[str, Any]
) -> None:
    """Raises FloatingPointError where a network is not what follows its features."""
    cheap = dataclasses.replace(run, model=after, has_features=True)
    expected = jax.jit(run.forward)(variables, batch["image"])
    output = jax.jit(cheap.forward)(variables, base(variables, batch))
    expected, output = (_flat(tree) for tree in (expected, output))
    error = np.linalg.norm(output - expected) / np.linalg.norm(expected)
    dtype = run.precision.compute_dtype
    limit = max(TOLERANCE, 4 * float(jnp.finfo(dtype).eps))
    if not error <= limit:
        raise FloatingPointError(
            f"The outputs from cached features differ by {error:.1e} from those of the "
            f"images; at most {limit:.0e} is allowed."
        )


def _flat(tree: Any) -> np.ndarray:
    """All numbers of a network's output."""
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])
