"""The choices of one run.

Plain dataclasses: choices, never consequences (steps, classes and scaled rates are
computed where they are used). Each field says what it means and in what unit, and
whether another value gives other numbers: a run that is resumed must keep those.
config_fields.py reads and checks them.
"""

import dataclasses
from typing import Any

from jaxcnn.errors import unknown

AUTO = "auto"  # a choice that is made before the first step

# What data.name may begin with, before a colon -> what stands behind it.
DATA_PREFIXES = {
    "tfds": "NAME",
    "folder": "PATH",
    "csv": "PATH",
    "glyphs": "PATH",
    "voc": "PATH",
    "cityscapes": "PATH",
    "coco": "PATH",
}


def choice(
    default: Any, meaning: str, *, allowed: str = "", changes_numbers: bool = True
) -> Any:
    """A field of a config.

    Args:
        default: Default value.
        meaning: Meaning of the field, in one line, with its unit and allowed values.
        allowed: Interval of its numbers, such as "[0, 1)". Empty: any finite number.
        changes_numbers: Whether another value gives other parameters. If so, it may
            not change when a run is resumed.
    """
    metadata = {
        "meaning": meaning,
        "allowed": allowed,
        "changes_numbers": changes_numbers,
    }
    return dataclasses.field(default=default, metadata=metadata)


def section(cls: type) -> Any:
    """A field of a config that is a config itself."""
    return dataclasses.field(default_factory=cls, metadata={"changes_numbers": True})


class Section:
    """Base of a config and its sections, which names the nearest of its fields."""

    def __new__(cls, *args: Any, **values: Any) -> "Section":
        known = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise unknown(f"field of {cls.__name__}", name, known)
        return super().__new__(cls)


@dataclasses.dataclass
class DataConfig(Section):
    """The images, and how the host makes batches of them."""

    name: str = choice(
        "digits",
        "a name in data.DATASETS, folder:PATH, csv:PATH, tfds:NAME, glyphs:PATH (a "
        "folder of fonts), voc:PATH, cityscapes:PATH or coco:PATH (masks in the layout "
        "of these data sets), or module:attribute",
    )
    target_kind: str = choice(
        "label",
        "csv:PATH: kind of the targets: label (the name of a class), labels (any "
        "number of them), value (numbers), mask (a file) or text (what is written in "
        "the image); tfds:NAME and folder:PATH: label or mask, which images/ and "
        "masks/ in a folder imply; folder:PATH: none (images alone)",
    )
    target_columns: tuple[str, ...] = choice(
        (), "csv:PATH: the columns that are targets; (): all except image and split"
    )
    dir: str = choice(
        "data",
        "folder of the original archives or of datasets that TFDS has prepared",
        changes_numbers=False,
    )
    image_size: object = choice(  # int, or a tuple of two
        32, "size of the network's input, pixels: a number, or (height, width)"
    )
    image_size_stages: tuple[tuple[object, float], ...] = choice(
        (),
        "(image size, epoch from which on it is used in training) pairs, in order of "
        "epochs; image_size is used before the first and in evaluation",
    )
    channels: int | None = choice(
        None,
        "1: grey, 3: RGB; None: those of the dataset, RGB for folders",
        allowed="[1, 3]",
    )
    batch_size: int = choice(
        64, "examples in one step, on all devices together", allowed="[1, 10000000]"
    )
    micro_batch_size: object = choice(  # int, None or AUTO
        None,
        "examples that pass through the network at once, on all devices together; the "
        "gradients of such parts of a batch are averaged; None: the whole batch; auto: "
        "as many as fit into memory",
    )
    eval_batch_size: int = choice(
        256,
        "examples in one step of evaluation, on all devices together",
        allowed="[1, 10000000]",
        changes_numbers=False,
    )
    validation_fraction: float = choice(
        0.1,
        "fraction of the training images used for validation if there is no "
        "validation split",
        allowed="[0, 1)",
    )
    test_fraction: float = choice(
        0.2,
        "fraction of a folder's images used for testing if it has no split folders",
        allowed="[0, 1)",
    )
    split_seed: int = choice(
        0,
        "seed of the two splits above, which do not depend on the run's seed",
        allowed="[0, 4294967295]",
    )
    groups: str | None = choice(
        None,
        "keeps the examples of a group in the same split and fold: a regular "
        "expression with one group, searched for in the name of each, such as "
        "(subject[0-9]+)_, or a CSV file of lines name,group; the name is the path "
        "relative to the folder, or as csv:PATH lists it",
    )
    num_per_class: int | None = choice(
        None,
        "training images kept per class, or in all where they have no classes, drawn "
        "with the run's seed; None: all",
        allowed="[1, 2147483647]",
    )
    train_transform: str = choice(
        "resize",
        "transform that gives training images their size, on the host: a name in "
        "data.transforms.TRANSFORMS, or module:attribute",
    )
    scaled_decoding: bool = choice(
        False,
        "decode training images that are JPEG files at 1/8, 1/4 or 1/2 of their size "
        "if the random crop then needs no enlargement; faster, with slightly different "
        "pixels",
    )
    eval_transform: str = choice(
        "resize", "transform in evaluation and prediction, see train_transform"
    )
    sampling: str = choice(
        "uniform",
        "uniform: each example once per epoch; balanced: each class equally often",
    )
    repeats: int = choice(
        1,
        "repeated augmentation: copies of each example in a batch, each augmented "
        "differently; with 3 copies, an epoch sees a third of the examples",
        allowed="[1, 1024]",
    )
    bad_images: str = choice(
        "error",
        "handling of unreadable images: error: the run ends; skip: they are listed and "
        "left out, up to one image or 1% of the whole data set",
    )
    max_pixels: int = choice(
        80_000_000,
        "largest number of pixels of an image file; a larger one counts as unreadable, "
        "and is not decoded",
        allowed="[1, 1000000000000]",
    )
    num_threads: int = choice(
        4,
        "threads that read and decode images",
        allowed="[1, 1024]",
        changes_numbers=False,
    )
    num_workers: int = choice(
        0,
        "processes that read and decode images, instead of threads; 0: threads only",
        allowed="[0, 1024]",
        changes_numbers=False,
    )
    in_memory_mib: int = choice(
        1024,
        "maximum memory for keeping decoded images, MiB",
        allowed="[0, 1073741824]",
        changes_numbers=False,
    )


