"""The parts of a run, and what follows from them."""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

from flax import linen as nn
import jax
from jax.sharding import Mesh
import numpy as np
import optax

from jaxcnn import augment, optim, tasks
from jaxcnn import targets as targets_lib
from jaxcnn.config import Config, DataConfig
from jaxcnn.data.examples import Dataset, DatasetInfo
from jaxcnn.data.transforms import Size, height_and_width
from jaxcnn.training import compilation, parallel
from jaxcnn.training import step as step_lib
from jaxcnn.training.averaging import Average
from jaxcnn.training.groups import GroupRow, group_rows
from jaxcnn.training.precision import Precision
from jaxcnn.training.state import TrainState, create_state, select
from jaxcnn.training.transfer import Start


@dataclasses.dataclass(frozen=True)
class Run:
    """All parts of a run, before any number is computed; prepare.prepare makes one.

    Attributes:
        config: Its choices.
        dataset: Its examples, and how they are normalised.
        model: The network.
        task: Targets, loss and metrics.
        mesh: The devices.
        num_steps: Updates of the whole run.
        steps_per_epoch: Updates that count as an epoch: the batches in one pass over
            the training images, not rounded, unless the config says a number.
        schedule: Step -> learning rate.
        plan: Parameters that are trained, from which step on, and how fast.
        average: Moves the average of the parameters; None: the run keeps none.
        groups: The layer groups, from input to head.
        start: Parameters taken from a trained network; None: none.
        precision: Precision of the forward and backward pass.
        init: Key -> (the network's output for one image, its fresh variables). JAX
            keeps what it has traced of this function, as long as it is this object.
        variable_shapes: {"params", "batch_stats"} as jax.ShapeDtypeStruct.
        has_features: Whether batches hold features of a frozen base for images, see
            feature_cache.
    """

    config: Config
    dataset: Dataset
    model: nn.Module
    task: tasks.Task
    mesh: Mesh
    num_steps: int
    steps_per_epoch: float
    schedule: optax.Schedule
    plan: optim.Plan
    average: Average | None
    groups: tuple[str, ...]
    start: Start | None
    precision: Precision
    init: Callable[[jax.Array], tuple[Any, dict[str, Any]]]
    variable_shapes: dict[str, Any]
    has_features: bool = False

    @property
    def info(self) -> DatasetInfo:
        """What is known of the data set."""
        return self.dataset.info

    @property
    def layout(self) -> parallel.Layout:
        """How the devices share a step."""
        return parallel.layout(self.config.parallel)

    @property
    def keys(self) -> tuple[jax.Array, jax.Array]:
        """The key of the initial parameters, and that of the steps."""
        init_key, run_key = jax.random.split(jax.random.key(self.config.seed))
        return init_key, run_key

    @property
    def run_key(self) -> jax.Array:
        """The key that every step folds its number into, on every device."""
        everywhere = parallel.replicated(self.mesh)
        on_devices = jax.jit(jax.random.wrap_key_data, out_shardings=everywhere)
        return on_devices(np.asarray(jax.random.key_data(self.keys[1])))

    @property
    def num_micro_batches(self) -> int:
        """Parts of a batch that pass through the network one after the other."""
        size = self.config.data.micro_batch_size
        return 1 if size is None else self.config.data.batch_size // size

    @property
    def max_skips(self) -> int:
        """Steps in a row that may be not finite."""
        config = self.config
        return config.nan_patience if config.nan_policy == "skip" else 0

    @property
    def platform(self) -> str:
        """Kind of the devices: "cpu", "gpu" or "tpu"."""
        return self.mesh.devices.flat[0].platform

    @property
    def compiler_options(self) -> compilation.Options:
        """What XLA is told when it compiles the run's steps."""
        return compilation.options(
            self.platform,
            remat=self.config.remat,
            deterministic=self.config.deterministic,
        )

    # The network.

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

    @property
    def normalise(self) -> step_lib.Normalise | None:
        """What evaluation does to images; None: batches hold features."""
        if self.has_features:
            return None
        return functools.partial(
            augment.normalise, mean=self.info.mean, std=self.info.std
        )

    @property
    def forward(self) -> Callable[[dict[str, Any], jax.Array], Any]:
        """(variables, images) -> the network's output in evaluation, not compiled."""
        return functools.partial(
            step_lib.forward,
            model=self.model,
            normalise=self.normalise,
            precision=self.precision,
        )

    @property
    def augment(self) -> step_lib.Augment | None:
        """What training does to a batch; None: batches hold features."""
        if self.has_features:
            return None
        return functools.partial(
            augment.augment_batch,
            config=self.config.augment,
            mean=self.info.mean,
            std=self.info.std,
            targets=self.task.targets,
            inputs=self.task.inputs if tasks.changes_inputs(self.task) else None,
        )

    # Phases: parts of the run in which the same parameters are trained with images of
    # the same size.

    @property
    def stages(self) -> list[tuple[int, Size]]:
        """(updates before, size) of each stage of the size of training images."""
        return [
            (round(epoch * self.steps_per_epoch), height_and_width(size))
            for size, epoch in self.config.data.image_size_stages
        ]

    def phases(self, start: int) -> list[tuple[int, int]]:
        """(updates before, updates after) of each phase, from `start` updates on."""
        cuts = {*self.plan.boundaries, *(step for step, _ in self.stages)}
        cuts = sorted(cut for cut in cuts if start < cut < self.num_steps)
        ends = [*cuts, self.num_steps]
        return [(a, b) for a, b in zip([start, *cuts], ends, strict=True) if a < b]

    def image_size(self, step: int) -> Size:
        """(height, width) of the images of the update after `step` updates, pixels."""
        sizes = [size for start, size in self.stages if start <= step]
        return sizes[-1] if sizes else height_and_width(self.config.data.image_size)

    def data_config(self, step: int) -> DataConfig:
        """How the host makes the batch of the update after `step` updates."""
        size = self.image_size(step)
        return dataclasses.replace(self.config.data, image_size=size)

    @property
    def eval_data_config(self) -> DataConfig:
        """How the host makes batches of evaluation, which divide over the devices.

        Padding fills them up and counts for nothing, so this changes no number.
        """
        size = -(-self.config.data.eval_batch_size // self.mesh.size) * self.mesh.size
        return dataclasses.replace(self.config.data, eval_batch_size=size)

    # The state.

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

    def create_state(self, step: int) -> Callable[[dict[str, Any]], TrainState]:
        """Variables -> a state for the update after `step` updates; pure."""
        return functools.partial(
            create_state,
            tx=self.tx(step),
            trained=self.trained(step),
            average=self.average is not None,
            scaled=self.config.compute_dtype == "float16",
        )

    def state_shapes(self, step: int) -> TrainState:
        """The state after `step` updates, as jax.ShapeDtypeStruct with shardings."""
        create = self.create_state(max(step - 1, 0))
        shapes = jax.eval_shape(create, self.variable_shapes)
        shardings = self.layout.shardings(shapes, self.mesh)
        return parallel.described(shapes, shardings)

    @property
    def state_bytes(self) -> int:
        """Bytes of the state before the first step on each device."""
        return parallel.bytes_per_device(self.state_shapes(0))

    def extend_optimizer_state(self, state: TrainState, step: int) -> TrainState:
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

    # The step.

    def train_step(
        self, step: int = 0
    ) -> Callable[..., tuple[TrainState, step_lib.Metrics]]:
        """The update after `step` updates, (state, batch, key), not compiled."""
        return functools.partial(
            step_lib.train_step,
            model=self.model,
            tx=self.tx(step),
            task=self.task,
            augment=self.augment,
            aux_weight=self.config.task.aux_weight,
            trained=self.trained(step),
            average=self.average,
            num_micro_batches=self.num_micro_batches,
            remat=self.config.remat,
            max_skips=self.max_skips,
            unroll=self.platform == "cpu",
            precision=self.precision,
        )

    def batch_arrays(self, step: int) -> dict[str, np.ndarray]:
        """This host's share of the batch of the update after `step` updates: zeros."""
        size, dtype = self.image_size(step), np.dtype(np.uint8)
        shape = (*size, self.info.channels)
        if self.has_features:
            images = self.dataset.splits["train"].images
            shape, dtype = images.shape[1:], images.dtype
        shapes = targets_lib.batch_shapes(self.task.targets, *size)
        shapes["image"] = shape, dtype
        local = self.config.data.batch_size // jax.process_count()
        return {
            name: np.zeros((local, *shape), dtype)
            for name, (shape, dtype) in shapes.items()
        }

    def compile_train_step(
        self, state: TrainState, step: int = 0
    ) -> jax.stages.Compiled:
        """Compiles train_step(step) for the shapes of this run."""
        shardings = self.layout.shardings(state, self.mesh)
        compiled = self.layout.compile(self.train_step(step), self.mesh, shardings)
        batch = self.layout.put(self.batch_arrays(step), self.mesh)
        lowered = compiled.lower(state, batch, self.run_key)
        return lowered.compile(compiler_options=self.compiler_options)
