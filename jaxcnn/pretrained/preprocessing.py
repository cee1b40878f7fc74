"""The image preprocessing that the weights of each library expect.

The numbers come from the libraries' own metadata: the transforms of torchvision
0.28.0's weights, the configurations of timm 1.0.31, preprocess_input of Keras 3.15.1,
and the training scripts of pytorchcv and facenet-pytorch.
"""

from collections.abc import Mapping
import dataclasses
import re
from typing import Any

from jaxcnn.errors import require
from jaxcnn.models.variant import Variant

INTERPOLATIONS = ("bilinear", "bicubic")
ORDERS = ("RGB", "BGR")
_MAX_SIDE = 2**14


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """The transform from an image of any size to the input of a network.

    The shorter side is resized to image_size / crop_ratio, the centre is cropped, and
    grey levels in [0, 1] become (grey - mean) / std.

    Attributes:
        image_size: Height and width of the crop, in pixels.
        crop_ratio: Ratio of the crop's side to the shorter side after resizing.
        interpolation: One of INTERPOLATIONS, antialiased when it shrinks an image.
        mean: Mean of each channel, in [0, 1].
        std: Standard deviation of each channel, in [0, 1].
        order: Order of the channels, one of ORDERS.
    """

    image_size: int
    crop_ratio: float
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    order: str = "RGB"

    def __post_init__(self) -> None:
        number = (int, float)
        ratio, size = self.crop_ratio, self.image_size
        positive = all(isinstance(x, number) and x > 0 for x in self.std)
        same = len(self.mean) == len(self.std) in (1, 3)
        for name, holds, rule in (
            ("image_size", size in range(1, _MAX_SIDE + 1), f"1 to {_MAX_SIDE}"),
            ("crop_ratio", isinstance(ratio, number) and 0 < ratio <= 1, "in (0, 1]"),
            ("mean", all(isinstance(x, number) for x in self.mean), "numbers"),
            ("std", positive and same, "over 0, for 1 or 3 channels as mean"),
            (
                "interpolation",
                self.interpolation in INTERPOLATIONS,
                " or ".join(INTERPOLATIONS),
            ),
            ("order", self.order in ORDERS, " or ".join(ORDERS)),
        ):
            require(holds, f"preprocessing.{name}", getattr(self, name), rule)


_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_SYMMETRIC = {"mean": (0.5,) * 3, "std": (0.5,) * 3}  # to [-1, 1]
_CAFFE = {  # grey levels minus the mean, BGR
    "mean": (103.939 / 255, 116.779 / 255, 123.68 / 255),
    "std": (1 / 255,) * 3,
    "order": "BGR",
}
_CIFAR = {
    **{"mean": (0.4914, 0.4822, 0.4465), "std": (0.2023, 0.1994, 0.2010)},
    "crop_ratio": 1.0,
}
_FACENET = {"mean": (127.5 / 255,) * 3, "std": (128 / 255,) * 3, "crop_ratio": 1.0}


def _crop(image_size: int, resized: int) -> dict[str, Any]:
    return {"image_size": image_size, "crop_ratio": image_size / resized}


_BICUBIC = {"interpolation": "bicubic"}

