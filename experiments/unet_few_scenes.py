r"""Twenty masks: does a trained classifier help a segmenter?

Recipe: a U-Net on ResNet-18 learns the letters of `glyph_scenes` from 20 of its 4,000
training scenes. It starts at random, or its backbone is that of a ResNet-18 which can
name single letters: small letters, white on black, of the same training fonts, which
no mask belongs to. The 20 scenes depend on the seed.

    python -m jaxcnn train --config=experiments/unet_few_scenes.py:letters \
        --workdir=runs/letters
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

STARTS = {"random": "", "classifier": "runs/letters"}


def get_config(name: str = "classifier") -> Config:
    if name == "letters":
        return letters()
    if name not in STARTS:
        raise unknown("experiment", name, ("letters", *STARTS))
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
            name="adamw", peak_lr=1e-3, warmup_epochs=10.0, weight_decay=0.05
        ),
        init_from=InitConfig(path=STARTS[name]),
        num_epochs=160.0,
        eval_every_epochs=40.0,
        log_every_steps=100,
    )


def letters() -> Config:
    """The classifier, of letters as large as those of the scenes."""
    return Config(
        model="resnet18",
        data=DataConfig(name="glyphs", channels=3, image_size=32, batch_size=32),
        augment=AugmentConfig(
            shift_pixels=3.0,
            rotation_degrees=20.0,
            scale=0.25,
            shear_degrees=20.0,
            trivialaugment=True,
            noise=10.0,
        ),
        task=TaskConfig(label_smoothing=0.1),
        optim=OptimConfig(
            name="adamw", peak_lr=2e-3, warmup_epochs=1.0, weight_decay=0.05
        ),
        num_epochs=20.0,
        eval_every_epochs=5.0,
        log_every_steps=100,
    )
