r"""DenseNet-BC (L=100, k=12) on CIFAR-10.

Recipe: Huang et al., "Densely Connected Convolutional Networks", CVPR 2017, sec. 4.2,
https://arxiv.org/abs/1608.06993: batch size 64, weight decay 1e-4, see
recipes.cifar_300. The paper reports 95.49%, and 77.73% on CIFAR-100
(--config.data.name=cifar100), in Table 2.
Result: not measured yet.

Requires cifar-10-python.tar.gz in data/cifar10.

    python -m jaxcnn train --config=experiments/densenet100_k12_bc_cifar10.py \
        --workdir=runs/densenet100_k12_bc_cifar10
"""

from jaxcnn.config import Config
from jaxcnn.recipes import cifar_300


def get_config() -> Config:
    return cifar_300("densenet100_k12_bc_cifar", batch_size=64, weight_decay=1e-4)
