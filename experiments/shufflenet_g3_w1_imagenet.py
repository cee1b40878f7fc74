r"""ShuffleNet, three groups, on ImageNet for 240 epochs.

Recipe: Zhang, Zhou, Lin and Sun, "ShuffleNet", CVPR 2018, sec. 4,
https://arxiv.org/abs/1707.01083: see recipes.shufflenet. The paper reports 67.4% (Table
2).
Result: not measured yet.

Requires imagenet2012, prepared by TFDS as array_record files in data.dir.

    python -m jaxcnn train --config=experiments/shufflenet_g3_w1_imagenet.py \
        --workdir=runs/shufflenet_g3_w1 --config.data.dir=/data/tensorflow_datasets
"""

from jaxcnn.config import Config
from jaxcnn.recipes import shufflenet


def get_config() -> Config:
    return shufflenet("shufflenet_g3_w1")
