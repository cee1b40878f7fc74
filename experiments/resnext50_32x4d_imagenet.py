r"""ResNeXt-50 (32x4d) on ImageNet for 100 epochs.

Recipe: Xie et al., "Aggregated Residual Transformations for Deep Neural Networks", CVPR
2017, sec. 4, https://arxiv.org/abs/1611.05431, who divide the learning rate by 10 three
times: see recipes.fb_resnet_torch. The paper reports 77.8% (Table 3). The 100 epochs
are from torchvision, which reports 77.6%.
Result: not measured yet.

Requires imagenet2012, prepared by TFDS as array_record files in data.dir.

    python -m jaxcnn train --config=experiments/resnext50_32x4d_imagenet.py \
        --workdir=runs/resnext50_32x4d --config.data.dir=/data/tensorflow_datasets
"""

from jaxcnn.config import Config
from jaxcnn.recipes import fb_resnet_torch


def get_config() -> Config:
    return fb_resnet_torch(
        "resnext50_32x4d", decay_epochs=(30.0, 60.0, 90.0), num_epochs=100.0
    )
