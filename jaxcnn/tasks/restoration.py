"""Restoration: from an image to an image, such as denoising.

The clean image is a target of kind "image", or, where the data set has none, the image
itself before it is corrupted (see corruptions.py): in the step, on the device, with
new random numbers in each step of training. In evaluation they depend on the image
alone, so that its numbers are the same with any batch size and on any devices. Without
a corruption either, a network learns to reproduce its input, as an autoencoder does.

Networks see images normalised as those of any task; what they give is in [0, 1], 0
black and 1 white. A network that adds its output to its input, such as DnCNN, is made
for images on that scale, too (Variant.scale).

The metrics are of what `predict` gives: levels of 8 bits, clipped to [0, 255].
"""

import base64
from collections.abc import Callable, Mapping
import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.config import TaskConfig
from jaxcnn.errors import UserError, require, unknown
from jaxcnn.targets import Target, Targets
from jaxcnn.tasks import similarity
from jaxcnn.tasks.corruptions import CORRUPTIONS
from jaxcnn.tasks.parts import Mark, Picture
from jaxcnn.tasks.task import (
    Batch,
    Metric,
    Predicted,
    Task,
    metric_table,
    only_target,
)

CLEAN = "clean"  # entry of a batch: the image before it was corrupted
RESTORED = "restored"  # what is predicted

# Loss of each example: called as loss(output, clean), both [B, H, W, C] in [0, 1].
LOSSES: Mapping[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "squared": lambda output, clean: jnp.mean(
        jnp.square(output - clean), axis=(1, 2, 3)
    ),
    "absolute": lambda output, clean: jnp.mean(jnp.abs(output - clean), axis=(1, 2, 3)),
    "ssim": lambda output, clean: 1 - similarity.ssim(output, clean),
}


