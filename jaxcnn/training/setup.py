"""From a config and a data set to what a step needs."""

from collections.abc import Callable, Generator, Iterator
import contextlib
import dataclasses
import functools
import itertools
import math
from pathlib import Path
from typing import Any

from flax import linen as nn
import jax
from jax.sharding import Mesh
import numpy as np
import optax

from jaxcnn import augment, config_fields, data, errors, models, optim, tasks
from jaxcnn.config import AUTO, Config, DataConfig
from jaxcnn.data import pipeline, splits
from jaxcnn.data.bad_images import BadImages
from jaxcnn.data.examples import Dataset, Examples, Subset
from jaxcnn.training import compiler, early_stopping, evaluation, network, parallel
from jaxcnn.training import step as step_lib
from jaxcnn.training.averaging import Average, make_average, pooled_statistics
from jaxcnn.training.groups import GroupRow, group_rows
from jaxcnn.training.prefetch import prefetch
from jaxcnn.training.start import Start, make_start, open_source
from jaxcnn.training.state import TrainState, create_state, init_variables, select
from jaxcnn.training.workdir import BAD_IMAGES, DatasetInfo, describe

_NUM_IMPRINTED = 256  # training images that a network may look at before the first step


def make_task(config: Config, dataset: Dataset) -> tasks.Task:
    """The task of a run; reads the training labels where classes are weighted."""
    num_classes = len(dataset.class_names)
    counts = None
    if config.task.class_weights != "none":
        counts = np.bincount(dataset.splits["train"].labels, minlength=num_classes)
    return tasks.create_task(config.task, dataset.class_names, counts)


