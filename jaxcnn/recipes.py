"""Training recipes that experiments share.

They differ from their papers in four ways: some training images are held out for
validation (1% of ImageNet's, 10% of CIFAR's, so an epoch is shorter by that much),
weight decay applies only to kernels, ImageNet is computed in bfloat16, and its large
JPEG files are decoded at a reduced scale in training.
"""

from typing import Any

from jaxcnn.config import AugmentConfig, Config, DataConfig, OptimConfig, TaskConfig

# Fields for vgg11_bn: its first three stages at half width, and a small hidden layer.
SMALL_VGG = (("depths", (1, 1, 2)), ("filters", (32, 64, 128)), ("hidden", (128,)))


def imagenet(
    model: str,
    *,
    image_size: int = 224,
    batch_size: int = 256,
    train_transform: str = "random_resized_crop",
    repeats: int = 1,
    augment: AugmentConfig | None = None,
    **fields: Any,
) -> Config:
    """Trains a model on ImageNet and evaluates it on one centre crop.

    Args:
        model: Model name, see Config.model.
        image_size: Height and width of the crops, in pixels.
        batch_size: Global batch size.
        train_transform: Name of the training crop, see DataConfig.train_transform.
        repeats: Repetitions of each example, see DataConfig.repeats.
        augment: Augmentation. None: only a horizontal flip of half of the images.
        **fields: Other fields of Config.
    """
    return Config(
        model=model,
        data=DataConfig(
            name="imagenet2012",
            image_size=image_size,
            batch_size=batch_size,
            validation_fraction=0.01,
            train_transform=train_transform,
            scaled_decoding=True,
            eval_transform="center_crop",
            repeats=repeats,
            num_threads=16,
        ),
        augment=augment or AugmentConfig(flip=0.5),
        compute_dtype="bfloat16",
        **fields,
    )


def cifar(
    model: str, name: str = "cifar10", *, batch_size: int = 128, **fields: Any
) -> Config:
    """Trains a model on CIFAR-10 or CIFAR-100: padding of 4 pixels, crop and flip.

    Args:
        model: Model name, see Config.model.
        name: Dataset, "cifar10" or "cifar100".
        batch_size: Global batch size.
        **fields: Other fields of Config.
    """
    return Config(
        model=model,
        data=DataConfig(name=name, batch_size=batch_size),
        augment=AugmentConfig(flip=0.5, crop_padding_pixels=4),
        **fields,
    )


def fb_resnet_torch(
    model: str,
    *,
    decay_epochs: tuple[float, ...] = (30.0, 60.0),
    num_epochs: float = 90.0,
) -> Config:
    """The ImageNet recipe of https://github.com/facebookarchive/fb.resnet.torch.

    Batch size 256, learning rate 0.1 divided by 10 at decay_epochs, weight decay 1e-4;
    brightness, contrast and saturation vary by up to 40%, with AlexNet's colour
    augmentation.
    """
    return imagenet(
        model,
        augment=AugmentConfig(
            flip=0.5, brightness=0.4, contrast=0.4, saturation=0.4, lighting=0.1
        ),
        optim=OptimConfig(
            schedule="step", decay_epochs=decay_epochs, weight_decay=1e-4
        ),
        num_epochs=num_epochs,
    )


def torchvision_600(model: str, image_size: int) -> Config:
    """torchvision's ImageNet recipe of 2021, with 600 epochs.

    https://pytorch.org/blog/how-to-train-state-of-the-art-models-using-torchvision-latest-primitives
    We leave out its moving average of the parameters, and evaluate at the training
    resolution.

    Args:
        model: Model name, see Config.model.
        image_size: Height and width of the crops, in pixels.
    """
    return imagenet(
        model,
        image_size=image_size,
        batch_size=1024,
        repeats=4,
        augment=AugmentConfig(
            flip=0.5, trivialaugment=True, erasing=0.1, mixup=0.2, cutmix=1.0
        ),
        task=TaskConfig(label_smoothing=0.1),
        optim=OptimConfig(
            name="sgd", peak_lr=0.5, warmup_epochs=5.0, weight_decay=2e-5
        ),
        num_epochs=600.0,
    )


def inception(model: str, *, batch_size: int, num_epochs: float, **task: Any) -> Config:
    """The ImageNet recipe of Inception-v3 and its successors.

    Szegedy et al., https://arxiv.org/abs/1512.00567, sec. 8: RMSProp with decay 0.9 and
    epsilon 1, gradients clipped at 2, learning rate 0.045 multiplied by 0.94 every two
    epochs, label smoothing; https://arxiv.org/abs/1602.07261, sec. 4, is the same.
    Momentum 0.9 and weight decay 4e-5 come from the authors' code, research/slim in
    https://github.com/tensorflow/models. So does the colour augmentation, except that
    theirs adds to the brightness instead of multiplying it. The moving average of the
    parameters is left out.

    Args:
        model: Model name, see Config.model.
        batch_size: Global batch size.
        num_epochs: Number of epochs.
        **task: Other fields of TaskConfig.
    """
    return imagenet(
        model,
        image_size=299,
        batch_size=batch_size,
        augment=AugmentConfig(
            flip=0.5, brightness=0.125, contrast=0.5, saturation=0.5, hue=0.2
        ),
        task=TaskConfig(label_smoothing=0.1, **task),
        optim=OptimConfig(
            name="rmsprop_tf",
            peak_lr=0.045,
            schedule="staircase",
            decay_factor=0.94,
            decay_every_epochs=2.0,
            beta2=0.9,
            epsilon=1.0,
            weight_decay=4e-5,
            clip_norm=2.0,
        ),
        num_epochs=num_epochs,
    )


