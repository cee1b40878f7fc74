r"""MobileNetV3-Large on ImageNet for 600 epochs.

Recipe: torchvision's, references/classification in https://github.com/pytorch/vision:
PyTorch's RMSprop with decay and momentum 0.9 and epsilon 0.0316, batch size 1024,
learning rate 0.064 multiplied by 0.973 every two epochs, weight decay 1e-5, random
erasing. torchvision reports 74.0% for the average of three checkpoints; we do not
average, and RandAugment replaces its AutoAugment. Howard et al., "Searching for
MobileNetV3", ICCV 2019, sec. 6.1.1, https://arxiv.org/abs/1905.02244, report 75.2% and
do not give the number of epochs.
Result: not measured yet.

Requires imagenet2012, prepared by TFDS as array_record files in data.dir.

    python -m jaxcnn train --config=experiments/mobilenet_v3_large_imagenet.py \
        --workdir=runs/mobilenet_v3_large --config.data.dir=/data/tensorflow_datasets
"""

from jaxcnn.config import AugmentConfig, Config, OptimConfig
from jaxcnn.recipes import imagenet


def get_config() -> Config:
    return imagenet(
        "mobilenet_v3_large",
        batch_size=1024,
        augment=AugmentConfig(flip=0.5, randaugment=2, erasing=0.2),
        optim=OptimConfig(
            name="rmsprop",
            peak_lr=0.064,
            schedule="staircase",
            decay_factor=0.973,
            decay_every_epochs=2.0,
            beta2=0.9,
            epsilon=0.0316,
            weight_decay=1e-5,
        ),
        num_epochs=600.0,
    )
