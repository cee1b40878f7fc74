r"""PilotNet steers a car around rendered tracks that it has not seen.

Recipe: Bojarski et al., "End to End Learning for Self-Driving Cars", 2016,
https://arxiv.org/abs/1604.07316: images of 66x200 pixels, also from beside the middle
of the lane, squared error of 1/r. The paper does not say with which optimizer; AdamW
here, for five epochs.
Result: three laps of 60 s, on three tracks, with each of three networks (seeds 0 to 2),
without leaving the lane: autonomy 100%, 0.046 m off the middle on average (0.045 to
0.047 by network), 0.18 m at most. On 20 further tracks seed 0 did not leave it either:
0.080 m on average, 0.44 m at most. On test views RMSE 0.0024 1/m, R2 0.983 (0.982 to
0.983). 2026-11-28, two CPU cores shared with other programs: 3 minutes and 50 seconds
of processor time for each network, rendering included, in 3.5 to 7.6 minutes.

A car that goes straight on is put back 38 to 40 times on these tracks, and one that
steers by the labels is 0.03 m off at most. Trained on views from the middle of the lane
alone (road.OFFSET and road.ANGLE 0, seed 0), the network drove the three laps as well,
0.031 m off the middle; set down 0.8 m beside it and turned away by 0.1 rad, it left the
lane in 4 of 12 places, where the network of seed 0 above did in none.

    python -m jaxcnn train --config=experiments/pilotnet_road.py \
        --workdir=runs/pilotnet_road
    python -m jaxcnn drive --workdir=runs/pilotnet_road --film=lap.gif
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
