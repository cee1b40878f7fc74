r"""VGG-16 on ImageNet for 74 epochs.

Recipe: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition", ICLR 2015, sec. 3.1, https://arxiv.org/abs/1409.1556: batches of 256, rate
0.01, momentum 0.9, decay 5e-4, dropout 0.5, windows of 224 from images of 256 to 512
pixels, flip, AlexNet's change of colour. They divided the rate by 10 three times, when
the validation accuracy stood still; here after 30, 50 and 65 epochs. Initial values are
torchvision's, where they took layers of a smaller network. They have 74.4% with images
of 384 pixels in evaluation (Table 3, D); ours have 256.
Result: not measured yet.

TFDS must have prepared imagenet2012 as array_record below data.dir.

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
