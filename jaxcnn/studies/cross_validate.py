"""Cross-validation: each image is predicted by a network that has not seen it.

Kohavi, "A Study of Cross-Validation and Bootstrap for Accuracy Estimation and Model
Selection", IJCAI 1995, https://www.ijcai.org/Proceedings/95-2/Papers/016.pdf, sec. 2.2:
stratified folds, each held out once, of all images except those of the test split. They
are not stratified for a task without strata. Nothing is selected by the images that are
held out: each network trains to the last step of its run and is then evaluated.

The fold of an image goes by the hash of its name, see data.splits.folds; for data sets
that are fixed lists, folds are those of scikit-learn.

All folds share one step, compiled once for each set of trained parameters. The values
in it that depend on the data are those of the fold with the fewest training images: the
number of steps and the weights of classes. The mean and standard deviation of pixels
are those of the data set. Other folds have few training images more: one for each class
or, with data.groups, as many as groups differ in size.

Of the images that a fold trains on, data.num_per_class keeps as many of each class as
in a run.
"""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn import model_selection

from jaxcnn import config_fields, data, models, npz_files, tasks
from jaxcnn.config import Config
from jaxcnn.data import groups, splits
from jaxcnn.data.examples import (
    Dataset,
    Examples,
    Joined,
    Subset,
    names_of,
    path_of,
)
from jaxcnn.errors import UserError, require
from jaxcnn.studies import study
from jaxcnn.tasks import Task
from jaxcnn.training import (
    begin,
    divergence,
    evaluation,
    feed,
    loop,
    parallel,
    prepare,
)
from jaxcnn.training import step as step_lib
from jaxcnn.training.evaluation import Measured, Totals
from jaxcnn.training.run import Run
from jaxcnn.training.signals import Stopped, StopRequest
from jaxcnn.training.state import TrainState

_POOLED = ("train", "validation")  # splits


@dataclasses.dataclass(frozen=True)
class Fold:
    """The results of a network on the images that it has not seen.

    Attributes:
        indices: Indices of these images in the pool, int64 [N].
        totals: Sums and records of the task over them.
        predicted: Predictions of the task for each of them, arrays [N, ...].
        metrics: Metrics of the task that are single numbers.
    """

    indices: np.ndarray
    totals: Totals
    predicted: Mapping[str, np.ndarray]
    metrics: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class CrossValidation:
    """All finished folds.

    Attributes:
        task: Task of the networks.
        num_folds: Number of folds of the whole study.
        folds: Finished folds, by number from 0.
        images: Path of each image of the pool, or its split and index.
        captions: Target of each image of the pool, in words.
        stopped_by: Number of the signal that stopped the study. None: it is complete.
    """

    task: Task
    num_folds: int
    folds: Mapping[int, Fold]
    images: Sequence[str]
    captions: Sequence[str]
    stopped_by: int | None

    def values(self, metric: str) -> np.ndarray:
        """A metric of each finished fold, float64 [F]."""
        return np.array([fold.metrics[metric] for fold in self.folds.values()])

    @property
    def pooled(self) -> Measured:
        """The metrics of all finished folds together, in which each image counts
        once."""
        totals = [fold.totals for fold in self.folds.values()]
        names, records = totals[0].sums, totals[0].records
        return evaluation.measured(
            Totals(
                sums={name: sum(t.sums[name] for t in totals) for name in names},
                records={
                    name: np.concatenate([t.records[name] for t in totals])
                    for name in records
                },
                num_examples=sum(t.num_examples for t in totals),
            ),
            self.task,
        )


