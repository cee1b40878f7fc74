"""Finds the state dict of a network in what training programs have put around it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxcnn.errors import UserError
from jaxcnn.pretrained.checks import readable

# Entries under which programs keep the state dict of a network, and the names under
# which wrappers hold it. Where there are several, the first is taken, so that an
# average of the weights precedes the weights, as in timm's load_state_dict:
#   state_dict_ema, state_dict      timm's CheckpointSaver; Lightning has the latter
#   model_ema, model                torchvision's references
#   model_state_dict                PyTorch's tutorials
#   net                             kuangliu/pytorch-cifar
#   module                          DataParallel, DistributedDataParallel, AveragedModel
#   model                           Lightning's usual attribute
ENTRIES = (
    "state_dict_ema",
    "model_ema",
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "net",
)
_COMPILED = "_orig_mod."  # of torch.compile, around the network or a part of it
_COUNTER = "n_averaged"  # of torch.optim.swa_utils.AveragedModel
_MAX_WRAPPINGS = 10


def unwrap(path: Path, content: Mapping[Any, Any]) -> dict[Any, Any]:
    """Returns the innermost state dict; what is beside it belongs to the training.

    Args:
        path: The weight file, for messages.
        content: Name -> tensor, or a further mapping. A name may also have its
            wrappings in it, as in "model.module.fc.weight".

    Raises:
        UserError: Two names are the same without torch.compile's prefix.
    """
    content = _not_compiled(path, content)
    for _ in range(_MAX_WRAPPINGS):
        for entry in ENTRIES:
            inner = content.get(entry)
            if not isinstance(inner, Mapping) or not inner:
                inner = _below(content, f"{entry}.")
            if inner:
                content = _not_compiled(path, inner)
                break
        else:
            break
    content.pop(_COUNTER, None)
    return content


def _not_compiled(path: Path, content: Mapping[Any, Any]) -> dict[Any, Any]:
    """The entries without the prefix that torch.compile puts into their names."""
    renamed: dict[Any, Any] = {}
    for name, value in content.items():
        short = name.replace(_COMPILED, "") if isinstance(name, str) else name
        if short in renamed:
            raise UserError(
                f"{path} has two tensors named {readable(short)}, one of them with "
                f"{_COMPILED!r} in its name."
            )
        renamed[short] = value
    return renamed


def _below(content: Mapping[Any, Any], prefix: str) -> dict[str, Any]:
    """The entries whose names start with a prefix, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in content.items()
        if isinstance(name, str) and name.startswith(prefix)
    }
