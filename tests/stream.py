"""Examples, and the ways in which tests read batches of them."""

import pathlib

import numpy as np
from PIL import Image

from jaxcnn import targets
from jaxcnn.config import DataConfig
from jaxcnn.data import batches, folder, memory
from jaxcnn.data.bad_images import BadImages
from jaxcnn.data.examples import ArrayExamples, BadImageError, Subset, path_of
from jaxcnn.data.transforms import TRANSFORMS

N = 50
TARGETS = targets.classes([str(i) for i in range(N)])


def make_arrays() -> ArrayExamples:
    """Images that differ, labels that tell the examples apart."""
    images = np.random.default_rng(0).integers(0, 256, (N, 8, 8, 1), np.uint8)
    return ArrayExamples(images, {"label": np.arange(N, dtype=np.int32)})


def make_files(path: pathlib.Path) -> Subset:
    """PNG and JPEG files of several sizes in two classes."""
    rng = np.random.default_rng(0)
    for i in range(N):
        image = Image.fromarray(
            rng.integers(0, 256, (10 + i % 7, 20 - i % 5, 3), np.uint8)
        )
        file = path / "ab"[i % 2] / f"{i}.{('png', 'jpg')[i % 3 == 0]}"
        file.parent.mkdir(parents=True, exist_ok=True)
        image.save(file)
    config = DataConfig(test_fraction=0.2)
    return folder.load(str(path), config).splits["train"]


def config_of(**fields) -> DataConfig:
    return DataConfig(**{"image_size": 8, "batch_size": 12} | fields)


def through_grain(examples: ArrayExamples) -> Subset:
    """The same examples, but not as an array that could be gathered."""
    return Subset(examples, np.arange(len(examples)))


def channels_of(examples) -> int:
    """The files are RGB, the arrays grey; kept in memory they say it."""
    if hasattr(examples, "images"):
        return examples.images.shape[-1]
    return 1 if not len(examples) or path_of(examples, 0) is None else 3


def train_batches(examples, config, *, targets=TARGETS, seed=0, **options):
    return batches.train_batches(
        examples, config, targets, channels=channels_of(examples), seed=seed, **options
    )


def eval_batches(examples, config, *, targets=TARGETS, **options):
    return batches.eval_batches(
        examples, config, targets, channels=channels_of(examples), **options
    )


def in_memory(examples, transform, config, bad_images, targets=TARGETS):
    row = TRANSFORMS[transform]
    channels = channels_of(examples)
    return memory.in_memory(examples, row, config, targets, bad_images, channels)


def assert_equal(found, expected) -> None:
    found, expected = list(found), list(expected)
    assert len(found) == len(expected) > 0
    for batch, other in zip(found, expected, strict=True):
        assert list(batch) == list(other)
        for name in batch:
            assert batch[name].dtype == other[name].dtype
            np.testing.assert_array_equal(batch[name], other[name])


class Broken(Subset):
    """Some examples cannot be decoded."""

    bad = (0, 7, 8, N - 1)

    def __getitem__(self, index):
        if index in self.bad:
            raise BadImageError(f"{index}.jpg: broken")
        return super().__getitem__(index)


def broken(arrays, bad=Broken.bad) -> Broken:
    examples = Broken(arrays, np.arange(N))
    object.__setattr__(examples, "bad", bad)
    return examples


def skipping(path=None, limit=0.1) -> BadImages:
    return BadImages("skip", "train", N, path, limit)
