r"""VGG-16 on ImageNet for 74 epochs.

Recipe: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition", ICLR 2015, sec. 3.1, https://arxiv.org/abs/1409.1556: batch size 256,
learning rate 0.01, momentum 0.9, weight decay 5e-4, dropout 0.5, crops of 224 pixels
from images of 256 to 512 pixels, flip, AlexNet's colour augmentation. The authors
divided the rate by 10 three times, when the validation accuracy stopped improving; we
do so after 30, 50 and 65 epochs. We initialise as torchvision does; they copied layers
from a smaller network. The paper reports 74.4% with images of 384 pixels in evaluation
(Table 3, D); ours have 256.
Result: not measured yet.

Requires imagenet2012, prepared by TFDS as array_record files in data.dir.

    python -m jaxcnn train --config=experiments/vgg16_imagenet.py \
        --workdir=runs/vgg16 --config.data.dir=/data/tensorflow_datasets
"""

from jaxcnn.config import AugmentConfig, Config, OptimConfig
from jaxcnn.recipes import imagenet


def get_config() -> Config:
    return imagenet(
        "vgg16",
        train_transform="random_scale_crop",
        augment=AugmentConfig(flip=0.5, lighting=0.1),
        optim=OptimConfig(
            name="sgd",
            peak_lr=0.01,
            schedule="step",
            decay_epochs=(30.0, 50.0, 65.0),
            weight_decay=5e-4,
        ),
        num_epochs=74.0,
    )
