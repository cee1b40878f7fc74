r"""Which of five shapes are in a picture, by a small ResNet.

Recipe: the network and schedule of `resnet20_glyphs`, with a lower rate and 20 epochs;
no augmentation, since the pictures are generated.
Result: not measured yet.

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