# (library, our networks, differences from the default); the first match applies.
_ROWS: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    # torchvision's own weights for these two come with transform_input=True, which
    # replaces ImageNet's mean and standard deviation by these.
    ("torchvision", r"googlenet", _SYMMETRIC),
    ("torchvision", r"inception_v3", {**_SYMMETRIC, **_crop(299, 342)}),
    ("torchvision", r"efficientnet_b0", _BICUBIC),
    ("torchvision", r"efficientnet_b1", {**_BICUBIC, **_crop(240, 256)}),
    ("torchvision", r"efficientnet_b2", {**_BICUBIC, **_crop(288, 288)}),
    ("torchvision", r"efficientnet_b3", {**_BICUBIC, **_crop(300, 320)}),
    ("torchvision", r"efficientnet_b4", {**_BICUBIC, **_crop(380, 384)}),
    ("torchvision", r"efficientnet_b5", {**_BICUBIC, **_crop(456, 456)}),
    ("torchvision", r"efficientnet_b6", {**_BICUBIC, **_crop(528, 528)}),
    ("torchvision", r"efficientnet_b7", {**_BICUBIC, **_crop(600, 600)}),
    ("torchvision", r"efficientnet_v2_s", _crop(384, 384)),
    ("torchvision", r"efficientnet_v2_m", _crop(480, 480)),
    (
        "torchvision",
        r"efficientnet_v2_l",
        {**_BICUBIC, **_SYMMETRIC, **_crop(480, 480)},
    ),
    ("torchvision", r"convnext_tiny", _crop(224, 236)),
    ("torchvision", r"convnext_small", _crop(224, 230)),
    ("torchvision", r"convnext_(base|large)", _crop(224, 232)),
    (
        "torchvision",
        r"resnext101_64x4d|shufflenet_v2_x1_5|shufflenet_v2_x2_0",
        _crop(224, 232),
    ),
    (
        "timm",
        r"xception|inception_resnet_v2",
        {**_BICUBIC, **_SYMMETRIC, "image_size": 299, "crop_ratio": 0.8975},
    ),
    ("timm", r"inception_v\d", {**_BICUBIC, **_SYMMETRIC, "image_size": 299}),
    ("timm", r"mobilenetv1_.*", {**_BICUBIC, **_SYMMETRIC}),
    ("timm", r"efficientnet_b1", {**_BICUBIC, **_crop(256, 256)}),
    ("timm", r"efficientnet_b2", {**_BICUBIC, **_crop(288, 288)}),
    ("timm", r"efficientnet_b3", {**_BICUBIC, **_crop(320, 320)}),
    ("timm", r"efficientnet_b4", {**_BICUBIC, **_crop(384, 384)}),
    ("timm", r"convnext_.*", {**_BICUBIC, **_crop(288, 288)}),
    ("timm", r"legacy_se.*", {}),
    ("timm", r".*", _BICUBIC),
    ("keras", r"(vgg|resnet\d).*", _CAFFE),
    ("keras", r".*", _SYMMETRIC),
    ("pytorchcv", r".*_cifar", _CIFAR),
    ("(pytorchcv|facenet.*)", r"inception_resnet_v1", _FACENET),
)

# torchvision's newer weights, IMAGENET1K_V2, expect other sizes than the first ones.
# They are recognised by the start of their SHA-256, which ends their file names.
_V2 = """
    7ebf99e0 5c1a4163 cd907fc2 f82ba261 11ad3fa6 110c445d 1a0047aa d733dc28 9ba9bcbe
    ba3796d7 a12f2b72 6eb8fdc6 7071aa85 62229a5f 94a99ebd 2b70d774 3e4a00f9 0d7bc02a
    8db6d4b5 9180c971 e6988f5f 58fc7688 dc2b1b54
"""
_KNOWN: dict[str, Mapping[str, Any]] = {
    **dict.fromkeys(_V2.split(), _crop(224, 232)),
    "c27df63c": {**_crop(240, 255), "interpolation": "bilinear"},  # efficientnet_b1
    **dict.fromkeys(  # SWAG, trained end to end
        ("43afe44d", "04fdfa75", "c8ce3e52"), {**_BICUBIC, **_crop(384, 384)}
    ),
    **dict.fromkeys(  # SWAG, a linear classifier on top
        ("f3ec0043", "e1583746", "cbe8ce12"), {**_BICUBIC, **_crop(224, 224)}
    ),
}


def expected(
    library: str, model: str, variant: Variant, channels: int, sha256: str
) -> Preprocessing:
    """The preprocessing that a library's weights for one of our networks expect.

    Args:
        library: Name of the library that the weights come from.
        model: jaxcnn model name.
        variant: The model's row in models.MODELS.
        channels: Number of image channels that the weights are for.
        sha256: SHA-256 of the weight file, in hexadecimal. Some files are known by it.
    """
    fields = {"crop_ratio": 0.875, "interpolation": "bilinear", **_IMAGENET}
    fields["image_size"] = variant.image_size
    if variant.image_size < 64:
        fields["crop_ratio"] = 1.0
    for libraries, models, changes in _ROWS:
        if re.fullmatch(libraries, library) and re.fullmatch(models, model):
            fields |= changes
            break
    if library == "torchvision":
        fields |= _KNOWN.get(sha256[:8], {})
    if channels != len(fields["mean"]) or library == "pytorch":
        fields |= {"mean": (0.0,) * channels, "std": (1.0,) * channels, "order": "RGB"}
    return Preprocessing(**fields)
