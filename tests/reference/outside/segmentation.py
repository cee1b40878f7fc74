"""Segmentation networks of torchvision and segmentation-models-pytorch 0.6.0."""

from collections.abc import Callable
import functools
from typing import Any

from network import Network
import segmentation_models_pytorch as smp
import torch
from torchvision import models

CLASSES = 3  # every pixel has logits, which the files hold
QUIET = {r".*layer\d.*bn[23]\.weight": 0.4}  # the last scale of each branch


def _channels_last(output: Any) -> Any:
    """Logits [B, H, W, classes], as ours are, of a network that is evaluated."""
    if isinstance(output, dict):
        return {name: _channels_last(x) for name, x in output.items()}
    return output.permute(0, 2, 3, 1)


def _permuted(module: torch.nn.Module) -> torch.nn.Module:
    forward = module.forward

    def call(x: torch.Tensor) -> Any:
        output = _channels_last(forward(x))
        is_plain = isinstance(output, torch.Tensor) or module.training
        return output if is_plain else output["out"].contiguous()

    module.forward = call
    return module


def _torchvision(name: str, **fields: Any) -> Callable[[], torch.nn.Module]:
    def build() -> torch.nn.Module:
        network = models.get_model(
            name, weights=None, weights_backbone=None, num_classes=CLASSES, **fields
        )
        return _permuted(network)

    return build


def _smp(cls: type, encoder: str) -> Callable[[], torch.nn.Module]:
    return lambda: _permuted(cls(encoder, encoder_weights=None, classes=CLASSES))


def _with_auxiliary(output: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return output["out"], output["aux"]


_aux = functools.partial(_torchvision, aux_loss=True)
SMALL, OTHER = (32, 32, 3), (33, 47, 3)
BINS = (48, 48, 3)  # of which the map at stride 8 has 6 x 6 pixels

NETWORKS = {
    "fcn_resnet50": Network(
        _aux("fcn_resnet50"),
        SMALL,
        gains=QUIET,
        train=True,
        second=OTHER,
        outputs=_with_auxiliary,
    ),
    "fcn_resnet101": Network(_aux("fcn_resnet101"), SMALL, gains=QUIET),
    "deeplabv3_resnet50": Network(_aux("deeplabv3_resnet50"), SMALL, gains=QUIET),
    "deeplabv3_resnet101": Network(_aux("deeplabv3_resnet101"), SMALL, gains=QUIET),
    "deeplabv3_mobilenet_v3_large": Network(
        _aux("deeplabv3_mobilenet_v3_large"),
        SMALL,
        train=True,
        second=OTHER,
        outputs=_with_auxiliary,
    ),
    "lraspp_mobilenet_v3_large": Network(
        _torchvision("lraspp_mobilenet_v3_large"), SMALL, second=OTHER
    ),
    "deeplabv3plus_resnet34": Network(
        _smp(smp.DeepLabV3Plus, "resnet34"), SMALL, gains=QUIET, train=True
    ),
    "deeplabv3plus_resnet50": Network(
        _smp(smp.DeepLabV3Plus, "resnet50"), SMALL, gains=QUIET
    ),
    "pspnet_resnet50": Network(_smp(smp.PSPNet, "resnet50"), BINS, gains=QUIET),
    "pspnet_resnet101": Network(_smp(smp.PSPNet, "resnet101"), BINS, gains=QUIET),
    "unet_resnet18": Network(_smp(smp.Unet, "resnet18"), SMALL, gains=QUIET),
    "unet_resnet34": Network(
        _smp(smp.Unet, "resnet34"), SMALL, gains=QUIET, train=True
    ),
    "unet_resnet50": Network(_smp(smp.Unet, "resnet50"), SMALL, gains=QUIET),
    "unet_mobilenet_v2": Network(_smp(smp.Unet, "mobilenet_v2"), SMALL),
    "unet_vgg16": Network(_smp(smp.Unet, "vgg16"), SMALL),
}
