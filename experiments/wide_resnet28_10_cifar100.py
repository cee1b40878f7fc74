r"""WRN-28-10 on CIFAR-100.

Recipe: Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016, sec. 3,
https://arxiv.org/abs/1605.07146: see recipes.cifar_wide. The paper reports 80.75%
without dropout, the median of five runs (Table 5).
Result: not measured yet.

Requires cifar-100-python.tar.gz in data/cifar100.

    python -m jaxcnn train --config=experiments/wide_resnet28_10_cifar100.py \
        --workdir=runs/wide_resnet28_10_cifar100
"""

from jaxcnn.config import Config
from jaxcnn.recipes import cifar_wide


def get_config() -> Config:
    return cifar_wide("wide_resnet28_10_cifar", "cifar100")
