r"""Xception on ImageNet for 120 epochs.

Recipe: Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR
2017, sec. 4.3 and 4.4, https://arxiv.org/abs/1610.02357: momentum 0.9, learning rate
0.045 multiplied by 0.94 every two epochs, weight decay 1e-5, dropout 0.5 before the
head. The paper used 60 GPUs but gives neither the batch size nor the number of epochs;
32 images per GPU and 120 epochs are our choice. Its moving average of the parameters is
left out. It reports 79.0% (Table 1).
Result: not measured yet.

Requires imagenet2012, prepared by TFDS as array_record files in data.dir.

    python -m jaxcnn train --config=experiments/xception_imagenet.py \
        --workdir=runs/xception --config.data.dir=/data/tensorflow_datasets
"""

from jaxcnn.config import Config, OptimConfig
from jaxcnn.recipes import imagenet


def get_config() -> Config:
    return imagenet(
        "xception",
        image_size=299,
        batch_size=1920,
        optim=OptimConfig(
            name="sgd",
            peak_lr=0.045,
            schedule="staircase",
            decay_factor=0.94,
            decay_every_epochs=2.0,
            weight_decay=1e-5,
        ),
        num_epochs=120.0,
    )
