r"""Inception-v3 on ImageNet for 100 epochs.

Recipe: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision",
CVPR 2016, sec. 8, https://arxiv.org/abs/1512.00567: see recipes.inception. Their 50
replicas had batches of 32 each and did not wait for each other. The loss of the
auxiliary head counts 0.4 times, as in their code. They have 78.8% (Table 3).
Result: not measured yet.

TFDS must have prepared imagenet2012 as array_record below data.dir.

    python -m jaxcnn train --config=experiments/inception_v3_imagenet.py \
        --workdir=runs/inception_v3 --config.data.dir=/data/tensorflow_datasets
"""

from jaxcnn.config import Config
from jaxcnn.recipes import inception


def get_config() -> Config:
    return inception("inception_v3", batch_size=1600, num_epochs=100.0, aux_weight=0.4)
