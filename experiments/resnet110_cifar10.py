r"""ResNet-110 on CIFAR-10.

Recipe: He et al., "Deep Residual Learning for Image Recognition", sec. 4.2,
https://arxiv.org/abs/1512.03385: see recipes.cifar_resnet. The paper uses learning rate
0.01 until the training error is below 80%, about 400 steps; we use a warm-up of one
epoch. It reports 93.57% for the best of five runs, and 93.39 ± 0.16 for all five.
Result: not measured yet.

Requires cifar-10-python.tar.gz in data/cifar10.

    python -m jaxcnn train --config=experiments/resnet110_cifar10.py \
        --workdir=runs/resnet110_cifar10
"""

from jaxcnn.config import Config
from jaxcnn.recipes import cifar_resnet


def get_config() -> Config:
    return cifar_resnet("resnet110_cifar", warmup_epochs=1.0)
