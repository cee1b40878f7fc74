"""Compares a network of ours with the numbers of make_reference.py."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flax import linen as nn
import jax
import numpy as np

from jaxcnn.pretrained.torchvision import Rule, from_torchvision
from tests.reference import filling


class Reference:
    """The numbers of one network, with its tensors made again.

    Attributes:
        numbers: What the file holds.
        state_dict: The tensors of the outside network, float64.
        images: float64 [B, H, W, C].
    """

    def __init__(self, name: str) -> None:
        self.numbers = np.load(Path(__file__).parent / f"{name}.npz")
        names, texts = self.numbers["names"], self.numbers["shapes"]
        pairs = zip(names.tolist(), texts.tolist(), strict=True)
        self.shapes = {name: tuple(map(int, text.split())) for name, text in pairs}
        self.state_dict = filling.tensors(self.shapes)
        self.images = filling.images(tuple(self.numbers["image_shape"].tolist()))

    def variables(
        self,
        model: nn.Module,
        rules: Sequence[Rule] | None,
        tensors: dict[str, np.ndarray] | None = None,
    ) -> dict[str, Any]:
        """Our variables made of the outside network's tensors, or of others."""
        tensors = self.state_dict if tensors is None else tensors
        return from_torchvision(tensors, model, self.images.shape[1:], rules)


def relative_error(ours: Any, theirs: np.ndarray) -> float:
    """Distance of two arrays over the length of the second."""
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def logits_errors(
    name: str, model: nn.Module, rules: Sequence[Rule] | None = None
) -> tuple[float, float]:
    """Relative errors of the logits in float32 and in float64."""
    reference = Reference(name)
    variables = reference.variables(model, rules)
    found = []
    for dtype in np.float32, np.float64:
        with jax.enable_x64(dtype is np.float64):
            cast = jax.tree.map(lambda v: v.astype(dtype), variables)  # noqa: B023
            logits = model.apply(cast, reference.images.astype(dtype), train=False)
            assert logits.dtype == dtype
            found.append(
                relative_error(logits, reference.numbers[np.dtype(dtype).name])
            )
    return found[0], found[1]


def gradient_errors(
    name: str, model: nn.Module, rules: Sequence[Rule] | None = None
) -> dict[str, float]:
    """Relative errors in training, float64: of the logits and of each gradient.

    Of a gradient, the larger one of its norm and of its projection on a direction;
    norm and projection do not depend on the order of the axes.
    """
    reference = Reference(name)
    numbers, shapes = reference.numbers, reference.shapes
    with jax.enable_x64(True):
        variables = jax.tree.map(jax.numpy.asarray, reference.variables(model, rules))
        directions = reference.variables(model, rules, filling.directions(shapes))
        # Each tensor filled with its number says where it has gone.
        numbered = {
            name: np.full(shape, i) for i, (name, shape) in enumerate(shapes.items())
        }
        places = reference.variables(model, rules, numbered)
        logits_shape = numbers["train_logits"].shape
        weights = filling.directions({"logits": logits_shape})["logits"]

        @jax.jit
        def gradient(params):
            def weighted_logits(params):
                logits, _ = model.apply(
                    {**variables, "params": params},
                    reference.images,
                    train=True,
                    mutable=["batch_stats"],
                )
                return (logits * weights).sum(), logits

            return jax.grad(weighted_logits, has_aux=True)(params)

        gradients, logits = gradient(variables["params"])
    errors = {"logits": relative_error(logits, numbers["train_logits"])}
    norms, projections = (
        dict(zip(numbers["gradient_names"].tolist(), numbers[key], strict=True))
        for key in ("gradient_norms", "gradient_projections")
    )
    leaves = map(jax.tree.leaves, (gradients, directions["params"], places["params"]))
    for ours, direction, place in zip(*leaves, strict=True):
        tensor = list(shapes)[place.flat[0]]
        errors[tensor] = max(
            abs(np.linalg.norm(ours) - norms[tensor]) / norms[tensor],
            abs(np.vdot(ours, direction) - projections[tensor]) / norms[tensor],
        )
    assert errors.keys() - {"logits"} == norms.keys()
    return errors
