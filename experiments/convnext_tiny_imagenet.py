r"""ConvNeXt-T on ImageNet for 300 epochs.

Recipe: Liu et al., "A ConvNet for the 2020s", CVPR 2022, sec. 2.1 and Table 5,
https://arxiv.org/abs/2201.03545: AdamW, batch size 4096, learning rate 4e-3, cosine
schedule with a warm-up of 20 epochs, weight decay 0.05, RandAugment, mixup, CutMix,
random erasing, label smoothing, stochastic depth. The paper reports 82.1% (Table 1)
with a moving average of the parameters, which is left out here. Its RandAugment has two
operations with magnitude 9 of 10, varied with a standard deviation of 0.5; ours has a
fixed magnitude of 27 of 30.
Result: not measured yet.

Requires imagenet2012, prepared by TFDS as array_record files in data.dir.

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
