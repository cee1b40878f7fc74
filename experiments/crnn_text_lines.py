r"""A small CRNN on rendered lines of text, tested on unseen font families.

Result: to be measured.

    python -m jaxcnn train --config=experiments/crnn_text_lines.py \
        --workdir=runs/text_lines
"""

from jaxcnn.config import AverageConfig, Config, DataConfig, OptimConfig, TaskConfig


def get_config() -> Config:
    return Config(
        model="crnn",
        model_fields=(
            ("filters", (16, 32, 64, 64, 96, 96, 96)),
            ("hidden", 96),
        ),
        data=DataConfig(
            name="text_lines",
            # Lines are at most 256 pixels wide; a wider canvas is for longer ones at
            # prediction.
            image_size=(32, 640),
            image_size_stages=(((32, 256), 0.0),),
            train_transform="line",
            eval_transform="line",
            batch_size=16,
            eval_batch_size=100,
        ),
        task=TaskConfig(name="text"),
        optim=OptimConfig(
            name="adamw", peak_lr=2e-3, warmup_epochs=0.1, weight_decay=0.01
        ),
        average=AverageConfig(name="ema", decay=0.995),
        num_epochs=2.4,
        eval_every_epochs=0.4,
    )
