r"""The network of Zeiler and Fergus on ImageNet for 70 epochs.

Recipe: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV
2014, sec. 3, https://arxiv.org/abs/1311.2901: batches of 128, rate 0.01, momentum 0.9,
windows of 224 from 256 pixels, flip. They lowered the rate by hand when the validation
error stood still; here it is divided by 10 after 30, 50 and 60 epochs. The decay, which
they do not tell, is AlexNet's. They cut five fixed windows and their mirror images, and
bring filters of a root mean square over 0.1 back to it; here windows are anywhere, and
filters are left alone. They have 61.6%, the mean of ten crops (Table 2).
Result: not measured yet.

TFDS must have prepared imagenet2012 as array_record below data.dir.

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
