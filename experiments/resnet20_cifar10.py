r"""ResNet-20 on CIFAR-10.

Recipe: He et al., "Deep Residual Learning for Image Recognition", sec. 4.2,
https://arxiv.org/abs/1512.03385: batches of 128, rate 0.1 divided by 10 after 32k and
48k of 64k steps, decay 1e-4, 4 pixels of padding, crop and flip. Their 91.25% is of
all 50,000 training images; here a tenth of them validates, so 32k steps are 91 epochs.
Result: not measured yet.

Put cifar-10-python.tar.gz into data/cifar10 first.

    python -m jaxcnn train --config=experiments/resnet20_cifar10.py \
        --workdir=runs/resnet20_cifar10
"""

from jaxcnn.config import AugmentConfig, Config, DataConfig, OptimConfig


def get_config() -> Config:
    return Config(
        model="resnet20_cifar",
        data=DataConfig(name="cifar10", batch_size=128),
        augment=AugmentConfig(flip=0.5, crop_padding_pixels=4),
        optim=OptimConfig(
            name="sgd",
            schedule="step",
            decay_epochs=(91.0, 136.5),
            weight_decay=1e-4,
        ),
        num_epochs=182.0,
    )