@dataclasses.dataclass
class AugmentConfig(Section):
    """Random changes of the training images, on the device, in the step."""

    flip: float = choice(0.0, "probability of a horizontal flip", allowed="[0, 1]")
    crop_padding_pixels: int = choice(
        0,
        "zeros added to each side before a random window of the old size is cut out",
        allowed="[0, 1024]",
    )
    shift_pixels: float = choice(
        0.0, "largest shift in each direction, both axes", allowed="[0, 10000]"
    )
    rotation_degrees: float = choice(
        0.0, "largest rotation in each direction", allowed="[0, 180]"
    )
    scale: float = choice(
        0.0, "largest relative change of size: 0.1 is 1/1.1 to 1.1", allowed="[0, 100]"
    )
    shear_degrees: float = choice(
        0.0, "largest horizontal shear in each direction", allowed="[0, 80]"
    )
    noise: float = choice(
        0.0,
        "standard deviation of Gaussian noise, in grey levels (0 to 255)",
        allowed="[0, 255]",
    )
    randaugment: int = choice(
        0, "operations of RandAugment on each image, such as 2", allowed="[0, 32]"
    )
    randaugment_magnitude: int = choice(
        9, "strength of each operation of RandAugment, 0 to 30", allowed="[0, 30]"
    )
    trivialaugment: bool = choice(
        False, "one operation of TrivialAugment's wide space on each image"
    )
    brightness: float = choice(
        0.0,
        "largest relative change of brightness: 0.4 is a factor of 0.6 to 1.4",
        allowed="[0, 100]",
    )
    contrast: float = choice(
        0.0,
        "largest relative change of contrast, about the mean of the image",
        allowed="[0, 100]",
    )
    saturation: float = choice(
        0.0,
        "largest relative change of saturation, about the grey image",
        allowed="[0, 100]",
    )
    hue: float = choice(
        0.0,
        "largest change of hue in each direction, as a fraction of the colour circle, "
        "up to 0.5",
        allowed="[0, 0.5]",
    )
    greyscale: float = choice(
        0.0, "probability that an image loses its colour", allowed="[0, 1]"
    )
    lighting: float = choice(
        0.0,
        "standard deviation of AlexNet's colour shift, 0.1 in its paper",
        allowed="[0, 100]",
    )
    erasing: float = choice(
        0.0, "probability that a random rectangle is erased", allowed="[0, 1]"
    )
    own: tuple[str, ...] = choice(
        (),
        "your own functions, module:attribute, called in this order as "
        "function(batch, keys), before mixup and cutmix; each returns the batch, whose "
        "images are already normalised",
    )
    mixup: float = choice(
        0.0,
        "alpha of mixup, which averages images and losses of two examples; 0: off",
        allowed="[0, 1000]",
    )
    cutmix: float = choice(
        0.0,
        "alpha of cutmix, which pastes a rectangle of another image; 0: off; with "
        "mixup, each is used for half of the images",
        allowed="[0, 1000]",
    )


