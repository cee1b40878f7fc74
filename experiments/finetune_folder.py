r"""A pretrained network, fine-tuned on a folder of images.

Recipe: Howard and Ruder, "Universal Language Model Fine-tuning", ACL 2018, sec. 3.2,
https://arxiv.org/abs/1801.06146: only the new head for five epochs, then everything,
with learning rates multiplied by 0.3 from stage to stage towards the input. Images are
normalised like those that the weights were trained on.
Result: depends on the folder; see docs/fine_tuning.md.

The folder has one subfolder per class. The weights are a file (see `jaxcnn
import_weights`), a folder of imported weights or another run.

    python -m jaxcnn train --config=experiments/finetune_folder.py \
        --workdir=runs/photos --config.data.name=folder:photos \
        --config.init_from.path=resnet18-f37072fd.pth
"""

from jaxcnn.config import AugmentConfig, Config, DataConfig, OptimConfig, TaskConfig


def get_config() -> Config:
    return Config(
        model="resnet18",
        data=DataConfig(
            name="folder:photos",
            image_size=224,
            batch_size=16,
            eval_batch_size=32,
            train_transform="random_resized_crop",
            scaled_decoding=True,
            eval_transform="center_crop",
        ),
        augment=AugmentConfig(flip=0.5),
        task=TaskConfig(label_smoothing=0.1),
        optim=OptimConfig(
            name="adamw",
            peak_lr=1e-3,
            warmup_epochs=1.0,
            weight_decay=0.05,
            lr_decay=0.3,
            unfreeze=(("head", 0.0), (".*", 5.0)),
            unfreeze_warmup_epochs=1.0,
        ),
        num_epochs=20.0,
        log_every_steps=10,
    )
