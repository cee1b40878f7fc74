"""Wide residual networks.

Paper: Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016,
https://arxiv.org/abs/1605.07146. The CIFAR networks follow Table 1: resnetDEPTH_WIDTH
has the pre-activation blocks of resnet_v2.py with 16 * WIDTH filters in the first
stage, without dropout. The ImageNet networks (section 3) wide_resnet50_2 and
wide_resnet101_2 are torchvision's: resnet.py's bottlenecks with 3x3 convolutions of
twice the width.
"""

import functools

from jaxcnn.models import resnet, resnet_v2
from jaxcnn.models.variant import Variant

_bottleneck = functools.partial(
    resnet.ResNet,
    block=functools.partial(resnet.BottleneckBlock, group_width=2 * 64),
)
_cifar = functools.partial(
    resnet_v2.ResNetV2, block=resnet_v2.BasicBlock, stem=resnet_v2.CifarStem
)

# top1: acc@1 on torchvision's model cards; for CIFAR-10, 100% minus the median error of
# 5 runs, https://github.com/szagoruyko/wide-residual-networks
_row = functools.partial(
    Variant, paper="Zagoruyko and Komodakis 2016, https://arxiv.org/abs/1605.07146"
)
_imagenet_row = functools.partial(
    _row, top1_source="ImageNet, torchvision IMAGENET1K_V1"
)
_cifar_row = functools.partial(_row, image_size=32, num_classes=10)

VARIANTS = {
    "wide_resnet50_2": _imagenet_row(
        functools.partial(_bottleneck, depths=resnet.DEPTHS_50), top1=78.468
    ),
    "wide_resnet101_2": _imagenet_row(
        functools.partial(_bottleneck, depths=resnet.DEPTHS_101), top1=78.848
    ),
    "wide_resnet16_8_cifar": _cifar_row(
        functools.partial(_cifar, depths=(2, 2, 2), filters=8 * 16)
    ),
    "wide_resnet28_10_cifar": _cifar_row(
        functools.partial(_cifar, depths=(4, 4, 4), filters=10 * 16),
        top1=96.0,
        top1_source="CIFAR-10, the authors, median of 5 runs",
    ),
    "wide_resnet40_4_cifar": _cifar_row(
        functools.partial(_cifar, depths=(6, 6, 6), filters=4 * 16)
    ),
}
