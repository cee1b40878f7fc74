r"""DenseNet-121 on ImageNet for 90 epochs.

Recipe: Huang et al., "Densely Connected Convolutional Networks", CVPR 2017, sec. 4.2,
https://arxiv.org/abs/1608.06993: see recipes.fb_resnet_torch. The paper reports 75.0%
(Table 3).
Result: not measured yet.

Requires imagenet2012, prepared by TFDS as array_record files in data.dir.

    python -m jaxcnn train --config=experiments/densenet121_imagenet.py \
        --workdir=runs/densenet121 --config.data.dir=/data/tensorflow_datasets
"""

from jaxcnn.config import Config
from jaxcnn.recipes import fb_resnet_torch


def get_config() -> Config:
    return fb_resnet_torch("densenet121")
