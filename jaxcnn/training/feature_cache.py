"""Features of a frozen base, computed once.

Where the first layers of a network are frozen and every image is seen the same each
time, what comes out of them never changes. It takes the place of the images then: of
each step the rest of the network is left, and of a network that is frozen up to its
head a linear layer.
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

from jaxcnn.config import AugmentConfig
from jaxcnn.data import pipeline
from jaxcnn.data.examples import Examples
from jaxcnn.data.transforms import TRANSFORMS
from jaxcnn.errors import UserError
from jaxcnn.training import network, parallel, step
from jaxcnn.training.setup import Setup
from jaxcnn.training.state import TrainState

TOLERANCE = 1e-5  # of logits from features against those from images, relative


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
        def call(method: Callable, args: Any, kwargs: Any, context: Any) -> Any:
            if context.module.path == (self.child,):
                args = (features, *args[1:])
            return method(*args, **kwargs)

        images = jnp.zeros((len(features), *self.image_shape), features.dtype)
        with nn.intercept_methods(call):
            return self.model.apply(variables, images, **kwargs)


def check(run: Setup) -> None:
    """Raises UserError where a run cannot take features for images."""
    config, why = run.config, None
    if config.augment != AugmentConfig():
        why = "augment changes the images at random"
    elif TRANSFORMS[config.data.train_transform].random:
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
    elif len(run.plan.boundaries) > 1:
        why = "optim.unfreeze trains more of the network later"
    else:
        child, shape = _first_trained(run)
        if child is None:
            why = "the first layers are not frozen"
        elif shape is None:
            why = f"{child!r} takes more than one array"
    if why is not None:
        raise UserError(f"cache_features is not possible: {why}.")


def _first_trained(run: Setup) -> tuple[str | None, tuple[int, ...] | None]:
    """(the first child of the network that is trained, the shape [...] of its input);
    (None, None) where that is the very first child."""
    frozen = step.frozen_groups(run.variable_shapes["params"], run.trained(0))
    calls = []

    def call(method: Callable, args: Any, kwargs: Any, context: Any) -> Any:
        if len(context.module.path) == 1:
            shape = args[0].shape[1:] if isinstance(args[0], jax.Array) else None
            calls.append((context.module.path[0], shape))
        return method(*args, **kwargs)

    def forward(variables: Any) -> Any:
        images = jnp.zeros((1, *network.image_shape(run.config, run.info)))
        with nn.intercept_methods(call):
            return run.model.apply(variables, images, train=False)

    jax.eval_shape(forward, run.variable_shapes)
    if calls[0][0] not in frozen:
        return None, None
    return next(pair for pair in calls if pair[0] not in frozen)


def cached(
    run: Setup,
    state: TrainState,
    folder: Path | None,
    splits: dict[str, Examples] | None = None,
) -> Setup:
    """The run with features for images, and a network that takes them.

    Args:
        run: A run that check lets pass.
        state: Its state, of which the frozen part is used.
        folder: Of the run, where bad images are listed; None: nowhere.
        splits: Those that the run is to have; None: all of its own.

    Raises:
        UserError: They do not fit into data.in_memory_mib.
        FloatingPointError: The logits from features are not those from images.
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
    base = functools.partial(
        _features,
        model=run.model,
        child=child,
        **network.numerics(run.config, run.info),
    )
    base = parallel.jit_eval(base, run.mesh, run.compiler_options)
    found = {}
    for name in run.dataset.splits:
        features, labels, unreadable = [], [], []
        for batch in run.eval_batches(name, folder):
            on_devices = parallel.put_batch(batch, run.mesh)
            if not found and not features:
                _compare(run, after, base, state.variables, on_devices)
            features.append(np.asarray(base(state.variables, on_devices)))
            labels.append(batch["label"])
            unreadable.append(batch["weight"] == 0)
        size = len(run.dataset.splits[name])
        bad = np.flatnonzero(np.concatenate(unreadable)[:size])
        found[name] = pipeline.DecodedExamples(
            np.concatenate(features)[:size],
            np.concatenate(labels)[:size],
            dict.fromkeys(bad.tolist(), "unreadable"),
        )
    dataset = dataclasses.replace(run.dataset, splits=found)
    return dataclasses.replace(run, dataset=dataset, model=after, augmentation=None)


def _features(
    variables: Any,
    batch: step.Batch,
    *,
    model: nn.Module,
    child: str,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    **precision: Any,
) -> jax.Array:
    """What a child of a network takes: float [B, ...]."""
    taken = []

    def call(method: Callable, args: Any, kwargs: Any, context: Any) -> Any:
        if context.module.path == (child,):
            taken.append(args[0])
        return method(*args, **kwargs)

    with nn.intercept_methods(call):
        step.forward(
            variables,
            batch["image"],
            model=model,
            mean=mean,
            std=std,
            **precision,
        )
    return taken[0].astype(jnp.result_type(float))


def _compare(
    run: Setup, after: AfterBase, base: Callable, variables: Any, batch: step.Batch
) -> None:
    """Raises FloatingPointError where a network is not what follows its features."""
    precision = network.precision(run.config)
    forward = functools.partial(step.forward, **precision)
    scale = {"mean": run.info.mean, "std": run.info.std}
    logits = jax.jit(functools.partial(forward, model=run.model, **scale))
    cheap = jax.jit(functools.partial(forward, model=after, mean=None, std=None))
    expected = np.asarray(logits(variables, batch["image"]))
    found = np.asarray(cheap(variables, base(variables, batch)))
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    limit = max(TOLERANCE, 4 * float(jnp.finfo(precision["compute_dtype"]).eps))
    if not error <= limit:
        raise FloatingPointError(
            f"The logits from cached features differ by {error:.1e} from those of the "
            f"images; at most {limit:.0e} is allowed."
        )
