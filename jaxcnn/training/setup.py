"""From a config and a data set to what a step needs."""

from collections.abc import Callable, Generator
import dataclasses
import functools
from pathlib import Path
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import numpy as np
import optax

from jaxcnn import augment, data, errors, models, optim, tasks
from jaxcnn import config as config_lib
from jaxcnn.config import Config, DataConfig
from jaxcnn.data import pipeline
from jaxcnn.data.bad_images import BadImages
from jaxcnn.data.examples import Dataset, Examples
from jaxcnn.training import evaluation, parallel
from jaxcnn.training import step as step_lib
from jaxcnn.training.prefetch import prefetch
from jaxcnn.training.state import TrainState, create_state, init_variables
from jaxcnn.training.workdir import BAD_IMAGES, DatasetInfo, describe


def compute_dtype(name: str) -> jnp.dtype:
    """The dtype of the forward and backward pass; UserError for an unknown name.

    float32 is float64 under jax_enable_x64, as everything else is then.
    """
    dtypes = {"float32": jnp.result_type(float), "bfloat16": jnp.bfloat16}
    if name not in dtypes:
        raise errors.unknown("compute_dtype", name, dtypes)
    return jnp.dtype(dtypes[name])


def make_model(config: Config, info: DatasetInfo) -> nn.Module:
    """The network of a run, for the classes that its data set has."""
    fields = dict(config.model_fields)
    model = models.create_model(
        config.model, num_classes=len(info.class_names), **fields
    )
    norm_axis = parallel.layout(config.parallel).norm_axis
    if norm_axis and hasattr(model, "norm"):
        norm = functools.partial(model.norm, axis_name=norm_axis)
        model = model.clone(norm=norm)
    return model


def image_shape(config: Config, info: DatasetInfo) -> tuple[int, int, int]:
    """(H, W, C) of what the network sees."""
    return (config.data.image_size, config.data.image_size, info.channels)


def numerics(config: Config, info: DatasetInfo) -> dict[str, Any]:
    """What evaluation and prediction do to images before the network."""
    return {
        "mean": info.mean,
        "std": info.std,
        "compute_dtype": compute_dtype(config.compute_dtype),
    }


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
        steps_per_epoch: Batches in one pass over the training images, not rounded.
        schedule: Step -> learning rate.
        tx: The optimizer.
        augmentation: Random changes of the training images, and their scale.
        state_shapes: The TrainState as jax.ShapeDtypeStruct with shardings.
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
    tx: optax.GradientTransformation
    augmentation: augment.Settings
    state_shapes: TrainState

    @property
    def _keys(self) -> tuple[jax.Array, jax.Array]:
        init_key, run_key = jax.random.split(jax.random.key(self.config.seed))
        return init_key, run_key

    @property
    def run_key(self) -> jax.Array:
        """The key that every step folds its number into, on every device."""
        return jax.device_put(self._keys[1], parallel.replicated(self.mesh))

    def init_state(self) -> TrainState:
        """The state before the first step, on every device."""
        shape = image_shape(self.config, self.info)
        create = functools.partial(create_state, self.model, self.tx, image_shape=shape)
        everywhere = parallel.replicated(self.mesh)
        return jax.jit(create, out_shardings=everywhere)(self._keys[0])

    def train_step(self) -> Callable[..., tuple[TrainState, step_lib.Metrics]]:
        """step(state, batch, key), not compiled."""
        return functools.partial(
            step_lib.train_step,
            model=self.model,
            tx=self.tx,
            task=self.task,
            augmentation=self.augmentation,
            aux_weight=self.config.task.aux_weight,
            compute_dtype=compute_dtype(self.config.compute_dtype),
        )

    def compile_train_step(self, state: TrainState) -> jax.stages.Compiled:
        """Compiles step(state, batch, key) for the shapes of this run."""
        layout = parallel.layout(self.config.parallel)
        local = self.config.data.batch_size // jax.process_count()
        shape = image_shape(self.config, self.info)
        batch = {
            "image": np.zeros((local, *shape), np.uint8),
            "label": np.zeros(local, np.int32),
        }
        compiled = layout.compile(self.train_step(), self.mesh)
        batch = layout.put(batch, self.mesh)
        return compiled.lower(state, batch, self.run_key).compile()

    def check_training(self) -> None:
        """Raises UserError where batches cannot be made as the config says.

        An evaluation of the run, on other devices, does not ask for this.
        """
        data_config = self.config.data
        parallel.check_batch_size("data.batch_size", data_config.batch_size, self.mesh)
        pipeline.check_training(self.dataset.splits["train"], data_config)
        for split in self.dataset.splits.keys() - {"train"}:
            pipeline.check_evaluation(self.dataset.splits[split], data_config, split)

    def train_batches(
        self, folder: Path | None, start_step: int
    ) -> Generator[dict[str, jax.Array], None, None]:
        """The batches that follow start_step, on the devices; to be closed.

        Args:
            folder: Of the run, where bad images are listed; None: nowhere.
            start_step: Updates before.
        """
        data_config = self.config.data
        bad_images = _bad_images(data_config, "train", folder)
        examples = pipeline.in_memory(
            self.dataset.splits["train"],
            data_config.train_transform,
            data_config,
            bad_images,
        )
        batches = pipeline.train_batches(
            examples,
            data_config,
            seed=self.config.seed,
            num_steps=self.num_steps,
            start_step=start_step,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            num_classes=len(self.info.class_names),
            bad_images=bad_images,
        )
        layout = parallel.layout(self.config.parallel)
        return prefetch(batches, functools.partial(layout.put, mesh=self.mesh))

    def evaluator(self, folder: Path | None) -> Callable[[str, Any], dict[str, Any]]:
        """evaluate(split, variables) -> metrics; decodes and compiles once a split.

        Args:
            folder: Of the run, where bad images are listed; None: nowhere.
        """
        data_config = eval_data_config(self.config, self.mesh)
        step = functools.partial(
            step_lib.eval_step,
            model=self.model,
            task=self.task,
            **numerics(self.config, self.info),
        )
        step = parallel.jit_eval(step, self.mesh)

        @functools.cache
        def decoded(split: str) -> Examples:
            return pipeline.in_memory(
                self.dataset.splits[split],
                data_config.eval_transform,
                data_config,
                _bad_images(data_config, split, folder),
            )

        def evaluate(split: str, variables: Any) -> dict[str, Any]:
            batches = pipeline.eval_batches(
                decoded(split),
                data_config,
                split=split,
                process_index=jax.process_index(),
                process_count=jax.process_count(),
                num_classes=len(self.info.class_names),
                bad_images=_bad_images(data_config, split, folder),
            )
            return evaluation.evaluate(
                step, variables, batches, task=self.task, mesh=self.mesh
            )

        return evaluate


