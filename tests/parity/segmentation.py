"""FCN, DeepLabv3, LR-ASPP, DeepLabv3+, PSPNet and U-Net on classifiers of the zoo."""

import functools

from jaxcnn.models import pspnet
from tests.reference.compare import Parity

TORCHVISION = (
    *("fcn_resnet50", "fcn_resnet101", "deeplabv3_resnet50", "deeplabv3_resnet101"),
    *("deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"),
)
SMP = (
    *("deeplabv3plus_resnet34", "deeplabv3plus_resnet50", "unet_resnet18"),
    *("unet_resnet34", "unet_resnet50", "unet_mobilenet_v2", "unet_vgg16"),
)

PARITY = (
    *(Parity(name, name, "torchvision") for name in TORCHVISION),
    *(Parity(name, name, "segmentation_models_pytorch") for name in SMP),
    *(
        Parity(
            name,
            name,
            "segmentation_models_pytorch",
            {
                "aux": None,
                "decoder": functools.partial(pspnet.PyramidPooling, tap=8),
                "output_stride": 32,
            },
            "pooling at stride 8",
        )
        for name in ("pspnet_resnet50", "pspnet_resnet101")
    ),
)
