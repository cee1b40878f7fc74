"""Views of a road and how to steer there, rendered from a seed as they are asked for.

After Bojarski et al., "End to End Learning for Self-Driving Cars", 2016,
https://arxiv.org/abs/1604.07316, sections 2 and 5.2: images of a camera in a car that
is shifted from the middle of its lane and turned from its direction, each with the
steering "that would steer the vehicle back to the desired location and orientation in
two seconds". The target is 1/r, the inverse of the turning radius (section 3), in 1/m:
positive to the left, 0 straight on. At SPEED two seconds are 20 m; see
tracks.steering_back. Unlike in the paper, where cameras beside the first one and
distorted images stand in for them, each view is rendered from the place itself.

An image has the size data.image_size, (66, 200) for PilotNet. View i of a split is a
function of the split and of i alone: VIEWS views in a row are of one track, at places
at random, and each has a look of its own, see road_view.py. Tracks of the splits
differ, and those that `jaxcnn drive` drives around are of no split.
"""

import dataclasses
import functools
import hashlib
from typing import Any

import numpy as np

from jaxcnn.config import DataConfig
from jaxcnn.data import rendered, road_view, tracks
from jaxcnn.data.examples import Dataset
from jaxcnn.targets import Target

SPEED = 10.0  # of the car, m/s
SECONDS_BACK = 2.0  # section 5.2
OFFSET, FARTHEST_OFFSET = 0.5, 1.6  # standard deviation and largest, metres
ANGLE, LARGEST_ANGLE = 0.06, 0.2  # the same of the angle to the road, radians
NUM_TRACKS = {"train": 120, "validation": 10, "test": 10}
VIEWS = 100  # of one track
SMALLEST_SIDE = 16  # pixels of an image

TARGETS = {"value": Target("value", "float32", (1,), names=("curvature",))}
# Seeds of the splits, and of the tracks that are driven around.
_SEEDS = {"train": 0, "validation": 1, "test": 2, "drive": 3}
_VERSION = 1  # of what is drawn: to be raised when it changes


@functools.lru_cache(maxsize=256)
def track(split: str, number: int) -> tracks.Track:
    """A track of a split, or of "drive"."""
    return tracks.random_track(np.random.default_rng((_SEEDS[split], number)))


def scene_to_drive(seed: int) -> road_view.Scene:
    """A track that is in no split, and how it looks."""
    rng = np.random.default_rng((_SEEDS["drive"], seed, 1))
    return road_view.Scene(track("drive", seed), road_view.random_look(rng))


def steering(along: tracks.Track, places: np.ndarray) -> np.ndarray:
    """1/r of the turns that begin the ways back to the middle of the lane, 1/m.

    In the middle of the lane and in its direction, it is the curvature of the lane.

    Args:
        along: The track.
        places: Its (s, offset, angle to the road), [..., 3].
    """
    s, offset, angle = np.moveaxis(np.asarray(places), -1, 0)
    before, at, after = (along.curvature(s + ahead) for ahead in (-0.5, 0.0, 0.5))
    distance = SPEED * SECONDS_BACK
    return tracks.steering_back(offset, angle, at, after - before, distance)


@functools.lru_cache(maxsize=256)
def views_of(split: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Places (s, offset, angle to the road) of the views of a track, float64 [VIEWS,
    3], and the steering at each, float32 [VIEWS, 1]."""
    rng = np.random.default_rng((_SEEDS[split], number, 1))
    along = track(split, number)
    s = rng.uniform(0, along.length, VIEWS)
    offset, angle = rng.standard_normal((2, VIEWS))
    offset = np.clip(OFFSET * offset, -FARTHEST_OFFSET, FARTHEST_OFFSET)
    angle = np.clip(ANGLE * angle, -LARGEST_ANGLE, LARGEST_ANGLE)
    places = np.stack([s, offset, angle], axis=-1)
    return places, steering(along, places).astype(np.float32)[:, None]


@dataclasses.dataclass(frozen=True)
class Views:
    """The views of one split.

    Attributes:
        split: A key of NUM_TRACKS.
        size: Height and width of every image, pixels.
    """

    split: str
    size: tuple[int, int]

    def __len__(self) -> int:
        return NUM_TRACKS[self.split] * VIEWS

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"There are {len(self)} views, none with index {index}.")
        number, view = divmod(index, VIEWS)
        places, values = views_of(self.split, number)
        rng = np.random.default_rng((_SEEDS[self.split], number, 2 + view))
        along = track(self.split, number)
        scene = road_view.Scene(along, road_view.random_look(rng))
        image = scene.view(along.pose(*places[view]), self.size, rng)
        return {"image": image, "value": values[view]}

    def column(self, target: str) -> np.ndarray:
        numbers = range(NUM_TRACKS[self.split])
        return np.concatenate([views_of(self.split, number)[1] for number in numbers])


def load(config: DataConfig) -> Dataset:
    """The data set road, 12,000 views to train on and 1,000 and 1,000 others.

    Raises:
        UserError: See rendered.size_of_images.
    """
    size = rendered.size_of_images(config, SMALLEST_SIDE)
    parts = {split: Views(split, size) for split in NUM_TRACKS}
    # Not of pixels, which a processor with other instructions may round otherwise.
    digest = hashlib.sha256(f"road {_VERSION}".encode())
    for part in parts.values():
        digest.update(np.rint(1e4 * part.column("value")).astype(np.int32))
    return rendered.dataset(parts, TARGETS, config, digest.hexdigest())
