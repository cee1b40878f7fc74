"""Cross-validation: each image is predicted by a network that has not seen it.

Kohavi, "A Study of Cross-Validation and Bootstrap for Accuracy Estimation and Model
Selection", IJCAI 1995, https://www.ijcai.org/Proceedings/95-2/Papers/016.pdf, sec. 2.2:
stratified folds, each held out once, of all images but those of the test split. Nothing
is chosen by the images that are held out: each network trains to the last step of its
run and is measured as it is then.

All folds have the same step, compiled once for each set of parameters that is trained.
What it holds of the data is that of the smallest training part: the number of steps,
the weights of classes, and the mean and standard deviation of pixels, which are those
of the data set. Other parts are larger by one image at most.
"""

from collections.abc import Callable
import contextlib
import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn import model_selection

from jaxcnn import config_fields, data, models
from jaxcnn.config import Config
from jaxcnn.data import pipeline
from jaxcnn.data.examples import Dataset, Joined, Subset, path_of
from jaxcnn.errors import UserError, require
from jaxcnn.studies import study
from jaxcnn.training import (
    evaluation,
    feature_cache,
    loop,
    micro_batch,
    parallel,
    setup,
)
from jaxcnn.training import step as step_lib
from jaxcnn.training.signals import StopRequest
from jaxcnn.training.state import TrainState

_POOLED = ("train", "validation")  # splits


@dataclasses.dataclass(frozen=True)
class Fold:
    """What a network said of the images that it had not seen.

    Attributes:
        metrics: Of the task, single numbers.
        indices: int64 [N], which images of the pool.
        predicted: int32 [N], class of the largest logit.
        probabilities: float32 [N, K].
    """

    metrics: dict[str, float]
    indices: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray


@dataclasses.dataclass(frozen=True)
class CrossValidation:
    """All folds that are finished.

    Attributes:
        class_names: Name of each class.
        num_folds: Of the whole study.
        folds: Those that are finished, by number from 0.
        images: Of each image of the pool its path, or its split and index.
        labels: int32 [N], of each image of the pool.
        stopped_by: Number of the signal that stopped it; None when it is done.
    """

    class_names: tuple[str, ...]
    num_folds: int
    folds: dict[int, Fold]
    images: tuple[str, ...]
    labels: np.ndarray
    stopped_by: int | None

    def values(self, metric: str) -> np.ndarray:
        """float64 [F], a metric of each finished fold."""
        return np.array([fold.metrics[metric] for fold in self.folds.values()])

    @property
    def confusion(self) -> np.ndarray:
        """int64 [K, K], images of each class (row) put in each (column)."""
        num_classes = len(self.class_names)
        counts = np.zeros((num_classes, num_classes), np.int64)
        for fold in self.folds.values():
            np.add.at(counts, (self.labels[fold.indices], fold.predicted), 1)
        return counts


