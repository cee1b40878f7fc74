r"""The pre-activation ResNet-50 on ImageNet for 90 epochs.

Recipe: He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016, sec. 5 and
appendix, https://arxiv.org/abs/1603.05027: batch size 256, learning rate 0.1 divided by
10 after 30 and 60 epochs, weight decay 1e-4. Crops and colour augmentation are those of
recipes.fb_resnet_torch. The paper has only deeper networks; Keras' weights for this one
reach 76.0%.
Result: not measured yet.

Requires imagenet2012, prepared by TFDS as array_record files in data.dir.

    python -m jaxcnn train --config=experiments/resnetv2_50_imagenet.py \
        --workdir=runs/resnetv2_50 --config.data.dir=/data/tensorflow_datasets
"""

from jaxcnn.config import Config
from jaxcnn.recipes import fb_resnet_torch


def get_config() -> Config:
    return fb_resnet_torch("resnetv2_50")
