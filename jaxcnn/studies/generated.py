"""Generated images that cost the input pipeline what real ones do.

Natural images have amplitudes that fall as 1 / frequency (Field, "Relations between the
statistics of natural images and the response properties of cortical cells", JOSA A
1987, https://doi.org/10.1364/JOSAA.4.002379), and so have these. As JPEG they have the
size of ImageNet's, which are 110 KB on average, while white noise would take a decoder
several times as long and a flat image hardly any time.
"""

import dataclasses
import functools
import io
from typing import Any

import numpy as np
from PIL import Image

from jaxcnn.data import images
from jaxcnn.data.examples import ArrayExamples, Dataset, Examples, make_dataset
from jaxcnn.targets import classes

HEIGHT, WIDTH, QUALITY = 375, 500, 88  # the most common size in ImageNet
_NUM_FILES = 32  # that differ; examples beyond them are the same again
_SMALL = 64  # pixels; data sets of images up to it are arrays in memory
MEAN, STD = 0.5, 0.25  # of each channel, in [0, 1]


def picture(
    rng: np.random.Generator, height: int, width: int, channels: int
) -> np.ndarray:
    """An image with the spectrum of natural ones: uint8 [height, width, channels]."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = 1 / max(height, width)
    noise = np.fft.rfft2(rng.normal(size=(channels, height, width)))
    planes = np.fft.irfft2(noise / frequency, s=(height, width))
    planes = planes[:1] + 0.3 * planes  # channels are alike
    planes -= planes.mean(axis=(1, 2), keepdims=True)
    planes *= STD / planes.std(axis=(1, 2), keepdims=True)
    pixels = np.clip(np.round(255 * (MEAN + planes)), 0, 255)
    return pixels.astype(np.uint8).transpose(1, 2, 0)


def jpeg(rng: np.random.Generator, channels: int) -> bytes:
    """A picture as a JPEG file."""
    pixels = picture(rng, HEIGHT, WIDTH, channels)
    file = io.BytesIO()
    image = Image.fromarray(pixels if channels == 3 else pixels[:, :, 0])
    image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


@dataclasses.dataclass(frozen=True)
class JpegExamples:
    """JPEG files in memory, over and over.

    Attributes:
        files: The files.
        labels: int32 [N], of as many examples as there are to be.
        channels: 1 grey, 3 RGB.
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
        """As of examples.encoded."""
        image = images.Encoded(self.files[index % len(self.files)], self.channels)
        return {"image": image, "label": int(self.labels[index])}


@functools.cache
def _files(channels: int) -> tuple[bytes, ...]:
    rng = np.random.default_rng(0)
    return tuple(jpeg(rng, channels) for _ in range(_NUM_FILES))


def are_small(image_size: int) -> bool:
    """Whether data sets of that size come as arrays and not as files."""
    return image_size <= _SMALL


def dataset(
    num_examples: int, num_classes: int, image_size: int, channels: int, *, small: bool
) -> Dataset:
    """A data set of generated images, whose classes take turns.

    Args:
        num_examples: Of training, and of validation too.
        num_classes: Labels are 0 to num_classes - 1.
        image_size: Height and width of small images, pixels.
        channels: 1 grey, 3 RGB.
        small: Images are arrays in memory, as those of MNIST and CIFAR; else they are
            JPEG files of ImageNet's usual size, in memory.
    """
    labels = np.arange(num_examples, dtype=np.int32) % num_classes
    examples: Examples
    if small:
        rng = np.random.default_rng(0)
        some = [
            picture(rng, image_size, image_size, channels) for _ in range(_NUM_FILES)
        ]
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
