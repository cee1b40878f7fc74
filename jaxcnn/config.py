"""The choices of one run.

Plain dataclasses: choices, never consequences (steps, classes and scaled rates are
computed where they are used). Each field says what it means and in what unit, and
whether another value gives other numbers: a run that is resumed must keep those.
config_fields.py reads and checks them.
"""

import dataclasses
from typing import Any

AUTO = "auto"  # a choice that is made before the first step

# What data.name may begin with, before a colon -> what stands behind it.
DATA_PREFIXES = {"tfds": "NAME", "folder": "PATH", "csv": "PATH", "glyphs": "PATH"}


def choice(default: Any, meaning: str, *, changes_numbers: bool = True) -> Any:
    """A field of a config.

    Args:
        default: Its value where an experiment says nothing.
        meaning: What it means, in one line, with the unit and what is allowed.
        changes_numbers: Whether another value gives other parameters. If so, it may
            not change when a run is resumed.
    """
    metadata = {"meaning": meaning, "changes_numbers": changes_numbers}
    return dataclasses.field(default=default, metadata=metadata)


def section(cls: type) -> Any:
    """A field of a config that is a config itself."""
    return dataclasses.field(default_factory=cls, metadata={"changes_numbers": True})


@dataclasses.dataclass
class DataConfig:
    """Which images, and how the host makes batches of them."""

    name: str = choice(
        "digits",
        "a name in data.DATASETS, folder:PATH, csv:PATH, tfds:NAME, glyphs:PATH (of "
        "fonts), or module:attribute",
    )
    target_kind: str = choice(
        "label",
        "csv:PATH: label (the name of a class), labels (any number of them) or value "
        "(numbers)",
    )
    target_columns: tuple[str, ...] = choice(
        (), "csv:PATH: the columns that are targets; (): all beside image and split"
    )
    dir: str = choice(
        "data",
        "folder of the original archives or of datasets that TFDS has prepared",
        changes_numbers=False,
    )
    image_size: object = choice(  # int, or a tuple of two
        32, "size of what the network sees, pixels: a number, or (height, width)"
    )
    image_size_stages: tuple[tuple[object, float], ...] = choice(
        (),
        "(image size, epoch from which on it is used in training) pairs, in order of "
        "epochs; image_size before the first, and in evaluation",
    )
    channels: int | None = choice(
        None, "1 grey, 3 RGB; None: the dataset's own, and RGB for folders"
    )
    batch_size: int = choice(64, "examples in one step, on all devices together")
    micro_batch_size: object = choice(  # int, None or AUTO
        None,
        "examples that pass through the network at once, on all devices together; the "
        "gradient is summed over such parts of a batch; None: the whole batch; auto: "
        "as many as fit into memory",
    )
    eval_batch_size: int = choice(
        256,
        "examples in one step of evaluation, on all devices together",
        changes_numbers=False,
    )
    validation_fraction: float = choice(
        0.1,
        "part of the training images that validates where no validation split exists",
    )
    test_fraction: float = choice(
        0.2, "part of a folder's images that tests where it has no split folders"
    )
    split_seed: int = choice(
        0, "seed of the two splits above, which do not depend on the run's seed"
    )
    num_per_class: int | None = choice(
        None, "training images kept of each class, drawn by the run's seed; None: all"
    )
    train_transform: str = choice(
        "resize",
        "how training images get their size, on the host: a name in data.TRANSFORMS, "
        "or module:attribute",
    )
    scaled_decoding: bool = choice(
        False,
        "in training, decode a JPEG at 1/8, 1/4 or 1/2 of its size where the random "
        "window need not be enlarged for that; faster, with slightly other pixels",
    )
    eval_transform: str = choice("resize", "the same in evaluation and prediction")
    sampling: str = choice(
        "uniform",
        "uniform: each example once an epoch; balanced: each class equally often",
    )
    repeats: int = choice(
        1,
        "repeated augmentation: each example stands in a batch this many times, each "
        "augmented differently; one epoch then sees 1 in this many examples",
    )
    bad_images: str = choice(
        "error",
        "what an unreadable image does: error: it ends the run; skip: it is listed and "
        "left out, up to 1% of them",
    )
    num_threads: int = choice(
        4, "threads that read and decode images", changes_numbers=False
    )
    num_workers: int = choice(
        0, "processes that do so instead; 0: threads only", changes_numbers=False
    )
    in_memory_mib: int = choice(
        1024,
        "largest memory for decoded images that are kept, MiB",
        changes_numbers=False,
    )


