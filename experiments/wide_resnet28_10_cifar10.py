r"""WRN-28-10 on CIFAR-10.

Recipe: Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016, sec. 3,
https://arxiv.org/abs/1605.07146: see recipes.cifar_wide. The paper reports 96.00%
without dropout, the median of five runs (Table 5).
Result: not measured yet.

Requires cifar-10-python.tar.gz in data/cifar10.

    python -m jaxcnn train --config=experiments/wide_resnet28_10_cifar10.py \
        --workdir=runs/wide_resnet28_10_cifar10
"""

from jaxcnn.config import Config
from jaxcnn.recipes import cifar_wide


def get_config() -> Config:
    return cifar_wide("wide_resnet28_10_cifar")
