"""Weights of other libraries as variables of our networks, and back.

    model, variables = jaxcnn.pretrained.load("resnet50", "resnet50-0676ba61.pth")

Nothing is imported before it is used.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flax import linen as nn


def load(name: str, path: str | Path, **fields: Any) -> tuple["nn.Module", dict]:
    """A network with the weights of a file.

    Args:
        name: Of our network, as in jaxcnn.list_models().
        path: A file of PyTorch (.pth), safetensors or Keras (.h5); which it is, and
            of which library, is found out.
        **fields: Other values for fields of the network.

    Returns:
        The network, with as many classes as the file's classifier has (0 where it has
        none), and its variables, in float32.

    Raises:
        errors.UserError: The file cannot be read, or its weights do not fit.
    """
    from jaxcnn.pretrained import weights

    loaded = weights.load(name, path, **fields)
    return loaded.make_model(), loaded.variables
