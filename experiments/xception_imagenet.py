r"""Xception on ImageNet for 120 epochs.

Recipe: Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR
2017, sec. 4.3 and 4.4, https://arxiv.org/abs/1610.02357: momentum 0.9, rate 0.045 times
0.94 every two epochs, decay 1e-5, dropout 0.5 before the head. The paper says 60 GPUs,
but neither the batch nor the epochs: 32 images for each GPU, and 120 epochs, are ours.
Its average of parameters over steps is left out. It has 79.0% (Table 1).
Result: not measured yet.

TFDS must have prepared imagenet2012 as array_record below data.dir.

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
