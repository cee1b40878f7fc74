r"""SqueezeNet 1.0 on ImageNet for 68 epochs.

Recipe: Iandola et al., "SqueezeNet", 2016, sec. 3.3, https://arxiv.org/abs/1602.07360,
and SqueezeNet_v1.0 in https://github.com/forresti/SqueezeNet: batch size 512, learning
rate decreasing linearly from 0.04 to 0 over 170,000 steps, momentum 0.9, weight decay
2e-4, crops from 256 pixels, flip. The paper reports 57.5% (Table 2). Its crops have 227
pixels.
Result: not measured yet.

Requires imagenet2012, prepared by TFDS as array_record files in data.dir.

    python -m jaxcnn train --config=experiments/squeezenet1_0_imagenet.py \
        --workdir=runs/squeezenet1_0 --config.data.dir=/data/tensorflow_datasets
"""

from jaxcnn.config import Config, OptimConfig
from jaxcnn.recipes import imagenet


def get_config() -> Config:
    return imagenet(
        "squeezenet1_0",
        batch_size=512,
        train_transform="random_crop",
        optim=OptimConfig(
            name="sgd", peak_lr=0.04, schedule="linear", weight_decay=2e-4
        ),
        num_epochs=68.0,
    )
