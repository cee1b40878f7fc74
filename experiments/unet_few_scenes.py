r"""Twenty masks: does a trained classifier help a segmenter?

Recipe: a U-Net on ResNet-18 learns the letters of `glyph_scenes` from 20 of its 4,000
training scenes. It starts at random, or its backbone is that of a ResNet-18 which has
learned to name single letters of other scenes, `glyph_crops`, from labels for whole
images, and which is frozen. The 20 scenes depend on the seed.
Result: mean IoU on the test fonts 0.173 (0.166 to 0.184, seeds 0 to 2) from the
classifier, 0.114 (0.112 to 0.116) at random, 2026-11-28, two CPU cores that ran other
programs as well: 100 and 150 seconds of processor time. The classifier itself names
0.938 of the letters of the test fonts (seed 0, 345 seconds). Both segmenters find
letters and name few of them: in 20 scenes each letter occurs about seven times. A
ResNet-18 trained on `glyphs`, small letters in white on black, and not frozen, did not
help (0.104, seed 0).

    python -m jaxcnn train --config=experiments/unet_few_scenes.py:crops \
        --workdir=runs/glyph_crops
    python -m jaxcnn train --config=experiments/unet_few_scenes.py:classifier \
        --workdir=runs/few_scenes
    python -m jaxcnn train --config=experiments/unet_few_scenes.py:random \
        --workdir=runs/few_scenes_random
"""

from jaxcnn.config import (
    AugmentConfig,
    Config,
    DataConfig,
    InitConfig,
    OptimConfig,
    TaskConfig,
)
from jaxcnn.errors import unknown

# What a start changes: the weights, and what of them stays.
STARTS = {
    "random": ("", ()),
    "classifier": ("runs/glyph_crops", ("(?!decoder|head).*",)),
}


def get_config(name: str = "random") -> Config:
    if name == "crops":
        return crops()
    if name not in STARTS:
        raise unknown("experiment", name, ("crops", *STARTS))
    path, freeze = STARTS[name]
    return Config(
        model="unet_resnet18",
        data=DataConfig(
            name="glyph_scenes", image_size=64, batch_size=4, num_per_class=20
        ),
        augment=AugmentConfig(
            rotation_degrees=10.0, scale=0.2, shear_degrees=10.0, hue=0.5
        ),
        task=TaskConfig(name="segmentation", loss="cross_entropy+dice"),
        optim=OptimConfig(
            name="adamw",
            peak_lr=2e-3,
            warmup_epochs=10.0,
            weight_decay=0.05,
            freeze=freeze,
        ),
        init_from=InitConfig(path=path),
        num_epochs=160.0,
        eval_every_epochs=40.0,
        log_every_steps=100,
    )


def crops() -> Config:
    """The classifier."""
    return Config(
        model="resnet18",
        data=DataConfig(name="glyph_crops", batch_size=32),
        augment=AugmentConfig(shift_pixels=3.0, scale=0.2, hue=0.5),
        task=TaskConfig(label_smoothing=0.1),
        optim=OptimConfig(
            name="adamw", peak_lr=2e-3, warmup_epochs=1.0, weight_decay=0.05
        ),
        num_epochs=10.0,
        eval_every_epochs=2.0,
        log_every_steps=100,
    )
