r"""ResNet-50 on ImageNet for 90 epochs.

Recipe: Goyal et al., "Accurate, Large Minibatch SGD", sec. 5.1,
https://arxiv.org/abs/1706.02677: rate 0.1 for 256 images, divided by 10 after 30, 60
and 80 epochs, a warm-up of 5 epochs for larger batches, decay 1e-4; 76.4% there. Rates
are for the stated batch size: with --config.data.batch_size=1024 goes
--config.optim.peak_lr=0.4. Their decay spares BatchNorm as here, and not biases.
Result: not measured yet.

TFDS must have prepared imagenet2012 as array_record below data.dir.

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