def _bad_images(config: DataConfig, split: str, folder: Path | None) -> BadImages:
    path = None if folder is None else folder / BAD_IMAGES
    return BadImages(config.bad_images, split, path)


def eval_data_config(config: Config, mesh: Mesh) -> DataConfig:
    """config.data with an evaluation batch that divides over the devices.

    Padding fills it up and counts for nothing, so this changes no number.
    """
    size = -(-config.data.eval_batch_size // mesh.size) * mesh.size
    return dataclasses.replace(config.data, eval_batch_size=size)


def prepare(config: Config) -> Setup:
    """Checks every choice of a config and puts the parts together.

    Nothing is compiled and nothing is written.

    Raises:
        UserError: A choice that is not allowed, or data that is not there or not
            right.
    """
    config_lib.check_types(config)
    _check_run(config)
    mesh = parallel.data_mesh(config.num_devices)
    dataset = data.load(config.data)
    check_statistics(dataset)
    info = describe(dataset)
    model = make_model(config, info)
    task = make_task(config, dataset)
    task.check_metric(config.best_metric)
    steps_per_epoch = info.num_examples["train"] / config.data.batch_size
    num_steps = max(1, round(config.num_epochs * steps_per_epoch))
    schedule = optim.make_schedule(config.optim, num_steps, steps_per_epoch)
    shape = image_shape(config, info)
    key = jax.random.key(0)
    init = functools.partial(init_variables, model, image_shape=shape)
    params = jax.eval_shape(init, key)["params"]
    _check_auxiliary(config, params)
    tx = optim.make_optimizer(config.optim, schedule, params)
    create = functools.partial(create_state, model, tx, image_shape=shape)
    everywhere = parallel.replicated(mesh)
    return Setup(
        config=config,
        dataset=dataset,
        info=info,
        model=model,
        task=task,
        mesh=mesh,
        num_steps=num_steps,
        steps_per_epoch=steps_per_epoch,
        schedule=schedule,
        tx=tx,
        augmentation=augment.Settings(
            mean=info.mean, std=info.std, **dataclasses.asdict(config.augment)
        ),
        state_shapes=jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere),
            jax.eval_shape(create, key),
        ),
    )


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


def _check_run(config: Config) -> None:
    """Raises UserError for the choices that no other function looks at."""
    compute_dtype(config.compute_dtype)
    parallel.layout(config.parallel)
    for name in ("mixup", "cutmix"):
        value = getattr(config.augment, name)
        rule = "0 with parallel='pmap', under which no device sees the whole batch"
        errors.require(
            not value or config.parallel != "pmap", f"augment.{name}", value, rule
        )
    positive = ("num_epochs", "eval_every_epochs", "keep_checkpoints")
    for name in (*positive, "log_every_steps", "save_every_steps"):
        value = getattr(config, name)
        holds = value is None or 0 < value < float("inf")
        errors.require(holds, name, value, "positive")
    errors.require(config.seed >= 0, "seed", config.seed, "0 or more")
    for name in ("batch_size", "eval_batch_size", "num_threads", "image_size"):
        value = getattr(config.data, name)
        errors.require(value >= 1, f"data.{name}", value, "at least 1")
    workers = config.data.num_workers
    errors.require(workers >= 0, "data.num_workers", workers, "0 or more")
