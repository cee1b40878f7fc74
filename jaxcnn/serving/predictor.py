"""A trained classifier as a function of images."""

from collections.abc import Callable, Iterable, Iterator, Sequence
import dataclasses
import functools
import itertools
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from jaxcnn import errors
from jaxcnn.data import images as images_lib
from jaxcnn.data.examples import BadImageError
from jaxcnn.data.transforms import TRANSFORMS, resize_and_crop
from jaxcnn.pretrained import weights as weights_lib
from jaxcnn.pretrained.weights import Weights
from jaxcnn.training import network, parallel, step, workdir

ImageLike = str | Path | bytes | np.ndarray | Image.Image
_BATCH_SIZE = 32  # one compiled shape; the last batch is filled up


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A function of images, with class names and preprocessing attached.

    Attributes:
        class_names: Of the columns of the result.
        channels: 1 grey, 3 RGB.
        image_size: Height and width that the network sees, pixels.
        transform: Any image, uint8 [H, W, channels], -> [image_size, image_size, C].
        forward: Batch uint8 [B, image_size, image_size, C] -> logits [B, K].
        step: Of the checkpoint; None: the weights are imported.
    """

    class_names: tuple[str, ...]
    channels: int
    image_size: int
    transform: Callable[[np.ndarray], np.ndarray]
    forward: Callable[[np.ndarray], jax.Array]
    step: int | None

    def read(self, image: ImageLike) -> np.ndarray:
        """Any image as the network sees it: uint8 [image_size, image_size, C].

        Args:
            image: Path, encoded bytes, PIL image, or uint8 [H, W] or [H, W, C].

        Raises:
            UserError: It cannot be decoded.
        """
        try:
            return self.transform(_pixels(image, self.channels))
        except BadImageError as error:
            raise errors.UserError(f"Unreadable image: {error}.") from error

    def __call__(self, images: Iterable[ImageLike]) -> np.ndarray:
        """Probabilities, float32 [N, K], of any number of images."""
        batches = [self._probabilities(b) for b in _batched(map(self.read, images))]
        return np.concatenate(
            [np.zeros((0, len(self.class_names)), np.float32), *batches]
        )

    def _probabilities(self, images: Sequence[np.ndarray]) -> np.ndarray:
        batch = np.stack(images)
        filling = ((0, _BATCH_SIZE - len(batch)), (0, 0), (0, 0), (0, 0))
        logits = self.forward(np.pad(batch, filling))[: len(batch)]
        return np.asarray(jax.nn.softmax(logits, axis=-1), np.float32)

    def top_k(
        self, images: Sequence[ImageLike], k: int = 5
    ) -> list[list[tuple[str, float]]]:
        """(class name, probability) of the k most likely classes of each image."""
        probabilities = self(images)
        order = np.argsort(-probabilities, axis=-1, kind="stable")[:, :k]
        return [
            [(self.class_names[i], float(row[i])) for i in best]
            for row, best in zip(probabilities, order, strict=True)
        ]


def _pixels(image: ImageLike, channels: int) -> np.ndarray:
    """Any image as uint8 [H, W, channels]."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image)
    if isinstance(image, Image.Image):
        return images_lib.to_pixels(image, channels)
    return images_lib.decode(image, channels)


def _batched(items: Iterable[Any]) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, _BATCH_SIZE)):
        yield batch


def load(
    folder: str | Path, checkpoint: str = "best", *, raw: bool = False
) -> Predictor:
    """The predictor of a run, or of imported weights.

    Args:
        folder: The run's folder, or that of imported weights.
        checkpoint: Of a run: "best", "latest", a step, or "mean:K" of the newest K.
        raw: Of a run that keeps an average: the parameters themselves instead of it.

    Raises:
        UserError: The folder holds no run, or not that checkpoint.
    """
    folder = Path(folder)
    if weights_lib.is_folder(folder):
        return _of_weights(weights_lib.open_folder(folder))
    config, info = workdir.read(folder)
    model = network.make_model(config, info)
    mesh = parallel.data_mesh(1)
    number, variables = network.load_variables(
        folder, config, info, checkpoint, mesh, raw=raw
    )
    shape = network.image_shape(config, info)
    forward = functools.partial(
        step.forward, model=model, **network.numerics(config, info)
    )
    forward = jax.jit(forward)
    row = TRANSFORMS[config.data.eval_transform]
    return Predictor(
        class_names=info.class_names,
        channels=info.channels,
        image_size=shape[0],
        transform=lambda image: row.apply(image, shape[0], None),
        forward=functools.partial(forward, variables),
        step=number,
    )


def _of_weights(weights: Weights) -> Predictor:
    """The predictor of imported weights."""
    if weights.num_classes == 0:
        raise errors.UserError(f"{weights.file} has no classifier to predict with.")
    expected = weights.preprocessing

    def transform(image: np.ndarray) -> np.ndarray:
        image = resize_and_crop(
            image, expected.image_size, expected.crop_ratio, expected.interpolation
        )
        return image[..., ::-1] if expected.order == "BGR" else image

    forward = functools.partial(
        step.forward, model=weights.make_model(), mean=expected.mean, std=expected.std
    )
    return Predictor(
        class_names=weights.class_names or tuple(map(str, range(weights.num_classes))),
        channels=weights.channels,
        image_size=expected.image_size,
        transform=transform,
        forward=functools.partial(jax.jit(forward), jax.device_put(weights.variables)),
        step=None,
    )
