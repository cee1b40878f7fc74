"""Compares a network of ours with the numbers of make_reference.py."""

from collections.abc import Mapping
import functools
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from flax import linen as nn
from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import models
from jaxcnn.models import layers
from jaxcnn.pretrained import names, rules
from tests.reference import filling

FOLDER = Path(__file__).parent
EVALUATIONS = ("float32", "float64", "second")  # what is compared in evaluation

# What is computed once is compiled in a hurry, in half the time of all, unless its
# images have that many pixels.
LARGE = 10_000
IN_A_HURRY = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}


class Parity(NamedTuple):
    """A network of ours that is compared with another's, a row of PARITY.

    Attributes:
        model: Its name in MODELS.
        reference: Name of the .npz file.
        library: Whose names the tensors have, see pretrained.rules.
        fields: Of the network, other than those of its row.
        note: How both differ from what `jaxcnn models` lists by that name.
    """

    model: str
    reference: str
    library: str
    fields: Mapping[str, Any] = {}
    note: str = ""


class Comparison:
    """A row with its file opened.

    Attributes:
        row: The row.
        numbers: What the file holds.
        tensors: Parameters and statistics that both networks have.
        model: Our network.
    """

    def __init__(self, row: Parity) -> None:
        self.row = row
        with np.load(FOLDER / f"{row.reference}.npz") as file:
            self.numbers = dict(file)
        self.shapes = {
            str(name): tuple(map(int, text.split()))
            for name, text in zip(
                self.numbers["names"], self.numbers["shapes"], strict=True
            )
        }
        gains = zip(
            self.numbers["gain_patterns"], self.numbers["gain_factors"], strict=True
        )
        dtype = "float64" if "float64" in self.numbers else "float32"
        self.tensors = filling.tensors(self.shapes, dict(gains), dtype)
        num_classes = self.numbers["float32"].shape[-1]
        self.model = models.create_model(row.model, num_classes, **row.fields)
        self._source = rules.find(row.library, row.model)
        pixels = self.numbers["image_shape"][1:3].prod()
        self._jit = functools.partial(
            jax.jit, compiler_options=IN_A_HURRY if pixels < LARGE else {}
        )
        self._apply = self._jit(functools.partial(self.model.apply, train=False))

    @functools.cached_property
    def own_variables(self) -> names.Variables:
        """The variables of our network, from the tensors of the file."""
        shape = tuple(self.numbers["image_shape"][1:])
        return names.import_tensors(self.tensors, self.model, self._source, shape)

    def evaluation_errors(self, everything: bool) -> dict[str, float]:
        """Relative errors of the logits in evaluation.

        Args:
            everything: Measure all that the file has. Otherwise float32 is left out,
                unless the network is too large for float64, which sees more.
        """
        kinds = [which for which in EVALUATIONS if which in self.numbers]
        if not everything and "float64" in kinds:
            kinds.remove("float32")
        return {which: self.logits_error(which) for which in kinds}

    def logits_error(
        self, which: str, variables: names.Variables | None = None
    ) -> float:
        """Relative error of the logits in evaluation.

        Args:
            which: "float32", "float64", or "second" for the second size of images.
            variables: Those of our network, if not those of the file.
        """
        theirs = self.numbers[which]
        shape = "second_image_shape" if which == "second" else "image_shape"
        images = filling.images(tuple(self.numbers[shape]))
        variables = self.own_variables if variables is None else variables
        dtype = theirs.dtype.name
        assert which in (dtype, "second")
        with jax.enable_x64(dtype == "float64"), QUICK_GROUPS:
            variables = jax.tree.map(lambda v: v.astype(dtype, copy=False), variables)
            logits = self._apply(variables, images.astype(dtype))
        assert logits.dtype == dtype
        return relative_error(logits, theirs)

    def training_errors(self) -> dict[str, float]:
        """Relative errors in training, in float64: of logits and of each gradient.

        Of a gradient the larger error, of its norm or of its projection on a
        direction; neither depends on the order of the axes. A gradient that is 0 but
        for rounding, as of a bias before a normalisation, is measured against the
        largest.
        """
        numbers = self.numbers
        images = filling.images(tuple(numbers["image_shape"]))
        variables = self.own_variables
        sizes = numbers["train_output_sizes"]
        shape = numbers["train_outputs"].shape[:-1]
        directions = filling.directions(
            {f"output{i}": (*shape, size) for i, size in enumerate(sizes)}
        )

        def forward(params):
            with nn.intercept_methods(_without_dropout):
                logits, updated = self.model.apply(
                    variables | {"params": params},
                    images,
                    train=True,
                    mutable=["batch_stats", "intermediates"],
                )
            # Auxiliary heads, in the order of their names.
            return [logits, *jax.tree.leaves(updated.get("intermediates", {}))]

        @self._jit
        def gradients(params, directions):
            outputs, backward = jax.vjp(forward, params)
            return outputs, *backward(directions)

        with jax.enable_x64(True), QUICK_GROUPS:
            outputs, gradient = jax.device_get(
                gradients(variables["params"], list(directions.values()))
            )
        outputs = np.concatenate(outputs, axis=-1)
        errors = {"outputs": relative_error(outputs, numbers["train_outputs"])}

        statistics = {"batch_stats": variables.get("batch_stats", {})}
        ours = names.export_tensors(
            statistics | {"params": gradient}, self.model, self._source
        )
        least = 1e-6 * numbers["gradient_norms"].max()
        directions = filling.directions(self.shapes)
        for name, norm, projection in zip(
            numbers["gradient_names"],
            numbers["gradient_norms"],
            numbers["gradient_projections"],
            strict=True,
        ):
            found = ours[name]
            error = max(
                abs(np.linalg.norm(found) - norm),
                abs(np.vdot(found, directions[name]) - projection),
            )
            errors[name] = error / max(norm, least)
        num_params = len(jax.tree.leaves(variables["params"]))
        assert len(errors) == num_params + 1  # every gradient is compared
        return errors


