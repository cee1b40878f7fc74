"""The program that reads an HDF5 file of Keras, in a process of its own.

    python keras_reader.py FILE SECONDS BYTES

The HDF5 library crashes or hangs on some damaged files, so keras_files.py runs this
program with a limit of processor time and of memory. It writes the tensors, named
LAYER/VARIABLE, to its standard output as a safetensors file; if it cannot, the reason,
and exits with UNREADABLE. It imports nothing of jaxcnn, so that it starts fast.
"""

from collections.abc import Iterator
import json
import re
import sys
from typing import Any

import numpy as np

UNREADABLE = 3  # exit code
_MAX_REASON = 500  # characters

_DTYPES = {  # as safetensors names them
    **{"float64": "F64", "float32": "F32", "float16": "F16"},
    **{f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)},
}
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


def main(path: str, seconds: str, num_bytes: str) -> None:
    """Writes the tensors of a file to standard output, within limits."""
    _limit(CPU=int(seconds), AS=int(num_bytes), CORE=0, FSIZE=0)  # it writes no file
    try:
        import h5py

        with h5py.File(path, "r") as file:
            datasets = dict(_checked(file))
            start = 0
            header = {}
            for name, dataset in datasets.items():
                offsets = [start, start + dataset.nbytes]
                start = offsets[1]
                header[name] = {
                    "dtype": _DTYPES[dataset.dtype.name],
                    "shape": dataset.shape,
                    "data_offsets": offsets,
                }
            text = json.dumps(header).encode()
            sys.stdout.buffer.write(len(text).to_bytes(8, "little") + text)
            for dataset in datasets.values():
                array = np.asarray(dataset[()])
                little = array.astype(array.dtype.newbyteorder("<"), copy=False)
                sys.stdout.buffer.write(little.tobytes())
            sys.stdout.buffer.flush()
    except Exception as error:  # h5py raises almost anything for a damaged file
        reason = f"is damaged: {error or type(error).__name__}"
        if isinstance(error, _Refused):
            reason = str(error)
        sys.stderr.write(ascii(reason)[1:-1][:_MAX_REASON])
        sys.exit(UNREADABLE)


def _limit(**limits: int) -> None:
    """Limits what this process may use; where less is allowed, that stays."""
    import resource  # which Windows does not have

    if sys.platform == "darwin":  # which refuses a limit of addresses
        del limits["AS"]
    for name, limit in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (limit, limit))


class _Refused(Exception):
    """A reason for which a file is not read."""


def _checked(file: Any) -> Iterator[tuple[str, Any]]:
    """Yields (name, HDF5 dataset) for each tensor, whose data is in this file."""
    left, names = file.id.get_filesize(), set()
    for layer, variable, dataset in _datasets(file):
        name = f"{layer}/{variable}"
        if name in names:
            raise _Refused(f"has two tensors named {name}")
        names.add(name)
        # It must not point to other files.
        if not hasattr(dataset, "external") or dataset.external or dataset.is_virtual:
            raise _Refused(f"is refused: {name} is not a plain tensor")
        if dataset.nbytes > left or dataset.dtype.name not in _DTYPES:
            raise _Refused(
                f"is damaged: {name} would have {dataset.nbytes} bytes of "
                f"{dataset.dtype}, but only {left} are left in the file"
            )
        left -= dataset.nbytes
        yield name, dataset


def _datasets(file: Any) -> Iterator[tuple[str, str, Any]]:
    """Yields (layer, variable, HDF5 dataset) for each tensor."""
    root = _child(file, "model_weights") if "model_weights" in file else file
    if "layer_names" in root.attrs or "layer_names0" in root.attrs:
        for layer in _texts(root, "layer_names"):
            group = _child(root, layer)
            for name in _texts(group, "weight_names"):
                variable = name.rpartition("/")[2].partition(":")[0]
                yield layer, variable, _child(group, name)
    elif "layers" in root:
        layers = _child(root, "layers")
        for kind in layers:
            variables = _child(layers, f"{kind}/vars")
            if len(variables) == 0:
                continue
            if "name" not in variables.attrs:
                raise _Refused(
                    "has no layer names; save the weights again with a newer version "
                    "of Keras"
                )
            names = _variables(re.sub(r"_\d+$", "", kind), len(variables))
            for number, name in enumerate(names):
                dataset = _child(variables, str(number))
                yield str(variables.attrs["name"]), name, dataset
    else:
        raise _Refused("is an HDF5 file, but not a Keras weight file")


def _variables(kind: str, count: int) -> tuple[str, ...]:
    """The names of a layer's variables, in the order of their numbers."""
    if kind == "batch_normalization" and count in _NORMS:
        return _NORMS[count]
    names = _VARIABLES.get(kind, _DEFAULT)
    if count > len(names):
        names += tuple(map(str, range(len(names), count)))
    return names[:count]


def _child(group: Any, name: str) -> Any:
    """Returns a member of a group without following links out of the file."""
    import h5py

    for part in name.split("/"):
        link = group.get(part, getlink=True) if isinstance(group, h5py.Group) else None
        if not isinstance(link, h5py.HardLink):
            raise _Refused(f"is refused: it does not contain {name}")
        group = group[part]
    return group


def _texts(group: Any, name: str) -> list[str]:
    """Reads a list of strings from an attribute, or from its parts name0, name1, ..."""
    known = [name, *(f"{name}{i}" for i in range(len(group.attrs)))]
    parts = [group.attrs[part] for part in known if part in group.attrs]
    return [
        text.decode() if isinstance(text, bytes) else str(text)
        for part in parts
        for text in part
    ]


if __name__ == "__main__":
    main(*sys.argv[1:])
