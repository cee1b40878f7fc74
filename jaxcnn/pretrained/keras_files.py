"""Reads tensors from the HDF5 files that Keras writes, without Keras.

    .weights.h5   model.save_weights() of Keras 3: numbered variables for each layer
    .h5           save_weights() and save() of Keras 2, and keras-applications files

Each tensor is named LAYER/VARIABLE. Layers that Keras numbered automatically, such as
conv2d_95, are renumbered from the start of the file. The file is read by
keras_reader.py in another process, whose end is the worst that a damaged file can do.
"""

import importlib.util
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
import threading

import numpy as np

from jaxcnn.errors import UserError
from jaxcnn.pretrained import keras_reader, safetensors_files
from jaxcnn.pretrained.checks import readable

_READER = Path(keras_reader.__file__)
# Limits of the process: what it needs for an empty file, and more for each byte.
_SECONDS = 10
_BYTES_PER_SECOND = 10_000_000
_MEMORY = 1_000_000_000  # addresses, most of which are never used
_MEMORY_PER_BYTE = 3

_NUMBERED = re.compile(
    r"((?:depthwise_|separable_)?conv2d|batch_normalization|layer_normalization|"
    r"normalization|dense)(?:_(\d{1,9}))?"
)


def read(path: Path) -> dict[str, np.ndarray]:
    """Returns the tensors of a Keras weight file.

    Raises:
        UserError: h5py is not installed, or the file is truncated, damaged or not a
            Keras weight file.
    """
    if importlib.util.find_spec("h5py") is None:
        raise UserError(
            f"{path} is an HDF5 file, and h5py is not installed: "
            "pip install 'jaxcnn[weights]'."
        )
    content = np.frombuffer(_read_in_process(path), np.uint8)
    entries = [
        (*name.rpartition("/")[::2], tensor)
        for name, tensor in safetensors_files.parse(path, content).items()
    ]
    renamed = _renumbered({layer for layer, _, _ in entries})
    separable = {layer for layer, variable, _ in entries if "pointwise" in variable}
    tensors = {}
    for layer, variable, tensor in entries:
        # Keras 2's name for the kernel of a depthwise convolution.
        if variable == "depthwise_kernel" and layer not in separable:
            variable = "kernel"
        name = f"{renamed.get(layer, layer)}/{variable}"
        if name in tensors:
            raise UserError(f"{path} has two tensors named {readable(name)}.")
        tensors[name] = tensor
    return tensors


def _read_in_process(path: Path) -> bytes:
    """What keras_reader.py writes for a file."""
    size = path.stat().st_size
    seconds = _SECONDS + size // _BYTES_PER_SECOND
    memory = _MEMORY + _MEMORY_PER_BYTE * size
    # No code of plugins for HDF5, and no memory for threads that would do nothing.
    environment = {"HDF5_PLUGIN_PRELOAD": "::", "OPENBLAS_NUM_THREADS": "1"}
    # -P: the modules beside the program are not those that its imports mean.
    with subprocess.Popen(
        [sys.executable, "-P", _READER, path.resolve(), str(seconds), str(memory)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | environment,
    ) as process:
        # It could also wait, without using its processor time.
        timer = threading.Timer(3 * seconds, process.kill)
        timer.start()
        try:
            most = size + safetensors_files.MAX_HEADER + 8
            content = process.stdout.read(most)
            process.stdout.close()  # ends a process that would write more
            reason = process.stderr.read(1000).decode(errors="replace")
            process.stderr.close()
        except BaseException:
            process.kill()
            raise
        finally:
            code = process.wait()
            timer.cancel()
    if code == keras_reader.UNREADABLE:
        raise UserError(f"{path} {readable(reason, 300)}.")
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        raise UserError(
            f"{path} is damaged: reading it was stopped after {seconds} s of processor "
            f"time, or {3 * seconds} s."
        )
    if code:
        raise UserError(f"{path} is damaged: reading it {_ended(code, reason)}.")
    return content


def _ended(code: int, reason: str) -> str:
    """How a process ended, in words."""
    if code < 0:
        return f"ended with signal {-code} ({signal.strsignal(-code)})"
    last = reason.strip().rpartition("\n")[2]
    return f"failed with code {code} ({readable(last, 200)})"


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
