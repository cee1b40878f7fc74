"""From a config and a data set to a run: every check of a choice.

Nothing is compiled and nothing is written.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import itertools
import math
from typing import Any

from flax import linen as nn
import jax
import numpy as np

from jaxcnn import augment, config_fields, data, errors, models, optim, tasks
from jaxcnn import targets as targets_lib
from jaxcnn.config import AUTO, AugmentConfig, Config
from jaxcnn.data import batches, splits, transforms
from jaxcnn.data.bad_images import BadImages
from jaxcnn.data.examples import Dataset, DatasetInfo, Unread, path_of
from jaxcnn.data.transforms import check_size, height_and_width, size_text
from jaxcnn.models.adapter import Adapted
from jaxcnn.ops import backends
from jaxcnn.targets import Targets
from jaxcnn.tasks import Task
from jaxcnn.training import (
    early_stopping,
    feature_cache,
    memory,
    network,
    parallel,
)
from jaxcnn.training.averaging import make_average
from jaxcnn.training.precision import make_precision
from jaxcnn.training.run import Run
from jaxcnn.training.state import init_variables, init_with_output
from jaxcnn.training.transfer import Start, make_start, open_source

_MAX_STEPS = 2**31 - 1  # the number of a step is an int32
_MAX_BATCH_BYTES = 2**32  # on one host

NAN_POLICIES = ("error", "skip")


def prepare(
    config: Config,
    info: DatasetInfo | None = None,
    dataset: Dataset | None = None,
    *,
    model: Any = None,
    task: Any = None,
    check_targets: Callable[[Targets], None] | None = None,
) -> Run:
    """Checks the choices of a config and puts the parts of a run together.

    Args:
        config: The choices.
        info: Description of the data set in the folder of a run that is resumed: it
            holds the normalisation of images and the statistics of the targets. None:
            a new run.
        dataset: The examples, or some of them, or a function of config.data that
            returns them. None: those that config.data names.
        model: A Linen module, or a class or function that gives one; None: the one
            that config.model names.
        task: A task, or its class; None: the one that config.task names.
        check_targets: Called with the targets of the data set before a task is made
            for them; may refuse them. None: it is not called.

    Raises:
        UserError: A choice that is not allowed, or data that is not there or not
            right.
    """
    check_values(config)
    mesh = parallel.data_mesh(config.num_devices)
    name = backends.choose(config.ops, mesh.size)
    config = config_fields.replace(config, {"ops": name})
    precision = make_precision(config, mesh.size)
    if dataset is None:
        dataset = data.load(config.data)
    else:
        dataset = data.checked(dataset, "dataset", config.data)
    if info is None or info.fingerprint == dataset.info.fingerprint:
        _check_made_with(config, dataset)  # other examples are cut as they are
    targets_lib.check_targets(dataset.info.targets)
    if check_targets is not None:
        check_targets(dataset.info.targets)
    dataset, task = _with_task(config, dataset, info, task)
    _check_statistics(dataset)
    model = network.make_model(config, task, model)
    for metric in (config.best_metric, early_stopping.metric_name(config)):
        task.metric(metric)
    batches_per_pass = steps_per_pass(config, dataset.info)
    steps_per_epoch = config.steps_per_epoch or batches_per_pass
    num_steps = max(1, round(config.num_epochs * steps_per_epoch))
    rule = f"at most {_MAX_STEPS:,} steps; it is {num_steps:,}"
    holds = num_steps <= _MAX_STEPS
    errors.require(holds, "num_epochs", config.num_epochs, rule)
    optim_config = optim.scaled(config.optim, config.data.batch_size)
    schedule = optim.make_schedule(optim_config, num_steps, steps_per_epoch)
    shape = network.image_shape(config, dataset.info)
    init = functools.partial(init_with_output, model, image_shape=shape)
    with memory.uncollected():
        output, variables = jax.eval_shape(init, jax.random.key(0))
    _check_output(task, output, shape)
    _check_examples(config, dataset, model, task)
    params = variables["params"]
    _check_auxiliary(config, params)
    groups = models.layer_groups(model, shape, params)
    plan = optim.make_plan(config.optim, params, groups, num_steps, steps_per_epoch)
    start = None
    if info is None and config.init_from.path:
        only, skip = config.init_from.only, config.init_from.skip
        source = open_source(config)
        start = make_start(source, model, shape, only, skip, task.output_names)
    dataset = _with_scale(dataset, info or start, models.normalisation(config.model))
    run = Run(
        config=config,
        dataset=dataset,
        model=model,
        task=task,
        mesh=mesh,
        num_steps=num_steps,
        steps_per_epoch=steps_per_epoch,
        schedule=schedule,
        plan=plan,
        average=make_average(config.average, num_steps, steps_per_epoch),
        groups=groups,
        start=start,
        precision=precision,
        init=init,
        variable_shapes=variables,
    )
    run.tx(0)  # refuses what the optimizer does not take
    augment.check(config.augment, run.info.channels, task.targets)
    _check_mixing(config, task)
    _check_norm(run)
    _check_adapted(run)
    return run


def _check_made_with(config: Config, dataset: Dataset) -> None:
    """Raises UserError where the data set was not made as the config says."""
    made_with = {**dataset.made_with}
    if config.data.channels is not None:
        made_with["channels"] = dataset.info.channels
    for field, value in made_with.items():
        chosen = getattr(config.data, field)
        if chosen != value:
            raise errors.UserError(
                f"data.{field} is {chosen!r}, but the data set was made with "
                f"{value!r}: make it with the run's own choices, as in "
                "Dataset.from_arrays(images, targets, config=config.data)."
            )


def _with_task(
    config: Config, dataset: Dataset, info: DatasetInfo | None, given: Any
) -> tuple[Dataset, Task]:
    """The data set that is trained on, with what its task learned of it, and the task.

    What a run that has begun learned of its training targets stays.
    """

    def with_task(dataset: Dataset) -> tuple[Dataset, Task]:
        statistics: Mapping[str, Any]
        targets = dataset.info.targets
        if info is not None and info.statistics:
            statistics = info.statistics
        elif given is None or isinstance(given, type):
            cls = tasks.find(config.task, given)
            statistics = cls.measure(config.task, targets, _readable(config, dataset))
        else:
            statistics = {}
        measured = dataclasses.replace(dataset.info, statistics=statistics)
        channels = dataset.info.channels
        task = tasks.create_task(config.task, targets, statistics, given, channels)
        return dataclasses.replace(dataset, info=measured), task

    dataset, task = with_task(dataset)
    number = config.data.num_per_class
    if number is None:
        return dataset, task
    strata = task.strata(dataset.splits["train"].column)
    return with_task(
        splits.few(dataset, strata, task.strata_names, number, config.seed)
    )


def _readable(config: Config, dataset: Dataset) -> Callable[[str], Any]:
    """The columns of the training examples; of those that are read as they are iterated
    over, without unreadable examples, where the config skips them."""
    train, number = dataset.splits["train"], sum(dataset.info.num_examples.values())
    bad_images = BadImages(config.data.bad_images, "train", number)

    def column(target: str) -> Any:
        values = train.column(target)
        if isinstance(values, Unread):
            return values.readable(bad_images.handle)
        return values

    return column


def _with_scale(
    dataset: Dataset,
    known: DatasetInfo | Start | None,
    made_for: tuple[float, float] | None,
) -> Dataset:
    """The data set with the mean and standard deviation that its images are normalised
    by: those of the run or the weights that go on, those that the network is made for,
    or its own."""
    if known is not None:
        return dataset.with_info(mean=known.mean, std=known.std)
    if made_for is None:
        return dataset
    mean, std = ((number,) * dataset.info.channels for number in made_for)
    return dataset.with_info(mean=mean, std=std)


def _check_output(task: Task, output: Any, image_shape: tuple[int, ...]) -> None:
    """Raises UserError unless output and loss have the shapes that the task needs."""
    name, needed = type(task).__name__, task.output_shape
    if needed is not None:
        gives = jax.tree.map(lambda x: list(x.shape[1:]), output)
        holds = isinstance(output, jax.ShapeDtypeStruct) and len(gives) == len(needed)
        sides = zip(needed, gives, strict=True) if holds else ()
        if not holds or any(side not in (None, given) for side, given in sides):
            wanted = ", ".join("any" if side is None else str(side) for side in needed)
            raise errors.UserError(
                f"{name} needs a network that gives [{wanted}] numbers for each "
                f"image; this one gives {gives}."
            )
    shapes = targets_lib.batch_shapes(task.targets, *image_shape[:2])
    shapes["image"] = image_shape, np.dtype(np.uint8)
    batch = {
        name: jax.ShapeDtypeStruct((1, *shape), dtype)
        for name, (shape, dtype) in shapes.items()
    }

    def loss_of(output: Any, batch: Any) -> Any:
        if tasks.changes_inputs(task):
            batch = task.inputs(batch, jax.random.split(jax.random.key(0), 1))
        return task.loss(output, batch)

    loss = jax.eval_shape(loss_of, output, batch)
    if getattr(loss, "shape", None) != (1,):
        raise errors.UserError(
            f"{name}.loss must give one number for each example, [B]; for a batch of "
            f"one it gives {jax.tree.map(lambda x: [*x.shape], loss)}."
        )


def _check_mixing(config: Config, task: Task) -> None:
    """Raises UserError for changes of images that a task which makes its targets of
    the images would not see."""
    if not tasks.changes_inputs(task):
        return
    rule = f"0 for task.name={config.task.name!r}, which changes the images itself"
    for name in ("mixup", "cutmix", "erasing", "noise"):
        value = getattr(config.augment, name)
        errors.require(not value, f"augment.{name}", value, rule)


def _check_examples(
    config: Config, dataset: Dataset, model: nn.Module, task: Task
) -> None:
    """Raises UserError for the first example that the network cannot learn, at any size
    of its images."""
    sizes = [config.data.image_size]
    sizes += [size for size, _ in config.data.image_size_stages]
    if type(task).problems is Task.problems:
        return
    # Each column is read once for all sizes.
    columns = {
        split: functools.cache(examples.column)
        for split, examples in dataset.splits.items()
    }
    for size in dict.fromkeys(map(height_and_width, sizes)):
        shape = (*size, dataset.info.channels)
        init = functools.partial(init_with_output, model, image_shape=shape)
        output, _ = jax.eval_shape(init, jax.random.key(0))
        for split, examples in dataset.splits.items():
            for index, problem in task.problems(output, columns[split]):
                path = path_of(examples, index)
                where = "" if path is None else f" ({path})"
                raise errors.UserError(
                    f"Example {index} of the {split} split{where}, for images of "
                    f"{size_text(size)} pixels: {problem}."
                )


def _check_adapted(run: Run) -> None:
    """Raises UserError for what only networks of this package can do."""
    config, model = run.config, run.model
    has_statistics = bool(run.variable_shapes["batch_stats"])
    others = run.variable_shapes.keys() - {"params", "batch_stats"}
    if others:
        raise errors.UserError(
            f"{config.model} has variables in {', '.join(sorted(others))}; only those "
            "in params and batch_stats are trained, saved and restored."
        )
    rule = "jit or fsdp for a network with statistics, but without a field norm"
    shares = network.norm_takes(model, "axis_name") or not has_statistics
    holds = shares or config.parallel != "pmap" or run.mesh.size == 1
    errors.require(holds, "parallel", config.parallel, rule)
    has_norm = network.norm_takes(model, "momentum") or not has_statistics
    name, rule = config.average.name, "none or ema for a network without a field norm"
    errors.require(name != "swa" or has_norm, "average.name", name, rule)
    is_adapted = isinstance(model, Adapted)
    rule = "False for a network of your own"
    errors.require(not (config.remat and is_adapted), "remat", config.remat, rule)


def steps_per_pass(config: Config, info: DatasetInfo) -> float:
    """Batches in one pass over the training images, not rounded."""
    return info.num_examples["train"] / config.data.batch_size


def check_training(run: Run) -> None:
    """Raises UserError where batches cannot be made as the config says.

    An evaluation of the run, on other devices, does not ask for this.
    """
    data_config = run.config.data
    if run.config.nan_policy not in NAN_POLICIES:
        raise errors.unknown("nan_policy", run.config.nan_policy, NAN_POLICIES)
    parallel.check_batch_size("data.batch_size", data_config.batch_size, run.mesh)
    _check_memory(run)
    _check_micro_batches(run)
    _check_stages(run)
    batches.check_training(run.dataset.splits["train"], data_config)
    is_random = transforms.find(data_config.train_transform).random
    holds = (
        data_config.repeats == 1 or is_random or run.config.augment != AugmentConfig()
    )
    rule = "1 where nothing changes the images, since all copies would be equal"
    errors.require(holds, "data.repeats", data_config.repeats, rule)
    for split in run.dataset.splits.keys() - {"train"}:
        batches.check_evaluation(run.dataset.splits[split], data_config, split)
    if run.config.cache_features:
        feature_cache.check(run)


def _check_memory(run: Run) -> None:
    """Raises UserError where not even the state of the run fits into memory."""
    needed, limit = run.state_bytes, memory.memory(run.mesh)
    if needed > limit:
        raise errors.UserError(
            f"{run.config.model} for images of "
            f"{size_text(run.config.data.image_size)} pixels takes "
            f"{needed / 2**30:,.1f} GiB of memory on each device for its parameters "
            f"and the optimizer's state, which has {limit / 2**30:,.1f} GiB; choose a "
            "smaller model or data.image_size."
        )


def _check_micro_batches(run: Run) -> None:
    """Raises UserError where a batch has no such parts."""
    field, batch_size = "data.micro_batch_size", run.config.data.batch_size
    size = run.config.data.micro_batch_size
    if size is None or size == AUTO:
        return
    rule = f"'{AUTO}', None or a divisor of data.batch_size, {batch_size}"
    holds = type(size) is int and size > 0 and batch_size % size == 0
    errors.require(holds, field, size, rule)
    parallel.check_batch_size(field, size, run.mesh)


def _check_stages(run: Run) -> None:
    """Raises UserError where stages are not in order, or one has parameters of its
    own, as a linear layer after a flatten would."""
    field, stages = "data.image_size_stages", run.config.data.image_size_stages
    starts = [-1, *(step for step, _ in run.stages), run.num_steps]
    holds = all(before < after for before, after in itertools.pairwise(starts))
    rule = "of ascending epochs, at least one step apart and within the run"
    errors.require(holds, field, stages, rule)
    for size, _ in stages:
        shape = (*height_and_width(size), run.info.channels)
        init = functools.partial(init_variables, run.model, image_shape=shape)
        if jax.eval_shape(init, jax.random.key(0)) != run.variable_shapes:
            raise errors.UserError(
                f"{field} is not possible: {run.config.model} has other "
                f"parameters for images of {size_text(size)} pixels than for those of "
                f"{size_text(run.config.data.image_size)}."
            )


def _check_statistics(dataset: Dataset) -> None:
    """Raises UserError where normalisation would divide by zero."""
    if min(dataset.info.std) <= 0:
        raise errors.UserError(
            "The images of the training split are all of one colour: the standard "
            f"deviation of their channels is {dataset.info.std}; it must be over 0."
        )


def _check_auxiliary(config: Config, params: Any) -> None:
    """Raises UserError for a weight of auxiliary heads that is not allowed."""
    weight = config.task.aux_weight
    holds = not weight or any(group.startswith("aux") for group in params)
    rule = f"0 for {config.model}, which has no auxiliary head"
    errors.require(holds, "task.aux_weight", weight, rule)


def _check_norm(run: Run) -> None:
    """Raises UserError where BatchNorm cannot take its batch in groups."""
    config, mesh = run.config, run.mesh
    number, batch_size = config.norm_examples, config.data.batch_size
    if number is None:
        return
    rule = f"None for {config.model}, which has no BatchNorm"
    # The networks of VGG's paper have the field `norm`, but no layer that uses it.
    has_norm = bool(run.variable_shapes["batch_stats"])
    has_norm = has_norm and network.norm_takes(run.model, "num_examples")
    errors.require(has_norm, "norm_examples", number, rule)
    parts = config.data.micro_batch_size
    rule = "None with data.micro_batch_size, whose parts have their own statistics"
    errors.require(parts is None, "norm_examples", number, rule)
    if config.parallel == "pmap":
        batch_size //= mesh.size  # no group may lie on two devices
    holds = number >= 1 and batch_size % number == 0
    rule = f"a divisor of {batch_size}, the examples that it sees"
    errors.require(holds, "norm_examples", number, rule)


def check_values(config: Config) -> None:
    """Raises UserError for what is wrong in a config whatever the data are."""
    config_fields.check(config)
    parallel.layout(config.parallel)
    for name in ("mixup", "cutmix"):
        value = getattr(config.augment, name)
        rule = "0 with parallel='pmap', under which no device sees the whole batch"
        errors.require(
            not value or config.parallel != "pmap", f"augment.{name}", value, rule
        )
    sizes = [config.data.image_size]
    check_size("data.image_size", config.data.image_size)
    for size, _ in config.data.image_size_stages:
        check_size("A size in data.image_size_stages", size)
        sizes.append(size)
    pixels = max(math.prod(height_and_width(size)) for size in sizes)
    for name in ("batch_size", "eval_batch_size"):
        number = getattr(config.data, name)
        needed = pixels * (config.data.channels or 3) * number // jax.process_count()
        rule = (
            f"smaller, or data.{name}={number}: a batch takes {needed / 2**30:,.0f} "
            f"GiB on each host, of {_MAX_BATCH_BYTES / 2**30:,.0f} that it may take"
        )
        holds = needed <= _MAX_BATCH_BYTES
        errors.require(holds, "data.image_size", config.data.image_size, rule)
    padding = config.augment.crop_padding_pixels
    side = min(min(height_and_width(size)) for size in sizes)
    rule = f"at most data.image_size, {side}, or windows without an image are cut out"
    errors.require(padding <= side, "augment.crop_padding_pixels", padding, rule)