@dataclasses.dataclass(frozen=True)
class Setup:
    """All parts of a run, before any number is computed.

    Attributes:
        config: Its choices.
        dataset: Its images.
        info: What the run's folder keeps of them.
        model: The network.
        task: Loss and metrics.
        mesh: The devices.
        num_steps: Updates of the whole run.
        steps_per_epoch: Updates that count as an epoch: the batches in one pass over
            the training images, not rounded, unless the config says a number.
        schedule: Step -> learning rate.
        plan: Which parameters are trained, from which step on, and how fast.
        average: Moves the average of the parameters; None: the run keeps none.
        start: What is taken from a trained network; None: nothing.
        augmentation: Random changes of the training images, and their scale; None:
            batches hold features, see feature_cache.
        variable_shapes: {"params", "batch_stats"} as jax.ShapeDtypeStruct.
    """

    config: Config
    dataset: Dataset
    info: DatasetInfo
    model: nn.Module
    task: tasks.Task
    mesh: Mesh
    num_steps: int
    steps_per_epoch: float
    schedule: optax.Schedule
    plan: optim.Plan
    average: Average | None
    start: Start | None
    augmentation: step_lib.Augmentation | None
    variable_shapes: dict[str, Any]

    @property
    def layout(self) -> parallel.Layout:
        """How the devices share a step."""
        return parallel.layout(self.config.parallel)

    @property
    def _keys(self) -> tuple[jax.Array, jax.Array]:
        """Of the start and of the steps."""
        init_key, run_key = jax.random.split(jax.random.key(self.config.seed))
        return init_key, run_key

    @property
    def run_key(self) -> jax.Array:
        """The key that every step folds its number into, on every device."""
        everywhere = parallel.replicated(self.mesh)
        on_devices = jax.jit(jax.random.wrap_key_data, out_shardings=everywhere)
        return on_devices(np.asarray(jax.random.key_data(self._keys[1])))

    @property
    def num_micro_batches(self) -> int:
        """Parts of a batch that pass through the network one after the other."""
        size = self.config.data.micro_batch_size
        return 1 if size is None else self.config.data.batch_size // size

    @property
    def platform(self) -> str:
        """Kind of the devices: "cpu", "gpu" or "tpu"."""
        return self.mesh.devices.flat[0].platform

    @property
    def compiler_options(self) -> compiler.Options:
        """What XLA is told when it compiles the run's steps."""
        return compiler.options(
            self.platform,
            remat=self.config.remat,
            deterministic=self.config.deterministic,
        )

    @property
    def numerics(self) -> dict[str, Any]:
        """What evaluation does to what batches hold, and how precisely."""
        numerics = network.numerics(self.config, self.info)
        if self.augmentation is None:
            numerics |= {"mean": None, "std": None}
        return numerics

    @property
    def groups(self) -> tuple[str, ...]:
        """The layer groups, from input to head."""
        return models.sort_groups(self.variable_shapes["params"])

    @property
    def group_rows(self) -> list[GroupRow]:
        """What the run does with each layer group."""
        return group_rows(
            optim.scaled(self.config.optim, self.config.data.batch_size),
            self.plan,
            self.variable_shapes,
            self.groups,
            self.steps_per_epoch,
        )

    def trained(self, step: int) -> frozenset[str] | None:
        """Paths of what the update after `step` updates changes; None: everything."""
        trained = self.plan.trained(step)
        return None if len(trained) == len(self.plan.starts) else trained

    def tx(self, step: int) -> optax.GradientTransformation:
        """The optimizer of the update after `step` updates."""
        warmup_epochs = self.config.optim.unfreeze_warmup_epochs
        warmup_steps = round(warmup_epochs * self.steps_per_epoch)
        return optim.make_optimizer(
            self.config.optim, self.schedule, self.plan, step, warmup_steps
        )

    def _create_state(self, step: int) -> Callable[[dict[str, Any]], TrainState]:
        return functools.partial(
            create_state,
            tx=self.tx(step),
            trained=self.trained(step),
            average=self.average is not None,
            scaled=self.config.compute_dtype == "float16",
        )

    def state_shapes(self, step: int) -> TrainState:
        """The state after `step` updates, as jax.ShapeDtypeStruct with shardings."""
        create = self._create_state(max(step - 1, 0))
        shapes = jax.eval_shape(create, self.variable_shapes)
        shardings = self.layout.shardings(shapes, self.mesh)
        return parallel.described(shapes, shardings)

    @property
    def state_bytes(self) -> int:
        """Of the state before the first step, what each device holds."""
        return parallel.bytes_per_device(self.state_shapes(0))

    def init_state(self) -> TrainState:
        """The state before the first step, on the devices."""
        shape = network.image_shape(self.config, self.info)
        init = functools.partial(init_variables, self.model, image_shape=shape)
        # By each process on one device, where what is to be filled in can be.
        variables = jax.jit(init)(self._keys[0])
        imprint = models.MODELS[self.config.model].imprint
        if imprint is not None:
            key = jax.random.fold_in(self._keys[0], 1)
            variables = imprint(self.model, variables, self._some_images(), key)
        if self.start is not None:
            variables = self.start.fill(variables)
        shardings = self.layout.shardings(self.variable_shapes, self.mesh)
        variables = jax.device_put(jax.device_get(variables), shardings)
        shapes = jax.eval_shape(self._create_state(0), variables)
        shardings = self.layout.shardings(shapes, self.mesh)
        return jax.jit(self._create_state(0), out_shardings=shardings)(variables)

    def _some_images(self) -> jax.Array:
        """Some training images, from first to last, normalised: [N, H, W, C]."""
        images = self.dataset.splits["train"]
        number = min(len(images), _NUM_IMPRINTED)
        batch = next(
            pipeline.eval_batches(
                Subset(images, np.linspace(0, len(images) - 1, number).astype(int)),
                dataclasses.replace(self.config.data, eval_batch_size=_NUM_IMPRINTED),
                split="train",
                process_index=0,
                process_count=1,
                num_classes=len(self.info.class_names),
                bad_images=_bad_images(self.config.data, "train", None),
            )
        )
        images = batch["image"][batch["weight"] > 0]
        return augment.normalise(images, self.info.mean, self.info.std)

    def phases(self, start: int) -> list[tuple[int, int]]:
        """(updates before, updates after) of each part of the run in which the same
        parameters are trained with images of the same size, from `start` updates on."""
        cuts = {*self.plan.boundaries, *(step for step, _ in self._stages)}
        cuts = sorted(cut for cut in cuts if start < cut < self.num_steps)
        ends = [*cuts, self.num_steps]
        return [(a, b) for a, b in zip([start, *cuts], ends, strict=True) if a < b]

    @property
    def _stages(self) -> list[tuple[int, int]]:
        """(updates before, size) of each stage of the size of training images."""
        return [
            (round(epoch * self.steps_per_epoch), size)
            for size, epoch in self.config.data.image_size_stages
        ]

    def image_size(self, step: int) -> int:
        """Height and width of the images of the update after `step` updates, pixels."""
        sizes = [size for start, size in self._stages if start <= step]
        return sizes[-1] if sizes else self.config.data.image_size

    def data_config(self, step: int) -> DataConfig:
        """How the host makes the batch of the update after `step` updates."""
        size = self.image_size(step)
        return dataclasses.replace(self.config.data, image_size=size)

    def enter(self, state: TrainState, step: int) -> TrainState:
        """The state as the update after `step` updates takes it: what is trained from
        there on for the first time has an optimizer state, too."""
        if step not in self.plan.boundaries[1:]:
            return state
        params = select(state.params, self.plan.trained(step))
        init = self.tx(step).init
        shapes = jax.eval_shape(init, params)
        shardings = self.layout.shardings(shapes, self.mesh)
        new = jax.jit(init, out_shardings=shardings)(params)
        return state.replace(opt_state=optim.carry_over(state.opt_state, new))

    def train_step(
        self, step: int = 0
    ) -> Callable[..., tuple[TrainState, step_lib.Metrics]]:
        """The update after `step` updates, (state, batch, key), not compiled."""
        return functools.partial(
            step_lib.train_step,
            model=self.model,
            tx=self.tx(step),
            task=self.task,
            augmentation=self.augmentation,
            aux_weight=self.config.task.aux_weight,
            trained=self.trained(step),
            average=self.average,
            num_micro_batches=self.num_micro_batches,
            remat=self.config.remat,
            unroll=self.platform == "cpu",
            **network.precision(self.config),
        )

    def compile_train_step(
        self, state: TrainState, step: int = 0
    ) -> jax.stages.Compiled:
        """Compiles train_step(step) for the shapes of this run."""
        local = self.config.data.batch_size // jax.process_count()
        size, dtype = self.image_size(step), np.uint8
        shape = (size, size, self.info.channels)
        if self.augmentation is None:
            images = self.dataset.splits["train"].images
            shape, dtype = images.shape[1:], images.dtype
        batch = {
            "image": np.zeros((local, *shape), dtype),
            "label": np.zeros(local, np.int32),
        }
        shardings = self.layout.shardings(state, self.mesh)
        compiled = self.layout.compile(self.train_step(step), self.mesh, shardings)
        batch = self.layout.put(batch, self.mesh)
        lowered = compiled.lower(state, batch, self.run_key)
        return lowered.compile(compiler_options=self.compiler_options)

    def check_training(self) -> None:
        """Raises UserError where batches cannot be made as the config says.

        An evaluation of the run, on other devices, does not ask for this.
        """
        data_config = self.config.data
        parallel.check_batch_size("data.batch_size", data_config.batch_size, self.mesh)
        self._check_micro_batches()
        self._check_stages()
        pipeline.check_training(self.dataset.splits["train"], data_config)
        for split in self.dataset.splits.keys() - {"train"}:
            pipeline.check_evaluation(self.dataset.splits[split], data_config, split)

    def _check_micro_batches(self) -> None:
        """Raises UserError where a batch has no such parts."""
        field, batch_size = "data.micro_batch_size", self.config.data.batch_size
        size = self.config.data.micro_batch_size
        if size is None or size == AUTO:
            return
        rule = f"'{AUTO}', None or a divisor of data.batch_size, {batch_size}"
        holds = type(size) is int and size > 0 and batch_size % size == 0
        errors.require(holds, field, size, rule)
        parallel.check_batch_size(field, size, self.mesh)

    def _check_stages(self) -> None:
        """Raises UserError where stages are not in order, or one has parameters of its
        own, as a linear layer after a flatten would."""
        field, stages = "data.image_size_stages", self.config.data.image_size_stages
        starts = [-1, *(step for step, _ in self._stages), self.num_steps]
        holds = all(before < after for before, after in itertools.pairwise(starts))
        rule = "of ascending epochs, at least one step apart and within the run"
        errors.require(holds, field, stages, rule)
        for size, _ in stages:
            errors.require(size >= 1, f"A size in {field}", size, "at least 1")
            shape = (size, size, self.info.channels)
            init = functools.partial(init_variables, self.model, image_shape=shape)
            if jax.eval_shape(init, jax.random.key(0)) != self.variable_shapes:
                raise errors.UserError(
                    f"{field} is not possible: {self.config.model} has other "
                    f"parameters for images of {size} pixels than for those of "
                    f"{self.config.data.image_size}."
                )

    def train_batches(
        self, folder: Path | None, start_step: int
    ) -> Generator[dict[str, jax.Array], None, None]:
        """The batches that follow start_step, on the devices; to be closed.

        Args:
            folder: Of the run, where bad images are listed; None: nowhere.
            start_step: Updates before.
        """
        batches = self._host_batches(folder, start_step)
        return prefetch(batches, functools.partial(self.layout.put, mesh=self.mesh))

    def _host_batches(
        self, folder: Path | None, start_step: int
    ) -> Generator[pipeline.Batch, None, None]:
        """This host's share of the batches, of one size of images after another."""
        later = (step for step, _ in self._stages if start_step < step < self.num_steps)
        cuts = itertools.pairwise([start_step, *later, self.num_steps])
        for before, after in cuts:
            batches = self._batches_of_size(folder, before, after)
            with contextlib.closing(batches):
                yield from batches

    def _batches_of_size(
        self, folder: Path | None, before: int, after: int
    ) -> Iterator[pipeline.Batch]:
        """The batches of the updates from `before` to `after`, of one size."""
        data_config = self.data_config(before)
        bad_images = _bad_images(data_config, "train", folder)
        examples = pipeline.in_memory(
            self.dataset.splits["train"],
            data_config.train_transform,
            data_config,
            bad_images,
        )
        return pipeline.train_batches(
            examples,
            data_config,
            seed=self.config.seed,
            num_steps=after,
            start_step=before,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            num_classes=len(self.info.class_names),
            bad_images=bad_images,
        )

    def averager(self, folder: Path | None) -> Callable[[TrainState], TrainState]:
        """finish(state) -> the state with the running statistics that belong to its
        averaged parameters; compiles once.

        An exponential average has its own. Those of stochastic weight averaging are
        taken over one pass of the training images, as they come in the first epoch
        (Izmailov et al. 2018, sec. 3.2), so they depend on the parameters alone.
        """
        if self.config.average.name != "swa":
            return lambda state: state
        calls = functools.partial(
            step_lib.batch_statistics,
            model=self.model,
            augmentation=self.augmentation,
            trained=self.trained(self.num_steps - 1),
            **network.precision(self.config),
        )
        step = parallel.jit_eval(
            lambda given, batch: calls(*given, batch), self.mesh, self.compiler_options
        )

        def finish(state: TrainState) -> TrainState:
            if not state.batch_stats:
                return state
            # One pass, of images as evaluation has them.
            config = config_fields.replace(self.config, {"data.image_size_stages": ()})
            num_steps = math.ceil(_steps_per_pass(config, self.info))
            run = dataclasses.replace(self, config=config, num_steps=num_steps)
            given = self.run_key, state.average
            with contextlib.closing(run.train_batches(folder, 0)) as batches:
                stats = pooled_statistics(
                    (
                        step((np.int32(i), *given), batch)
                        for i, batch in enumerate(batches)
                    ),
                    state.average["batch_stats"],
                )
            return state.replace(average={**state.average, "batch_stats": stats})

        return finish

    def evaluator(self, folder: Path | None) -> Callable[[str, Any], dict[str, Any]]:
        """evaluate(split, variables) -> metrics; decodes and compiles once a split.

        Args:
            folder: Of the run, where bad images are listed; None: nowhere.
        """
        step = functools.partial(
            step_lib.eval_step, model=self.model, task=self.task, **self.numerics
        )
        step = parallel.jit_eval(step, self.mesh, self.compiler_options)

        decoded = functools.cache(functools.partial(self._decoded, folder=folder))

        def evaluate(split: str, variables: Any) -> dict[str, Any]:
            return evaluation.evaluate(
                step,
                variables,
                self.eval_batches(split, folder, decoded(split)),
                task=self.task,
                mesh=self.mesh,
            )

        return evaluate

    def _decoded(self, split: str, folder: Path | None) -> Examples:
        """A split with its images decoded, where they fit into memory."""
        data_config = self.config.data
        return pipeline.in_memory(
            self.dataset.splits[split],
            data_config.eval_transform,
            data_config,
            _bad_images(data_config, split, folder),
        )

    def eval_batches(
        self, split: str, folder: Path | None, examples: Examples | None = None
    ) -> Iterator[pipeline.Batch]:
        """This host's share of the batches that hold each example of a split once.

        Args:
            split: Its name.
            folder: Of the run, where bad images are listed; None: nowhere.
            examples: The split with its images decoded; None: they are decoded now.
        """
        return pipeline.eval_batches(
            self._decoded(split, folder) if examples is None else examples,
            eval_data_config(self.config, self.mesh),
            split=split,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            num_classes=len(self.info.class_names),
            bad_images=_bad_images(self.config.data, split, folder),
        )


