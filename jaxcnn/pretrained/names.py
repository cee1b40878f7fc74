"""Whose tensor is which of our variables, and in which order its numbers are.

A family is a table of rules from our module paths to the module names of another
library. The name and the shape of the tensor of each variable follow from its rule,
its last name and its shape, so one table serves to read weights and to write them.
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

LISTED = 30  # names in an error
Tensors = dict[str, np.ndarray]
Variables = dict[str, Any]


class Rule(NamedTuple):
    """What another library calls some of our modules.

    Attributes:
        pattern: Regular expression for the whole path of our module, such as
            "stage1_block2/conv1/norm".
        name: Called with the groups of the match, digits as integers; gives the name
            of their module.
        channels: Of the features that a linear layer takes flattened. PyTorch
            flattens them as (C, H, W), we as (H, W, C). None: nothing is flattened.
        ndim: Axes of their tensor, where they are not as many as ours: 2 where our
            convolution is their linear layer, 4 where our linear layer is their 1x1
            convolution, 3 where our vector is their [C, 1, 1]. Biases and
            normalisations stay vectors.
        depthwise: Whether the kernel is a depthwise one, which Keras keeps as
            [kh, kw, C, 1] and we, as PyTorch, like a grouped one.
        leaves: Last names that are not the usual ones: ours -> theirs.
    """

    pattern: str
    name: Callable[..., str]
    channels: int | None = None
    ndim: int | None = None
    depthwise: bool = False
    leaves: Mapping[str, str] = {}


@dataclasses.dataclass(frozen=True)
class Source:
    """How one library names and keeps what some of our networks need.

    Attributes:
        library: Such as "torchvision"; "keras" has a layout of its own, all others
            have PyTorch's.
        models: Regular expression for the names of our networks.
        rules: A table of rules, or a function that makes one for a network.
        ignored: Regular expression for tensors that a network of ours may not need.
        rename: Gives the name of today for a tensor of an older file.
    """

    library: str
    models: str
    rules: Sequence[Rule] | Callable[[nn.Module], Sequence[Rule]]
    ignored: str = r"(?!)"
    rename: Callable[[str], str] = str


class Misfit(UserError):
    """Tensors that are not those of a network.

    Attributes:
        missing: Tensors that the network needs, with the paths of its variables.
        unused: Tensors that it has no place for.
        misshapen: Tensors of another shape, with both.
    """

    def __init__(
        self, missing: Sequence[str], unused: Sequence[str], misshapen: Sequence[str]
    ) -> None:
        self.missing, self.unused, self.misshapen = missing, unused, misshapen
        lists = {
            "missing": missing,
            "not used": unused,
            "of another shape": misshapen,
        }
        self.differences = "; ".join(
            f"{what}: {_listed(found)}" for what, found in lists.items() if found
        )
        super().__init__(f"These weights do not fit; {self.differences}.")

    @property
    def count(self) -> int:
        """How many differ."""
        return len(self.missing) + len(self.unused) + len(self.misshapen)


class Place(NamedTuple):
    """The tensor of one variable: theirs = ours.reshape.transpose.reshape.

    Attributes:
        name: Of the tensor.
        shape: Of the tensor.
        split: Shape that our array is given before the axes are ordered.
        order: Of the axes.
    """

    name: str
    shape: tuple[int, ...]
    split: tuple[int, ...]
    order: tuple[int, ...]

    def theirs(self, ours: np.ndarray) -> np.ndarray:
        """Their tensor of our array."""
        return ours.reshape(self.split).transpose(self.order).reshape(self.shape)

    def ours(self, theirs: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Our array, of a given shape, of their tensor."""
        split = [self.split[axis] for axis in self.order]
        return theirs.reshape(split).transpose(np.argsort(self.order)).reshape(shape)


def import_tensors(
    tensors: Mapping[str, np.ndarray],
    model: nn.Module,
    source: Source,
    image_shape: models.ImageShape = (224, 224, 3),
) -> Variables:
    """The variables of a network, from the tensors of another library.

    Args:
        tensors: Name -> array.
        model: Our network.
        source: The library's row for it, see rules.find.
        image_shape: Of the images that the weights are for: [H, W, C].

    Returns:
        Variables in the dtypes of the tensors.

    Raises:
        Misfit: A variable that no tensor fills, or a tensor that is not used or has
            another shape.
        UserError: As from find_places.
    """
    variables = _flat(models.abstract_variables(model, image_shape))
    places = find_places(variables, model, source)
    unused, again = {}, []
    for name in tensors:  # an older name and that of today may both be there
        if unused.setdefault(source.rename(name), name) != name:
            again.append(name)
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
    left = [*again, *unused.values()]
    left = [name for name in left if not _is_ignored(name, source)]
    if missing or left or misshapen:
        raise Misfit(missing, left, misshapen)
    return traverse_util.unflatten_dict(filled, sep="/")


def export_tensors(variables: Variables, model: nn.Module, source: Source) -> Tensors:
    """The tensors that the other library has for these variables of a network.

    Raises:
        UserError: As from find_places.
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
    """The place of each variable, by its path.

    Args:
        variables: Path, such as "params/head/kernel" -> anything with a shape.
        model: The network whose variables they are.
        source: Whose tensors.

    Raises:
        UserError: A variable that the other library has no name for, or one name for
            two.
    """
    rules = source.rules(model) if callable(source.rules) else source.rules
    places, unnamed, taken, twice = {}, [], {}, []
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
        if place.name in taken:
            twice.append(f"{place.name} ({taken[place.name]}, {path})")
        taken[place.name] = path
        places[path] = place
    if unnamed:
        raise UserError(f"{source.library} has no names for {_listed(unnamed)}.")
    if twice:
        raise UserError(f"{source.library} has one name for two: {_listed(twice)}.")
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
    """Outputs first, then inputs, then the pixels of a kernel."""
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
    """As ours, but for depthwise kernels."""
    usual = _KERAS_NORM_LEAVES if is_norm else {}
    name = f"{module}/{rule.leaves.get(leaf, usual.get(leaf, leaf))}"
    order = tuple(range(len(shape)))
    if leaf == "kernel" and rule.depthwise:
        order = (*order[:-2], order[-1], order[-2])
    ordered = tuple(shape[axis] for axis in order)
    if leaf == "kernel" and rule.ndim is not None:
        ordered = (1,) * (rule.ndim - len(shape)) + ordered[-rule.ndim :]
    return Place(name, ordered, shape, order)


def _is_ignored(name: str, source: Source) -> bool:
    """Whether a tensor may be left over: PyTorch's counters are never read."""
    return name.endswith("num_batches_tracked") or bool(
        re.fullmatch(source.ignored, name)
    )


def _flat(variables: Variables) -> dict[str, Any]:
    return traverse_util.flatten_dict(variables, sep="/")


def _listed(names: Sequence[str]) -> str:
    """Names in one line; of many the first."""
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")


def _int(group: str | None) -> int | str | None:
    return int(group) if group and group.isdigit() else group
