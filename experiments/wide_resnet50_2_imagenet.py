r"""Wide-ResNet-50-2 on ImageNet for 90 epochs.

Recipe: Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016, sec. 3,
https://arxiv.org/abs/1605.07146, with the code of recipes.fb_resnet_torch. The authors
report 78.1% (https://github.com/szagoruyko/wide-residual-networks,
WRN-50-2-bottleneck).
Result: not measured yet.

Requires imagenet2012, prepared by TFDS as array_record files in data.dir.

    python -m jaxcnn train --config=experiments/wide_resnet50_2_imagenet.py \
        --workdir=runs/wide_resnet50_2 --config.data.dir=/data/tensorflow_datasets
"""

from jaxcnn.config import Config
from jaxcnn.recipes import fb_resnet_torch


def get_config() -> Config:
    return fb_resnet_torch("wide_resnet50_2")