@dataclasses.dataclass
class TaskConfig(Section):
    """What the network is trained to do."""

    name: str = choice("classification", "a name in tasks.TASKS, or module:attribute")
    fields: tuple[tuple[str, Any], ...] = choice(
        (), "(field, value) pairs of a task of your own, such as (('scale', 2.0),)"
    )
    target: str | None = choice(
        None, "name of the target; None: the only one of the task's kind"
    )
    label_smoothing: float = choice(
        0.0,
        "classification, segmentation: probability spread evenly over all classes, in "
        "[0, 1)",
        allowed="[0, 1)",
    )
    class_weights: object = choice(  # str, or a tuple of numbers
        "none",
        "classification, segmentation: weights of the classes in the loss: none, "
        "balanced: 1 / the frequency of the class, or a number for each class",
        allowed="[0, 1e30]",
    )
    threshold: float = choice(
        0.5,
        "multi_label: probability from which on a class counts as predicted",
        allowed="(0, 1)",
    )
    loss: str | None = choice(
        None,
        "regression: squared, absolute or huber; segmentation: cross_entropy, focal, "
        "dice, jaccard, lovasz, or a sum, such as cross_entropy+dice; restoration: "
        "squared, absolute or ssim; None: the first",
    )
    huber_delta: float = choice(
        1.0,
        "regression: error from which on the huber loss is linear, in standard "
        "deviations",
        allowed="(0, 1e30]",
    )
    focal_gamma: float = choice(
        2.0,
        "segmentation: exponent by which the focal loss lowers that of pixels that are "
        "right already",
        allowed="[0, 100]",
    )
    gap_weight: float = choice(
        0.0,
        "segmentation: largest extra weight, in the cross entropy, of background "
        "pixels in a gap between two objects, w0 of U-Net, 10 in its paper; 0: none",
        allowed="[0, 1e6]",
    )
    gap_sigma_pixels: float = choice(
        5.0,
        "segmentation: width of such gaps, the sigma of U-Net's paper",
        allowed="[0.5, 50]",
    )
    boundary_tolerance_pixels: float | None = choice(
        None,
        "segmentation: distance at which a boundary still counts as found in "
        "boundary_f1; None: 0.75% of the image's diagonal, at least 1",
        allowed="[0, 1000]",
    )
    corruption: str = choice(
        "none",
        "restoration: what is done to an image before the network sees it: none, "
        "gaussian, masking, boxes or downsample",
    )
    corruption_level: tuple[float, ...] = choice(
        (),
        "restoration: strength of the corruption, one number, or the limits of a range "
        "from which it is drawn for each image: gaussian: standard deviation in grey "
        "levels (25); masking and boxes: fraction of the image (0.25); downsample: "
        "factor (2); (): that in brackets",
        allowed="[0, 255]",
    )
    beam_width: int = choice(
        1,
        "text: texts that a beam search keeps at each frame; 1: the most probable "
        "alignment is read",
        allowed="[1, 100000]",
        changes_numbers=False,
    )
    lexicon: str = choice(
        "",
        "text: file of the words that a text may have, one on each line, which the run "
        "keeps; empty: any text",
        changes_numbers=False,
    )
    aux_weight: float = choice(
        0.0,
        "weight of the loss of each auxiliary head, such as GoogLeNet's",
        allowed="[0, 1e6]",
    )


