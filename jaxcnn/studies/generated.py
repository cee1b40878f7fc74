"""Generated images that load the input pipeline as much as real ones do.

The amplitudes of natural images are proportional to 1 / frequency (Field, "Relations
between the statistics of natural images and the response properties of cortical cells",
JOSA A 1987, https://doi.org/10.1364/JOSAA.4.002379), and so are these. As JPEG files
they have the size of ImageNet's, 110 KB on average. White noise would take several
times as long to decode, a flat image hardly any time.
"""

import dataclasses
import functools
import io
from typing import Any

import numpy as np
from PIL import Image

from jaxcnn.data import images
from jaxcnn.data.examples import ArrayExamples, Dataset, Examples, make_dataset
from jaxcnn.data.transforms import height_and_width
from jaxcnn.targets import classes

HEIGHT, WIDTH, QUALITY = 375, 500, 88  # the most common size in ImageNet
_NUM_FILES = 32  # different images; further examples repeat them
_SMALL = 64  # pixels; datasets with images up to this size are arrays in memory
MEAN, STD = 0.5, 0.25  # of each channel, in [0, 1]


def picture(
    rng: np.random.Generator, height: int, width: int, channels: int
) -> np.ndarray:
    """Generates an image with a natural spectrum: uint8 [height, width, channels]."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = 1 / max(height, width)
    noise = np.fft.rfft2(rng.normal(size=(channels, height, width)))
    planes = np.fft.irfft2(noise / frequency, s=(height, width))
    planes = planes[:1] + 0.3 * planes  # correlated channels
    planes -= planes.mean(axis=(1, 2), keepdims=True)
    planes *= STD / planes.std(axis=(1, 2), keepdims=True)
    pixels = np.clip(np.round(255 * (MEAN + planes)), 0, 255)
    return pixels.astype(np.uint8).transpose(1, 2, 0)


def jpeg(rng: np.random.Generator, channels: int) -> bytes:
    """Generates a picture as a JPEG file."""
    pixels = picture(rng, HEIGHT, WIDTH, channels)
    file = io.BytesIO()
    image = Image.fromarray(pixels if channels == 3 else pixels[:, :, 0])
    image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


@dataclasses.dataclass(frozen=True)
class JpegExamples:
    """JPEG files in memory, repeated for as many examples as there are labels.

    Attributes:
        files: Contents of the JPEG files.
        labels: Label of each example, int32 [N].
        channels: Image channels: 1 grey, 3 RGB.
    """

    files: tuple[bytes, ...]
    labels: np.ndarray
    channels: int

    def column(self, target: str) -> np.ndarray:
        return {"label": self.labels}[target]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return images.decoded(self.encoded(index))

    def encoded(self, index: int) -> dict[str, Any]:
        """Returns an example before decoding, see examples.encoded."""
        image = images.Encoded(self.files[index % len(self.files)], self.channels)
        return {"image": image, "label": int(self.labels[index])}


@functools.cache
def _files(channels: int) -> tuple[bytes, ...]:
    rng = np.random.default_rng(0)
    return tuple(jpeg(rng, channels) for _ in range(_NUM_FILES))


def are_small(image_size: int | tuple[int, int]) -> bool:
    """Whether datasets with images of this size are arrays instead of files."""
    return max(height_and_width(image_size)) <= _SMALL


def dataset(
    num_examples: int,
    num_classes: int,
    image_size: int | tuple[int, int],
    channels: int,
    *,
    small: bool,
) -> Dataset:
    """Makes a dataset of generated images whose classes alternate.

    Args:
        num_examples: Number of training examples, which also serve for validation.
        num_classes: Number of classes; labels are 0 to num_classes - 1.
        image_size: Size of small images, in pixels: a number, or (height, width).
        channels: Image channels: 1 grey, 3 RGB.
        small: Whether images are arrays in memory, like MNIST's and CIFAR's. Otherwise
            they are JPEG files of ImageNet's usual size, also in memory.
    """
    labels = np.arange(num_examples, dtype=np.int32) % num_classes
    examples: Examples
    if small:
        rng = np.random.default_rng(0)
        size = height_and_width(image_size)
        some = [picture(rng, *size, channels) for _ in range(_NUM_FILES)]
        numbers = np.arange(num_examples) % _NUM_FILES
        examples = ArrayExamples(np.stack(some)[numbers], {"label": labels})
    else:
        examples = JpegExamples(_files(channels), labels, channels)
    return make_dataset(
        {"train": examples, "validation": examples},
        targets=classes([str(label) for label in range(num_classes)]),
        channels=channels,
        mean=(MEAN,) * channels,
        std=(STD,) * channels,
        fingerprint="generated",
        decoder=None if small else images.decoder(),
    )