def _bad_images(config: DataConfig, split: str, folder: Path | None) -> BadImages:
    path = None if folder is None else folder / BAD_IMAGES
    return BadImages(config.bad_images, split, path)


def eval_data_config(config: Config, mesh: Mesh) -> DataConfig:
    """config.data with an evaluation batch that divides over the devices.

    Padding fills it up and counts for nothing, so this changes no number.
    """
    size = -(-config.data.eval_batch_size // mesh.size) * mesh.size
    return dataclasses.replace(config.data, eval_batch_size=size)


def prepare(
    config: Config, info: DatasetInfo | None = None, dataset: Dataset | None = None
) -> Setup:
    """Checks every choice of a config and puts the parts together.

    Nothing is compiled and nothing is written.

    Args:
        config: The choices.
        info: Of a run that has begun, which knows how its images are normalised; None
            for a new run.
        dataset: The images, or some of them; None: those that config.data names.

    Raises:
        UserError: A choice that is not allowed, or data that is not there or not
            right.
    """
    config_fields.check_types(config)
    _check_run(config)
    mesh = parallel.data_mesh(config.num_devices)
    dataset = data.load(config.data) if dataset is None else dataset
    if config.data.num_per_class is not None:
        dataset = splits.few(dataset, config.data.num_per_class, config.seed)
    check_statistics(dataset)
    here = describe(dataset)
    model = network.make_model(config, here)
    task = make_task(config, dataset)
    for metric in (config.best_metric, early_stopping.metric_name(config)):
        task.check_metric(metric)
    steps_per_epoch = config.steps_per_epoch or _steps_per_pass(config, here)
    num_steps = max(1, round(config.num_epochs * steps_per_epoch))
    choices = optim.scaled(config.optim, config.data.batch_size)
    schedule = optim.make_schedule(choices, num_steps, steps_per_epoch)
    shape = network.image_shape(config, here)
    init = functools.partial(init_variables, model, image_shape=shape)
    variables = jax.eval_shape(init, jax.random.key(0))
    params = variables["params"]
    _check_auxiliary(config, params)
    groups = models.sort_groups(params)
    plan = optim.make_plan(config.optim, params, groups, num_steps, steps_per_epoch)
    start = None
    if info is not None:
        here = dataclasses.replace(here, mean=info.mean, std=info.std)
    elif config.init_from.path:
        choices = config.init_from
        source = open_source(config)
        start = make_start(source, model, shape, choices.only, choices.skip)
        here = dataclasses.replace(here, mean=start.mean, std=start.std)
    augment.check(config.augment, here.channels, {})
    setup = Setup(
        config=config,
        dataset=dataset,
        info=here,
        model=model,
        task=task,
        mesh=mesh,
        num_steps=num_steps,
        steps_per_epoch=steps_per_epoch,
        schedule=schedule,
        plan=plan,
        average=make_average(config.average, num_steps, steps_per_epoch),
        start=start,
        augmentation=functools.partial(
            augment.augment_batch,
            config=config.augment,
            mean=here.mean,
            std=here.std,
            targets={},
        ),
        variable_shapes=variables,
    )
    setup.tx(0)  # refuses what the optimizer does not take
    _check_norm(config, model, mesh)
    return setup


def _steps_per_pass(config: Config, info: DatasetInfo) -> float:
    """Batches in one pass over the training images, not rounded."""
    return info.num_examples["train"] / config.data.batch_size


def check_statistics(dataset: Dataset) -> None:
    """Raises UserError where normalisation would divide by zero."""
    if min(dataset.std) <= 0:
        raise errors.UserError(
            "The images of the training split are all of one colour: the standard "
            f"deviation of their channels is {dataset.std}; it must be over 0."
        )


def _check_auxiliary(config: Config, params: Any) -> None:
    """Raises UserError where auxiliary heads weigh as they cannot."""
    weight = config.task.aux_weight
    errors.require(0 <= weight < float("inf"), "task.aux_weight", weight, "0 or more")
    holds = not weight or any(group.startswith("aux") for group in params)
    rule = f"0 for {config.model}, which has no auxiliary head"
    errors.require(holds, "task.aux_weight", weight, rule)


def _check_norm(config: Config, model: nn.Module, mesh: Mesh) -> None:
    """Raises UserError where BatchNorm cannot take its batch in groups."""
    number, batch_size = config.norm_examples, config.data.batch_size
    if number is None:
        return
    rule = f"None for {config.model}, which has no BatchNorm"
    errors.require(hasattr(model, "norm"), "norm_examples", number, rule)
    parts = config.data.micro_batch_size
    rule = "None with data.micro_batch_size, whose parts have their own statistics"
    errors.require(parts is None, "norm_examples", number, rule)
    if config.parallel == "pmap":
        batch_size //= mesh.size  # no group may lie on two devices
    holds = number >= 1 and batch_size % number == 0
    rule = f"a divisor of {batch_size}, the examples that it sees"
    errors.require(holds, "norm_examples", number, rule)


def _check_run(config: Config) -> None:
    """Raises UserError for the choices that no other function looks at."""
    network.compute_dtype(config.compute_dtype)
    parallel.layout(config.parallel)
    for name in ("mixup", "cutmix"):
        value = getattr(config.augment, name)
        rule = "0 with parallel='pmap', under which no device sees the whole batch"
        errors.require(
            not value or config.parallel != "pmap", f"augment.{name}", value, rule
        )
    positive = ("num_epochs", "eval_every_epochs", "keep_checkpoints")
    positive += (
        "steps_per_epoch",
        "log_every_steps",
        "save_every_steps",
        "early_stopping_patience",
    )
    for name in positive:
        value = getattr(config, name)
        holds = value is None or 0 < value < float("inf")
        errors.require(holds, name, value, "positive")
    errors.require(config.seed >= 0, "seed", config.seed, "0 or more")
    for name in ("batch_size", "eval_batch_size", "num_threads", "image_size"):
        value = getattr(config.data, name)
        errors.require(value >= 1, f"data.{name}", value, "at least 1")
    workers = config.data.num_workers
    errors.require(workers >= 0, "data.num_workers", workers, "0 or more")
