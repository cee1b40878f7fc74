"""A classifier's feature maps, a decoder, and a class for every pixel.

This is what fully convolutional networks (fcn.py), DeepLab (deeplab.py), LR-ASPP
(lraspp.py), PSPNet (pspnet.py) and today's U-Net (unet.py) have in common. The layer
groups of the classifier keep their names, so its weights start a segmenter as they are;
`decoder` and `head` come after them.
"""

from collections.abc import Callable, Mapping
import functools
from typing import Any

from flax import linen as nn
import jax

from jaxcnn import models
from jaxcnn.errors import UserError, unknown
from jaxcnn.models import adapter
from jaxcnn.models import backbone as backbones
from jaxcnn.models.layers import BatchNorm, Conv, resize

bilinear = functools.partial(resize, method="bilinear", align_corners=False)
aligned = functools.partial(resize, method="bilinear", align_corners=True)


class Segmenter(nn.Module):
    """Backbone, decoder, linear head for each pixel, upsampling to the images' size.

    Attributes:
        num_classes: Number of classes. 0: no head, the output is the decoder's map.
        decoder: Decoder class, called as decoder(norm=..., name="decoder")(maps,
            train=...) with the Maps of the backbone.
        backbone: Name of a network in MODELS that ends in classes, without its head.
        output_stride: Largest stride of the backbone; see backbone.feature_maps.
        dilate_strided: See backbone.feature_maps.
        also: Paths of further feature maps that the decoder or aux takes.
        head: Class of the last layer, called as head(num_classes, name="head").
        aux: Auxiliary head class, called as aux(num_classes, norm=...,
            name="aux1")(maps, train=...), which sows its logits. None: no
            auxiliary head.
        upsample: Function of a map and a (height, width) that gives logits the size of
            the images.
        norm: Normalisation class of the decoder, see ConvNorm. Arguments that are bound
            to it by functools.partial are bound to that of the backbone, too, if it
            has one that takes them.
    """

    num_classes: int
    decoder: Callable[..., nn.Module]
    backbone: str = "resnet50"
    output_stride: int = 8
    dilate_strided: bool = False
    also: tuple[str, ...] = ()
    head: Callable[..., nn.Module] = functools.partial(Conv, kernel=1)
    aux: Callable[..., nn.Module] | None = None
    upsample: Callable[..., jax.Array] = bilinear
    norm: Callable[..., nn.Module] = BatchNorm

    def __post_init__(self) -> None:
        backbones.check_output_stride(self.output_stride)
        if self.backbone not in models.MODELS:
            raise unknown("backbone", self.backbone, models.MODELS)
        task = models.MODELS[self.backbone].task
        if task != "classification":
            raise UserError(
                f"The backbone {self.backbone!r} is no classifier; it is made for "
                f"{task}."
            )
        super().__post_init__()

    def setup(self) -> None:
        network = models.create_model(self.backbone, 0)
        bound = {
            name: value
            for name, value in _bound(self.norm).items()
            if adapter.takes(getattr(network, "norm", None), name)
        }
        if bound:
            network = network.clone(norm=functools.partial(network.norm, **bound))
        self.network = network
        nn.share_scope(self, self.network)

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, H, W, num_classes] for images [B, H, W, C]."""
        maps = backbones.feature_maps(
            self.network,
            images,
            train=train,
            output_stride=self.output_stride,
            also=self.also,
            dilate_strided=self.dilate_strided,
        )
        if self.aux is not None and self.num_classes:
            aux = self.aux(self.num_classes, norm=self.norm, name="aux1")
            if train or self.is_initializing():
                aux(maps, train=train)
        x = self.decoder(norm=self.norm, name="decoder")(maps, train=train)
        if self.num_classes:
            x = self.head(self.num_classes, name="head")(x)
        return self.upsample(x, maps.image_size)


def _bound(norm: Callable[..., nn.Module]) -> Mapping[str, Any]:
    """Arguments that are bound to a normalisation class."""
    return norm.keywords if isinstance(norm, functools.partial) else {}
