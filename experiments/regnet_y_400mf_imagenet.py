r"""RegNetY-400MF on ImageNet for 100 epochs.

Recipe: torchvision's, references/classification of https://github.com/pytorch/vision:
batches of 1024, rate 0.4, a cosine with a warm-up of 5 epochs, momentum 0.9, decay
5e-5. It has 74.0%; Radosavovic et al., "Designing Network Design Spaces", CVPR 2020,
sec. 5, https://arxiv.org/abs/2003.13678, have 74.1% after 100 epochs as well.
Result: not measured yet.

TFDS must have prepared imagenet2012 as array_record below data.dir.

    python -m jaxcnn train --config=experiments/regnet_y_400mf_imagenet.py \
        --workdir=runs/regnet_y_400mf --config.data.dir=/data/tensorflow_datasets
"""

from jaxcnn.config import Config, OptimConfig
from jaxcnn.recipes import imagenet


def get_config() -> Config:
    return imagenet(
        "regnet_y_400mf",
        batch_size=1024,
        optim=OptimConfig(
            name="sgd", peak_lr=0.4, warmup_epochs=5.0, weight_decay=5e-5
        ),
        num_epochs=100.0,
    )
