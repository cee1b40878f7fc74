r"""Which of five shapes are in a picture, by a small ResNet.

Recipe: a first one, not tuned: the optimizer of `resnet20_glyphs` at a lower rate, ten
epochs, no augmentation.
Result: mean average precision 0.662, macro-F1 0.583 on 500 test pictures, seed 0,
2026-11-27, two CPU cores. A random order has 0.40: the network has begun to learn and
needs a longer run or a better recipe.

    jaxcnn train --config=experiments/shapes_multi_label.py \
        --workdir=runs/shapes_multi_label
"""

from jaxcnn.config import Config, DataConfig, OptimConfig, TaskConfig


def get_config() -> Config:
    return Config(
        model="resnet20_cifar",
        data=DataConfig(name="shapes", image_size=32, batch_size=64),
        task=TaskConfig(name="multi_label"),
        optim=OptimConfig(peak_lr=0.05, warmup_epochs=1.0, weight_decay=5e-4),
        num_epochs=10.0,
    )
