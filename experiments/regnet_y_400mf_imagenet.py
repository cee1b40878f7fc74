r"""RegNetY-400MF on ImageNet for 100 epochs.

Recipe: torchvision's, references/classification in https://github.com/pytorch/vision:
batch size 1024, learning rate 0.4, cosine schedule with a warm-up of 5 epochs, momentum
0.9, weight decay 5e-5. torchvision reports 74.0%; Radosavovic et al., "Designing
Network Design Spaces", CVPR 2020, sec. 5, https://arxiv.org/abs/2003.13678, report
74.1%, also after 100 epochs.
Result: not measured yet.

Requires imagenet2012, prepared by TFDS as array_record files in data.dir.

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