def cross_validate(
    config: Config,
    num_folds: int,
    output: Path,
    *,
    on_fold: Callable[[int, Fold], None] = lambda number, fold: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    say: Callable[[str], None] = lambda line: None,
) -> CrossValidation:
    """Trains and evaluates one network per fold; finished folds are kept.

    Args:
        config: Config of every fold's run; all start from the same parameters.
        num_folds: Number of folds.
        output: Folder of the finished folds. The same call resumes a stopped study.
        on_fold: Callback, called as on_fold(number, fold) after each fold.
        progress: Callback, called as progress(steps taken, steps of all folds).
        say: Callback, called with a line about each file that is damaged.

    Raises:
        UserError: The config or data has a mistake, a stratum has fewer images than
            folds, or the folder holds another study.
        DivergedError: A loss is not finite.
    """
    require(num_folds >= 2, "folds", num_folds, "at least 2")
    config_fields.check(config)
    if config.early_stopping_patience is not None:
        raise UserError(
            "early_stopping_patience must be None in cross-validation, not "
            f"{config.early_stopping_patience}: the images that are held out would "
            "determine when to stop."
        )
    dataset = data.load(config.data)
    pool = Joined(tuple(dataset.splits[split] for split in _POOLED))
    columns = {name: pool.column(name) for name in dataset.info.targets}
    parts = _parts(config, dataset, columns, num_folds, names_of(pool))
    cuts = [
        dataset.with_splits(
            {"train": Subset(pool, seen), "validation": Subset(pool, unseen)}
        )
        for seen, unseen in parts
    ]
    smallest = min(cuts, key=lambda cut: len(cut.splits["train"]))
    run = prepare.prepare(config, dataset=smallest)
    prepare.check_training(run)
    if config.cache_features:
        _check_cache(run)
    study.claim(
        output,
        run.config,
        verb="cross_validate",
        folds=num_folds,
        fingerprint=dataset.info.fingerprint,
    )

    folds: dict[int, Fold] = {}
    train_fold = None
    with StopRequest() as stop:
        for number, (_, unseen) in enumerate(parts):
            path = output / f"fold{number + 1}.npz"
            fold = _read(path, run.task, say)
            if fold is None:
                try:
                    if train_fold is None:  # not needed if all folds are finished
                        train_fold = _trainer(run, pool, stop, num_folds, progress)
                    fold = train_fold(number, cuts[number], unseen)
                except Stopped:
                    break
                _write(path, fold)
            folds[number] = fold
            on_fold(number, fold)
        return CrossValidation(
            task=run.task,
            num_folds=num_folds,
            folds=folds,
            images=[
                path_of(examples, i) or f"{split}[{i}]"
                for split, examples in zip(_POOLED, pool.parts, strict=True)
                for i in range(len(examples))
            ],
            captions=[
                run.task.caption({name: column[i] for name, column in columns.items()})
                for i in range(len(pool))
            ],
            stopped_by=stop.received,
        )