def cross_validate(
    config: Config,
    num_folds: int,
    output: Path,
    *,
    on_fold: Callable[[int, Fold], None] = lambda number, fold: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> CrossValidation:
    """Trains and measures one network a fold; finished ones are kept.

    Args:
        config: Of each network; all start from the same parameters.
        num_folds: Into how many parts the images are cut.
        output: Where finished folds are kept; the same call goes on with them.
        on_fold: Called as on_fold(number, fold) for each fold, as soon as it is known.
        progress: Called as progress(steps taken, steps of all folds).

    Raises:
        UserError: A mistake in config or data; a class with fewer images than folds;
            the folder holds another study.
        FloatingPointError: A loss is no longer finite.
    """
    require(num_folds >= 2, "folds", num_folds, "at least 2")
    config_fields.check_types(config)
    if config.early_stopping_patience is not None:
        raise UserError(
            "early_stopping_patience must be None in cross-validation, not "
            f"{config.early_stopping_patience}: the images that are held out would "
            "choose when to stop."
        )
    dataset = data.load(config.data)
    pool = Joined(tuple(dataset.splits[split] for split in _POOLED))
    labels = np.asarray(pool.labels)
    _check_classes(labels, dataset, num_folds)
    splitter = model_selection.StratifiedKFold(
        num_folds, shuffle=True, random_state=config.data.split_seed
    )
    parts = list(splitter.split(np.zeros(len(labels)), labels))
    cuts = [
        dataclasses.replace(
            dataset,
            splits={"train": Subset(pool, seen), "validation": Subset(pool, unseen)},
        )
        for seen, unseen in parts
    ]
    smallest = min(cuts, key=lambda cut: len(cut.splits["train"]))
    run = setup.prepare(config, dataset=smallest)
    run.check_training()
    if config.cache_features:
        _check_cache(run)
    run, _ = micro_batch.settle(run)
    study.claim(
        output,
        run.config,
        verb="cross_validate",
        folds=num_folds,
        fingerprint=dataset.fingerprint,
    )

    folds: dict[int, Fold] = {}
    train_fold = None
    with StopRequest() as stop:
        for number, (_, unseen) in enumerate(parts):
            path = output / f"fold{number + 1}.npz"
            fold = _read(path)
            if fold is None:
                if train_fold is None:  # compiles, which finished folds do not need
                    train_fold = _trainer(run, pool, stop, num_folds, progress)
                fold = train_fold(number, cuts[number], unseen)
                if fold is None:
                    break
                _write(path, fold)
            folds[number] = fold
            on_fold(number, fold)
        return CrossValidation(
            class_names=tuple(dataset.class_names),
            num_folds=num_folds,
            folds=folds,
            images=tuple(
                path_of(examples, i) or f"{split}[{i}]"
                for split, examples in zip(_POOLED, pool.parts, strict=True)
                for i in range(len(examples))
            ),
            labels=labels,
            stopped_by=stop.received,
        )


def _check_classes(labels: np.ndarray, dataset: Dataset, num_folds: int) -> None:
    """Raises UserError unless each class has an image for each fold."""
    names = dataset.class_names
    pipeline.check_labels(labels, len(names), "train")
    counts = np.bincount(labels, minlength=len(names))
    if counts.min() < num_folds:
        raise UserError(
            f"Class {names[int(counts.argmin())]!r} has {counts.min()} images besides "
            f"those of the test split; {num_folds} folds need at least {num_folds}."
        )


def _check_cache(run: setup.Setup) -> None:
    """Raises UserError where the folds cannot share features."""
    feature_cache.check(run)
    if models.MODELS[run.config.model].imprint is not None:
        raise UserError(
            f"cache_features is not possible in cross-validation: {run.config.model} "
            "has other features for other training images."
        )


def _trainer(
    run: setup.Setup,
    pool: Joined,
    stop: StopRequest,
    num_folds: int,
    progress: Callable[[int, int], None],
) -> Callable[[int, Dataset, np.ndarray], Fold | None]:
    """train(number, dataset, indices held out) -> Fold; None where it was stopped."""
    initial = run.init_state()
    features = None
    if run.config.cache_features:
        run = feature_cache.cached(run, initial, None, {"train": pool})
        features = run.dataset.splits["train"]
    steps: dict[int, jax.stages.Compiled] = {}
    measure = functools.partial(_measure, run=run)
    measure = parallel.jit_eval(measure, run.mesh, run.compiler_options)

    def train(number: int, dataset: Dataset, unseen: np.ndarray) -> Fold | None:
        def after_step(done: int, state: TrainState, metrics: Any) -> bool:
            if done % run.config.log_every_steps == 0 or done == run.num_steps:
                loop.check_loss(done, float(metrics["loss"]))
            progress(number * run.num_steps + done, num_folds * run.num_steps)
            return stop.received is not None

        if features is not None:
            splits = {
                name: features.take(part.indices)
                for name, part in dataset.splits.items()
            }
            dataset = dataclasses.replace(dataset, splits=splits)
        fold_run = dataclasses.replace(run, dataset=dataset)
        if models.MODELS[run.config.model].imprint is None:
            state = jax.tree.map(jnp.copy, initial)  # the step consumes its state
        else:  # it looks at training images
            state = fold_run.init_state()
        with contextlib.closing(fold_run.train_batches(None, 0)) as batches:
            for before, after in run.phases(0):
                state = run.enter(state, before)
                if before not in steps:
                    steps[before] = run.compile_train_step(state, before)
                state = loop.train(
                    state,
                    batches,
                    run.run_key,
                    step=steps[before],
                    num_steps=after,
                    after_step=after_step,
                )
                if stop.received is not None:
                    return None
        state = fold_run.averager(None)(state)
        return _predict(fold_run, measure, state.averaged, unseen)

    return train


def _measure(
    variables: dict[str, Any], batch: dict[str, jax.Array], *, run: setup.Setup
) -> dict[str, Any]:
    """The task's sums over a batch, and what is said of each of its images."""
    logits = step_lib.forward(
        variables, batch["image"], model=run.model, **run.numerics
    )
    return {
        "sums": run.task.eval_sums(logits, batch),
        "predicted": jnp.argmax(logits, axis=-1),
        "probabilities": jax.nn.softmax(logits, axis=-1),
        "weight": batch["weight"],
    }


def _predict(
    run: setup.Setup,
    measure: Callable[..., dict[str, Any]],
    variables: dict[str, Any],
    indices: np.ndarray,
) -> Fold:
    """Measures the validation split of a fold, without images that are unreadable."""
    said: list[dict[str, Any]] = []

    def step(variables: dict[str, Any], batch: dict[str, jax.Array]) -> dict[str, Any]:
        said.append(measure(variables, batch))
        return said[-1].pop("sums")

    batches = run.eval_batches("validation", None)
    metrics = evaluation.evaluate(
        step, variables, batches, task=run.task, mesh=run.mesh
    )
    whole = {
        name: np.concatenate([np.asarray(batch[name]) for batch in said])[
            : len(indices)
        ]
        for name in said[0]
    }
    readable = whole["weight"] == 1
    return Fold(
        metrics=loop.scalars(metrics),
        indices=indices[readable],
        predicted=whole["predicted"][readable].astype(np.int32),
        probabilities=whole["probabilities"][readable].astype(np.float32),
    )


def _write(path: Path, fold: Fold) -> None:
    """Whole or not at all."""
    unfinished = path.with_suffix(".tmp")
    with unfinished.open("wb") as file:
        arrays = dataclasses.asdict(fold) | {"metrics": json.dumps(fold.metrics)}
        np.savez(file, **arrays)
    unfinished.replace(path)


def _read(path: Path) -> Fold | None:
    """A finished fold; None where there is none."""
    if not path.exists():
        return None
    with np.load(path) as arrays:
        values = dict(arrays)
    return Fold(**values | {"metrics": json.loads(str(values["metrics"]))})
