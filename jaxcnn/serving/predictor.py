"""A trained network as a function of images."""

from collections.abc import Callable, Iterable, Iterator, Sequence
import dataclasses
import functools
import itertools
import math
import os
from pathlib import Path
import typing
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image

from jaxcnn import augment, config_fields, errors, models
from jaxcnn.data import images as images_lib
from jaxcnn.data import transforms
from jaxcnn.data.examples import BadImageError
from jaxcnn.data.own import to_uint8
from jaxcnn.data.transforms import resize_and_crop
from jaxcnn.ops import backends
from jaxcnn.pretrained import weights as weights_lib
from jaxcnn.pretrained.weights import Weights
from jaxcnn.serving import maps
from jaxcnn.tasks import TASKS, Task
from jaxcnn.training import network, parallel, step, workdir
from jaxcnn.training.precision import fastest, make_precision

ImageLike = str | Path | bytes | np.ndarray | Image.Image
_BATCH_SIZE = 32  # one compiled shape; the last batch is filled up
_BATCH_PIXELS = 2**23  # fewer images are in a batch where they have over 512 x 512

_FLOATS = (
    "; the network was trained on images of 8 bits, as which a float image from 0 to 1 "
    "is np.round(255 * image).astype(np.uint8)"
)


class Answered(NamedTuple):
    """An image and what the network says of it.

    Attributes:
        image: The image, as it was given.
        answer: The task's answer. None: the image could not be read.
        problem: Why it could not be read. None: it could.
    """

    image: ImageLike
    answer: dict[str, Any] | None
    problem: str | None


