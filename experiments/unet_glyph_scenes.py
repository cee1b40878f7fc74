r"""U-Net on letters in clutter, each pixel a letter or background.

Recipe: a ResNet-18 that expands (Ronneberger et al., MICCAI 2015,
https://arxiv.org/abs/1505.04597, as written today), from random weights, cross entropy
and Dice; images of 64x64 pixels, batches of 4.
Result: mean IoU 0.727 on the test fonts (STIX and Computer Modern), 0.833 on the
validation fonts (DejaVu Sans); F1 of boundaries 0.893 and 0.936. Seed 0, 2026-11-28,
two CPU cores that ran other programs as well: 1,323 seconds of processor time. The aim,
0.85 on the test fonts, is missed. If each pixel of a letter that is called another
letter were right, it would be 0.80: at 64 pixels the strokes of these fonts are one or
two pixels thin, and most errors are at their borders. Before the letters of training
scenes varied in shape, and with batches of 8, it was 0.739 and 0.844. Images of 96
pixels, 2,000 steps of 8, had 0.643: too few steps for them.

    python -m jaxcnn train --config=experiments/unet_glyph_scenes.py \
        --workdir=runs/unet_glyph_scenes
"""

from jaxcnn.config import Config, DataConfig, OptimConfig, TaskConfig


def get_config() -> Config:
    return Config(
        model="unet_resnet18",
        data=DataConfig(name="glyph_scenes", image_size=64, batch_size=4),
        task=TaskConfig(name="segmentation", loss="cross_entropy+dice"),
        optim=OptimConfig(
            name="adamw", peak_lr=1.5e-3, warmup_epochs=0.5, weight_decay=0.05
        ),
        num_epochs=8.0,
        eval_every_epochs=2.0,
        log_every_steps=400,
    )
