"""What experiments share: how networks are trained on a data set, and whole recipes.

They differ from their papers in that some training images validate (1% of ImageNet's,
10% of CIFAR's, so an epoch is that much shorter), that weight decay is of kernels
alone, that ImageNet is computed in bfloat16, and that its large JPEG files are decoded
at a smaller scale in training.
"""

from typing import Any

from jaxcnn.config import AugmentConfig, Config, DataConfig, OptimConfig, TaskConfig

# Fields of vgg11_bn: its first three stages, half as wide, and a small hidden layer.
SMALL_VGG = (("depths", (1, 1, 2)), ("filters", (32, 64, 128)), ("hidden", (128,)))


def imagenet(
    model: str,
    *,
    image_size: int = 224,
    batch_size: int = 256,
    train_transform: str = "random_resized_crop",
    repeats: int = 1,
    augment: AugmentConfig | None = None,
    **choices: Any,
) -> Config:
    """A network on ImageNet, evaluated on one crop.

    Args:
        model: As of Config, and image_size, batch_size, train_transform and repeats
            as of DataConfig.
        augment: None: flip half of the images.
        **choices: Other fields of Config.
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
        **choices,
    )


def cifar(
    model: str, name: str = "cifar10", *, batch_size: int = 128, **choices: Any
) -> Config:
    """A network on CIFAR-10 or CIFAR-100: 4 pixels of padding, crop and flip.

    Args:
        model: As of Config.
        name: cifar10 or cifar100.
        batch_size: As of DataConfig.
        **choices: Other fields of Config.
    """
    return Config(
        model=model,
        data=DataConfig(name=name, batch_size=batch_size),
        augment=AugmentConfig(flip=0.5, crop_padding_pixels=4),
        **choices,
    )


def fb_resnet_torch(
    model: str,
    *,
    decay_epochs: tuple[float, ...] = (30.0, 60.0),
    num_epochs: float = 90.0,
) -> Config:
    """ImageNet by https://github.com/facebookarchive/fb.resnet.torch.

    Batches of 256, rate 0.1 divided by 10 at decay_epochs, decay 1e-4; brightness,
    contrast and saturation change by up to 40%, and AlexNet's change of colour.
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
    """ImageNet by torchvision's recipe of 2021, 600 epochs.

    https://pytorch.org/blog/how-to-train-state-of-the-art-models-using-torchvision-latest-primitives
    Without its average of parameters over steps, and evaluated at the size of the
    training.

    Args:
        model: As of Config.
        image_size: Of the training, pixels.
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
    """ImageNet as the Inceptions from the third on were trained.

    Szegedy et al., https://arxiv.org/abs/1512.00567, sec. 8: RMSProp with decay 0.9 and
    epsilon 1, gradients clipped at 2, rate 0.045 times 0.94 every two epochs, smoothed
    labels; https://arxiv.org/abs/1602.07261, sec. 4, the same. Momentum 0.9 and decay
    4e-5 are those of the authors' code, research/slim of
    https://github.com/tensorflow/models. The colours change as in its preprocessing,
    where brightness is added to instead of multiplied. The average of parameters over
    steps is left out.

    Args:
        model: As of Config.
        batch_size: As of DataConfig.
        num_epochs: As of Config.
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
    """ImageNet by Sandler et al., https://arxiv.org/abs/1801.04381, sec. 6.1.

    RMSProp with decay and momentum 0.9, 16 GPUs with batches of 96, rate 0.045 times
    0.98 every epoch, decay 4e-5; epsilon 1 of research/slim in
    https://github.com/tensorflow/models. The paper says no number of epochs: 300 are
    those of torchvision's recipe. Its GPUs did not wait for each other.
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
    """ImageNet by Zhang et al., https://arxiv.org/abs/1707.01083, sec. 4.

    As ResNeXt, but decay 4e-5, batches of 1024, and a rate that falls from 0.5 to 0 in
    a straight line of 300,000 steps. Their crops are larger than ours: "slightly less
    aggressive scale augmentation", which is not told further.
    """
    return imagenet(
        model,
        batch_size=1024,
        optim=OptimConfig(peak_lr=0.5, schedule="linear", weight_decay=4e-5),
        num_epochs=240.0,
    )


def cifar_resnet(model: str, warmup_epochs: float = 0.0) -> Config:
    """CIFAR-10 by He et al., https://arxiv.org/abs/1512.03385, sec. 4.2.

    Batches of 128, rate 0.1 divided by 10 after 32,000 and 48,000 of 64,000 steps,
    decay 1e-4. With a tenth of the images left out 32,000 steps are 91 epochs.

    Args:
        model: As of Config.
        warmup_epochs: As of OptimConfig.
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
    """CIFAR by Zagoruyko and Komodakis, https://arxiv.org/abs/1605.07146, sec. 3.

    Batches of 128, rate 0.1 times 0.2 after 60, 120 and 160 of 200 epochs, Nesterov's
    momentum, decay 5e-4.

    Args:
        model: As of Config.
        name: cifar10 or cifar100.
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
    """CIFAR-10 for 300 epochs: rate 0.1, divided by 10 at half and at three quarters.

    Args:
        model: As of Config.
        batch_size: As of DataConfig.
        weight_decay: As of OptimConfig.
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
    """HMAX on small grey images, 48x48: two of its eight bands, 200 patches of 4x4 C1
    units cut out of training images, and a linear read-out by softmax regression.

    Args:
        name: As of DataConfig.
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
