r"""EfficientNet-B0 on ImageNet for 350 epochs.

Recipe: Tan and Le, "EfficientNet", ICML 2019, sec. 5.2,
https://arxiv.org/abs/1905.11946: RMSProp with decay and momentum 0.9, learning rate
0.256 multiplied by 0.97 every 2.4 epochs, weight decay 1e-5, dropout 0.2, stochastic
depth 0.2. Batch size 4096, a warm-up of 5 epochs, epsilon 1e-3 and label smoothing come
from their code, models/official/efficientnet in https://github.com/tensorflow/tpu. The
paper reports 77.1% (Table 2) with AutoAugment, which RandAugment replaces here, and
with a moving average of the parameters, which is left out.
Result: not measured yet.

Requires imagenet2012, prepared by TFDS as array_record files in data.dir.

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
