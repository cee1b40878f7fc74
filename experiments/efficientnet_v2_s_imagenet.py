r"""EfficientNetV2-S on ImageNet for 600 epochs.

Recipe: torchvision's, references/classification in https://github.com/pytorch/vision,
trained at 300 pixels, see recipes.torchvision_600. torchvision reports 84.2% at 384
pixels; we evaluate at 300 as well. Tan and Le, "EfficientNetV2", ICML 2021, sec. 5.1,
https://arxiv.org/abs/2104.00298, report 83.9% after 350 epochs with RMSProp, during
which image size, dropout and augmentation increase.
Result: not measured yet.

Requires imagenet2012, prepared by TFDS as array_record files in data.dir.

    python -m jaxcnn train --config=experiments/efficientnet_v2_s_imagenet.py \
        --workdir=runs/efficientnet_v2_s --config.data.dir=/data/tensorflow_datasets
"""

from jaxcnn.config import Config
from jaxcnn.recipes import torchvision_600


def get_config() -> Config:
    return torchvision_600("efficientnet_v2_s", image_size=300)
