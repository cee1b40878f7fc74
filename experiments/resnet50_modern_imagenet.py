r"""ResNet-50 on ImageNet for 600 epochs.

Recipe: torchvision's of 2021, see recipes.torchvision_600. Its page reports the top-1
accuracy after each addition: 76.1% at first; 76.5 cosine schedule and warm-up; 76.8
TrivialAugment; 78.6 the long schedule; 78.8 random erasing; 79.1 label smoothing; 79.2
mixup; 79.5 CutMix; 80.0 smaller weight decay; then 80.2 training at 176 pixels; 80.5
moving average of the parameters; 80.7 evaluation at 232 pixels; 80.9 repeated
augmentation. Of the last four, we use only repeated augmentation.
Result: not measured yet.

Requires imagenet2012, prepared by TFDS as array_record files in data.dir.

    python -m jaxcnn train --config=experiments/resnet50_modern_imagenet.py \
        --workdir=runs/resnet50_modern --config.data.dir=/data/tensorflow_datasets
"""

from jaxcnn.config import Config
from jaxcnn.recipes import torchvision_600


def get_config() -> Config:
    return torchvision_600("resnet50", image_size=224)
