r"""A VGG-11 with a quarter of the filters on printed letters, to start from.

Recipe: that of character_net_glyphs, in batches of 128. One hidden layer of 128 units
instead of two of 4,096.
Result: {VGG} of the letters of the test fonts; what it is
good for is in transfer_digits.

    python -m jaxcnn train --config=experiments/vgg11_small_glyphs.py \
        --workdir=runs/vgg11_small_glyphs
"""

from jaxcnn.config import AugmentConfig, Config, DataConfig, OptimConfig, TaskConfig
from jaxcnn.recipes import VGG11_SMALL


def get_config() -> Config:
    return Config(
        model="vgg11_bn",
        model_fields=VGG11_SMALL,
        data=DataConfig(name="glyphs", batch_size=128),
        augment=AugmentConfig(
            shift_pixels=3.0, rotation_degrees=10.0, scale=0.25, shear_degrees=25.0
        ),
        task=TaskConfig(label_smoothing=0.1),
        optim=OptimConfig(
            name="adamw", peak_lr=2e-3, warmup_epochs=1.0, weight_decay=0.05
        ),
        num_epochs=12.0,
        eval_every_epochs=4.0,
    )
