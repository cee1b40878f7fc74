r"""Inception-v4 on ImageNet for 160 epochs.

Recipe: Szegedy, Ioffe, Vanhoucke and Alemi, "Inception-v4, Inception-ResNet and the
Impact of Residual Connections on Learning", AAAI 2017, sec. 4,
https://arxiv.org/abs/1602.07261: see recipes.inception. The paper used 20 asynchronous
replicas. We assume batches of 32 per replica, as for Inception-v3, and read the number
of epochs from its training curves. The paper reports 80.0% on the images that are not
blacklisted (Table 2).
Result: not measured yet.

Requires imagenet2012, prepared by TFDS as array_record files in data.dir.

    python -m jaxcnn train --config=experiments/inception_v4_imagenet.py \
        --workdir=runs/inception_v4 --config.data.dir=/data/tensorflow_datasets
"""

from jaxcnn.config import Config
from jaxcnn.recipes import inception


def get_config() -> Config:
    return inception("inception_v4", batch_size=640, num_epochs=160.0)
