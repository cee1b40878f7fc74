r"""ShuffleNetV2 on ImageNet for 240 epochs.

Recipe: Ma, Zhang, Zheng and Sun, "ShuffleNet V2", ECCV 2018, sec. 4,
https://arxiv.org/abs/1807.11164, the same as for the first version: see
recipes.shufflenet. The paper reports 69.4% (Table 8).
Result: not measured yet.

Requires imagenet2012, prepared by TFDS as array_record files in data.dir.

    python -m jaxcnn train --config=experiments/shufflenet_v2_x1_0_imagenet.py \
        --workdir=runs/shufflenet_v2_x1_0 --config.data.dir=/data/tensorflow_datasets
"""

from jaxcnn.config import Config
from jaxcnn.recipes import shufflenet


def get_config() -> Config:
    return shufflenet("shufflenet_v2_x1_0")
