r"""ResNeXt-29 (8x64d) on CIFAR-10.

Recipe: Xie et al., "Aggregated Residual Transformations for Deep Neural Networks", CVPR
2017, sec. 5.3, https://arxiv.org/abs/1611.05431, and their code: batch size 128, weight
decay 5e-4, see recipes.cifar_300. The paper reports 96.35%, and 82.23% on CIFAR-100
(--config.data.name=cifar100), in Table 7.
Result: not measured yet.

Requires cifar-10-python.tar.gz in data/cifar10.

    python -m jaxcnn train --config=experiments/resnext29_8x64d_cifar10.py \
        --workdir=runs/resnext29_8x64d_cifar10
"""

from jaxcnn.config import Config
from jaxcnn.recipes import cifar_300


def get_config() -> Config:
    return cifar_300("resnext29_8x64d_cifar", batch_size=128, weight_decay=5e-4)
