"""The compiled kernels of native.py, from kernels.cc.

They are compiled once for each processor, into the user's cache folder, where the
package has all it needs: a C++ compiler, and oneDNN, whose packages onednn-cpu-gomp and
onednn-devel-cpu-gomp are installed with this one on Linux with x86-64.
"""

from collections.abc import Sequence
import contextlib
import ctypes
import fcntl
import functools
import hashlib
from importlib import metadata
import os
from pathlib import Path
import platform
import shutil
import subprocess
import sys
import tempfile

import jax
import numpy as np

from jaxcnn.errors import printable

COMPILERS = ("c++", "g++", "clang++")
_SOURCE = Path(__file__).with_name("kernels.cc")
_RUNTIME, _HEADERS = "onednn-cpu-gomp", "onednn-devel-cpu-gomp"
_OPTIONS = (
    *("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math"),
    *("-fopenmp", "-fPIC", "-shared"),
)
_HANDLERS = (
    *("conv_forward", "conv_image", "conv_kernel", "max_pool_forward"),
    *("max_pool_backward", "moments", "norm_gradient"),
)
_TYPES = {"float32": 11, "bfloat16": 16}  # XLA_FFI_DataType, in xla/ffi/api/c_api.h


class MissingError(Exception):
    """The kernels are not to be had here; the text is a phrase that says why."""


def _file(package: str, name: str) -> Path:
    """A file that an installed package has."""
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        raise MissingError(f"the package {package} is not installed") from None
    for file in files:
        if file.match(name):
            return Path(file.locate()).resolve()
    raise MissingError(f"the package {package} has no {name}")


def cache_folder() -> Path:
    """Where compiled kernels are kept: in XDG_CACHE_HOME, or else in ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "jaxcnn"


def library() -> Path:
    """The file of the kernels for this processor, whether or not it is there yet.

    Raises:
        MissingError: There can be none.
    """
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise MissingError("they are for Linux on x86-64 processors")
    parts = [
        _SOURCE.read_text(),
        " ".join(_OPTIONS),
        metadata.version("jaxlib"),
        _processor(),
    ]
    with contextlib.suppress(metadata.PackageNotFoundError):
        parts.append(metadata.version(_RUNTIME))
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return cache_folder() / f"kernels-{key[:16]}.so"


def _processor() -> str:
    """What -march=native depends on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    wanted = ("model name", "flags")
    return "\n".join(dict.fromkeys(s for s in lines if s.startswith(wanted)))


def build() -> Path:
    """Compiles the kernels unless that has been done; two processes do it once.

    It takes some seconds, before which a line says so.

    Raises:
        MissingError: They cannot be compiled here.
    """
    target = library()
    if target.is_file():
        return target
    compiler = _compiler()
    _file(_RUNTIME, "libdnnl.so.3")
    _file(_HEADERS, "oneapi/dnnl/dnnl.hpp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target.parent / "kernels.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
            if not target.is_file():
                line = f"Compiling operations for this CPU into {target.parent}, once."
                print(line, file=sys.stderr, flush=True)
                _compile(compiler, target)
    except OSError as error:
        raise MissingError(f"{error.filename or target}: {error.strerror}") from error
    return target


def _compiler() -> str:
    for name in (os.environ.get("CXX"), *COMPILERS):
        if name and shutil.which(name):
            return name
    raise MissingError(f"there is no C++ compiler ({', '.join(COMPILERS)})")


def _compile(compiler: str, target: Path) -> None:
    """Compiles into a file of another name first, so that target is always whole."""
    headers = _file(_HEADERS, "oneapi/dnnl/dnnl.hpp").parents[2]
    onednn = _file(_RUNTIME, "libdnnl.so.3")
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / target.name
        done = subprocess.run(
            [
                *(compiler, *_OPTIONS, str(_SOURCE), "-o", str(made)),
                *("-isystem", jax.ffi.include_dir(), "-isystem", str(headers)),
                str(onednn),
            ],
            capture_output=True,
            text=True,
            errors="replace",
        )
        if done.returncode:
            lines = [s for s in done.stderr.splitlines() if "error" in s] or [""]
            raise MissingError(f"{compiler} does not compile them: {lines[0]}")
        os.replace(made, target)


def _load(path: Path) -> ctypes.CDLL:
    try:
        # Ours needs a library of this name; one that is loaded is not searched for.
        ctypes.CDLL(str(_file(_RUNTIME, "libdnnl.so.3")))
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise MissingError(f"they cannot be loaded: {printable(str(error))}") from error
    for name in _HANDLERS:
        handler = jax.ffi.pycapsule(getattr(loaded, f"jaxcnn_{name}"))
        jax.ffi.register_ffi_target(f"jaxcnn_{name}", handler, platform="cpu")
    return loaded


@functools.cache
def load() -> ctypes.CDLL:
    """Compiles the kernels if need be, and makes them known to JAX.

    Raises:
        MissingError: They are not to be had here.
    """
    return _load(build())


@functools.cache
def has_convolution(
    dtype: str,
    image: tuple[int, ...],
    kernel: tuple[int, ...],
    windows: tuple[int, int],
    window: Sequence[int],
) -> bool:
    """Whether oneDNN has a convolution and its gradients on this processor.

    Args:
        dtype: Dtype of image and kernel.
        image: [B, H, W, C].
        kernel: [kh, kw, C / groups, filters].
        windows: Rows and columns of the result.
        window: The numbers of struct Window in kernels.cc, in its order.
    """
    numbers = (_TYPES[dtype], *image, *kernel[:2], *windows, kernel[3], *window)
    array = np.asarray(numbers, np.int64)
    pointer = array.ctypes.data_as(ctypes.POINTER(ctypes.c_int64))
    return bool(load().jaxcnn_has_convolution(pointer))
