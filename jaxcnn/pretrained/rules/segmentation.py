"""Segmentation networks in torchvision and segmentation-models-pytorch.

The names of a backbone are those of the classifier behind a prefix.
"""

from collections.abc import Iterable

from flax import linen as nn

from jaxcnn import models
from jaxcnn.pretrained.names import Rule, Source
from jaxcnn.pretrained.rules import mobilenet_v2, mobilenet_v3, resnet, vgg
from jaxcnn.pretrained.rules.common import conv_norm


def _backbone(rules: Iterable[Rule], theirs: str, ours: str) -> tuple[Rule, ...]:
    """The rules of a classifier, with another beginning of their names.

    Args:
        rules: Those of the classifier.
        theirs: Beginning of the names in the classifier.
        ours: Beginning that replaces it.
    """

    def renamed(rule: Rule) -> Rule:
        def name(*groups: int | str) -> str:
            return ours + rule.name(*groups).removeprefix(theirs)

        return rule._replace(name=name)

    return tuple(renamed(rule) for rule in rules if rule.pattern != "head")


def _mobilenet(model: nn.Module) -> tuple[Rule, ...]:
    rules = mobilenet_v3.torchvision(models.create_model(model.backbone, 0))
    return _backbone(rules, "features", "backbone")


_FCN = (
    conv_norm(r"decoder/conv", lambda: "classifier"),
    Rule(r"head", lambda: "classifier.4"),
)
_AUXILIARY = (
    conv_norm(r"aux1/decoder/conv", lambda: "aux_classifier"),
    Rule(r"aux1/head", lambda: "aux_classifier.4"),
)
_DEEPLAB = (
    conv_norm(r"decoder/pyramid/branch(\d)", lambda i: f"classifier.0.convs.{i - 1}"),
    Rule(r"decoder/pyramid/pool/conv", lambda: "classifier.0.convs.4.1"),
    Rule(r"decoder/pyramid/pool/norm", lambda: "classifier.0.convs.4.2"),
    conv_norm(r"decoder/pyramid/project", lambda: "classifier.0.project"),
    Rule(r"decoder/conv/conv", lambda: "classifier.1"),
    Rule(r"decoder/conv/norm", lambda: "classifier.2"),
    Rule(r"head", lambda: "classifier.4"),
)
_LRASPP = (
    conv_norm(r"decoder/conv", lambda: "classifier.cbr"),
    Rule(r"decoder/gate", lambda: "classifier.scale.1"),
    Rule(r"head/(low|high)", lambda which: f"classifier.{which}_classifier"),
)


_RESNET = _backbone(resnet.TORCHVISION, "", "backbone.")

_ASPP = "decoder.aspp"
_DEEPLAB_PLUS = (
    conv_norm(r"decoder/pyramid/branch1", lambda: f"{_ASPP}.0.convs.0"),
    Rule(
        r"decoder/pyramid/branch([234])/depthwise",
        lambda i: f"{_ASPP}.0.convs.{i - 1}.0.0",
    ),
    Rule(
        r"decoder/pyramid/branch([234])/conv", lambda i: f"{_ASPP}.0.convs.{i - 1}.0.1"
    ),
    Rule(r"decoder/pyramid/branch([234])/norm", lambda i: f"{_ASPP}.0.convs.{i - 1}.1"),
    Rule(r"decoder/pyramid/pool/conv", lambda: f"{_ASPP}.0.convs.4.1"),
    Rule(r"decoder/pyramid/pool/norm", lambda: f"{_ASPP}.0.convs.4.2"),
    conv_norm(r"decoder/pyramid/project", lambda: f"{_ASPP}.0.project"),
    Rule(r"decoder/conv1/depthwise", lambda: f"{_ASPP}.1.0"),
    Rule(r"decoder/conv1/conv", lambda: f"{_ASPP}.1.1"),
    Rule(r"decoder/conv1/norm", lambda: f"{_ASPP}.2"),
    conv_norm(r"decoder/low", lambda: "decoder.block1"),
    Rule(r"decoder/conv2/depthwise", lambda: "decoder.block2.0.0"),
    Rule(r"decoder/conv2/conv", lambda: "decoder.block2.0.1"),
    Rule(r"decoder/conv2/norm", lambda: "decoder.block2.1"),
    Rule(r"head", lambda: "segmentation_head.0"),
)
_UNET = (
    conv_norm(r"decoder/centre_conv(\d)", lambda i: f"decoder.center.{i - 1}"),
    conv_norm(
        r"decoder/block(\d)_conv(\d)",
        lambda i, j: f"decoder.blocks.{i - 1}.conv{j}",
    ),
    Rule(r"head", lambda: "segmentation_head.0"),
)
_PSP = (
    Rule(r"decoder/bins1/conv", lambda: "decoder.psp.blocks.0.pool.1.0"),
    conv_norm(
        r"decoder/bins([236])",
        lambda bins: f"decoder.psp.blocks.{(1, 2, 3, 6).index(bins)}.pool.1",
    ),
    conv_norm(r"decoder/conv", lambda: "decoder.conv"),
    Rule(r"head", lambda: "segmentation_head.0"),
)
_RESNET_ENCODER = _backbone(resnet.TORCHVISION, "", "encoder.")
_MOBILENET_ENCODER = _backbone(mobilenet_v2.TORCHVISION, "", "encoder.")


def _vgg_unet(model: nn.Module) -> tuple[Rule, ...]:
    rules = vgg.torchvision(models.create_model(model.backbone, 0))
    return *_backbone(rules, "", "encoder."), *_UNET


_SMP = "segmentation_models_pytorch"

SOURCES = (
    Source("torchvision", r"fcn_resnet\d+", (*_RESNET, *_FCN, *_AUXILIARY)),
    Source("torchvision", r"deeplabv3_resnet\d+", (*_RESNET, *_DEEPLAB, *_AUXILIARY)),
    Source(
        "torchvision",
        r"deeplabv3_mobilenet_v3_large",
        lambda model: (*_mobilenet(model), *_DEEPLAB, *_AUXILIARY),
    ),
    Source(
        "torchvision",
        r"lraspp_mobilenet_v3_large",
        lambda model: (*_mobilenet(model), *_LRASPP),
    ),
    Source(_SMP, r"deeplabv3plus_resnet\d+", (*_RESNET_ENCODER, *_DEEPLAB_PLUS)),
    Source(_SMP, r"pspnet_resnet\d+", (*_RESNET_ENCODER, *_PSP)),
    Source(_SMP, r"unet_resnet\d+", (*_RESNET_ENCODER, *_UNET)),
    Source(_SMP, r"unet_mobilenet_v2", (*_MOBILENET_ENCODER, *_UNET)),
    Source(_SMP, r"unet_vgg16", _vgg_unet),
)
