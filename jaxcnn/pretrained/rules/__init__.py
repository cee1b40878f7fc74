"""The names that other libraries have for our variables, one file a family."""

import re

from jaxcnn.errors import UserError
from jaxcnn.pretrained.names import Source
from jaxcnn.pretrained.rules import (
    alexnet,
    densenet,
    efficientnet,
    googlenet,
    inception,
    inception_resnet,
    lenet,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    resnet,
    resnet_keras,
    resnet_v2,
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
    *densenet.SOURCES,
    *efficientnet.SOURCES,
    *mobilenet_v1.SOURCES,
    *mobilenet_v2.SOURCES,
    *mobilenet_v3.SOURCES,
    *resnet_keras.SOURCES,
    *resnet_v2.SOURCES,
    *senet.SOURCES,
    *shufflenet_v1.SOURCES,
    *shufflenet_v2.SOURCES,
    *squeezenet.SOURCES,
)


def sources(model: str) -> dict[str, Source]:
    """The libraries that have a network of ours: name of the library -> its row."""
    return {
        source.library: source
        for source in SOURCES
        if re.fullmatch(source.models, model)
    }


def find(library: str, model: str) -> Source:
    """The row of a library for a network of ours.

    Raises:
        UserError: There is none.
    """
    found = sources(model)
    if library not in found:
        known = ", ".join(found) or "none"
        raise UserError(f"No rules for {model} in {library}; known: {known}.")
    return found[library]
