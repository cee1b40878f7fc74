r"""Inception-v3 on ImageNet for 100 epochs.

Recipe: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision",
CVPR 2016, sec. 8, https://arxiv.org/abs/1512.00567: see recipes.inception. The paper
used 50 asynchronous replicas with batches of 32. The auxiliary loss has weight 0.4, as
in the authors' code. The paper reports 78.8% (Table 3).
Result: not measured yet.

Requires imagenet2012, prepared by TFDS as array_record files in data.dir.

    python -m jaxcnn train --config=experiments/inception_v3_imagenet.py \
        --workdir=runs/inception_v3 --config.data.dir=/data/tensorflow_datasets
"""

from jaxcnn.config import Config
from jaxcnn.recipes import inception


def get_config() -> Config:
    return inception("inception_v3", batch_size=1600, num_epochs=100.0, aux_weight=0.4)