@dataclasses.dataclass(frozen=True, repr=False)
class Predictor:
    """A function of images, with its task and preprocessing attached.

    Attributes:
        name: Name of the network, and the run or file that it was loaded from.
        task: Task of the network.
        channels: Image channels: 1 grey, 3 RGB.
        image_size: (height, width) of the network's input, in pixels.
        transform: Function from an image of any size, uint8 [H, W, channels], to the
            network's input, uint8 [*image_size, channels].
        predict_batch: Function from a batch, uint8 [B, *image_size, channels], to the
            predictions of the task, arrays [B, ...].
        predict_image: For a task whose predictions are maps, function from an image of
            any size, uint8 [H, W, channels], to the predictions for it, arrays [...].
            None: another task.
        step: Step of the checkpoint. None: the weights are imported.
        value_range: (black, white) of float images. None: the images are integers.
        max_pixels: Number of pixels above which an image is not decoded.
    """

    name: str
    task: Task
    channels: int
    image_size: tuple[int, int]
    transform: Callable[[np.ndarray], np.ndarray]
    predict_batch: Callable[[np.ndarray], dict[str, jax.Array]]
    step: int | None
    value_range: tuple[float, float] | None = None
    max_pixels: int = images_lib.MAX_PIXELS
    predict_image: Callable[[np.ndarray], dict[str, np.ndarray]] | None = None

    def __repr__(self) -> str:
        height, width, step = *self.image_size, self.step
        images = f"{height}x{width}x{self.channels}"
        at = "" if step is None else f", step {step}"
        return f"<Predictor: {self.name}{at}, {type(self.task).__name__}, {images}>"

    def read(self, image: ImageLike) -> np.ndarray:
        """Reads an image as the network's input: uint8 [*image_size, channels], or of
        its own size where predictions are maps.

        Args:
            image: Path, encoded bytes, PIL image, or an array [H, W] or [H, W, C]:
                floats where the run was trained on floats, otherwise uint8, bool,
                uint16 (0 to 65535) or other integers from 0 to 255, as
                Dataset.from_arrays takes them.

        Raises:
            UserError: It cannot be decoded, or is an array of an unsupported kind.
        """
        try:
            return self._read(image)
        except BadImageError as error:
            raise errors.UserError(f"Unreadable image: {error}.") from error

    def _read(self, image: ImageLike) -> np.ndarray:
        """Reads an image, see read; BadImageError if it cannot be decoded."""
        if hasattr(image, "__array__"):
            image = to_uint8(
                np.asarray(image),
                self.value_range,
                "the image",
                leading=(),
                hint=_FLOATS,
            )
            image = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        if isinstance(image, Image.Image):
            pixels = images_lib.from_pillow(image, self.channels, self.max_pixels)
        elif not isinstance(image, str | bytes | os.PathLike):
            raise errors.UserError(
                "An image must be a path, bytes of a file, an image of Pillow or an "
                f"array, not a {type(image).__name__}."
            )
        else:
            pixels = images_lib.decode(image, self.channels, None, self.max_pixels)
        return self.transform(pixels)

    def __call__(self, images: Iterable[ImageLike]) -> dict[str, Any]:
        """Predictions for any number of images: name -> array [N, ...].

        For a classification: "class", int [N], and "probabilities", float32 [N, K].
        Where predictions are maps, a list of N arrays, each of the size of its image;
        for a segmentation: "mask", int [H, W], and "confidence", float32 [H, W].
        """
        is_one = isinstance(images, str | bytes | os.PathLike | Image.Image)
        if hasattr(images, "__array__"):
            images = np.asarray(images)
            is_one = images.ndim in (0, 2) or (
                images.ndim == 3 and images.shape[2] in (1, 3)
            )
        is_one = is_one or not isinstance(images, Iterable)
        if is_one:
            raise errors.UserError("A predictor takes a list of images; write [image].")
        inputs = _batched(map(self.read, images), self._batch_size)
        batches = [self._predict(batch) for batch in inputs]
        if not batches:  # empty, by their names and shapes
            empty = np.zeros((1, *self.image_size, self.channels), np.uint8)
            batches = [{n: x[:0] for n, x in self._predict([*empty]).items()}]
        if self.predict_image is not None:
            return {n: [x for b in batches for x in b[n]] for n in batches[0]}
        return {n: np.concatenate([b[n] for b in batches]) for n in batches[0]}

    @property
    def _batch_size(self) -> int:
        if self.predict_image is not None:
            return 1
        return max(1, min(_BATCH_SIZE, _BATCH_PIXELS // math.prod(self.image_size)))

    def _predict(self, images: Sequence[np.ndarray]) -> dict[str, Any]:
        if self.predict_image is not None:
            each = [self.predict_image(image) for image in images]
            return {name: [found[name] for found in each] for name in each[0]}
        batch = np.stack(images)
        filling = ((0, self._batch_size - len(batch)), (0, 0), (0, 0), (0, 0))
        predicted = self.predict_batch(np.pad(batch, filling))
        return {name: np.asarray(x)[: len(batch)] for name, x in predicted.items()}

    def answers(
        self, images: Iterable[ImageLike], limit: int = 5
    ) -> list[dict[str, Any]]:
        """The task's answer for each image, as an object for JSON.

        For a classification: {"classes": [{"class", "probability"}, ...]}, with the
        `limit` most likely classes, the most likely first.

        Raises:
            UserError: An image cannot be read, or the limit is no number over 0.
        """
        _check_limit(limit)
        return self._answers(self(images), limit)

    def _answers(self, predicted: dict[str, Any], limit: int) -> list[dict[str, Any]]:
        number = len(next(iter(predicted.values())))
        return [
            self.task.answer({name: x[i] for name, x in predicted.items()}, limit)
            for i in range(number)
        ]

    def stream(self, images: Iterable[ImageLike], limit: int = 5) -> Iterator[Answered]:
        """Yields the answer for each image, see answers, as soon as there is one.

        An image that cannot be read has a problem instead, and the others go on.
        """
        _check_limit(limit)
        for given in _batched(images, self._batch_size):
            inputs, problems = [], {}
            for index, image in enumerate(given):
                try:
                    inputs.append(self._read(image))
                except BadImageError as error:
                    problems[index] = str(error)
            answers = iter(())
            if inputs:
                answers = iter(self._answers(self._predict(inputs), limit))
            for index, image in enumerate(given):
                if index in problems:
                    yield Answered(image, None, problems[index])
                else:
                    yield Answered(image, next(answers), None)


def _check_limit(limit: int) -> None:
    errors.require(type(limit) is int and limit >= 1, "limit", limit, "at least 1")


def _batched(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def load(
    folder: str | Path,
    checkpoint: str = "best",
    *,
    raw: bool = False,
    model: Any = None,
    task: Any = None,
    passes: maps.Passes | None = None,
) -> Predictor:
    """Loads the predictor of a run, or of imported weights.

    Args:
        folder: The run's folder, or that of imported weights.
        checkpoint: Checkpoint of a run: "best", "latest", a step, or "mean:K",
            the mean of the newest K.
        raw: Whether to use the raw parameters instead of their average.
        model: The network that was given to fit. None: it is built by its name.
        task: The task that was given to fit. None: it is created by its name.
        passes: Tiles, scales and mirroring with which a network that predicts maps
            passes over an image. None: once, over the whole image.

    Raises:
        UserError: The folder holds no run, the run has no such checkpoint, or its
            predictions are no maps and passes are given.
    """
    folder = Path(folder)
    if weights_lib.is_folder(folder):
        return _of_weights(weights_lib.open_folder(folder), passes)
    config, info = workdir.read(folder)
    config = config_fields.replace(config, {"ops": backends.kept(config.ops, 1)})
    number, variables = network.load_variables(
        folder,
        config,
        info,
        checkpoint,
        parallel.data_mesh(1),
        raw=raw,
        model=model,
        task=task,
    )
    task = network.open_task(config, info, task)
    size = network.image_shape(config, info)[:2]
    forward = functools.partial(
        step.forward,
        model=network.make_model(config, task, model),
        normalise=functools.partial(augment.normalise, mean=info.mean, std=info.std),
        precision=make_precision(config),
    )
    row = transforms.find(config.data.eval_transform)
    return Predictor(
        name=f"{config.model} of {folder}",
        task=task,
        channels=info.channels,
        image_size=size,
        **_predictions(
            lambda image: row.apply(image, size, None),
            lambda shape: row.place(shape, size, None).resized,
            forward,
            task,
            variables,
            passes,
        ),
        step=number,
        value_range=info.value_range,
        max_pixels=config.data.max_pixels,
    )


def _predictions(
    transform: Callable[[np.ndarray], np.ndarray],
    seen_size: Callable[[tuple[int, int]], tuple[int, int]],
    forward: Callable[..., Any],
    task: Task,
    variables: Any,
    passes: maps.Passes | None,
) -> dict[str, Callable]:
    """The fields of a Predictor that compute; its functions compile once a shape.

    Args:
        transform: Function from an image to the network's input, see Predictor.
        seen_size: Function from the size of an image to that in which the network sees
            it, (height, width), before anything is cut off.
        forward: Function of variables and images that gives the network's output.
        task: Task of the network.
        variables: Parameters and running statistics.
        passes: See load.
    """
    predict = jax.jit(lambda variables, batch: task.predict(forward(variables, batch)))
    batch = functools.partial(predict, variables)
    if not task.IS_MAP:
        if passes is not None:
            raise errors.UserError(
                f"{type(task).__name__} predicts no maps, so a network cannot pass "
                "over an image in tiles, at other scales or mirrored."
            )
        return {"transform": transform, "predict_batch": batch}
    output, answer = jax.jit(forward), jax.jit(task.predict)

    def whole(image: np.ndarray) -> dict[str, np.ndarray]:
        found = maps.predicted(
            lambda part: np.asarray(output(variables, part[None]))[0],
            image,
            seen_size(image.shape[:2]),
            maps.Passes() if passes is None else passes,
            task.mean_output,
        )
        return {name: np.asarray(x)[0] for name, x in answer(found[None]).items()}

    return {
        "transform": lambda image: image,
        "predict_batch": batch,
        "predict_image": whole,
    }


def _of_weights(weights: Weights, passes: maps.Passes | None) -> Predictor:
    """The predictor of imported weights, which must have a classifier."""
    if weights.num_classes == 0:
        raise errors.UserError(f"{weights.file} has no classifier to predict with.")
    expected = weights.preprocessing
    placed = _transform_of(weights)

    def transform(image: np.ndarray) -> np.ndarray:
        image = placed(image)
        return image[..., ::-1] if expected.order == "BGR" else image

    task = _task_of(weights)
    if task.IS_MAP and expected.order == "BGR":
        raise errors.UserError(
            f"{weights.file} expects BGR images; maps are predicted of RGB images only."
        )
    forward = functools.partial(
        step.forward,
        model=weights.make_model(),
        normalise=functools.partial(
            augment.normalise, mean=expected.mean, std=expected.std
        ),
        precision=fastest(),
    )
    return Predictor(
        name=f"{weights.model} of {weights.file}",
        task=task,
        channels=weights.channels,
        image_size=expected.size,
        **_predictions(
            transform,
            _seen_size_of(weights),
            forward,
            task,
            jax.device_put(weights.variables),
            passes,
        ),
        step=None,
        value_range=expected.value_range,
    )


def check_imported(weights: Weights) -> None:
    """Raises UserError for a task or a transform that imported weights cannot have.

    A file from elsewhere must not name code to run, and is of no use without it.
    """
    _task_of(weights)
    _transform_of(weights)


def _transform_of(weights: Weights) -> Callable[[np.ndarray], np.ndarray]:
    """Function from an image of any size to one of the network's."""
    expected = weights.preprocessing
    if expected.transform == "crop":
        return functools.partial(
            resize_and_crop,
            size=expected.image_size,
            crop_ratio=expected.crop_ratio,
            interpolation=expected.interpolation,
        )
    known = {n: row for n, row in transforms.TRANSFORMS.items() if not row.random}
    if expected.transform not in known:
        raise errors.unknown(
            "transform of imported weights", expected.transform, ["crop", *known]
        )
    row = known[expected.transform]
    return functools.partial(row.apply, size=expected.image_size, rng=None)


def _seen_size_of(weights: Weights) -> Callable[[tuple[int, int]], tuple[int, int]]:
    """Function from the size of an image to that in which the network sees it, before
    anything is cut off."""
    expected = weights.preprocessing
    if expected.transform == "crop":
        covered = tuple(round(side / expected.crop_ratio) for side in expected.size)
        return functools.partial(transforms.cover, size=covered)
    row = transforms.find(expected.transform)
    return lambda shape: row.place(shape, expected.size, None).resized


def _task_of(weights: Weights) -> Task:
    """The task of imported weights; UserError if they do not describe one of ours."""
    names = weights.class_names or tuple(map(str, range(weights.num_classes)))
    if not weights.task:
        return TASKS[models.MODELS[weights.model].task](names)
    values = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in weights.task.items()
    }
    name = values.pop("name", None)
    if name not in tuple(TASKS):
        raise errors.unknown("task of imported weights", str(name)[:80], TASKS)
    cls = TASKS[name]
    hints = typing.get_type_hints(cls)
    fields = {field.name: hints[field.name] for field in dataclasses.fields(cls)}
    lengths = {
        len(value)
        for field, value in values.items()
        if isinstance(value, tuple) and field not in cls.LISTS
    }
    holds = values.keys() == fields.keys() and len(lengths) <= 1
    holds = holds and all(models.is_a(x, fields[field]) for field, x in values.items())
    if not holds or cls(**values).outputs != {"num_classes": weights.num_classes}:
        raise errors.UserError(
            f"{weights.file} has {weights.num_classes} outputs, which its task {name} "
            f"does not describe; it must say {', '.join(fields)}."
        )
    return cls(**values)
