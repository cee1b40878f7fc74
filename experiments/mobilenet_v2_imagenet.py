r"""MobileNetV2 on ImageNet for 300 epochs.

Recipe: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR
2018, sec. 6.1, https://arxiv.org/abs/1801.04381: see recipes.slim_mobilenet. The paper
reports 72.0% (Table 4).
Result: not measured yet.

Requires imagenet2012, prepared by TFDS as array_record files in data.dir.

    python -m jaxcnn train --config=experiments/mobilenet_v2_imagenet.py \
        --workdir=runs/mobilenet_v2 --config.data.dir=/data/tensorflow_datasets
"""

from jaxcnn.config import Config
from jaxcnn.recipes import slim_mobilenet


def get_config() -> Config:
    return slim_mobilenet("mobilenet_v2")
