r"""SE-ResNet-50 on ImageNet for 100 epochs.

Recipe: Hu, Shen and Sun, "Squeeze-and-Excitation Networks", CVPR 2018, sec. 5.1,
https://arxiv.org/abs/1709.01507: batches of 1024, rate 0.6 divided by 10 every 30
epochs, momentum 0.9. The decay, which they do not tell, is that of ResNet. They have
76.7% (Table 2); their weights have 77.6%, trained longer with batches of 256.
Result: not measured yet.

TFDS must have prepared imagenet2012 as array_record below data.dir.

    python -m jaxcnn train --config=experiments/legacy_seresnet50_imagenet.py \
        --workdir=runs/legacy_seresnet50 --config.data.dir=/data/tensorflow_datasets
"""

from jaxcnn.config import Config, OptimConfig
from jaxcnn.recipes import imagenet


def get_config() -> Config:
    return imagenet(
        "legacy_seresnet50",
        batch_size=1024,
        optim=OptimConfig(
            name="sgd",
            peak_lr=0.6,
            schedule="step",
            decay_epochs=(30.0, 60.0, 90.0),
            weight_decay=1e-4,
        ),
        num_epochs=100.0,
    )
