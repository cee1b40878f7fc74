r"""U-Net on letters in clutter, each pixel a letter or background.

Ronneberger et al., MICCAI 2015, https://arxiv.org/abs/1505.04597, on a ResNet-18.

    python -m jaxcnn train --config=experiments/unet_glyph_scenes.py \
        --workdir=runs/unet_glyph_scenes
"""

from jaxcnn.config import Config, DataConfig, OptimConfig, TaskConfig


def get_config() -> Config:
    return Config(
        model="unet_resnet18",
        model_fields=(("backbone", "resnet20_cifar"),),
        data=DataConfig(name="glyph_scenes", image_size=64, batch_size=32),
        task=TaskConfig(name="segmentation", loss="cross_entropy+dice"),
        optim=OptimConfig(
            name="adamw", peak_lr=2e-3, warmup_epochs=0.5, weight_decay=0.05
        ),
        num_epochs=6.0,
        eval_every_epochs=2.0,
    )
