"""Saliency prediction: where people look in an image.

The network gives a number for each pixel, [B, H, W, 1]. With the logarithm of the
centre bias added, its softmax over the pixels of an image is the density of fixations
that is predicted:

    p(y, x) = softmax(S(y, x) + log p_baseline(y, x))

as of DeepGaze II (Kuemmerer, Wallis and Bethge 2016, https://arxiv.org/abs/1610.01563,
section 2.1), for any network. The baseline is the density of the fixations of all
training images together, whatever they show. The paper's is a kernel density estimate;
here it is a histogram on CELLS x CELLS cells, smoothed by a Gaussian, which a run keeps
with its data set. It belongs to the whole image: to an image that is predicted in
tiles, too, but not to windows that are cut out of images by data.train_transform.

An example has counts of fixations at each pixel (a target of kind "counts"), or a map
in proportion to their density (kind "image", one channel), or both. Without a map, the
density is that of the counts, smoothed by a Gaussian of task.fixation_sigma. NSS,
AUC-Judd and the information gain need counts.

An image of which a window without fixations is seen has a loss of 0, and counts in no
metric.
"""

import base64
from collections.abc import Iterable, Mapping
import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.config import TaskConfig
from jaxcnn.errors import UserError, require, unknown
from jaxcnn.targets import Target, Targets
from jaxcnn.tasks import saliency_metrics
from jaxcnn.tasks.parts import Caption, HeatMap, Mark
from jaxcnn.tasks.task import (
    Batch,
    Column,
    Metric,
    Predicted,
    Task,
    metric_table,
    stated_numbers,
    wide,
)

CELLS = 16  # of the centre bias, along each side of an image
SMOOTHING = 1.0  # standard deviation of the Gaussian that smooths it, cells
UNIFORM = 0.01  # share of the centre bias that is the same everywhere
LOSSES = ("kl", "log_likelihood")
STATISTIC = "centre_bias"
HIGHEST = 65535  # level of the largest density in a map that is written
PLACE_SIGMAS = 2.0  # radius of a place that is looked at, in fixation_sigma
SMALLEST_SHARE = 0.01  # of all fixations at a place that is named after the first

_OF_DENSITY = ("kl", "cc", "sim")
_OF_COUNTS = ("nss", "auc_judd", "information_gain")


