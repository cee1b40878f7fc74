r"""ResNet-50 on ImageNet for 90 epochs.

Recipe: Goyal et al., "Accurate, Large Minibatch SGD", sec. 5.1,
https://arxiv.org/abs/1706.02677: learning rate 0.1 for batch size 256, divided by 10
after 30, 60 and 80 epochs, a warm-up of 5 epochs for larger batches, weight decay 1e-4.
The paper reports 76.4%. Learning rates are for the stated batch size: use
--config.optim.peak_lr=0.4 with --config.data.batch_size=1024. Like ours, its weight
decay excludes BatchNorm; unlike ours, it includes biases.
Result: not measured yet.

Requires imagenet2012, prepared by TFDS as array_record files in data.dir.

    python -m jaxcnn train --config=experiments/resnet50_imagenet.py \
        --workdir=runs/resnet50 --config.data.dir=/data/tensorflow_datasets
"""

from jaxcnn.config import Config, OptimConfig
from jaxcnn.recipes import imagenet


def get_config() -> Config:
    return imagenet(
        "resnet50",
        optim=OptimConfig(
            schedule="step",
            decay_epochs=(30.0, 60.0, 80.0),
            warmup_epochs=5.0,
            weight_decay=1e-4,
        ),
        num_epochs=90.0,
    )