@dataclasses.dataclass
class OptimConfig(Section):
    """The optimizer and the learning rate over time."""

    name: str = choice(
        "nesterov",
        "a name in optim.OPTIMIZERS, or module:function of your own, which is called "
        "with this section and the schedule",
    )
    peak_lr: float = choice(
        0.1, "highest learning rate, for the stated batch size", allowed="(0, 1e38]"
    )
    lr_for_batch_size: int | None = choice(
        None,
        "batch size that peak_lr is meant for: the rate is multiplied by "
        "data.batch_size and divided by this; None: peak_lr is not scaled",
        allowed="[1, 10000000]",
    )
    schedule: str = choice(
        "cosine",
        "learning rate after the warm-up: a name in optim.SCHEDULES, or "
        "module:function of your own, which is called with this section, the number of "
        "steps and the steps of the drops",
    )
    warmup_epochs: float = choice(
        0.0, "length of the linear warm-up from 0, epochs", allowed="[0, 1e9]"
    )
    end_lr_factor: float = choice(
        0.0,
        "cosine, linear, polynomial: ratio of the last rate to the peak",
        allowed="[0, 1e6]",
    )
    decay_factor: float = choice(
        0.1,
        "step, staircase: factor of the rate at each drop; exponential: factor over "
        "the whole run",
        allowed="(0, 1e38]",
    )
    decay_epochs: tuple[float, ...] = choice(
        (),
        "step: times of the drops, epochs from the start of the run",
        allowed="[0, 1e9]",
    )
    decay_every_epochs: float | None = choice(
        None, "staircase: epochs from one drop to the next", allowed="(0, 1e9]"
    )
    power: float = choice(2.0, "polynomial: exponent", allowed="(0, 1000]")
    momentum: float = choice(
        0.9, "sgd, nesterov, rmsprop*, lars: decay of the momentum", allowed="[0, 1)"
    )
    beta1: float = choice(
        0.9, "adam, adamw, lamb: decay of the first moment", allowed="[0, 1)"
    )
    beta2: float = choice(
        0.999,
        "adam, adamw, lamb, rmsprop*: decay of the second moment",
        allowed="[0, 1)",
    )
    epsilon: float = choice(
        1e-8,
        "adam, adamw, lamb, rmsprop*: added to the denominator",
        allowed="[0, 1e30]",
    )
    weight_decay: float = choice(
        0.0,
        "weight decay of kernels; biases and normalisation have none",
        allowed="[0, 1e30]",
    )
    clip_norm: float | None = choice(
        None,
        "largest global norm of the gradient; None: no clipping",
        allowed="(0, 1e30]",
    )
    lr_decay: float = choice(
        1.0, "ratio of a layer group's rate to that of the next group", allowed="(0, 1]"
    )
    lr_decay_per: str = choice("stage", "groups of lr_decay: stage or block")
    lr_factors: tuple[tuple[str, float], ...] = choice(
        (),
        "(pattern of layer groups, factor of the rate) pairs; the first match wins",
        allowed="[0, 1e6]",
    )
    freeze: tuple[str, ...] = choice(
        (), "patterns of layer groups that are not trained"
    )
    unfreeze: tuple[tuple[str, float], ...] = choice(
        (),
        "(pattern of layer groups, epoch from which they are trained) pairs",
        allowed="[0, 1e9]",
    )
    unfreeze_warmup_epochs: float = choice(
        0.5,
        "linear warm-up of groups that are unfrozen after the start, epochs",
        allowed="[0, 1e9]",
    )


@dataclasses.dataclass
class InitConfig(Section):
    """Where the parameters start."""

    path: str = choice(
        "",
        "a run's folder, imported weights or a weight file; empty: random "
        "initialisation",
        changes_numbers=False,
    )
    only: tuple[str, ...] = choice(
        (), "patterns of the layer groups that are loaded from path; (): all"
    )
    skip: tuple[str, ...] = choice(
        (), "patterns of layer groups that are not loaded from path"
    )


@dataclasses.dataclass
class AverageConfig(Section):
    """An average of the parameters, validated beside them and used for prediction."""

    name: str = choice(
        "none",
        "none, ema (exponential moving average) or swa (mean over the ends of epochs)",
    )
    decay: float = choice(
        0.999, "ema: weight of the old average in each step", allowed="[0, 1)"
    )
    start_epoch: float = choice(
        0.0,
        "swa: epoch from whose end on parameters are averaged; 0: the first",
        allowed="[0, 1e9]",
    )


