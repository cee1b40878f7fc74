"""Maps our variables to the tensors of another library: names, shapes and axis order.

Each model family has a table of rules that translate our module paths to the module
names of another library. A tensor's name and shape follow from the rule and from the
name and shape of our variable, so one table serves both import and export.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import math
import re
from typing import Any, NamedTuple

from flax import linen as nn
from flax import traverse_util
import numpy as np

from jaxcnn import models
from jaxcnn.errors import UserError

LISTED = 30  # names that an error lists
Tensors = dict[str, np.ndarray]
Variables = dict[str, Any]


class Rule(NamedTuple):
    """Translates the paths of some of our modules to another library's module names.

    Attributes:
        pattern: Regular expression for the full path of our module, such as
            "stage1_block2/conv1/norm".
        name: Function of the match's groups (digits as integers) that returns the
            name of their module.
        channels: Channels of the feature map that a linear layer flattens. PyTorch
            flattens (C, H, W), we flatten (H, W, C). None: nothing is flattened.
        ndim: Number of axes of their tensor where it differs from ours: 2 where our
            convolution is their linear layer, 4 where our linear layer is their 1x1
            convolution, 3 where our vector is their [C, 1, 1]. Biases and
            normalisation parameters stay vectors.
        depthwise: Whether the kernel is depthwise. Keras stores it as [kh, kw, C, 1];
            we, like PyTorch, store it as a grouped kernel.
        leaves: Exceptions to the standard variable names: ours -> theirs.
    """

    pattern: str
    name: Callable[..., str]
    channels: int | None = None
    ndim: int | None = None
    depthwise: bool = False
    leaves: Mapping[str, str] = {}


@dataclasses.dataclass(frozen=True)
class Source:
    """How one library names and stores the weights of some of our networks.

    Attributes:
        library: Name of the library, such as "torchvision". "keras" has its own
            layout; all others use PyTorch's.
        models: Regular expression for the names of our networks.
        rules: Table of rules, or a function that builds one for a given network.
        ignored: Regular expression for tensors that may remain unused.
        rename: Function from a tensor name in an older file to its current name.
    """

    library: str
    models: str
    rules: Sequence[Rule] | Callable[[nn.Module], Sequence[Rule]]
    ignored: str = r"(?!)"
    rename: Callable[[str], str] = str


class Misfit(UserError):
    """The error for tensors that do not fit a network.

    Attributes:
        missing: Tensors that the network needs, with the paths of its variables.
        unused: Tensors that the network does not need.
        misshapen: Tensors with the wrong shape, with both shapes.
    """

    def __init__(
        self, missing: Sequence[str], unused: Sequence[str], misshapen: Sequence[str]
    ) -> None:
        self.missing, self.unused, self.misshapen = missing, unused, misshapen
        lists = {
            "missing": missing,
            "not used": unused,
            "wrong shape": misshapen,
        }
        self.differences = "; ".join(
            f"{kind}: {_listed(tensors)}" for kind, tensors in lists.items() if tensors
        )
        super().__init__(f"These weights do not fit; {self.differences}.")

    @property
    def count(self) -> int:
        """Number of differences."""
        return len(self.missing) + len(self.unused) + len(self.misshapen)


class Place(NamedTuple):
    """The tensor of one variable: theirs = ours.reshape.transpose.reshape.

    Attributes:
        name: Name of the tensor.
        shape: Shape of the tensor.
        split: Shape to which our array is reshaped before the transpose.
        order: Permutation of the axes.
    """

    name: str
    shape: tuple[int, ...]
    split: tuple[int, ...]
    order: tuple[int, ...]

    def theirs(self, ours: np.ndarray) -> np.ndarray:
        """Converts our array to their tensor."""
        return ours.reshape(self.split).transpose(self.order).reshape(self.shape)

    def ours(self, theirs: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Converts their tensor to our array of the given shape."""
        split = [self.split[axis] for axis in self.order]
        return theirs.reshape(split).transpose(np.argsort(self.order)).reshape(shape)


def import_tensors(
    tensors: Mapping[str, np.ndarray],
    model: nn.Module,
    source: Source,
    image_shape: models.ImageShape = (224, 224, 3),
) -> Variables:
    """Builds the variables of a network from the tensors of another library.

    Args:
        tensors: The library's tensors: name -> array.
        model: Our network.
        source: The library's row for this network, see rules.find.
        image_shape: Shape [H, W, C] of the images that the weights are for.

    Returns:
        Variables in the dtypes of the tensors.

    Raises:
        Misfit: A tensor is missing, is not used or has the wrong shape.
        UserError: The rules do not cover the network, see find_places.
    """
    variables = _flat(models.abstract_variables(model, image_shape))
    places = find_places(variables, model, source)
    unused, duplicates = {}, []
    for name in tensors:  # a file may have both the old and the current name
        if unused.setdefault(source.rename(name), name) != name:
            duplicates.append(name)
    filled, missing, misshapen = {}, [], []
    for path, place in places.items():
        name = unused.pop(place.name, None)
        if name is None:
            missing.append(f"{place.name} ({path})")
        elif tensors[name].shape != place.shape:
            shape = tensors[name].shape
            misshapen.append(f"{name} has {shape}, not {place.shape}")
        else:
            filled[path] = place.ours(tensors[name], variables[path].shape)
    leftover = [*duplicates, *unused.values()]
    leftover = [name for name in leftover if not _is_ignored(name, source)]
    if missing or leftover or misshapen:
        raise Misfit(missing, leftover, misshapen)
    return traverse_util.unflatten_dict(filled, sep="/")


