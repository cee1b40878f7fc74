r"""ResNet-110 on CIFAR-10.

Recipe: He et al., "Deep Residual Learning for Image Recognition", sec. 4.2,
https://arxiv.org/abs/1512.03385: see recipes.cifar_resnet. They start with rate 0.01
until the training error is below 80%, about 400 steps; here the rate rises for an
epoch. They have 93.57%, the best of five runs, 93.39 ± 0.16.
Result: not measured yet.

Put cifar-10-python.tar.gz into data/cifar10 first.

    python -m jaxcnn train --config=experiments/resnet110_cifar10.py \
        --workdir=runs/resnet110_cifar10
"""

from jaxcnn.config import Config
from jaxcnn.recipes import cifar_resnet


def get_config() -> Config:
    return cifar_resnet("resnet110_cifar", warmup_epochs=1.0)