def _parts(
    config: Config,
    dataset: Dataset,
    columns: Mapping[str, np.ndarray],
    num_folds: int,
    example_names: Sequence[str] | None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns (training images, images that are held out) of each fold.

    Args:
        config: Config of every fold's run.
        dataset: The data set.
        columns: Name of each target -> its values for the pool, [N, ...].
        num_folds: Number of folds.
        example_names: Name of each image of the pool; None: they have none.

    Raises:
        UserError: A stratum, or the whole pool, has fewer images than folds, or what
            is trained on has fewer of a stratum than data.num_per_class.
    """
    targets = dataset.info.targets
    for name, column in columns.items():
        targets[name].check(column, "train")
    cls = tasks.find(config.task)
    statistics = cls.measure(config.task, targets, columns.__getitem__)
    task = cls.create(config.task, targets, statistics)
    strata, names = task.strata(columns.__getitem__), task.strata_names
    number, per_class = len(next(iter(columns.values()))), config.data.num_per_class
    if example_names is None:
        parts = _positional(number, num_folds, strata, names, config.data.split_seed)
    else:
        if config.data.groups is None:
            units = splits.apart(example_names, strata, num_folds)
        else:
            units = groups.of_names(example_names, config.data.groups)
        keys = splits.hashes(units, config.data.split_seed, "fold")
        fold_of = splits.folds(keys, num_folds, strata=strata, names=names)
        parts = [
            (np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold))
            for fold in range(num_folds)
        ]
    if per_class is None:
        return parts
    if strata is None:
        strata = np.zeros(number, int)
    return [
        (seen[_few(config, strata, names, example_names, seen)], unseen)
        for seen, unseen in parts
    ]


def _few(
    config: Config,
    strata: np.ndarray,
    names: Sequence[str],
    example_names: Sequence[str] | None,
    seen: np.ndarray,
) -> np.ndarray:
    """Which of the images that a fold sees it keeps, by data.num_per_class."""
    if example_names is not None:
        example_names = [example_names[i] for i in seen]
    number = config.data.num_per_class
    return splits.few_indices(strata[seen], names, number, config.seed, example_names)


def _positional(
    number: int,
    num_folds: int,
    strata: np.ndarray | None,
    names: Sequence[str],
    seed: int,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Folds of scikit-learn, for a data set that is a fixed list."""
    fold = {"n_splits": num_folds, "shuffle": True, "random_state": seed}
    if strata is None:
        require(number >= num_folds, "folds", num_folds, f"at most {number} images")
        return list(model_selection.KFold(**fold).split(np.zeros(number)))
    counts = np.bincount(strata, minlength=len(names))
    if counts.min() < num_folds:
        raise splits.too_few(names, counts, int(counts.argmin()), num_folds)
    splitter = model_selection.StratifiedKFold(**fold)
    return list(splitter.split(np.zeros(number), strata))


def _check_cache(run: Run) -> None:
    """Raises UserError if the folds cannot share features."""
    if models.imprint(run.model) is not None:
        raise UserError(
            f"cache_features is not possible in cross-validation: the features of "
            f"{run.config.model} depend on the training images."
        )


def _trainer(
    run: Run,
    pool: Joined,
    stop: StopRequest,
    num_folds: int,
    progress: Callable[[int, int], None],
) -> Callable[[int, Dataset, np.ndarray], Fold]:
    """Returns train(number, dataset, indices held out) -> Fold, which raises Stopped
    after a signal."""
    with stop.interruptible():
        started = begin.begin(run, cached={"train": pool})
        started.batches.close()
    run, initial = started.run, started.state
    features = run.dataset.splits["train"] if run.has_features else None
    steps: dict[int, jax.stages.Compiled] = {}
    measure = functools.partial(_measure, run=run)
    measure = parallel.jit_eval(measure, run.mesh, run.compiler_options)

    def train(number: int, dataset: Dataset, unseen: np.ndarray) -> Fold:
        def after_step(done: int, state: TrainState, metrics: Any) -> bool:
            if done % run.config.log_every_steps == 0 or done == run.num_steps:
                divergence.check(fold_run, state, None)
            progress(number * run.num_steps + done, num_folds * run.num_steps)
            return stop.received is not None

        chosen: Mapping[str, Examples] = dataset.splits
        if features is not None:
            chosen = {n: features.take(part.indices) for n, part in chosen.items()}
        fold_run = dataclasses.replace(
            run, dataset=dataclasses.replace(run.dataset, splits=chosen)
        )
        if models.imprint(run.model) is None:
            state = jax.tree.map(jnp.copy, initial)  # the step consumes its state
        else:  # the initial state depends on training images
            state = begin.init_state(fold_run)
        with contextlib.closing(feed.train_batches(fold_run, None, 0)) as batches:
            for before, after in run.phases(0):
                state = run.extend_optimizer_state(state, before)
                if before not in steps:
                    steps[before] = run.compile_train_step(state, before)
                state = loop.train(
                    state,
                    stop.each(batches),
                    run.run_key,
                    step=steps[before],
                    ahead=loop.steps_ahead(steps[before]),
                    num_steps=after,
                    after_step=after_step,
                )
        with stop.interruptible():
            state = evaluation.average_finisher(fold_run, None)(state)
            return _predict(fold_run, measure, state.averaged, unseen)

    return train


def _measure(
    variables: dict[str, Any], batch: dict[str, jax.Array], *, run: Run
) -> dict[str, Any]:
    """What a batch adds to an evaluation, and the prediction for each of its images."""
    batch = step_lib.evaluated(batch, run.task)
    output = run.forward(variables, batch["image"])
    predicted = run.task.predict(output)
    result = step_lib.eval_result(run.task, output, batch)
    records = {f"predicted/{name}": x for name, x in predicted.items()}
    return {**result, "records": {**result["records"], **records}}


def _predict(
    run: Run,
    measure: Callable[..., dict[str, Any]],
    variables: dict[str, Any],
    indices: np.ndarray,
) -> Fold:
    """Evaluates the validation split of a fold, without unreadable images."""
    readable = []

    def batches() -> Any:
        for batch in feed.eval_batches(run, "validation", None):
            readable.append(batch["weight"] == 1)
            yield batch

    totals = evaluation.total(measure, variables, batches(), run.mesh)
    predicted, records = {}, {}
    for name, x in totals.records.items():
        of_task = name.removeprefix("predicted/")
        (records if of_task == name else predicted)[of_task] = x
    return _fold(
        run.task,
        indices[np.concatenate(readable)[: len(indices)]],
        dataclasses.replace(totals, records=records),
        predicted,
    )


def _fold(
    task: Task,
    indices: np.ndarray,
    totals: Totals,
    predicted: Mapping[str, np.ndarray],
) -> Fold:
    return Fold(indices, totals, predicted, evaluation.measured(totals, task).scalars)


_ARRAYS = ("sums", "records", "predicted")  # groups of arrays in the file of a fold


def _write(path: Path, fold: Fold) -> None:
    groups = (fold.totals.sums, fold.totals.records, fold.predicted)
    arrays = {
        f"{group}/{name}": x
        for group, part in zip(_ARRAYS, groups, strict=True)
        for name, x in part.items()
    }
    numbers = {"indices": fold.indices, "num_examples": fold.totals.num_examples}
    npz_files.write(path, numbers | arrays)


def _read(path: Path, task: Task, say: Callable[[str], None]) -> Fold | None:
    """A finished fold; None if there is none, or it is damaged, which is said."""
    if not path.exists():
        return None
    groups: dict[str, dict[str, np.ndarray]] = {group: {} for group in _ARRAYS}
    try:
        arrays = npz_files.read(path)
        indices, num_examples = arrays.pop("indices"), int(arrays.pop("num_examples"))
        for key, x in arrays.items():
            group, _, name = key.partition("/")
            groups[group][name] = x
        totals = Totals(groups["sums"], groups["records"], num_examples)
        return _fold(task, indices, totals, groups["predicted"])
    except (UserError, KeyError) as error:
        say(f"The fold of {path.name} is computed again: {error}")
        return None
