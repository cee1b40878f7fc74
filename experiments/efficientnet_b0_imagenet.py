r"""EfficientNet-B0 on ImageNet for 350 epochs.

Recipe: Tan and Le, "EfficientNet", ICML 2019, sec. 5.2,
https://arxiv.org/abs/1905.11946: RMSProp with decay and momentum 0.9, rate 0.256 times
0.97 every 2.4 epochs, decay 1e-5, dropout 0.2, stochastic depth 0.2; batches of 4096,
warm-up of 5 epochs, epsilon 1e-3 and smoothed labels are of their code,
models/official/efficientnet in https://github.com/tensorflow/tpu. They have 77.1%
(Table 2) with AutoAugment, for which RandAugment stands here, and with an average of
parameters over steps, which is left out.
Result: not measured yet.

TFDS must have prepared imagenet2012 as array_record below data.dir.

    python -m jaxcnn train --config=experiments/efficientnet_b0_imagenet.py \
        --workdir=runs/efficientnet_b0 --config.data.dir=/data/tensorflow_datasets
"""

from jaxcnn.config import AugmentConfig, Config, OptimConfig, TaskConfig
from jaxcnn.recipes import imagenet


def get_config() -> Config:
    return imagenet(
        "efficientnet_b0",
        batch_size=4096,
        augment=AugmentConfig(flip=0.5, randaugment=2),
        task=TaskConfig(label_smoothing=0.1),
        optim=OptimConfig(
            name="rmsprop_tf",
            peak_lr=0.256,
            schedule="staircase",
            warmup_epochs=5.0,
            decay_factor=0.97,
            decay_every_epochs=2.4,
            beta2=0.9,
            epsilon=1e-3,
            weight_decay=1e-5,
        ),
        num_epochs=350.0,
    )
