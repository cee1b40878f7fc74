r"""GoogLeNet on ImageNet for 60 epochs.

Recipe: Szegedy et al., "Going Deeper with Convolutions", CVPR 2015,
https://arxiv.org/abs/1409.4842, do not give the learning rates. Ours are from BVLC's
replication, models/bvlc_googlenet/quick_solver.prototxt in
https://github.com/BVLC/caffe: batch size 32, learning rate 0.01 that decreases with the
square root of the remaining fraction of the run, twice that for biases, momentum 0.9,
weight decay 2e-4, crops of 224 from 256 pixels, flip, and weight 0.3 for the losses of
the auxiliary heads (the paper's sec. 5). BVLC reports 68.7%.
Result: not measured yet.

Requires imagenet2012, prepared by TFDS as array_record files in data.dir.

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
