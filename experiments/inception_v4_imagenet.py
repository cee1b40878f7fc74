r"""Inception-v4 on ImageNet for 160 epochs.

Recipe: Szegedy, Ioffe, Vanhoucke and Alemi, "Inception-v4, Inception-ResNet and the
Impact of Residual Connections on Learning", AAAI 2017, sec. 4,
https://arxiv.org/abs/1602.07261: see recipes.inception. It has 20 replicas that do not
wait for each other; batches of 32 for each are those of Inception-v3, and the epochs
those that its figures of the training show. They have 80.0% on all but the blacklisted
images (Table 2).
Result: not measured yet.

TFDS must have prepared imagenet2012 as array_record below data.dir.

    python -m jaxcnn train --config=experiments/inception_v4_imagenet.py \
        --workdir=runs/inception_v4 --config.data.dir=/data/tensorflow_datasets
"""

from jaxcnn.config import Config
from jaxcnn.recipes import inception


def get_config() -> Config:
    return inception("inception_v4", batch_size=640, num_epochs=160.0)
