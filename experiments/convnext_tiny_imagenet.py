r"""ConvNeXt-T on ImageNet for 300 epochs.

Recipe: Liu et al., "A ConvNet for the 2020s", CVPR 2022, sec. 2.1 and Table 5,
https://arxiv.org/abs/2201.03545: AdamW, batches of 4096, rate 4e-3, a cosine with a
warm-up of 20 epochs, decay 0.05, RandAugment, mixup, cutmix, erasing, smoothed labels,
stochastic depth. They have 82.1% (Table 1) with an average of parameters over steps,
which is left out here. Their RandAugment has two operations with strength 9 of 10,
which varies by 0.5; ours is 27 of 30, always.
Result: not measured yet.

TFDS must have prepared imagenet2012 as array_record below data.dir.

    python -m jaxcnn train --config=experiments/convnext_tiny_imagenet.py \
        --workdir=runs/convnext_tiny --config.data.dir=/data/tensorflow_datasets
"""

from jaxcnn.config import AugmentConfig, Config, OptimConfig, TaskConfig
from jaxcnn.recipes import imagenet


def get_config() -> Config:
    return imagenet(
        "convnext_tiny",
        batch_size=4096,
        augment=AugmentConfig(
            flip=0.5,
            randaugment=2,
            randaugment_magnitude=27,
            erasing=0.25,
            mixup=0.8,
            cutmix=1.0,
        ),
        task=TaskConfig(label_smoothing=0.1),
        optim=OptimConfig(
            name="adamw", peak_lr=4e-3, warmup_epochs=20.0, weight_decay=0.05
        ),
        num_epochs=300.0,
    )
