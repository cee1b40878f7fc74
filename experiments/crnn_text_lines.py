r"""A small CRNN on rendered lines of text, tested on unseen font families.
"""

from jaxcnn.config import Config, DataConfig, OptimConfig, TaskConfig


def get_config() -> Config:
    return Config(
        model="crnn",
        model_fields=(
            ("filters", (16, 32, 64, 64, 96, 96, 96)),
            ("hidden", 96),
        ),
        data=DataConfig(
            name="text_lines",
            image_size=(32, 512),
            train_transform="line",
            eval_transform="line",
            batch_size=32,
            eval_batch_size=100,
        ),
        task=TaskConfig(name="text"),
        optim=OptimConfig(
            name="adamw", peak_lr=3e-3, warmup_epochs=0.2, weight_decay=0.01,
            clip_norm=100.0,
        ),
        num_epochs=1.0,
        eval_every_epochs=0.25,
    )