def slim_mobilenet(model: str) -> Config:
    """The ImageNet recipe of MobileNetV2.

    Sandler et al., https://arxiv.org/abs/1801.04381, sec. 6.1: RMSProp with decay and
    momentum 0.9, 16 GPUs with batches of 96, learning rate 0.045 multiplied by 0.98
    every epoch, weight decay 4e-5; epsilon 1 comes from research/slim in
    https://github.com/tensorflow/models. The paper does not give the number of epochs;
    300 is from torchvision's recipe. The paper's training was asynchronous.
    """
    return imagenet(
        model,
        batch_size=1536,
        optim=OptimConfig(
            name="rmsprop_tf",
            peak_lr=0.045,
            schedule="staircase",
            decay_factor=0.98,
            decay_every_epochs=1.0,
            beta2=0.9,
            epsilon=1.0,
            weight_decay=4e-5,
        ),
        num_epochs=300.0,
    )


def shufflenet(model: str) -> Config:
    """The ImageNet recipe of Zhang et al., https://arxiv.org/abs/1707.01083, sec. 4.

    ResNeXt's recipe with weight decay 4e-5, batch size 1024, and a learning rate that
    decreases linearly from 0.5 to 0 over 300,000 steps. The paper uses "slightly less
    aggressive scale augmentation" without details, so its crops are larger than ours.
    """
    return imagenet(
        model,
        batch_size=1024,
        optim=OptimConfig(peak_lr=0.5, schedule="linear", weight_decay=4e-5),
        num_epochs=240.0,
    )


def cifar_resnet(model: str, warmup_epochs: float = 0.0) -> Config:
    """The CIFAR-10 recipe of He et al., https://arxiv.org/abs/1512.03385, sec. 4.2.

    Batch size 128, learning rate 0.1 divided by 10 after 32,000 and 48,000 of 64,000
    steps, weight decay 1e-4. With a tenth of the images held out, 32,000 steps are 91
    epochs.

    Args:
        model: Model name, see Config.model.
        warmup_epochs: Length of the warm-up in epochs.
    """
    return cifar(
        model,
        optim=OptimConfig(
            name="sgd",
            schedule="step",
            decay_epochs=(91.0, 136.5),
            warmup_epochs=warmup_epochs,
            weight_decay=1e-4,
        ),
        num_epochs=182.0,
    )


def cifar_wide(model: str, name: str = "cifar10") -> Config:
    """The CIFAR recipe of wide ResNets.

    Zagoruyko and Komodakis, https://arxiv.org/abs/1605.07146, sec. 3: batch size 128,
    learning rate 0.1 multiplied by 0.2 after 60, 120 and 160 of 200 epochs, Nesterov
    momentum, weight decay 5e-4.

    Args:
        model: Model name, see Config.model.
        name: Dataset, "cifar10" or "cifar100".
    """
    return cifar(
        model,
        name,
        optim=OptimConfig(
            schedule="step",
            decay_factor=0.2,
            decay_epochs=(60.0, 120.0, 160.0),
            weight_decay=5e-4,
        ),
        num_epochs=200.0,
    )


def cifar_300(model: str, *, batch_size: int, weight_decay: float) -> Config:
    """CIFAR-10 for 300 epochs: rate 0.1, divided by 10 after 1/2 and 3/4 of the run.

    Args:
        model: Model name, see Config.model.
        batch_size: Global batch size.
        weight_decay: Weight decay of the kernels.
    """
    return cifar(
        model,
        batch_size=batch_size,
        optim=OptimConfig(
            schedule="step", decay_epochs=(150.0, 225.0), weight_decay=weight_decay
        ),
        num_epochs=300.0,
    )


def hmax(name: str) -> Config:
    """HMAX on small grey images of 48x48 pixels.

    It uses two of the eight bands, 200 patches of 4x4 C1 units from training images,
    and softmax regression as a linear read-out.

    Args:
        name: Dataset, see DataConfig.name.
    """
    return Config(
        model="hmax",
        model_fields=(
            ("num_bands", 2),
            ("patch_sizes", (4,)),
            ("num_patches", 200),
        ),
        data=DataConfig(name=name, image_size=48, batch_size=64),
        optim=OptimConfig(name="adam", peak_lr=0.01),
        num_epochs=20.0,
        eval_every_epochs=5.0,
    )
