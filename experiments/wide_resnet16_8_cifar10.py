r"""WRN-16-8 on CIFAR-10.

Recipe: Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016, sec. 3,
https://arxiv.org/abs/1605.07146: see recipes.cifar_wide. The paper reports 95.73%, and
79.57% on CIFAR-100 (--config.data.name=cifar100), in Table 5.
Result: not measured yet.

Requires cifar-10-python.tar.gz in data/cifar10.

    python -m jaxcnn train --config=experiments/wide_resnet16_8_cifar10.py \
        --workdir=runs/wide_resnet16_8_cifar10
"""

from jaxcnn.config import Config
from jaxcnn.recipes import cifar_wide


def get_config() -> Config:
    return cifar_wide("wide_resnet16_8_cifar")
