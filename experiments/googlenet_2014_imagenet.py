r"""GoogLeNet on ImageNet for 60 epochs.

Recipe: Szegedy et al., "Going Deeper with Convolutions", CVPR 2015,
https://arxiv.org/abs/1409.4842, does not say its rates. These are of the replication of
BVLC, models/bvlc_googlenet/quick_solver.prototxt in https://github.com/BVLC/caffe:
batches of 32, rate 0.01 that falls as the root of what is left of the run, twice that
for biases, momentum 0.9, decay 2e-4, windows of 224 from 256 pixels, flip, and 0.3
times the losses of the auxiliary heads (the paper's sec. 5). It has 68.7%.
Result: not measured yet.

TFDS must have prepared imagenet2012 as array_record below data.dir.

    python -m jaxcnn train --config=experiments/googlenet_2014_imagenet.py \
        --workdir=runs/googlenet_2014 --config.data.dir=/data/tensorflow_datasets
"""

from jaxcnn.config import Config, OptimConfig, TaskConfig
from jaxcnn.recipes import imagenet


def get_config() -> Config:
    return imagenet(
        "googlenet_2014",
        batch_size=32,
        train_transform="random_crop",
        task=TaskConfig(aux_weight=0.3),
        optim=OptimConfig(
            name="sgd",
            peak_lr=0.01,
            schedule="polynomial",
            power=0.5,
            weight_decay=2e-4,
            lr_factors=((".*/bias", 2.0), (".*", 1.0)),
        ),
        num_epochs=60.0,
    )