def filled(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Values for the variables of a network of ours, each by its path and shape."""
    names = {"scale": "weight", "var": "running_var"}  # that filling.py knows
    values = {}
    for path, leaf in traverse_util.flatten_dict(variables).items():
        name = "/".join((*path[1:-1], names.get(path[-1], path[-1])))
        values[path] = filling.tensors({name: leaf.shape})[name]
    return traverse_util.unflatten_dict(values)


def relative_error(ours: Any, theirs: np.ndarray) -> float:
    """Distance of two arrays over the length of the second."""
    return float(np.linalg.norm(np.asarray(ours) - theirs) / np.linalg.norm(theirs))


def _convolve(
    x: jax.Array,
    kernel: jax.Array,
    *args: Any,
    feature_group_count: int = 1,
    **kwargs: Any,
) -> jax.Array:
    """jax.lax.conv_general_dilated; in float64 one group after the other.

    XLA's CPU makes a dense convolution of one with groups, but in float32: B5 in
    float64 would take a minute. [B, H, W, C] and [kh, kw, C/groups, filters].
    """
    if x.dtype != jnp.float64 or feature_group_count == 1:
        return _XLA_CONVOLVE(
            x, kernel, *args, feature_group_count=feature_group_count, **kwargs
        )
    parts = [
        jnp.moveaxis(array.reshape(*array.shape[:3], feature_group_count, -1), 3, 0)
        for array in (x, kernel)
    ]
    y = jax.lax.map(lambda group: _XLA_CONVOLVE(*group, *args, **kwargs), parts)
    y = jnp.moveaxis(y, 0, 3)  # [B, H, W, groups, filters/groups]
    return y.reshape(*y.shape[:3], -1)


_XLA_CONVOLVE = jax.lax.conv_general_dilated
QUICK_GROUPS = mock.patch.object(jax.lax, "conv_general_dilated", _convolve)


def _without_dropout(call, args, kwargs, context):
    if isinstance(context.module, layers.Dropout | layers.StochasticDepth):
        return args[0]
    return call(*args, **kwargs)