@dataclasses.dataclass
class AugmentConfig:
    """Random changes of the training images, on the device, in the step."""

    flip: float = choice(0.0, "probability of a horizontal flip")
    crop_padding_pixels: int = choice(
        0, "pad each side by this with zeros, then cut a random window of the old size"
    )
    shift_pixels: float = choice(0.0, "largest shift each way, both axes")
    rotation_degrees: float = choice(0.0, "largest rotation each way")
    scale: float = choice(0.0, "largest relative change of size: 0.1 is 1/1.1 to 1.1")
    shear_degrees: float = choice(0.0, "largest horizontal shear each way")
    noise: float = choice(
        0.0, "standard deviation of Gaussian noise, grey levels of 255"
    )
    randaugment: int = choice(0, "operations of RandAugment on each image, such as 2")
    randaugment_magnitude: int = choice(9, "strength of each of them, 0 to 30")
    trivialaugment: bool = choice(
        False, "one operation of TrivialAugment's wide space on each image"
    )
    brightness: float = choice(
        0.0, "largest relative change of brightness: 0.4 is a factor of 0.6 to 1.4"
    )
    contrast: float = choice(
        0.0, "the same for the contrast, about the mean of the image"
    )
    saturation: float = choice(0.0, "the same for the saturation, about the grey image")
    hue: float = choice(
        0.0, "largest change of hue each way, as a part of the colour circle, up to 0.5"
    )
    greyscale: float = choice(0.0, "probability that an image loses its colour")
    lighting: float = choice(
        0.0, "standard deviation of AlexNet's colour shift, 0.1 in its paper"
    )
    erasing: float = choice(0.0, "probability that a random rectangle is erased")
    own: tuple[str, ...] = choice(
        (),
        "functions of your own, module:attribute, called one after the other as "
        "function(batch, keys) before mixup and cutmix",
    )
    mixup: float = choice(
        0.0, "alpha of mixup, which averages images and losses of two examples; 0: off"
    )
    cutmix: float = choice(
        0.0,
        "alpha of cutmix, which pastes a rectangle of another image; 0: off; with "
        "mixup, either is drawn half the time",
    )


@dataclasses.dataclass
class TaskConfig:
    """What the network is trained to do."""

    name: str = choice("classification", "a name in tasks.TASKS, or module:attribute")
    target: str | None = choice(
        None, "the target that is learned; None: the only one of the task's kind"
    )
    label_smoothing: float = choice(
        0.0, "classification: probability spread over all classes, in [0, 1)"
    )
    class_weights: str = choice(
        "none",
        "classification: none, or balanced: each class weighs 1 / its frequency",
    )
    threshold: float = choice(
        0.5, "multi_label: probability from which on a class counts as predicted"
    )
    loss: str = choice("squared", "regression: squared, absolute or huber")
    huber_delta: float = choice(
        1.0,
        "regression: error from which on huber is linear, standard deviations",
    )
    aux_weight: float = choice(
        0.0, "weight of the loss of each auxiliary head, such as GoogLeNet's"
    )


@dataclasses.dataclass
class OptimConfig:
    """The optimizer and the learning rate over time."""

    name: str = choice(
        "nesterov",
        "a name in optim.OPTIMIZERS, or module:function of your own, which is called "
        "with this section and the schedule",
    )
    peak_lr: float = choice(0.1, "highest learning rate, for the stated batch size")
    lr_for_batch_size: int | None = choice(
        None,
        "peak_lr is meant for batches of this many examples, and is scaled by "
        "data.batch_size over it; None: used as it is",
    )
    schedule: str = choice(
        "cosine",
        "after the warm-up: a name in optim.SCHEDULES, or module:function of your own, "
        "which is called with this section, the number of steps and those of the drops",
    )
    warmup_epochs: float = choice(0.0, "linear warm-up from 0, epochs")
    end_lr_factor: float = choice(
        0.0, "last rate over the peak, for cosine, linear and polynomial"
    )
    decay_factor: float = choice(
        0.1,
        "step, staircase: factor of the rate at each fall; exponential: over the whole "
        "run",
    )
    decay_epochs: tuple[float, ...] = choice(
        (), "step: when the rate falls, epochs from the start of the run"
    )
    decay_every_epochs: float | None = choice(
        None, "staircase: epochs from one fall of the rate to the next"
    )
    power: float = choice(2.0, "exponent of the polynomial schedule")
    momentum: float = choice(
        0.9, "sgd, nesterov, rmsprop*, lars: decay of the momentum"
    )
    beta1: float = choice(0.9, "adam, adamw, lamb: decay of the first moment")
    beta2: float = choice(
        0.999, "adam, adamw, lamb, rmsprop*: decay of the second moment"
    )
    epsilon: float = choice(
        1e-8, "adam, adamw, lamb, rmsprop*: added to the denominator"
    )
    weight_decay: float = choice(
        0.0, "weight decay of kernels; biases and normalisation have none"
    )
    clip_norm: float | None = choice(
        None, "largest global norm of the gradient; None: any"
    )
    lr_decay: float = choice(
        1.0, "factor from the rate of a layer group to that of the group before it"
    )
    lr_decay_per: str = choice("stage", "what lr_decay counts as a group: stage, block")
    lr_factors: tuple[tuple[str, float], ...] = choice(
        (), "(pattern of layer groups, factor of the rate) pairs; the first match wins"
    )
    freeze: tuple[str, ...] = choice(
        (), "patterns of layer groups that stay as they are"
    )
    unfreeze: tuple[tuple[str, float], ...] = choice(
        (), "(pattern of layer groups, epoch from which they are trained) pairs"
    )
    unfreeze_warmup_epochs: float = choice(
        0.5, "linear warm-up of what is unfrozen after the start, epochs"
    )