def export_tensors(variables: Variables, model: nn.Module, source: Source) -> Tensors:
    """Converts the variables of a network to the tensors of another library.

    Raises:
        UserError: The rules do not cover the network, see find_places.
    """
    flat = _flat(variables)
    places = find_places(flat, model, source)
    tensors = {}
    for path, place in places.items():
        tensors[place.name] = np.ascontiguousarray(place.theirs(np.asarray(flat[path])))
        if source.library != "keras" and path.endswith("/mean"):
            counter = place.name.removesuffix("running_mean") + "num_batches_tracked"
            tensors[counter] = np.array(0)
    return tensors


def find_places(
    variables: Mapping[str, Any], model: nn.Module, source: Source
) -> dict[str, Place]:
    """Returns the place of each variable: path -> Place.

    Args:
        variables: Path, such as "params/head/kernel" -> anything with a shape.
        model: The network that the variables belong to.
        source: The library's row for this network.

    Raises:
        UserError: The rules give a variable no name, or two variables the same name.
    """
    rules = source.rules(model) if callable(source.rules) else source.rules
    places, unnamed, paths, clashes = {}, [], {}, []
    for path, variable in variables.items():
        collection, _, rest = path.partition("/")
        module, _, leaf = rest.rpartition("/")
        for rule in rules:
            if match := re.fullmatch(rule.pattern, module):
                break
        else:
            unnamed.append(path)
            continue
        name = rule.name(*(_int(group) for group in match.groups()))
        is_norm = any(
            p in variables
            for p in (f"params/{module}/scale", f"batch_stats/{module}/mean")
        )
        layout = _keras if source.library == "keras" else _pytorch
        place = layout(name, leaf, tuple(variable.shape), rule, is_norm)
        if place.name in paths:
            clashes.append(f"{place.name} ({paths[place.name]}, {path})")
        paths[place.name] = path
        places[path] = place
    if unnamed:
        raise UserError(f"{source.library} has no names for {_listed(unnamed)}.")
    if clashes:
        raise UserError(
            f"{source.library} has the same name for two variables: {_listed(clashes)}."
        )
    return places


_PYTORCH_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "mean": "running_mean",
    "var": "running_var",
}
_KERAS_NORM_LEAVES = {
    "scale": "gamma",
    "bias": "beta",
    "mean": "moving_mean",
    "var": "moving_variance",
}


def _pytorch(
    module: str, leaf: str, shape: tuple[int, ...], rule: Rule, is_norm: bool
) -> Place:
    """PyTorch's layout: output channels, input channels, kernel height and width."""
    theirs = rule.leaves.get(leaf, _PYTORCH_LEAVES.get(leaf, leaf))
    name = f"{module}.{theirs}" if module else theirs
    if leaf != "kernel":
        more = 0 if rule.ndim is None or is_norm or leaf == "bias" else rule.ndim - 1
        return Place(name, shape + (1,) * more, shape, tuple(range(len(shape))))
    split = shape
    if rule.channels is not None:
        split = (shape[0] // rule.channels, rule.channels, shape[1])
    last = len(split) - 1
    order = (last, last - 1, *range(last - 1))
    ordered = tuple(split[axis] for axis in order)
    ndim = rule.ndim or len(shape)
    if ndim == 2:
        ordered = (ordered[0], math.prod(ordered[1:]))
    return Place(name, ordered + (1,) * (ndim - len(ordered)), split, order)


def _keras(
    module: str, leaf: str, shape: tuple[int, ...], rule: Rule, is_norm: bool
) -> Place:
    """Keras' layout: the same as ours, except for depthwise kernels."""
    standard = _KERAS_NORM_LEAVES if is_norm else {}
    name = f"{module}/{rule.leaves.get(leaf, standard.get(leaf, leaf))}"
    order = tuple(range(len(shape)))
    if leaf == "kernel" and rule.depthwise:
        order = (*order[:-2], order[-1], order[-2])
    ordered = tuple(shape[axis] for axis in order)
    if leaf == "kernel" and rule.ndim is not None:
        ordered = (1,) * (rule.ndim - len(shape)) + ordered[-rule.ndim :]
    return Place(name, ordered, shape, order)


def _is_ignored(name: str, source: Source) -> bool:
    """Whether a tensor may remain unused; PyTorch's batch counters always may."""
    return name.endswith("num_batches_tracked") or bool(
        re.fullmatch(source.ignored, name)
    )


def _flat(variables: Variables) -> dict[str, Any]:
    return traverse_util.flatten_dict(variables, sep="/")


def _listed(names: Sequence[str]) -> str:
    """Joins names in one line, shortened after the first LISTED names."""
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")


def _int(group: str | None) -> int | str | None:
    return int(group) if group and group.isdigit() else group
