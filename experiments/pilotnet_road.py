r"""PilotNet steers a car around a rendered track.

Recipe: Bojarski et al., "End to End Learning for Self-Driving Cars", 2016,
https://arxiv.org/abs/1604.07316: images of 66x200 pixels, 1/r as the target, squared
error.
Result: to be measured.

    python -m jaxcnn train --config=experiments/pilotnet_road.py \
        --workdir=runs/pilotnet_road
"""

from jaxcnn.config import Config, DataConfig, OptimConfig, TaskConfig


def get_config() -> Config:
    return Config(
        model="pilotnet",
        data=DataConfig(name="road", image_size=(66, 200), batch_size=32),
        task=TaskConfig(name="regression", loss="squared"),
        optim=OptimConfig(
            name="adamw", peak_lr=1e-3, warmup_epochs=0.5, weight_decay=0.01
        ),
        num_epochs=5.0,
        eval_every_epochs=1.0,
        log_every_steps=100,
    )
