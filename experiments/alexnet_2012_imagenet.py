r"""AlexNet on ImageNet for 90 epochs.

Recipe: Krizhevsky, Sutskever and Hinton, NeurIPS 2012, sec. 4.1 and 5,
https://papers.nips.cc/paper/2012/hash/c399862d3b9d6b76c8436e924a68c45b-Abstract.html
batch size 128, learning rate 0.01, momentum 0.9, weight decay 5e-4, crops of 224 from
256 pixels, flip, and their colour augmentation. They divided the rate by 10 three
times, whenever the validation error stopped improving; we do so after 30, 60 and 80
epochs. The paper reports 59.3% for one network, averaged over ten crops (Table 2).
Result: not measured yet.

Requires imagenet2012, prepared by TFDS as array_record files in data.dir.

    python -m jaxcnn train --config=experiments/alexnet_2012_imagenet.py \
        --workdir=runs/alexnet_2012 --config.data.dir=/data/tensorflow_datasets
"""

from jaxcnn.config import AugmentConfig, Config, OptimConfig
from jaxcnn.recipes import imagenet


def get_config() -> Config:
    return imagenet(
        "alexnet_2012",
        batch_size=128,
        train_transform="random_crop",
        augment=AugmentConfig(flip=0.5, lighting=0.1),
        optim=OptimConfig(
            name="sgd",
            peak_lr=0.01,
            schedule="step",
            decay_epochs=(30.0, 60.0, 80.0),
            weight_decay=5e-4,
        ),
        num_epochs=90.0,
    )
