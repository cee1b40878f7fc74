"""A trained classifier of letters that slides over a line of text."""

from collections.abc import Callable
import dataclasses
import functools
from pathlib import Path

import jax
import numpy as np

from jaxcnn import augment, config_fields, errors
from jaxcnn.analysis import sliding
from jaxcnn.data import images as images_lib
from jaxcnn.data.examples import BadImageError
from jaxcnn.data.placement import place_image
from jaxcnn.data.transforms import resize
from jaxcnn.ops import backends
from jaxcnn.tasks import Classification
from jaxcnn.training import network, parallel, workdir
from jaxcnn.training.precision import make_precision


@dataclasses.dataclass(frozen=True)
class Slid:
    """What a classifier says of a line.

    Attributes:
        places: Name of the class of each window, from left to right.
        text: One name for each run of equal ones.
    """

    places: tuple[str, ...]
    text: tuple[str, ...]


def load(
    folder: str | Path, checkpoint: str = "best", *, raw: bool = False
) -> Callable[..., Slid]:
    """slide(image, shortest_run=1) -> what the classifier of a run says along a line.

    The image, a path or encoded bytes, is resized to the height of the images that the
    network was trained on, its aspect ratio kept.

    Args:
        folder: The run's folder.
        checkpoint: "best", "latest", a step, or "mean:K", the mean of the newest K.
        raw: Whether to use the raw parameters instead of their average.

    Raises:
        UserError: There is no such run or checkpoint, or the run is no classification;
            when called, the image cannot be read or is narrower than a window, or the
            network cannot slide.
    """
    folder = Path(folder)
    config, info = workdir.read(folder)
    config = config_fields.replace(config, {"ops": backends.kept(config.ops, 1)})
    task = network.open_task(config, info)
    if not isinstance(task, Classification):
        raise errors.UserError(
            f"{folder} is a run of task {config.task.name!r}; only a classifier slides."
        )
    model, precision = network.make_model(config, task), make_precision(config)
    _, variables = network.load_variables(
        folder, config, info, checkpoint, parallel.data_mesh(1), raw=raw
    )
    height, width, channels = network.image_shape(config, info)

    @jax.jit
    def classes(images: jax.Array) -> jax.Array:
        images = augment.normalise(images, mean=info.mean, std=info.std)
        apply = functools.partial(precision.apply, model)
        return sliding.class_map(apply, variables, images).argmax(axis=-1)

    def slide(image: str | Path | bytes, shortest_run: int = 1) -> Slid:
        try:
            pixels = images_lib.decode(image, channels, None, config.data.max_pixels)
        except BadImageError as error:
            raise errors.UserError(f"Unreadable image: {error}.") from error
        size = height, round(pixels.shape[1] * height / pixels.shape[0])
        if size[1] < width:
            raise errors.UserError(
                f"The line is {size[1]} pixels wide at a height of {height}; it must "
                f"be at least {width}, the network's input."
            )
        line = place_image(pixels, resize(pixels.shape[:2], size, None))
        found = np.asarray(classes(line[None]))[0, 0].tolist()
        names = task.class_names
        text = sliding.collapse(found, shortest_run)
        return Slid(tuple(names[i] for i in found), tuple(names[i] for i in text))

    return slide
