r"""MobileNet on ImageNet for 300 epochs.

Recipe: Howard et al., "MobileNets", 2017, sec. 3.2, https://arxiv.org/abs/1704.04861,
use RMSProp as for Inception-v3, with less augmentation and without auxiliary heads and
label smoothing, and do not give the learning rates. Ours are those of MobileNetV2, see
recipes.slim_mobilenet. The paper reports 70.6% (Table 6) with little or no weight decay
on depthwise filters; ours are decayed like the others.
Result: not measured yet.

Requires imagenet2012, prepared by TFDS as array_record files in data.dir.

    python -m jaxcnn train --config=experiments/mobilenetv1_100_imagenet.py \
        --workdir=runs/mobilenetv1_100 --config.data.dir=/data/tensorflow_datasets
"""

from jaxcnn.config import Config
from jaxcnn.recipes import slim_mobilenet


def get_config() -> Config:
    return slim_mobilenet("mobilenetv1_100")
