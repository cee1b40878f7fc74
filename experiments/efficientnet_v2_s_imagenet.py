r"""EfficientNetV2-S on ImageNet for 600 epochs.

Recipe: torchvision's, references/classification of https://github.com/pytorch/vision:
see recipes.torchvision_600, trained at 300 pixels. It has 84.2% at 384 pixels; here
evaluation is at 300 as well. Tan and Le, "EfficientNetV2", ICML 2021, sec. 5.1,
https://arxiv.org/abs/2104.00298, have 83.9% after 350 epochs with RMSProp, in which
images, dropout and augmentation grow.
Result: not measured yet.

TFDS must have prepared imagenet2012 as array_record below data.dir.

    python -m jaxcnn train --config=experiments/efficientnet_v2_s_imagenet.py \
        --workdir=runs/efficientnet_v2_s --config.data.dir=/data/tensorflow_datasets
"""

from jaxcnn.config import Config
from jaxcnn.recipes import torchvision_600


def get_config() -> Config:
    return torchvision_600("efficientnet_v2_s", image_size=300)
