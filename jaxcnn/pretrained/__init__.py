"""Converts weights of other libraries to variables of jaxcnn models, and back.

    model, variables = jaxcnn.pretrained.load("resnet50", "resnet50-0676ba61.pth")

Imports are delayed until they are needed.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flax import linen as nn


def load(
    name: str, path: str | Path, *, num_classes: int | None = None, **fields: Any
) -> tuple["nn.Module", dict]:
    """Loads a network with the weights in a file.

    Args:
        name: jaxcnn model name, see jaxcnn.list_models().
        path: PyTorch (.pth), safetensors or Keras (.h5) weight file. The format and
            the library are detected from its content.
        num_classes: 0: the classifier is left out, and the network gives pooled
            features. None: it has as many classes as the file's classifier.
        **fields: Values that override the network's fields.

    Returns:
        The network, without a classifier if the file has none, and its variables, in
        float32.

    Raises:
        errors.UserError: The file cannot be read, or its weights do not fit the
            network.
    """
    from jaxcnn.pretrained import weights

    loaded = weights.load(name, path, num_classes=num_classes, **fields)
    return loaded.make_model(), loaded.variables