@dataclasses.dataclass(frozen=True)
class Saliency(Task):
    """The loss and the metrics of a predicted density of fixations.

    Attributes:
        fixations: Name of the target with the counts. None: there is none.
        maps: Name of the target with a map of the density. None: there is none.
        loss_name: "kl", the Kullback-Leibler divergence of the prediction from the
            density of fixations, or "log_likelihood", minus the mean of log p over the
            fixations of an image; each image weighs the same.
        fixation_sigma: See TaskConfig.
        centre_bias: Logarithm of the density of fixations in each cell, row by row, up
            to a constant, CELLS * CELLS numbers. (): it is the same everywhere.
    """

    METRICS: ClassVar[Mapping[str, Metric]] = metric_table(
        Metric("kl", greater_is_better=False),
        Metric("cc"),
        Metric("sim"),
        Metric("nss"),
        Metric("auc_judd"),
        Metric("information_gain"),
        Metric("loss", greater_is_better=False),
    )
    OPTIONS: ClassVar[frozenset[str]] = frozenset(
        {"loss", "fixation_sigma", "centre_bias"}
    )
    LISTS: ClassVar[frozenset[str]] = frozenset({"centre_bias"})
    IS_MAP: ClassVar[bool] = True

    fixations: str | None = "fixations"
    maps: str | None = None
    loss_name: str = "kl"
    fixation_sigma: float = 0.034
    centre_bias: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        holds = len(self.centre_bias) in (0, CELLS**2)
        rule = f"none or {CELLS**2} numbers"
        require(holds, "Length of centre_bias", len(self.centre_bias), rule)

    @classmethod
    def measure(
        cls, config: TaskConfig, targets: Targets, column: Column
    ) -> dict[str, Any]:
        """The logarithm of the density of all training fixations in each cell.

        Each image weighs the same.
        """
        if not config.centre_bias:
            return {}
        fixations, maps = _chosen(config, targets)
        cells, counted = np.zeros((CELLS, CELLS)), 0
        for value in column(maps if fixations is None else fixations):
            of_image = _in_cells(np.asarray(value))
            total = of_image.sum()
            cells += of_image / max(total, 1)
            counted += total > 0
        smooth = _kernel(CELLS, SMOOTHING)
        smooth /= smooth.sum(axis=0)  # what is near a side stays inside
        density = smooth @ cells @ smooth.T / max(counted, 1)
        density = (1 - UNIFORM) * density + UNIFORM / CELLS**2
        return {STATISTIC: np.log(density).ravel().tolist()}

    @classmethod
    def create(
        cls, config: TaskConfig, targets: Targets, statistics: Mapping[str, Any]
    ) -> "Saliency":
        """The task for a data set whose examples have fixations or maps.

        Raises:
            UserError: An option that is not allowed, or no such target.
        """
        fixations, maps = _chosen(config, targets)
        loss = config.loss or LOSSES[0]
        if loss not in LOSSES:
            raise unknown("loss", loss, LOSSES)
        rule = "'kl' for a data set that has maps, but no fixations"
        holds = fixations is not None or loss == "kl"
        require(holds, "task.loss", loss, rule)
        centre_bias: tuple[float, ...] | None = ()
        if config.centre_bias:
            centre_bias = stated_numbers(statistics, STATISTIC, CELLS**2)
        return cls(
            fixations=fixations,
            maps=maps,
            loss_name=loss,
            fixation_sigma=config.fixation_sigma,
            centre_bias=centre_bias or (),
        )

    @property
    def targets(self) -> Targets:
        found = {}
        if self.fixations is not None:
            found[self.fixations] = Target("counts", "uint16")
        if self.maps is not None:
            found[self.maps] = Target("image", "uint8", (1,))
        return found

    @property
    def outputs(self) -> dict[str, Any]:
        return {"num_classes": 1}

    def log_baseline(self, size: tuple[int, int]) -> jax.Array:
        """Logarithm of the centre bias of images of that height and width, [H, W]."""
        if not self.centre_bias:
            return jnp.full(size, -math.log(math.prod(size)))
        cells = jnp.array(self.centre_bias, float).reshape(CELLS, CELLS)
        return _normalised(jax.image.resize(cells, size, "bilinear")[None])[0]

    def log_density(self, output: jax.Array) -> jax.Array:
        """Logarithm of the predicted density: [B, H, W, 1] -> [B, H, W]."""
        logits = wide(output)[..., 0]
        return _normalised(logits + self.log_baseline(logits.shape[1:3]))

    def _seen(self, output: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """(log_density of an output, density of the fixations), both [B, H, W].

        Raises:
            UserError: The output has another shape.
        """
        size = batch[self.fixations if self.maps is None else self.maps].shape[1:3]
        gives = jax.tree.map(lambda x: [*x.shape[1:]], output)
        if gives != [*size, 1]:
            raise UserError(
                "Saliency prediction needs a network that gives one number for each "
                f"pixel of an image, {[*size, 1]}; this one gives {gives}."
            )
        log_p = self.log_density(output)
        return log_p, self.density(batch).astype(log_p.dtype)

    def density(self, batch: Batch) -> jax.Array:
        """Density of the fixations of each image, float [B, H, W], which sums to 1 over
        its pixels; 0 everywhere where there are none."""
        if self.maps is not None:
            density = batch[self.maps][..., 0].astype(float)
        else:
            density = batch[self.fixations].astype(float)
            height, width = density.shape[1:3]
            sigma = self.fixation_sigma * max(height, width)
            rows, columns = (_kernel(side, sigma) for side in (height, width))
            smooth = "yh,bhw,wx->byx"
            density = jnp.einsum(smooth, rows, density, columns, precision="highest")
        total = jnp.sum(density, (1, 2), keepdims=True)
        return density / jnp.where(total > 0, total, 1)

    def loss(self, output: jax.Array, batch: Batch) -> jax.Array:
        """[B, H, W, 1] -> float32 [B]."""
        log_p, density = self._seen(output, batch)
        if self.loss_name == "kl":
            return saliency_metrics.kl(log_p, density)
        return -saliency_metrics.log_likelihood(log_p, batch[self.fixations])

    def train_metrics(self, output: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Mean of the correlation coefficient over the images of the batch."""
        return {"cc": jnp.mean(saliency_metrics.cc(*self._seen(output, batch)))}

    def eval_sums(self, output: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        return {}

    def eval_records(self, output: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Of each image, [B]: its metrics and its loss, and "has_density" and
        "has_counts", whether there is something to predict."""
        log_p, density = self._seen(output, batch)
        found = {
            "kl": saliency_metrics.kl(log_p, density),
            "cc": saliency_metrics.cc(log_p, density),
            "sim": saliency_metrics.similarity(log_p, density),
            "loss": self.loss(output, batch),
            "has_density": jnp.any(density > 0, (1, 2)),
        }
        if self.fixations is not None:
            counts = batch[self.fixations]
            baseline = self.log_baseline(counts.shape[1:3])
            found |= {
                "nss": saliency_metrics.nss(log_p, counts),
                "auc_judd": saliency_metrics.auc_judd(log_p, counts),
                "information_gain": saliency_metrics.information_gain(
                    log_p, baseline, counts
                ),
                "has_counts": jnp.any(counts > 0, (1, 2)),
            }
        return found

    def metrics(
        self, sums: Mapping[str, np.ndarray], records: Mapping[str, np.ndarray]
    ) -> dict[str, Any]:
        """Means over the images that have something to predict, in float64.

        Returns:
            "kl" (nats), "cc", "sim" and "loss"; where there are counts of fixations,
            "nss", "auc_judd" and "information_gain" over the centre bias (bits per
            fixation); where there are such, the number of
            "images_without_fixations", which are left out. A mean of no image is NaN.
        """
        has_density = np.asarray(records["has_density"], bool)
        has_counts = np.asarray(records.get("has_counts", has_density), bool)
        of_loss = has_density if self.loss_name == "kl" else has_counts
        over = dict.fromkeys(_OF_DENSITY, has_density) | {"loss": of_loss}
        if self.fixations is not None:
            over |= dict.fromkeys(_OF_COUNTS, has_counts)
        found = {name: _mean(records[name], which) for name, which in over.items()}
        left_out = np.sum(~(has_density & has_counts))
        if left_out:
            found["images_without_fixations"] = float(left_out)
        return found

    def predict(self, output: jax.Array) -> dict[str, jax.Array]:
        """The predicted density, "density" [B, H, W], which sums to 1 over an image."""
        return {"density": jnp.exp(self.log_density(output))}

    def mean_output(self, outputs: Iterable[np.ndarray]) -> np.ndarray:
        """An output whose density is the mean of the densities of the outputs."""
        total, number = np.float32(-np.inf), 0
        for output in outputs:
            log_p = self.log_density(jnp.asarray(output)[None])[0]
            total, number = np.logaddexp(total, log_p), number + 1
        baseline = np.asarray(self.log_baseline(total.shape))
        return (total - np.float32(math.log(number)) - baseline)[..., None]

    def answer(self, predicted: Predicted, limit: int) -> dict[str, Any]:
        """The places that are looked at most, and the map.

        Returns:
            "places": up to `limit`, each {"x", "y", "share"}, pixels from the upper
            left corner and the share of all fixations that fall within PLACE_SIGMAS of
            fixation_sigma of it, and within those of no place before it. Each is a
            local maximum of the density, the largest first, and those after the first
            have a share of at least SMALLEST_SHARE.
            "height" and "width"; "peak", the largest density; "levels", the density
            row by row in base64, of each pixel round(65535 * density / peak) as
            a little-endian uint16.
        """
        density = np.asarray(predicted["density"], np.float64)
        levels = _levels(density).astype("<u2")
        return {
            "places": self._places(density, limit),
            "height": density.shape[0],
            "width": density.shape[1],
            "peak": float(density.max()),
            "levels": base64.b64encode(levels.tobytes()).decode("ascii"),
        }

    def _places(self, density: np.ndarray, limit: int) -> list[dict[str, float]]:
        """The places of answer."""
        left, found = density.copy(), []
        peaks = np.where(_is_peak(density), density, 0)
        radius = PLACE_SIGMAS * self.fixation_sigma * max(density.shape)
        rows, columns = np.ogrid[: density.shape[0], : density.shape[1]]
        while len(found) < limit and peaks.max() > 0:
            y, x = np.unravel_index(np.argmax(peaks), peaks.shape)
            near = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
            share = float(left[near].sum())
            if found and share < SMALLEST_SHARE:
                break
            found.append({"x": float(x) + 0.5, "y": float(y) + 0.5, "share": share})
            left[near] = peaks[near] = 0
        return found

    def rows(self, answer: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [
            {"x": f"{p['x']:g}", "y": f"{p['y']:g}", "share": f"{p['share']:.6f}"}
            for p in answer["places"]
        ]

    def cells(self, answer: Mapping[str, Any]) -> list[str]:
        return [
            f"({p['x']:.0f}, {p['y']:.0f}) {p['share']:.1%}" for p in answer["places"]
        ]

    def titles(self, number: int) -> list[str]:
        return ["most looked at: (x, y), share", *super().titles(number)[1:]]

    def marks(self, answer: Mapping[str, Any]) -> list[Mark]:
        """The map over the image, its places in their order, and their shares."""
        levels = np.frombuffer(base64.b64decode(answer["levels"]), "<u2")
        levels = levels.reshape(answer["height"], answer["width"])
        places = [(place["y"], place["x"]) for place in answer["places"]]
        cells = enumerate(self.cells(answer), start=1)
        return [
            HeatMap(levels.astype(np.uint16), places),
            *(Caption(f"{number}: {text}") for number, text in cells),
        ]

    def truth(self, example: Mapping[str, Any]) -> tuple[np.ndarray, list[Mark]]:
        """The image, and the density of its fixations over it."""
        batch = {name: jnp.asarray(example[name])[None] for name in self.targets}
        return example["image"], [HeatMap(_levels(np.asarray(self.density(batch)[0])))]

    def spread(self, predicted: Predicted) -> dict[str, str]:
        """The place that is looked at most."""
        (place,) = self._places(np.asarray(predicted["density"], np.float64), 1)
        return {name: f"{value:.6g}" for name, value in place.items()}

    def caption(self, example: Mapping[str, Any]) -> str:
        """The number of fixations."""
        if self.fixations is None:
            return ""
        return f"{int(np.asarray(example[self.fixations]).sum())} fixations"


def _chosen(config: TaskConfig, targets: Targets) -> tuple[str | None, str | None]:
    """Names of the targets with counts and with maps, one of which may be missing.

    Raises:
        UserError: The data set has neither, or several of one kind.
    """
    counts = [n for n, t in targets.items() if t.kind == "counts" and t.shape == ()]
    maps = [n for n, t in targets.items() if t.kind == "image" and t.shape == (1,)]
    if config.target is not None:
        fitting = [*counts, *maps]
        require(config.target in fitting, "task.target", config.target, f"in {fitting}")
        counts, maps = ([n for n in x if n == config.target] for x in (counts, maps))
    if not counts + maps or max(len(counts), len(maps)) > 1:
        have = ", ".join(f"{n} ({t.kind})" for n, t in targets.items()) or "none"
        raise UserError(
            "Saliency prediction needs one target of kind 'counts' (fixations at each "
            "pixel) or of kind 'image' with one channel (a map of their density), or "
            f"one of each; the data set has {have}. task.target chooses one."
        )
    return (counts or [None])[0], (maps or [None])[0]


def _in_cells(values: np.ndarray) -> np.ndarray:
    """Sums of what lies in each of CELLS x CELLS cells of a map [H, W] or [H, W, 1]."""
    values = values.reshape(values.shape[:2])
    places = np.argwhere(values)
    rows, columns = ((2 * places + 1) * CELLS // (2 * np.array(values.shape))).T
    weights = values[tuple(places.T)]
    cells = np.bincount(rows * CELLS + columns, weights, minlength=CELLS**2)
    return cells.reshape(CELLS, CELLS)


def _levels(density: np.ndarray) -> np.ndarray:
    """Levels in proportion to a density, uint16 [H, W], HIGHEST for the largest."""
    peak = density.max()
    return np.round(HIGHEST * (density / (peak or 1))).astype(np.uint16)


def _is_peak(values: np.ndarray) -> np.ndarray:
    """Whether none of the eight neighbours of a pixel is larger, bool [H, W]."""
    height, width = values.shape
    around = np.pad(values, 1)
    return np.all(
        [
            values >= around[y : y + height, x : x + width]
            for y in range(3)
            for x in range(3)
        ],
        axis=0,
    )


def _kernel(side: int, sigma: float) -> np.ndarray:
    """Values of a Gaussian for each pair of pixels of a line, float64 [side, side]."""
    distance = np.arange(side)[:, None] - np.arange(side)
    return np.exp(-0.5 * np.square(distance / sigma))


def _normalised(logits: jax.Array) -> jax.Array:
    """The logarithm of the softmax over the pixels of each image, [B, H, W]."""
    return logits - jax.nn.logsumexp(logits, (1, 2), keepdims=True)


def _mean(values: np.ndarray, which: np.ndarray) -> float:
    """The mean of those that count; NaN if none does."""
    chosen = np.asarray(values, np.float64)[which]
    return float(chosen.mean()) if len(chosen) else math.nan
