"""Reads tensors from the HDF5 files that Keras writes, without Keras.

    .weights.h5   model.save_weights() of Keras 3: numbered variables of each layer
    .h5           save_weights() and save() of Keras 2, and those of keras-applications

Each tensor is named LAYER/VARIABLE. Layers that Keras has numbered itself, such as
conv2d_95, are numbered from the start of the file.
"""

from collections.abc import Iterator
from pathlib import Path
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcnn.errors import UserError

if TYPE_CHECKING:
    import h5py

# The variables of a layer in the order of Keras 3's numbers, by the name of its group;
# keras/src/layers, version 3.15.1.
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
_USUAL = ("kernel", "bias")
_NUMBERED = re.compile(
    r"((?:depthwise_|separable_)?conv2d|batch_normalization|layer_normalization|"
    r"normalization|dense)(?:_(\d+))?"
)


def read(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a weight file of Keras.

    Raises:
        UserError: h5py is missing, or the file is truncated, damaged or something
            else.
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
            found = list(_tensors(path, file))
    except OSError as error:
        raise UserError(f"{path} is truncated or damaged: {error}.") from error
    renamed = _renumbered({layer for layer, _, _ in found})
    layers_with_points = {la for la, variable, _ in found if "pointwise" in variable}
    tensors = {}
    for layer, variable, tensor in found:
        # Keras 2 calls the kernel of a depthwise convolution so.
        if variable == "depthwise_kernel" and layer not in layers_with_points:
            variable = "kernel"
        name = f"{renamed.get(layer, layer)}/{variable}"
        if name in tensors:
            raise UserError(f"{path} has two tensors {name}.")
        tensors[name] = tensor
    return tensors


def _tensors(path: Path, file: "h5py.File") -> Iterator[tuple[str, str, np.ndarray]]:
    """(layer, variable, numbers) of each tensor."""
    size = path.stat().st_size
    for layer, variable, dataset in _datasets(path, file):
        # Only what stands in this file, uncompressed.
        if not hasattr(dataset, "external") or dataset.external or dataset.is_virtual:
            raise UserError(f"{path} is refused: {dataset.name} is no plain tensor.")
        if dataset.nbytes > size or dataset.dtype.kind not in "fiu":
            raise UserError(
                f"{path} is damaged: {dataset.name} would have {dataset.nbytes} bytes "
                f"of {dataset.dtype}, the file has {size}."
            )
        size -= dataset.nbytes
        yield layer, variable, dataset[()]


def _datasets(path: Path, file: "h5py.File") -> Iterator[tuple[str, str, Any]]:
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
                    f"{path} does not say what its layers are called; save the weights "
                    "again with a Keras of today."
                )
            names = _variables(re.sub(r"_\d+$", "", kind), len(variables))
            for number, name in enumerate(names):
                yield (
                    str(variables.attrs["name"]),
                    name,
                    _child(path, variables, str(number)),
                )
    else:
        raise UserError(f"{path} is an HDF5 file, but none of Keras' weights.")


def _variables(kind: str, count: int) -> tuple[str, ...]:
    if kind == "batch_normalization" and count in _NORMS:
        return _NORMS[count]
    names = _VARIABLES.get(kind, _USUAL)
    if count > len(names):
        names += tuple(map(str, range(len(names), count)))
    return names[:count]


def _child(path: Path, group: "h5py.Group", name: str) -> Any:
    """A member of a group; links out of the file are not followed."""
    import h5py

    for part in name.split("/"):
        link = group.get(part, getlink=True) if isinstance(group, h5py.Group) else None
        if not isinstance(link, h5py.HardLink):
            raise UserError(f"{path} is refused: {name} is not in it.")
        group = group[part]
    return group


def _texts(group: "h5py.Group", name: str) -> list[str]:
    """An attribute that is a list of texts; a long one is cut into name0, name1, ..."""
    known = [name, *(f"{name}{i}" for i in range(len(group.attrs)))]
    parts = [group.attrs[part] for part in known if part in group.attrs]
    return [
        text.decode() if isinstance(text, bytes) else str(text)
        for part in parts
        for text in part
    ]


def _renumbered(layers: set[str]) -> dict[str, str]:
    """conv2d_95, conv2d_96, ... -> conv2d, conv2d_1, ...: Keras counts the layers of
    all networks that a program makes."""
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
