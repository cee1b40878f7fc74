"""A trained network that steers a car around a track: driving in closed loop.

After Bojarski et al., "End to End Learning for Self-Driving Cars", 2016,
https://arxiv.org/abs/1604.07316, sections 6 and 7.1: the network sees what the camera
sees where its own steering has brought the car. Where the car is more than a metre from
the middle of its lane, a person would intervene: it is put back and the network goes
on. Autonomy is the share of the time in which nobody would, if each time took 6 s.

The car is the kinematic bicycle: its rear axle goes where it points, on a circle for as
long as the steering is the same, without skidding.
"""

from collections.abc import Callable
import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.data import road
from jaxcnn.data.road_view import Scene
from jaxcnn.data.tracks import Pose, Track
from jaxcnn.errors import UserError
from jaxcnn.serving import predictor as predictor_lib
from jaxcnn.serving.predictor import Predictor
from jaxcnn.tasks.regression import Regression

STEPS_PER_SECOND = 10  # of the control; section 5.1, of the images trained on
WHEELBASE = 2.7  # metres from the rear to the front axle
LARGEST_STEERING = math.radians(35)  # of the front wheels, in each direction
FARTHEST = 1.0  # metres from the middle of the lane, section 6
SECONDS_OF_INTERVENTION = 6.0  # section 7.1

Steer = Callable[[Pose], float]  # from where the car is to 1/r, in 1/m


@dataclasses.dataclass(frozen=True, eq=False)
class Lap:
    """What happened on a lap, one entry for each step of the control.

    Attributes:
        poses: Poses of the car at the beginning of each step.
        offsets: Metres to the left of the middle of the lane, [N].
        steering: Angles of the front wheels, radians, positive to the left, [N].
        interventions: Steps at which the car was put back.
    """

    poses: tuple[Pose, ...]
    offsets: np.ndarray
    steering: np.ndarray
    interventions: tuple[int, ...]

    @property
    def seconds(self) -> float:
        return len(self.poses) / STEPS_PER_SECOND

    @property
    def autonomy(self) -> float:
        """Percent of the time without a person, section 7.1; negative where each
        intervention is followed by the next within 6 s."""
        taken = SECONDS_OF_INTERVENTION * len(self.interventions)
        return 100 * (1 - taken / self.seconds)

    def summary(self) -> dict[str, Any]:
        """The numbers of the lap; distances from the middle of the lane in metres."""
        distance = np.abs(self.offsets)
        return {
            "seconds": self.seconds,
            "interventions": len(self.interventions),
            "autonomy_percent": self.autonomy,
            "mean_distance": float(distance.mean()),
            "p95_distance": float(np.percentile(distance, 95)),
            "max_distance": float(distance.max()),
        }


def move(pose: Pose, curvature: float, metres: float) -> Pose:
    """Where a car is after an arc of that curvature, in 1/m, and length."""
    turned = curvature * metres
    # The chord of the arc; sinc(x) is sin(pi x) / (pi x).
    chord = metres * float(np.sinc(turned / (2 * math.pi)))
    ahead = pose.angle + turned / 2
    return Pose(
        pose.x + chord * math.cos(ahead),
        pose.y + chord * math.sin(ahead),
        pose.angle + turned,
    )


def drive(track: Track, steer: Steer, speed: float = road.SPEED) -> Lap:
    """Drives once around a track, from its beginning in the middle of the lane.

    It comes around whatever the network does: within a metre of the middle of the lane
    the car cannot turn back.

    Args:
        track: The track.
        steer: Function from the car's pose to 1/r, in 1/m, asked in each step.
        speed: Constant speed, m/s.

    Raises:
        UserError: The steering is no finite number.
    """
    limit = math.tan(LARGEST_STEERING) / WHEELBASE
    poses, offsets, angles, interventions = [], [], [], []
    pose, last, metres = track.pose(0.0), 0.0, 0.0
    while metres < track.length:
        s, offset, _ = track.place(pose)
        metres += math.remainder(s - last, track.length)
        last = s
        asked = steer(pose)
        if not math.isfinite(asked):
            raise UserError(f"The network steers with 1/r = {asked}, no finite number.")
        curvature = min(max(asked, -limit), limit)
        poses.append(pose)
        offsets.append(offset)
        angles.append(math.atan(WHEELBASE * curvature))
        if abs(offset) > FARTHEST:
            interventions.append(len(poses) - 1)
            pose = track.pose(s)
        else:
            pose = move(pose, curvature, speed / STEPS_PER_SECOND)
    return Lap(tuple(poses), np.array(offsets), np.array(angles), tuple(interventions))


def load(
    folder: str | Path, checkpoint: str = "best", *, raw: bool = False
) -> Predictor:
    """The predictor of a run that can steer.

    Args:
        folder: The run's folder, or that of imported weights.
        checkpoint: "best", "latest", a step, or "mean:K", the mean of the newest K.
        raw: Whether to use the raw parameters instead of their average.

    Raises:
        UserError: There is no such run or checkpoint, or the run is no regression of
            one number.
    """
    predictor = predictor_lib.load(folder, checkpoint, raw=raw)
    task = predictor.task
    if not isinstance(task, Regression) or len(task.names) != 1:
        names = getattr(task, "names", ())
        what = f" of {', '.join(names)}" if isinstance(task, Regression) else ""
        raise UserError(
            f"{folder} is a run of task {type(task).__name__.lower()}{what}; a car is "
            "steered by a regression of one number, 1/r, as of the data set road."
        )
    return predictor


def driver(predictor: Predictor, scene: Scene, seed: int) -> Steer:
    """Steering by what a network sees.

    Args:
        predictor: The network, see load.
        scene: The track and its look.
        seed: Seed of the noise of the camera.
    """
    noise = np.random.default_rng(seed)

    def steer(pose: Pose) -> float:
        image = predictor.read(scene.view(pose, predictor.image_size, noise))
        return float(predictor.predict_batch(image[None])["values"][0, 0])

    return steer