@dataclasses.dataclass
class Config(Section):
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
    num_epochs: float = choice(
        10.0, "passes over the training images", allowed="(0, 1e9]"
    )
    steps_per_epoch: int | None = choice(
        None,
        "updates that count as one epoch, for every field in epochs; None: those of "
        "one pass over the training images",
        allowed="[1, 2147483647]",
    )
    seed: int = choice(
        0,
        "seed of the initial parameters, the order of examples, augmentation and "
        "dropout",
        allowed="[0, 4294967295]",
    )
    cache_features: bool = choice(
        False, "compute the output of the frozen first layers once for all epochs"
    )
    compute_dtype: str = choice(
        "float32",
        "precision of the forward and backward pass: float32, bfloat16 or float16",
    )
    ops: str = choice(
        AUTO,
        "operations that the network's layers compute with, equal but for rounding: "
        "lax, on every device; portable, made for CPUs; native, compiled for the CPU; "
        "auto: the fastest there is",
        changes_numbers=False,
    )
    remat: bool = choice(
        False,
        "recompute the activations of each block in the backward pass instead of "
        "keeping them: less memory, about a third more time",
        changes_numbers=False,
    )
    deterministic: bool = choice(
        False,
        "make runs on a GPU reproducible bit for bit, at the cost of speed; on a CPU "
        "or TPU they are anyway",
        changes_numbers=False,
    )
    tf32: bool = choice(
        True,
        "allow reduced-precision matmuls and convolutions (TensorFloat-32 on a GPU, "
        "bfloat16 on a TPU)",
    )
    nan_policy: str = choice(
        "error",
        "handling of a step whose loss or gradients are not finite: error: the run "
        "ends; skip: the step changes no parameter",
        changes_numbers=False,  # a run that has ended can be resumed with "skip"
    )
    nan_patience: int = choice(
        10,
        "nan_policy=skip: steps in a row that are skipped before the run ends",
        allowed="[1, 2147483647]",
        changes_numbers=False,
    )
    norm_examples: int | None = choice(
        None,
        "consecutive examples over which BatchNorm computes its statistics in "
        "training, on any number of devices; None: the whole batch",
        allowed="[1, 10000000]",
    )
    parallel: str = choice(
        "jit",
        "parallelism: jit (the batch is split over the devices), fsdp (parameters and "
        "optimizer state, too) or pmap",
        changes_numbers=False,
    )
    num_devices: int | None = choice(
        None,
        "number of devices; None: all",
        allowed="[1, 1000000]",
        changes_numbers=False,
    )
    eval_every_epochs: float = choice(
        1.0,
        "epochs from one validation to the next; each saves a checkpoint",
        allowed="[0.0001, 1e9]",
        changes_numbers=False,
    )
    save_every_steps: int | None = choice(
        None,
        "steps from one additional checkpoint to the next; None: none",
        allowed="[1, 2147483647]",
        changes_numbers=False,
    )
    keep_checkpoints: int = choice(
        2,
        "newest checkpoints kept, besides the best",
        allowed="[1, 1000000]",
        changes_numbers=False,
    )
    best_metric: str | None = choice(
        None,
        "validation metric that selects the best checkpoint, one of the task's "
        "METRICS; None: the task's default",
    )
    early_stopping_patience: int | None = choice(
        None,
        "validations in a row without a better value after which the run ends; None: "
        "no early stopping",
        allowed="[1, 2147483647]",
        changes_numbers=False,
    )
    early_stopping_metric: str | None = choice(
        None,
        "validation metric that must improve, one of the task's METRICS; None: "
        "best_metric",
        changes_numbers=False,
    )
    writers: tuple[str, ...] = choice(
        ("jsonl", "tensorboard"),
        "destinations of the metrics: names in report.writers.WRITERS (jsonl, csv, "
        "tensorboard, wandb, mlflow), or module:attribute",
        changes_numbers=False,
    )
    log_every_steps: int = choice(
        50,
        "steps from one line of training metrics to the next",
        allowed="[1, 2147483647]",
        changes_numbers=False,
    )
