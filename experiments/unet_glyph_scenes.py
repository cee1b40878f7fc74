r"""U-Net on letters in clutter, each pixel a letter or background.

Recipe: a ResNet-18 that expands (Ronneberger et al., MICCAI 2015,
https://arxiv.org/abs/1505.04597, as written today), from random weights, cross entropy
and Dice; images of 64x64 pixels, small batches.
Result: mean IoU 0.739 on the test fonts (STIX and Computer Modern), 0.844 on the
validation fonts (DejaVu Sans); F1 of boundaries 0.903 and 0.947. Seed 0, 2026-11-28,
two CPU cores shared with other programs: 1,040 seconds of processor time. The aim, 0.85
on the test fonts, is missed. Batches of 32 with as many epochs (a quarter of the
updates) were far behind: 0.09 on the validation fonts after two epochs, where batches
of 8 had 0.39.

    python -m jaxcnn train --config=experiments/unet_glyph_scenes.py \
        --workdir=runs/unet_glyph_scenes
"""

from jaxcnn.config import Config, DataConfig, OptimConfig, TaskConfig


def get_config() -> Config:
    return Config(
        model="unet_resnet18",
        data=DataConfig(name="glyph_scenes", image_size=64, batch_size=8),
        task=TaskConfig(name="segmentation", loss="cross_entropy+dice"),
        optim=OptimConfig(
            name="adamw", peak_lr=2e-3, warmup_epochs=0.5, weight_decay=0.05
        ),
        num_epochs=8.0,
        eval_every_epochs=2.0,
        log_every_steps=200,
    )
