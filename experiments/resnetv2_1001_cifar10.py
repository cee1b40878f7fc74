r"""The pre-activation ResNet-1001 on CIFAR-10.

Recipe: He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016, sec. 5 and
appendix, https://arxiv.org/abs/1603.05027: recipes.cifar_resnet with learning rate 0.01
for the first 400 steps, which we replace by a warm-up of one epoch. The paper reports
95.08% as the median of five runs, and 95.11 ± 0.14 for all five; on CIFAR-100
(--config.data.name=cifar100) 77.29%.
Result: not measured yet.

Requires cifar-10-python.tar.gz in data/cifar10.

    python -m jaxcnn train --config=experiments/resnetv2_1001_cifar10.py \
        --workdir=runs/resnetv2_1001_cifar10
"""

from jaxcnn.config import Config
from jaxcnn.recipes import cifar_resnet


def get_config() -> Config:
    return cifar_resnet("resnetv2_1001_cifar", warmup_epochs=1.0)
