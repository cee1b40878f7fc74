r"""SE-ResNet-50 on ImageNet for 100 epochs.

Recipe: Hu, Shen and Sun, "Squeeze-and-Excitation Networks", CVPR 2018, sec. 5.1,
https://arxiv.org/abs/1709.01507: batch size 1024, learning rate 0.6 divided by 10 every
30 epochs, momentum 0.9. The paper does not give the weight decay; we use ResNet's. It
reports 76.7% (Table 2); the released weights, trained longer with batch size 256, reach
77.6%.
Result: not measured yet.

Requires imagenet2012, prepared by TFDS as array_record files in data.dir.

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
