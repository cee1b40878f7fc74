r"""WRN-40-4 on CIFAR-10.

Recipe: Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016, sec. 3,
https://arxiv.org/abs/1605.07146: see recipes.cifar_wide. They have 95.47%, and 78.82%
on CIFAR-100 (--config.data.name=cifar100), Table 5.
Result: not measured yet.

Put cifar-10-python.tar.gz into data/cifar10 first.

    python -m jaxcnn train --config=experiments/wide_resnet40_4_cifar10.py \
        --workdir=runs/wide_resnet40_4_cifar10
"""

from jaxcnn.config import Config
from jaxcnn.recipes import cifar_wide


def get_config() -> Config:
    return cifar_wide("wide_resnet40_4_cifar")
