r"""MobileNet on ImageNet for 300 epochs.

Recipe: Howard et al., "MobileNets", 2017, sec. 3.2, https://arxiv.org/abs/1704.04861,
train by RMSProp as Inception-v3, with fewer changes of the images and neither auxiliary
heads nor smoothed labels, and give no rates: these are those of MobileNetV2, see
recipes.slim_mobilenet. They have 70.6% (Table 6), with little or no decay of depthwise
filters; here it is that of the others.
Result: not measured yet.

TFDS must have prepared imagenet2012 as array_record below data.dir.

    python -m jaxcnn train --config=experiments/mobilenetv1_100_imagenet.py \
        --workdir=runs/mobilenetv1_100 --config.data.dir=/data/tensorflow_datasets
"""

from jaxcnn.config import Config
from jaxcnn.recipes import slim_mobilenet


def get_config() -> Config:
    return slim_mobilenet("mobilenetv1_100")
