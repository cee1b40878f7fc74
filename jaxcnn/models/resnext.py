"""ResNeXt: residual networks with grouped convolutions.

Paper: Xie, Girshick, Dollar, Tu and He, "Aggregated Residual Transformations for Deep
Neural Networks", CVPR 2017, https://arxiv.org/abs/1611.05431: Table 1 for ImageNet,
section 5.3 and Figure 7 for CIFAR. The names contain the cardinality (number of groups
of the 3x3 convolution) and the width d of a group in the first stage.

The blocks are those of resnet.py, in the form of the paper's Figure 3(c), including the
initial scale 0 of a branch's last BatchNorm. The ImageNet networks are torchvision's.
"""

import functools

from jaxcnn.models import resnet
from jaxcnn.models.variant import Variant


def _block(groups: int, group_width: int) -> functools.partial:
    return functools.partial(
        resnet.BottleneckBlock, groups=groups, group_width=group_width
    )


_resnext = functools.partial(resnet.ResNet, depths=resnet.DEPTHS_101)

# top1: acc@1 on torchvision's model cards; 64x4d has a longer recipe than the others,
# https://pytorch.org/vision/stable/models.html
_row = functools.partial(
    Variant,
    paper="Xie et al. 2017, https://arxiv.org/abs/1611.05431",
    top1_source="ImageNet, torchvision IMAGENET1K_V1",
)

VARIANTS = {
    "resnext50_32x4d": _row(
        functools.partial(_resnext, block=_block(32, 4), depths=resnet.DEPTHS_50),
        top1=77.618,
    ),
    "resnext101_32x8d": _row(
        functools.partial(_resnext, block=_block(32, 8)), top1=79.312
    ),
    "resnext101_64x4d": _row(
        functools.partial(_resnext, block=_block(64, 4)), top1=83.246
    ),
    "resnext29_8x64d_cifar": _row(
        functools.partial(
            _resnext, block=_block(8, 64), depths=(3, 3, 3), stem=resnet.CifarStem
        ),
        image_size=32,
        num_classes=10,
        top1_source="",
    ),
}
