"""Reads tensors from the HDF5 files that Keras writes, without Keras.

    .weights.h5   model.save_weights() of Keras 3: numbered variables for each layer
    .h5           save_weights() and save() of Keras 2, and keras-applications files

Each tensor is named LAYER/VARIABLE. Layers that Keras numbered automatically, such as
conv2d_95, are renumbered from the start of the file.
"""

from collections.abc import Iterator
from pathlib import Path
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcnn.errors import UserError

if TYPE_CHECKING:
    import h5py

# The variables of each kind of layer, in the order in which Keras 3 numbers them
# (keras/src/layers, version 3.15.1).
_NORMS = {
    4: ("gamma", "beta", "moving_mean", "moving_variance"),
    3: ("beta", "moving_mean", "moving_variance"),  # scale=False
}
_VARIABLES = {
    "separable_conv2d": ("depthwise_kernel", "pointwise_kernel", "bias"),
    "layer_normalization": ("gamma", "beta"),
    "layer_scale": ("gamma",),
    "normalization": ("mean", "variance", "count"),
}
_DEFAULT = ("kernel", "bias")
_NUMBERED = re.compile(
    r"((?:depthwise_|separable_)?conv2d|batch_normalization|layer_normalization|"
    r"normalization|dense)(?:_(\d+))?"
)


def read(path: Path) -> dict[str, np.ndarray]:
    """Returns the tensors of a Keras weight file.

    Raises:
        UserError: h5py is not installed, or the file is truncated, damaged or not a
            Keras weight file.
    """
    try:
        import h5py
    except ImportError as error:
        raise UserError(
            f"{path} is an HDF5 file, and h5py is not installed: "
            "pip install 'jaxcnn[weights]'."
        ) from error
    try:
        with h5py.File(path, "r") as file:
            entries = list(_tensors(path, file))
    except OSError as error:
        raise UserError(f"{path} is truncated or damaged: {error}.") from error
    renamed = _renumbered({layer for layer, _, _ in entries})
    separable = {layer for layer, variable, _ in entries if "pointwise" in variable}
    tensors = {}
    for layer, variable, tensor in entries:
        # Keras 2's name for the kernel of a depthwise convolution.
        if variable == "depthwise_kernel" and layer not in separable:
            variable = "kernel"
        name = f"{renamed.get(layer, layer)}/{variable}"
        if name in tensors:
            raise UserError(f"{path} has two tensors named {name}.")
        tensors[name] = tensor
    return tensors


def _tensors(path: Path, file: "h5py.File") -> Iterator[tuple[str, str, np.ndarray]]:
    """Yields (layer, variable, array) for each tensor."""
    size = path.stat().st_size
    for layer, variable, dataset in _datasets(path, file):
        # Only data stored in this file: it must not point to other files.
        if not hasattr(dataset, "external") or dataset.external or dataset.is_virtual:
            raise UserError(f"{path} is refused: {dataset.name} is not a plain tensor.")
        if dataset.nbytes > size or dataset.dtype.kind not in "fiu":
            raise UserError(
                f"{path} is damaged: {dataset.name} would have {dataset.nbytes} bytes "
                f"of {dataset.dtype}, but only {size} are left in the file."
            )
        size -= dataset.nbytes
        yield layer, variable, dataset[()]


def _datasets(path: Path, file: "h5py.File") -> Iterator[tuple[str, str, Any]]:
    """Yields (layer, variable, HDF5 dataset) for each tensor."""
    root = _child(path, file, "model_weights") if "model_weights" in file else file
    if "layer_names" in root.attrs or "layer_names0" in root.attrs:
        for layer in _texts(root, "layer_names"):
            group = _child(path, root, layer)
            for name in _texts(group, "weight_names"):
                variable = name.rpartition("/")[2].partition(":")[0]
                yield layer, variable, _child(path, group, name)
    elif "layers" in root:
        layers = _child(path, root, "layers")
        for kind in layers:
            variables = _child(path, layers, f"{kind}/vars")
            if len(variables) == 0:
                continue
            if "name" not in variables.attrs:
                raise UserError(
                    f"{path} has no layer names; save the weights again with a newer "
                    "version of Keras."
                )
            names = _variables(re.sub(r"_\d+$", "", kind), len(variables))
            for number, name in enumerate(names):
                yield (
                    str(variables.attrs["name"]),
                    name,
                    _child(path, variables, str(number)),
                )
    else:
        raise UserError(f"{path} is an HDF5 file, but not a Keras weight file.")


def _variables(kind: str, count: int) -> tuple[str, ...]:
    """The names of a layer's variables, in the order of their numbers."""
    if kind == "batch_normalization" and count in _NORMS:
        return _NORMS[count]
    names = _VARIABLES.get(kind, _DEFAULT)
    if count > len(names):
        names += tuple(map(str, range(len(names), count)))
    return names[:count]


def _child(path: Path, group: "h5py.Group", name: str) -> Any:
    """Returns a member of a group without following links out of the file."""
    import h5py

    for part in name.split("/"):
        link = group.get(part, getlink=True) if isinstance(group, h5py.Group) else None
        if not isinstance(link, h5py.HardLink):
            raise UserError(f"{path} is refused: it does not contain {name}.")
        group = group[part]
    return group


def _texts(group: "h5py.Group", name: str) -> list[str]:
    """Reads a list of strings from an attribute, or from its parts name0, name1, ..."""
    known = [name, *(f"{name}{i}" for i in range(len(group.attrs)))]
    parts = [group.attrs[part] for part in known if part in group.attrs]
    return [
        text.decode() if isinstance(text, bytes) else str(text)
        for part in parts
        for text in part
    ]


def _renumbered(layers: set[str]) -> dict[str, str]:
    """Maps conv2d_95, conv2d_96, ... to conv2d, conv2d_1, ...

    Keras counts layers over all the networks that a program creates.
    """
    kinds: dict[str, list[int]] = {}
    for layer in layers:
        if match := _NUMBERED.fullmatch(layer):
            kinds.setdefault(match[1], []).append(int(match[2] or 0))
    return {
        _numbered(kind, number): _numbered(kind, position)
        for kind, numbers in kinds.items()
        for position, number in enumerate(sorted(numbers))
    }


def _numbered(kind: str, number: int) -> str:
    return f"{kind}_{number}" if number else kind
