r"""ResNet-50 on ImageNet for 600 epochs.

Recipe: torchvision's of 2021, see recipes.torchvision_600. Its page gives the top-1 of
each step: 76.1% before; 76.5 with a cosine and a warm-up; 76.8 TrivialAugment; 78.6 the
long run; 78.8 erasing; 79.1 smoothed labels; 79.2 mixup; 79.5 cutmix; 80.0 the smaller
decay. Then 80.2 with images of 176 pixels in training, 80.5 with an average of
parameters over steps, 80.7 with 232 pixels in evaluation, 80.9 with repeated
augmentation. Of these four there is only the last here.
Result: not measured yet.

TFDS must have prepared imagenet2012 as array_record below data.dir.

    python -m jaxcnn train --config=experiments/resnet50_modern_imagenet.py \
        --workdir=runs/resnet50_modern --config.data.dir=/data/tensorflow_datasets
"""

from jaxcnn.config import Config
from jaxcnn.recipes import torchvision_600


def get_config() -> Config:
    return torchvision_600("resnet50", image_size=224)
