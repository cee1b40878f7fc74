"""The image preprocessing that the weights of each library expect.

The numbers come from the libraries' own metadata: the transforms of torchvision
0.28.0's weights, the configurations of timm 1.0.31, preprocess_input of Keras 3.15.1,
and the training scripts of pytorchcv and facenet-pytorch.
"""

from collections.abc import Mapping
import dataclasses
import math
import re
from typing import Any

from jaxcnn.errors import UserError, require
from jaxcnn.models.variant import Variant

INTERPOLATIONS = ("bilinear", "bicubic")
ORDERS = ("RGB", "BGR")
_MAX_NAME = 200  # characters
_MAX_SIDE = 2**14  # pixels
_MAX_AREA = 2**24  # pixels; a file must not make prediction take all memory
_MIN_STD = 1e-6  # images divided by less are not finite


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """The transform from an image of any size to the input of a network.

    The shorter side is resized to image_size / crop_ratio, the centre is cropped, and
    grey levels in [0, 1] become (grey - mean) / std.

    Attributes:
        image_size: Height and width of the crop, in pixels: one number, or a pair.
        crop_ratio: Ratio of the crop's side to the shorter side after resizing.
        interpolation: One of INTERPOLATIONS, antialiased when it shrinks an image.
        mean: Mean of each channel, in [0, 1].
        std: Standard deviation of each channel, in [0, 1].
        order: Order of the channels, one of ORDERS.
        transform: Rule by which images get their size: "crop", as above, or the name
            of a run's transform. Of those, "center_crop" leaves an image of the right
            size unchanged; "resize" and "pad" show the whole image.
        value_range: Black and white in float images. None: images are uint8.
    """

    image_size: object
    crop_ratio: float
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    order: str = "RGB"
    transform: str = "crop"
    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        sides = len(self.size) == 2 and all(
            type(side) is int and 0 < side <= _MAX_SIDE for side in self.size
        )
        area = sides and math.prod(self.size) <= _MAX_AREA
        mean, std, ends = self.mean, self.std, self.value_range
        rule = self.transform
        is_name = isinstance(rule, str) and rule.isprintable() and len(rule) < _MAX_NAME
        means = _are_numbers(mean) and len(mean) in (1, 3)
        for name, holds, rule in (
            ("image_size", sides, f"1 to {_MAX_SIDE}"),
            ("image_size", area, f"of at most {_MAX_AREA} pixels"),
            ("crop_ratio", _are_numbers((self.crop_ratio,), 0, 1), "in (0, 1]"),
            ("mean", means, "1 or 3 numbers"),
            (
                "std",
                means and _are_numbers(std, _MIN_STD) and len(std) == len(mean),
                f"over {_MIN_STD}, one for each of mean",
            ),
            (
                "interpolation",
                self.interpolation in INTERPOLATIONS,
                " or ".join(INTERPOLATIONS),
            ),
            ("order", self.order in ORDERS, " or ".join(ORDERS)),
            ("transform", is_name, "the name of a transform"),
            (
                "value_range",
                ends is None
                or (_are_numbers(ends) and len(ends) == 2 and ends[0] < ends[1]),
                "(black, white), black first",
            ),
        ):
            require(holds, f"preprocessing.{name}", getattr(self, name), rule)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the input."""
        if isinstance(self.image_size, tuple):
            return self.image_size
        return self.image_size, self.image_size

    def to_json(self) -> dict[str, Any]:
        """The values of its fields, without those that only runs have."""
        only_runs = {"transform": "crop", "value_range": None}
        values = dataclasses.asdict(self)
        return {n: x for n, x in values.items() if only_runs.get(n, self) != x}

    def in_words(self) -> dict[str, str]:
        """How to prepare images for the network, for people."""
        (height, width), ratio = self.size, self.crop_ratio
        covered = f"{round(height / ratio)}x{round(width / ratio)}"
        sized = {
            "crop": f"the centre {height}x{width} of the image resized to cover "
            f"{covered}, {self.interpolation}",
            "resize": f"the image resized to {height}x{width}, {self.interpolation}",
            "pad": f"the image at the centre of {height}x{width} black pixels, shrunk "
            "if it is larger",
            "line": f"the image resized to a height of {height}, at the left of "
            f"{height}x{width} black pixels, narrower if it is longer",
        }
        sized["center_crop"] = f"{sized['crop']}; unchanged if it is {height}x{width}"
        black, white = (0, 255) if self.value_range is None else self.value_range
        order = "grey" if len(self.mean) == 1 else self.order
        mean, std = (
            ", ".join(f"{number:.6g}" for number in numbers)
            for numbers in (self.mean, self.std)
        )
        return {
            "images": sized.get(
                self.transform, f"{height}x{width} by {self.transform}, which is yours"
            ),
            "scaled": f"({order} - mean) / std, from 0 (black, {black:g}) to 1 (white, "
            f"{white:g})",
            "mean": mean,
            "std": std,
        }


def _are_numbers(values: Any, above: float = -1e6, to: float = 1e6) -> bool:
    return isinstance(values, tuple) and all(
        type(value) in (int, float) and above < value <= to for value in values
    )


def from_json(values: Any) -> Preprocessing:
    """The preprocessing that to_json wrote.

    Raises:
        UserError: A value that is not allowed.
    """
    try:
        given = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return Preprocessing(**given)
    except UserError:
        raise
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(f"Invalid preprocessing: {error}.") from error


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
    if variant.task == "segmentation" or max(variant.image_shape[:2]) < 64:
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
