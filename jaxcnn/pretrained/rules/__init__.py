"""The names of our variables in other libraries, one file per model family."""

import re

from jaxcnn.errors import UserError
from jaxcnn.pretrained.names import Source
from jaxcnn.pretrained.rules import (
    alexnet,
    convnext,
    densenet,
    efficientnet,
    googlenet,
    inception,
    inception_resnet,
    lenet,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    regnet,
    resnet,
    resnet_keras,
    resnet_v2,
    segmentation,
    senet,
    shufflenet_v1,
    shufflenet_v2,
    squeezenet,
    vgg,
    xception,
)

SOURCES: tuple[Source, ...] = (
    *lenet.SOURCES,
    *alexnet.SOURCES,
    *vgg.SOURCES,
    *googlenet.SOURCES,
    *inception.SOURCES,
    *inception_resnet.SOURCES,
    *xception.SOURCES,
    *resnet.SOURCES,
    *resnet_v2.SOURCES,
    *resnet_keras.SOURCES,
    *senet.SOURCES,
    *densenet.SOURCES,
    *squeezenet.SOURCES,
    *mobilenet_v1.SOURCES,
    *mobilenet_v2.SOURCES,
    *mobilenet_v3.SOURCES,
    *shufflenet_v1.SOURCES,
    *shufflenet_v2.SOURCES,
    *efficientnet.SOURCES,
    *regnet.SOURCES,
    *convnext.SOURCES,
    *segmentation.SOURCES,
)


def sources(model: str) -> dict[str, Source]:
    """Returns the libraries that have weights for a model: library -> its row."""
    return {
        source.library: source
        for source in SOURCES
        if re.fullmatch(source.models, model)
    }


def find(library: str, model: str) -> Source:
    """Returns a library's row for a model.

    Raises:
        UserError: The library has no rules for this model.
    """
    by_library = sources(model)
    if library not in by_library:
        known = ", ".join(by_library) or "none"
        raise UserError(f"No rules for {model} in {library}; known: {known}.")
    return by_library[library]
