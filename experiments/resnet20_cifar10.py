r"""ResNet-20 on CIFAR-10.

Recipe: He et al., "Deep Residual Learning for Image Recognition", sec. 4.2,
https://arxiv.org/abs/1512.03385: see recipes.cifar_resnet. The paper reports 91.25%
(Table 6).
Result: not measured yet.

Requires cifar-10-python.tar.gz in data/cifar10.

    python -m jaxcnn train --config=experiments/resnet20_cifar10.py \
        --workdir=runs/resnet20_cifar10
"""

from jaxcnn.config import Config
from jaxcnn.recipes import cifar_resnet


def get_config() -> Config:
    return cifar_resnet("resnet20_cifar")