@dataclasses.dataclass
class InitConfig:
    """Where the parameters start."""

    path: str = choice(
        "",
        "a run's folder, imported weights or a weight file; empty: at random",
        changes_numbers=False,
    )
    only: tuple[str, ...] = choice(
        (), "patterns of the layer groups that are taken from there; (): all"
    )
    skip: tuple[str, ...] = choice(
        (), "patterns of layer groups that start at random nevertheless"
    )


@dataclasses.dataclass
class AverageConfig:
    """An average of the parameters, which is validated beside them and predicts."""

    name: str = choice("none", "none, ema (exponential) or swa (of the ends of epochs)")
    decay: float = choice(
        0.999, "ema: share of the old average that is kept in each step"
    )
    start_epoch: float = choice(0.0, "swa: epoch from which on parameters are averaged")


@dataclasses.dataclass
class Config:
    """One run."""

    model: str = choice("lenet5", "a name in `jaxcnn models`, or module:attribute")
    model_fields: tuple[tuple[str, Any], ...] = choice(
        (), "(field, value) pairs of the model, such as (('activation', 'tanh'),)"
    )
    data: DataConfig = section(DataConfig)
    augment: AugmentConfig = section(AugmentConfig)
    task: TaskConfig = section(TaskConfig)
    init_from: InitConfig = section(InitConfig)
    optim: OptimConfig = section(OptimConfig)
    average: AverageConfig = section(AverageConfig)
    num_epochs: float = choice(10.0, "passes over the training images")
    steps_per_epoch: int | None = choice(
        None,
        "updates that count as one epoch, for every field in epochs; None: as many as "
        "one pass over the training images takes",
    )
    seed: int = choice(
        0, "fixes initial parameters, order of examples, augmentation and dropout"
    )
    cache_features: bool = choice(
        False, "compute the output of frozen first layers once for all epochs"
    )
    compute_dtype: str = choice(
        "float32",
        "precision of the forward and backward pass: float32, bfloat16 or float16",
    )
    remat: bool = choice(
        False,
        "compute the activations of each block again in the backward pass instead of "
        "keeping them: less memory, about a third more time",
        changes_numbers=False,
    )
    deterministic: bool = choice(
        False,
        "the same bits in every run on a GPU, at the cost of speed; a CPU or TPU gives "
        "them anyway",
        changes_numbers=False,
    )
    tf32: bool = choice(
        True,
        "float32 products may be computed with fewer digits where that is faster "
        "(TensorFloat-32 on a GPU, bfloat16 on a TPU); False: in full",
    )
    norm_examples: int | None = choice(
        None,
        "consecutive examples over which BatchNorm takes its statistics in training, "
        "on any number of devices; None: the whole batch",
    )
    parallel: str = choice(
        "jit",
        "how devices share a step: jit (the batch is split), fsdp (parameters and "
        "optimizer state, too) or pmap",
        changes_numbers=False,
    )
    num_devices: int | None = choice(
        None, "number of devices to use; None: all there are", changes_numbers=False
    )
    eval_every_epochs: float = choice(
        1.0,
        "epochs from one validation, which saves a checkpoint, to the next",
        changes_numbers=False,
    )
    save_every_steps: int | None = choice(
        None,
        "steps from one additional checkpoint to the next; None: none",
        changes_numbers=False,
    )
    keep_checkpoints: int = choice(
        2, "newest checkpoints kept, besides the best", changes_numbers=False
    )
    best_metric: str | None = choice(
        None,
        "validation metric of the best checkpoint, one of the task's METRICS; None: "
        "the task's own default",
    )
    early_stopping_patience: int | None = choice(
        None,
        "validations in a row without a better value after which the run ends; None: "
        "never",
        changes_numbers=False,
    )
    early_stopping_metric: str | None = choice(
        None,
        "validation metric that must get better, one of the task's METRICS; None: "
        "best_metric",
        changes_numbers=False,
    )
    writers: tuple[str, ...] = choice(
        ("jsonl", "tensorboard"),
        "where the numbers go: names in report.writers.WRITERS (jsonl, csv, "
        "tensorboard, wandb, mlflow), or module:attribute",
        changes_numbers=False,
    )
    log_every_steps: int = choice(
        50, "steps from one line of training metrics to the next", changes_numbers=False
    )