@dataclasses.dataclass(frozen=True)
class Restoration(Task):
    """The loss and the metrics of a restored image.

    Attributes:
        channels: Channels of the restored image, 1 grey or 3 RGB.
        target: Name of the target of kind "image", uint8 [H, W, channels]. None: the
            image itself before it is corrupted.
        loss_name: A name in LOSSES.
        corruption: A name in CORRUPTIONS.
        lowest_level: Lowest level of the corruption.
        highest_level: Highest level of it, see corruptions.Corruption.
    """

    METRICS: ClassVar[Mapping[str, Metric]] = metric_table(
        Metric("psnr"), Metric("ssim"), Metric("loss", greater_is_better=False)
    )
    OPTIONS: ClassVar[frozenset[str]] = frozenset(
        {"loss", "corruption", "corruption_level"}
    )
    IS_MAP: ClassVar[bool] = True

    channels: int = 3
    target: str | None = None
    loss_name: str = "squared"
    corruption: str = "none"
    lowest_level: float = 0.0
    highest_level: float = 0.0

    @classmethod
    def create(
        cls, config: TaskConfig, targets: Targets, statistics: Mapping[str, Any]
    ) -> "Restoration":
        """The task for a data set.

        Raises:
            UserError: An option that is not allowed, or a target that is no image.
        """
        loss = config.loss or next(iter(LOSSES))
        if loss not in LOSSES:
            raise unknown("loss", loss, LOSSES)
        if config.corruption not in CORRUPTIONS:
            raise unknown("task.corruption", config.corruption, CORRUPTIONS)
        row = CORRUPTIONS[config.corruption]
        levels = config.corruption_level or (row.level,)
        rule = "(), (level,) or (lowest, highest)"
        holds = len(levels) <= 2
        require(holds, "task.corruption_level", config.corruption_level, rule)
        row.check(config.corruption, levels[0], levels[-1])
        name, channels = config.target, cls.channels
        if name is not None or any(t.kind == "image" for t in targets.values()):
            name = only_target(config, targets, "image")
            channels = _channels(name, targets[name])
        return cls(
            channels=channels,
            target=name,
            loss_name=loss,
            corruption=config.corruption,
            lowest_level=float(levels[0]),
            highest_level=float(levels[-1]),
        )

    def for_channels(self, channels: int) -> "Restoration":
        """The task for images of that many channels; a target has those of its own."""
        if self.target is not None:
            return self
        return dataclasses.replace(self, channels=channels)

    @property
    def targets(self) -> Targets:
        if self.target is None:
            return {}
        return {self.target: Target("image", "uint8", (self.channels,))}

    @property
    def outputs(self) -> dict[str, Any]:
        return {"num_classes": self.channels}

    def inputs(self, batch: Batch, keys: jax.Array) -> dict[str, jax.Array]:
        """The batch with corrupted images, float, and CLEAN, both in [0, 255].

        Raises:
            UserError: Images of a size that cannot be corrupted or measured.
        """
        images = batch["image"].astype(float)
        similarity.check_size(images.shape)
        clean = images if self.target is None else batch[self.target]
        images = CORRUPTIONS[self.corruption](
            images, keys, self.lowest_level, self.highest_level
        )
        return {**batch, "image": images, CLEAN: clean}

    def _clean(self, output: jax.Array, batch: Batch) -> jax.Array:
        """The clean images in [0, 1], [B, H, W, C]; UserError if the network gives
        images of another shape."""
        clean = batch[CLEAN]
        if getattr(output, "shape", None) != clean.shape:
            gives = jax.tree.map(lambda x: [*x.shape[1:]], output)
            raise UserError(
                "A restoration needs a network that gives an image "
                f"{[*clean.shape[1:]]}; this one gives {gives}."
            )
        return clean.astype(output.dtype) / 255

    def loss(self, output: jax.Array, batch: Batch) -> jax.Array:
        """[B, H, W, C] -> float32 [B]."""
        return LOSSES[self.loss_name](output, self._clean(output, batch))

    def train_metrics(self, output: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Mean PSNR of the images of the batch."""
        quality = similarity.psnr(_seen(output), self._clean(output, batch))
        return {"psnr": jnp.mean(quality)}

    def eval_sums(self, output: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        return {}

    def eval_records(self, output: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Of each image, [B]: loss, psnr and ssim, and those of the network's input
        where that has as many channels."""
        clean = self._clean(output, batch)
        restored = _seen(output)
        found = {
            "loss": self.loss(output, batch),
            "psnr": similarity.psnr(restored, clean),
            "ssim": similarity.ssim(restored, clean),
        }
        corrupted = batch["image"].astype(output.dtype) / 255
        if corrupted.shape == clean.shape:
            found["input_psnr"] = similarity.psnr(corrupted, clean)
            found["input_ssim"] = similarity.ssim(corrupted, clean)
        return found

    def metrics(
        self, sums: Mapping[str, np.ndarray], records: Mapping[str, np.ndarray]
    ) -> dict[str, Any]:
        """Means over the images, in float64, of "psnr" (dB), "ssim" and "loss", and of
        "input_psnr" and "input_ssim" of what the network was given."""
        return {name: float(np.mean(x, dtype=float)) for name, x in records.items()}

    def predict(self, output: jax.Array) -> dict[str, jax.Array]:
        """The restored images, uint8 [B, H, W, C]."""
        return {RESTORED: _levels(output).astype(jnp.uint8)}

    def answer(self, predicted: Predicted, limit: int) -> dict[str, Any]:
        """The size of the restored image and its pixels.

        Returns:
            "height", "width" and "channels"; "pixels", the grey levels of 8 bits row by
            row, of each pixel those of its channels, in base64.
        """
        image = predicted[RESTORED]
        sizes = dict(zip(("height", "width", "channels"), image.shape, strict=True))
        return {**sizes, "pixels": base64.b64encode(image.tobytes()).decode("ascii")}

    def rows(self, answer: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [{name: answer[name] for name in ("height", "width", "channels")}]

    def cells(self, answer: Mapping[str, Any]) -> list[str]:
        colours = "grey" if answer["channels"] == 1 else "RGB"
        return [f"{answer['height']} x {answer['width']} pixels, {colours}"]

    def titles(self, number: int) -> list[str]:
        return ["restored, height x width"]

    def marks(self, answer: Mapping[str, Any]) -> list[Mark]:
        levels = np.frombuffer(base64.b64decode(answer["pixels"]), np.uint8)
        shape = (answer["height"], answer["width"], answer["channels"])
        return [Picture(levels.reshape(shape))]

    def spread(self, predicted: Predicted) -> dict[str, str]:
        """The mean grey level: an image has no place in a row."""
        return {"mean_level": f"{predicted[RESTORED].mean():.6g}"}

    def caption(self, example: Mapping[str, Any]) -> str:
        return ""

    def truth(self, example: Mapping[str, Any]) -> tuple[np.ndarray, list[Mark]]:
        return np.round(example[CLEAN]).astype(np.uint8), []


def _channels(name: str, target: Target) -> int:
    """The channels of a target; UserError unless it holds images of 8 bits."""
    if target.dtype != "uint8" or target.shape not in ((1,), (3,)):
        raise UserError(
            "A restoration needs a target of uint8 images with 1 or 3 channels; "
            f"{name!r} is {target.dtype} of shape {target.shape} at each pixel."
        )
    return target.shape[0]


def _levels(output: jax.Array) -> jax.Array:
    """What a network gives as whole grey levels from 0 to 255, of the same dtype."""
    return jnp.round(jnp.clip(output, 0, 1) * 255)


def _seen(output: jax.Array) -> jax.Array:
    """The restored images as they are written, in [0, 1]."""
    return _levels(output) / 255
