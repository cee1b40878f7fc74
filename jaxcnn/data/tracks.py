"""Closed tracks that a car drives around, and the curvature that steers it back.

A track is the centre line of the lane that is driven, a closed smooth curve in the
plane. Lengths are in metres, angles in radians, anticlockwise; curvature is 1/r in 1/m,
positive where the road turns left. A place on a track is (s, offset): the length along
the centre line and the distance to the left of it (Frenet coordinates).
"""

from collections.abc import Callable
import dataclasses
import functools
import math

import numpy as np
from scipy import interpolate, spatial

LENGTH = 600.0  # of the centre line
SHARPEST = 1 / 25  # largest curvature of a track, 1/m
STRAIGHTEST = 1 / 60  # least value of a track's largest curvature, 1/m
SPACING = 0.5  # of the points of the centre line
SMALLEST_RADIUS = 40.0  # of a track about its middle, so that no two parts come near
_WAVES = np.arange(2, 7)  # waves of the radius around a track
_CELL = 2.0  # of the grid that knows the nearest point of the centre line
_BORDER = 40.0  # of the grid around the centre line
_TRIES = 1000


@dataclasses.dataclass(frozen=True)
class Pose:
    """Where a car is and which way it points: x, y, and the angle from the x axis."""

    x: float
    y: float
    angle: float


