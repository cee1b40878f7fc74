r"""WRN-40-4 on CIFAR-10.

Recipe: Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016, sec. 3,
https://arxiv.org/abs/1605.07146: see recipes.cifar_wide. The paper reports 95.47%, and
78.82% on CIFAR-100 (--config.data.name=cifar100), in Table 5.
Result: not measured yet.

Requires cifar-10-python.tar.gz in data/cifar10.

    python -m jaxcnn train --config=experiments/wide_resnet40_4_cifar10.py \
        --workdir=runs/wide_resnet40_4_cifar10
"""

from jaxcnn.config import Config
from jaxcnn.recipes import cifar_wide


def get_config() -> Config:
    return cifar_wide("wide_resnet40_4_cifar")
