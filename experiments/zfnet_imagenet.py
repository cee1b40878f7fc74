r"""The network of Zeiler and Fergus on ImageNet for 70 epochs.

Recipe: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV
2014, sec. 3, https://arxiv.org/abs/1311.2901: batch size 128, learning rate 0.01,
momentum 0.9, crops of 224 from 256 pixels, flip. The authors lowered the rate by hand
when the validation error stopped improving; we divide it by 10 after 30, 50 and 60
epochs. The paper does not give the weight decay; we use AlexNet's. It takes five fixed
crops and their mirror images, and rescales filters whose root mean square exceeds 0.1
to that value; we crop at random positions and do not rescale filters. It reports 61.6%,
averaged over ten crops (Table 2).
Result: not measured yet.

Requires imagenet2012, prepared by TFDS as array_record files in data.dir.

    python -m jaxcnn train --config=experiments/zfnet_imagenet.py \
        --workdir=runs/zfnet --config.data.dir=/data/tensorflow_datasets
"""

from jaxcnn.config import Config, OptimConfig
from jaxcnn.recipes import imagenet


def get_config() -> Config:
    return imagenet(
        "zfnet",
        batch_size=128,
        train_transform="random_crop",
        optim=OptimConfig(
            name="sgd",
            peak_lr=0.01,
            schedule="step",
            decay_epochs=(30.0, 50.0, 60.0),
            weight_decay=5e-4,
        ),
        num_epochs=70.0,
    )