@dataclasses.dataclass(frozen=True, eq=False)
class Track:
    """A closed curve as a function of its own length.

    Attributes:
        curve: Function from lengths [N] to positions [N, 2], periodic; called as
            curve(s, 1) and curve(s, 2) it gives first and second derivatives.
        length: Length of the whole curve.
    """

    curve: Callable[..., np.ndarray]
    length: float

    @classmethod
    def through(cls, points: np.ndarray) -> "Track":
        """The periodic cubic spline through points [N, 2], the first given once."""
        closed = np.concatenate([points, points[:1]])
        chords = np.linalg.norm(np.diff(closed, axis=0), axis=1)
        knots = np.concatenate([[0], np.cumsum(chords)])
        spline = interpolate.CubicSpline(knots, closed, bc_type="periodic")
        # By its own length instead of by that of the chords.
        fine = np.linspace(0, knots[-1], 40 * len(points) + 1)
        speed = np.linalg.norm(spline(fine, 1), axis=1)
        along = interpolate.CubicSpline(fine, speed).antiderivative()(fine)
        number = max(8, round(along[-1] / SPACING))
        lengths = np.linspace(0, along[-1], number + 1)
        resampled = spline(np.interp(lengths, along, fine))
        resampled[-1] = resampled[0]
        curve = interpolate.CubicSpline(lengths, resampled, bc_type="periodic")
        return cls(curve, float(along[-1]))

    @functools.cached_property
    def points(self) -> np.ndarray:
        """Points of the centre line, one every SPACING metres, [N, 2]."""
        return self.curve(self._lengths)

    @functools.cached_property
    def _lengths(self) -> np.ndarray:
        number = round(self.length / SPACING)
        return np.arange(number) * (self.length / number)

    @functools.cached_property
    def _tree(self) -> spatial.cKDTree:
        return spatial.cKDTree(self.points)

    def angle(self, s: np.ndarray | float) -> np.ndarray:
        """Direction of the centre line."""
        tangent = self.curve(s, 1)
        return np.arctan2(tangent[..., 1], tangent[..., 0])

    def curvature(self, s: np.ndarray | float) -> np.ndarray:
        """1/r of the centre line."""
        first, second = self.curve(s, 1), self.curve(s, 2)
        cross = first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
        return cross / np.sum(first**2, axis=-1) ** 1.5

    def pose(self, s: float, offset: float = 0.0, angle: float = 0.0) -> Pose:
        """The pose at a place, turned by an angle from the direction of the road."""
        along = float(self.angle(s))
        x, y = self.curve(s) + offset * np.array([-math.sin(along), math.cos(along)])
        return Pose(float(x), float(y), along + angle)

    def place(self, pose: Pose) -> tuple[float, float, float]:
        """(s, offset, angle from the direction of the road) of a pose."""
        position = np.array([pose.x, pose.y])
        s = float(self._lengths[self._tree.query(position)[1]])
        for _ in range(3):  # Newton's method, for the foot of the perpendicular
            away, first, second = (
                position - self.curve(s),
                self.curve(s, 1),
                self.curve(s, 2),
            )
            s += float(away @ first / (first @ first - away @ second))
        along = float(self.angle(s))
        offset = away @ [-math.sin(along), math.cos(along)]
        turned = math.remainder(pose.angle - along, 2 * math.pi)
        return s % self.length, float(offset), turned

    @functools.cached_property
    def _grid(self) -> tuple[np.ndarray, np.ndarray]:
        """(index of the nearest point for each cell, position of the first cell)."""
        low = self.points.min(axis=0) - _BORDER
        high = self.points.max(axis=0) + _BORDER
        columns, rows = (np.arange(a, b, _CELL) for a, b in zip(low, high, strict=True))
        cells = np.stack(np.meshgrid(columns, rows, indexing="ij"), axis=-1)
        return self._tree.query(cells)[1].astype(np.int32), low

    @functools.cached_property
    def _frames(self) -> np.ndarray:
        """float32 [N, 5]: position, direction and curvature of each of the points."""
        angles, curvatures = self.angle(self._lengths), self.curvature(self._lengths)
        columns = (self.points, np.cos(angles), np.sin(angles), curvatures)
        return np.column_stack(columns).astype(np.float32)

    def places(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(s, offset) of many positions, float32, quickly.

        Near the road they are exact to a centimetre. Far from it, beyond the centre of
        a curve, or outside the track's surroundings, only that it is far is.
        """
        nearest, low = self._grid
        column, row = (
            np.clip(np.rint((value - start) / _CELL), 0, size - 1).astype(np.int32)
            for value, start, size in zip((x, y), low, nearest.shape, strict=True)
        )
        index = nearest[column, row]
        px, py, cosine, sine, curvature = np.moveaxis(self._frames[index], -1, 0)
        dx, dy = x - px, y - py
        ahead, aside = cosine * dx + sine * dy, cosine * dy - sine * dx
        # On the circle of that curvature, to second order in `ahead`.
        room = np.maximum(1 - curvature * aside, 0.2)
        offset = aside - curvature * ahead**2 / (2 * room)
        return self._lengths[index].astype(np.float32) + ahead / room, offset


def random_track(rng: np.random.Generator) -> Track:
    """A track of LENGTH metres, driven in either direction, that never crosses itself.

    Its distance from its middle is a sum of waves, drawn again until the largest
    curvature is between STRAIGHTEST and SHARPEST.
    """
    around = np.linspace(0, 2 * math.pi, 240, endpoint=False)
    for _ in range(_TRIES):
        size = rng.uniform(0.1, 0.45) * rng.dirichlet(np.ones(len(_WAVES)))
        phase = rng.uniform(0, 2 * math.pi, len(_WAVES))
        radius = 1 + np.cos(np.outer(around, _WAVES) + phase) @ size
        points = radius[:, None] * np.stack([np.cos(around), np.sin(around)], axis=1)
        points = points[:: rng.choice([-1, 1])]
        chords = np.linalg.norm(points - np.roll(points, 1, axis=0), axis=1)
        scale = LENGTH / chords.sum()
        track = Track.through(scale * points)
        largest = np.abs(track.curvature(track._lengths)).max()
        if scale * radius.min() >= SMALLEST_RADIUS and (
            STRAIGHTEST <= largest <= SHARPEST
        ):
            return track
    raise RuntimeError(f"No track was found in {_TRIES} tries.")


def steering_back(
    offset: np.ndarray,
    angle: np.ndarray,
    curvature: np.ndarray,
    slope: np.ndarray,
    distance: float,
) -> np.ndarray:
    """1/r of the turn that begins the way back to the middle of the lane, 1/m.

    The offset o as a function of the length s along the road follows the cubic that
    ends after `distance` with o = 0 and do/ds = 0, at the place and in the direction
    that the paper corrects its shifted and turned images to. It begins with d2o/ds2 =
    -6 o / distance^2 - 4 (do/ds) / distance, from which 1/r of the car follows as it
    does for any path beside a curve. In the middle of the lane it is the road's.

    Args:
        offset: Distance to the left of the centre line.
        angle: Angle from the direction of the road, below a right angle.
        curvature: Curvature of the road there.
        slope: Change of the curvature for each metre, 1/m^2.
        distance: Length in which the car is back.
    """
    room = 1 - curvature * offset
    first = room * np.tan(angle)
    second = -6 * offset / distance**2 - 4 * first / distance
    bent = second + (slope * offset + curvature * first) * np.tan(angle)
    return (bent * np.cos(angle) ** 2 / room + curvature) * np.cos(angle) / room
