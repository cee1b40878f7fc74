"""Compares a network of ours with the numbers of make_reference.py."""

from collections.abc import Sequence
import functools
from pathlib import Path
from typing import Any

from flax import linen as nn
import jax
import numpy as np

from jaxcnn.pretrained.torchvision import Rule, from_torchvision
from tests.reference import filling


def load(name: str) -> tuple[dict[str, np.ndarray], filling.Shapes, np.ndarray]:
    """The file of a network, the shapes of its tensors, and its images."""
    with np.load(Path(__file__).parent / f"{name}.npz") as file:
        numbers = dict(file)
    shapes = {
        name: tuple(map(int, text.split()))
        for name, text in zip(numbers["names"], numbers["shapes"], strict=True)
    }
    return numbers, shapes, filling.images(tuple(numbers["image_shape"]))


def relative_error(ours: Any, theirs: np.ndarray) -> float:
    """Distance of two arrays over the length of the second."""
    return float(np.linalg.norm(np.asarray(ours) - theirs) / np.linalg.norm(theirs))


def logits_error(
    name: str, model: nn.Module, dtype: str, rules: Sequence[Rule] | None = None
) -> float:
    """Relative error of the logits in evaluation, in float32 or float64."""
    numbers, shapes, images = load(name)
    variables = from_torchvision(
        filling.tensors(shapes), model, images.shape[1:], rules
    )
    apply = jax.jit(functools.partial(model.apply, train=False))
    with jax.enable_x64(dtype == "float64"):
        variables = jax.tree.map(lambda v: v.astype(dtype), variables)
        logits = apply(variables, images.astype(dtype))
    assert logits.dtype == dtype
    return relative_error(logits, numbers[dtype])


def training_errors(
    name: str, model: nn.Module, rules: Sequence[Rule] | None = None
) -> dict[str, float]:
    """Relative errors in training, in float64: of the logits and of each gradient.

    Of a gradient the larger error, of its norm or of its projection on a direction;
    neither depends on the order of the axes.
    """
    numbers, shapes, images = load(name)

    def convert(tensors: dict[str, np.ndarray]) -> dict[str, Any]:
        return from_torchvision(tensors, model, images.shape[1:], rules)

    variables = convert(filling.tensors(shapes))

    def forward(params):
        return model.apply(
            variables | {"params": params}, images, train=True, mutable=["batch_stats"]
        )

    @jax.jit
    def gradients(params, weights):
        logits, backward, _ = jax.vjp(forward, params, has_aux=True)
        return logits, *backward(weights)

    logits_shape = {"logits": numbers["train_logits"].shape}
    with jax.enable_x64(True):
        weights = filling.directions(logits_shape)["logits"]
        logits, gradient = jax.device_get(gradients(variables["params"], weights))

    errors = {"logits": relative_error(logits, numbers["train_logits"])}
    theirs = {
        tensor: (norm, projection)
        for tensor, norm, projection in zip(
            numbers["gradient_names"],
            numbers["gradient_norms"],
            numbers["gradient_projections"],
            strict=True,
        )
    }
    # Each tensor filled with its position says which of our variables it becomes.
    places = convert({n: np.full(s, i) for i, (n, s) in enumerate(shapes.items())})
    trees = gradient, convert(filling.directions(shapes))["params"], places["params"]
    for ours, direction, place in zip(*map(jax.tree.leaves, trees), strict=True):
        tensor = list(shapes)[place.flat[0]]
        norm, projection = theirs.pop(tensor)
        error = abs(np.linalg.norm(ours) - norm)
        errors[tensor] = max(error, abs(np.vdot(ours, direction) - projection)) / norm
    assert not theirs  # every gradient is compared
    return errors
