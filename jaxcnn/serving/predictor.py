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
from jaxcnn.config import Config
from jaxcnn.data import images as images_lib
from jaxcnn.data.transforms import TRANSFORMS
from jaxcnn.tasks import METRICS
from jaxcnn.training import checkpoint as checkpoint_lib
from jaxcnn.training import parallel, setup, step, workdir
from jaxcnn.training.state import init_variables

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
        step: Of the checkpoint.
    """

    class_names: tuple[str, ...]
    channels: int
    image_size: int
    transform: Callable[[np.ndarray], np.ndarray]
    forward: Callable[[np.ndarray], jax.Array]
    step: int

    def read(self, image: ImageLike) -> np.ndarray:
        """Any image as the network sees it: uint8 [image_size, image_size, C].

        Args:
            image: Path, encoded bytes, PIL image, or uint8 [H, W] or [H, W, C].

        Raises:
            BadImageError: It cannot be decoded.
        """
        return self.transform(images_lib.read(image, self.channels))

    def __call__(self, images: Iterable[ImageLike]) -> np.ndarray:
        """Probabilities, float32 [N, K], of any number of images."""
        batches = [self._probabilities(b) for b in _batched(map(self.read, images))]
        return np.concatenate([np.zeros((0, len(self.class_names)), np.float32), *batches])

    def _probabilities(self, images: Sequence[np.ndarray]) -> np.ndarray:
        batch = np.stack(images)
        filling = ((0, _BATCH_SIZE - len(batch)), (0, 0), (0, 0), (0, 0))
        logits = self.forward(np.pad(batch, filling))[: len(batch)]
        return np.asarray(jax.nn.softmax(logits, axis=-1), np.float32)

    def top_k(self, probabilities: np.ndarray, k: int) -> list[tuple[str, float]]:
        """(class name, probability) of the k most likely classes of one image."""
        order = np.argsort(-probabilities, kind="stable")[:k]
        return [(self.class_names[i], float(probabilities[i])) for i in order]


def _batched(items: Iterable[Any]) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, _BATCH_SIZE)):
        yield batch


def load(folder: str | Path, checkpoint: str = "best") -> Predictor:
    """The predictor of a run.

    Args:
        folder: The run's folder.
        checkpoint: "best", "latest" or a step.

    Raises:
        UserError: The folder holds no run, or not that checkpoint.
    """
    folder = Path(folder)
    config, info = workdir.read(folder)
    model = setup.make_model(config, info)
    number, variables = load_variables(folder, config, info, checkpoint)
    shape = setup.image_shape(config, info)
    forward = functools.partial(
        step.forward, model=model, **setup.numerics(config, info)
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


def load_variables(
    folder: Path, config: Config, info: workdir.DatasetInfo, which: str
) -> tuple[int, dict[str, Any]]:
    """(step, {"params", "batch_stats"}) of a checkpoint of a run, on one device."""
    init = functools.partial(
        init_variables,
        setup.make_model(config, info),
        image_shape=setup.image_shape(config, info),
    )
    sharding = parallel.replicated(parallel.data_mesh(1))
    target = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        jax.eval_shape(init, jax.random.key(0)),
    )
    directory, metric = folder / workdir.CHECKPOINTS, METRICS[config.best_metric]
    return checkpoint_lib.load_part(directory, which, metric, target)
