"""What a camera in a car sees of a track: a pinhole camera over a flat world.

Each pixel below the horizon is a ray to the ground. Where the ray meets it, the place
on the track says what is there: asphalt of two lanes, markings, gravel or grass. Edges
are smoothed over the footprint of a pixel. Above are hills and sky, beside the road
trees. How all that looks is drawn from a seed (Look): width of the lane, markings and
their wear, colours, light, shadows, haze, and the camera's mount, exposure, blur and
noise.

The car drives in the right one of two lanes, whose centre line is the track's.
"""

import dataclasses
import functools
import math

import numpy as np
from scipy import ndimage

from jaxcnn.data.tracks import Pose, Track

FOCAL_LENGTH = 0.65  # of the image's width: 75 degrees from left to right
HORIZON = 0.32  # of the image's height, from the top, where the camera is level
CAMERA_AHEAD = 1.5  # metres before the rear axle, which a pose is of
_FARTHEST = 400.0  # metres that a ray goes at most
_TEXTURE = 256  # side of the textures, which repeat; a power of two
_TREE_EVERY = 9.0  # metres of road for each tree, on average
_TREES_SEEN = 100.0  # metres
_MOST_HAZE = 0.8  # share of the haze's colour in what is far away


@dataclasses.dataclass(frozen=True)
class Camera:
    """A pinhole camera above the ground, which looks ahead.

    Attributes:
        size: Height and width of its images, pixels.
        height: Height above the ground, metres.
        pitch: Angle by which it looks down, radians.
        roll: Angle by which it is turned clockwise about its axis, radians.
    """

    size: tuple[int, int]
    height: float = 1.35
    pitch: float = 0.0
    roll: float = 0.0

    @property
    def focal_length(self) -> float:
        """Focal length, pixels."""
        return FOCAL_LENGTH * self.size[1]

    @property
    def centre(self) -> tuple[float, float]:
        """Row and column that the optical axis goes through, pixels."""
        return HORIZON * self.size[0], self.size[1] / 2

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels in which points are seen: [..., 3] -> row and column, [..., 2].

        A point is (ahead, left, up) in metres from the ground below the camera. A pixel
        (i, j) covers rows i to i + 1. What is behind the camera is NaN.
        """
        x, y, up = np.moveaxis(np.asarray(points, float), -1, 0)
        up = up - self.height
        cosine, sine = math.cos(self.pitch), math.sin(self.pitch)
        ahead, up = x * cosine - up * sine, x * sine + up * cosine
        ahead = np.where(ahead > 0, ahead, np.nan)
        cosine, sine = math.cos(self.roll), math.sin(self.roll)
        left, up = y * cosine + up * sine, up * cosine - y * sine
        row, column = self.centre
        scale = self.focal_length / ahead
        return np.stack([row - scale * up, column - scale * left], axis=-1)

    def rays(self) -> np.ndarray:
        """Directions (ahead, left, up) of the centres of all pixels, float32 [3, H, W].

        They are as long as the distance of which `ahead` is about 1.
        """
        (height, width), (row, column) = self.size, self.centre
        up = (row - 0.5 - np.arange(height)[:, None]) / self.focal_length
        left = (column - 0.5 - np.arange(width)) / self.focal_length
        cosine, sine = math.cos(self.roll), math.sin(self.roll)
        left, up = left * cosine - up * sine, left * sine + up * cosine
        cosine, sine = math.cos(self.pitch), math.sin(self.pitch)
        ahead, up = cosine + up * sine, up * cosine - sine
        return np.stack([ahead, left, up]).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Look:
    """How a road, its surroundings and the camera's images look.

    Lengths are in metres, colours RGB in [0, 1].

    Attributes:
        camera_height, pitch, roll: Mount of the camera, see Camera.
        lane: Width of a lane.
        shoulder: Width of the asphalt beyond the outer lines.
        line: Width of a line.
        dash, period: Length of a dash of the centre line, and from one to the next.
        wear: Share of the lines' paint that is gone.
        asphalt, gravel, grass, paint, centre_paint: Colours of the ground.
        patches: Strength of the grass's and asphalt's texture.
        zenith, haze: Colours of the sky above, and at the horizon.
        visibility: Distance at which 63% of a colour is haze.
        hills: Heights, waves and phases of the hills, [3, n].
        hill: Colour of the hills.
        shade: Share of the light that is missing in a shadow.
        shaded: Share of the ground in shadow.
        light: Colour of the sun.
        gain, gamma: Exposure and contrast of the camera.
        vignette: Share of the light that is missing in the corners.
        blur: Standard deviation of a Gaussian blur, pixels of an image of 200 columns.
        noise: Standard deviation of the noise, in [0, 1].
        seed: Seed of the places of textures and trees.
    """

    camera_height: float
    pitch: float
    roll: float
    lane: float
    shoulder: float
    line: float
    dash: float
    period: float
    wear: float
    asphalt: np.ndarray
    gravel: np.ndarray
    grass: np.ndarray
    paint: np.ndarray
    centre_paint: np.ndarray
    patches: float
    zenith: np.ndarray
    haze: np.ndarray
    visibility: float
    hills: np.ndarray
    hill: np.ndarray
    shade: float
    shaded: float
    light: np.ndarray
    gain: float
    gamma: float
    vignette: float
    blur: float
    noise: float
    seed: int

    def camera(self, size: tuple[int, int]) -> Camera:
        """The camera with images of that height and width."""
        return Camera(size, self.camera_height, self.pitch, self.roll)


def random_look(rng: np.random.Generator) -> Look:
    """A look at random."""
    grey = rng.uniform(0.25, 0.5)
    dry = rng.random()  # from green to brown grass
    green, brown = np.array([0.2, 0.36, 0.1]), np.array([0.48, 0.42, 0.24])
    grass = (green + dry * (brown - green)) * rng.uniform(0.7, 1.25)
    cloudy = rng.random()
    blue, cloud = np.array([0.3, 0.5, 0.82]), np.array([0.7, 0.72, 0.75])
    white = np.full(3, rng.uniform(0.75, 1.0))
    yellow = np.array([0.92, 0.72, 0.2])
    hills = np.stack(
        [rng.uniform(0, 0.02, 5), np.arange(2, 12, 2) + rng.integers(0, 2, 5)]
        + [rng.uniform(0, 2 * math.pi, 5)]
    )
    haze = np.array([0.8, 0.84, 0.88]) * rng.uniform(0.85, 1.1)
    return Look(
        camera_height=rng.uniform(1.25, 1.45),
        pitch=math.radians(rng.normal(0, 0.5)),
        roll=math.radians(rng.normal(0, 0.5)),
        lane=rng.uniform(3.5, 4.0),
        shoulder=rng.uniform(0.2, 0.8),
        line=rng.uniform(0.12, 0.2),
        dash=rng.uniform(3.0, 6.0),
        period=rng.uniform(9.0, 13.0),
        wear=rng.uniform(0.0, 0.5),
        asphalt=grey * np.array([1, 1, rng.uniform(0.95, 1.08)]),
        gravel=rng.uniform(0.4, 0.65) * np.array([1, 0.95, 0.85]),
        grass=grass,
        paint=white,
        centre_paint=yellow if rng.random() < 0.3 else white,
        patches=rng.uniform(0.4, 1.0),
        zenith=blue + cloudy * (cloud - blue),
        haze=haze,
        visibility=float(np.exp(rng.uniform(math.log(80), math.log(500)))),
        hills=hills,
        hill=grass * rng.uniform(0.5, 0.9) * np.array([0.8, 0.95, 1.1]),
        shade=rng.uniform(0.1, 0.6) * (1 - 0.7 * cloudy),
        shaded=rng.uniform(0.0, 0.4),
        light=1 + rng.uniform(-0.1, 0.1) * np.array([1, 0.2, -1]),
        gain=rng.uniform(0.85, 1.25),
        gamma=rng.uniform(0.8, 1.2),
        vignette=rng.uniform(0.0, 0.3),
        blur=rng.uniform(0.0, 0.7),
        noise=rng.uniform(0.0, 0.03),
        seed=int(rng.integers(2**31)),
    )


@functools.cache
def _textures() -> tuple[np.ndarray, np.ndarray]:
    """White noise with a standard deviation of 1, and blobs from 0 to 1 in which each
    value is as frequent as any other; float32, both repeat."""
    rng = np.random.default_rng(0)
    white = rng.standard_normal((_TEXTURE, _TEXTURE)).astype(np.float32)
    blobs = ndimage.gaussian_filter(white, 4, mode="wrap")
    ranks = blobs.ravel().argsort().argsort().reshape(blobs.shape)
    return white, (ranks / ranks.size).astype(np.float32)


def _sample(
    texture: np.ndarray, x: np.ndarray, y: np.ndarray, texel: float
) -> np.ndarray:
    """A texture at positions in the plane; a pixel of it is `texel` metres wide."""
    column, row = (np.rint(value * (1 / texel)).astype(np.int32) for value in (x, y))
    return texture[row & _TEXTURE - 1, column & _TEXTURE - 1]


def _line(
    offset: np.ndarray, middle: float, width: float, pixel: np.ndarray
) -> np.ndarray:
    """The share of each pixel that a line covers, [H, W]."""
    inside = (width / 2 - np.abs(offset - middle)) / pixel + 0.5
    return np.clip(inside, 0, np.minimum(1, width / pixel))


def _mix(below: np.ndarray, above: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Colours [H, W, 3] of which a share [H, W] is another colour [3]."""
    return below + (above.astype(np.float32) - below) * share[..., None]


def _window(
    size: tuple[int, int], low: np.ndarray, high: np.ndarray
) -> tuple[slice, slice]:
    """The pixels of an image between two corners, (row, column)."""
    rows, columns = (
        slice(*np.clip(np.rint([start, end]), 0, side).astype(int).tolist())
        for start, end, side in zip(low, high, size, strict=True)
    )
    return rows, columns


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """A track and how it looks: what can be seen from any pose.

    Attributes:
        track: The track.
        look: Its look.
    """

    track: Track
    look: Look

    @functools.cached_property
    def _shifts(self) -> np.ndarray:
        """Positions of the textures, metres, float32 [4, 2]."""
        rng = np.random.default_rng(self.look.seed)
        return rng.uniform(0, _TEXTURE, (4, 2)).astype(np.float32)

    @functools.cached_property
    def _trees(self) -> np.ndarray:
        """x, y, height, width and brightness of each tree, float64 [N, 5]."""
        rng = np.random.default_rng((self.look.seed, 1))
        number = round(self.track.length / _TREE_EVERY)
        s = rng.uniform(0, self.track.length, number)
        clear = 2 * self.look.lane + 3
        side = np.where(rng.random(number) < 0.5, clear, -clear + self.look.lane)
        side += np.sign(side) * rng.exponential(8, number)
        angle, middle = self.track.angle(s), self.track.curve(s)
        x = middle[:, 0] - side * np.sin(angle)
        y = middle[:, 1] + side * np.cos(angle)
        _, offset = self.track.places(x, y)  # of whatever part of the road is nearest
        height = rng.uniform(3, 8, number)
        width = height * rng.uniform(0.35, 0.7, number)
        bright = rng.uniform(0.5, 1.1, number)
        trees = np.column_stack([x, y, height, width, bright])
        room = np.where(offset > 0, offset - self.look.lane, -offset)
        return trees[room - width / 2 > self.look.lane / 2 + 1]

    def view(
        self, pose: Pose, size: tuple[int, int], noise: np.random.Generator | None
    ) -> np.ndarray:
        """The image of the camera, uint8 [H, W, 3].

        Args:
            pose: The car's.
            size: Height and width of the image, pixels.
            noise: Generator of the camera's noise. None: the image is without.
        """
        camera = self.look.camera(size)
        ahead, left, up = camera.rays()
        x = pose.x + CAMERA_AHEAD * math.cos(pose.angle)
        y = pose.y + CAMERA_AHEAD * math.sin(pose.angle)
        is_ground = up < -camera.height / _FARTHEST
        first = int(np.argmax(is_ground.any(axis=1)))
        pixels = np.empty((*size, 3), np.float32)
        below = slice(first, None)
        pixels[below] = self._ground(
            ahead[below], left[below], up[below], (x, y, pose.angle), camera
        )
        sky = ~is_ground
        azimuth = pose.angle + np.arctan2(left[sky], ahead[sky])
        pixels[sky] = self._sky(azimuth, up[sky])
        self._add_trees(pixels, (x, y, pose.angle), camera)
        return self._expose(pixels, noise)

    def _ground(
        self,
        ahead: np.ndarray,
        left: np.ndarray,
        up: np.ndarray,
        eye: tuple[float, float, float],
        camera: Camera,
    ) -> np.ndarray:
        """Colours of the ground that rays [H, W] from the camera meet, [H, W, 3]."""
        look = self.look
        distance = camera.height / np.maximum(-up, camera.height / _FARTHEST)
        ahead, left = ahead * distance, left * distance
        cosine, sine = math.cos(eye[2]), math.sin(eye[2])
        x = eye[0] + cosine * ahead - sine * left
        y = eye[1] + sine * ahead + cosine * left
        s, offset = self.track.places(x, y)
        # Metres that a pixel covers across the road, and along it.
        across = np.abs(np.gradient(offset, axis=0)) + np.abs(
            np.gradient(offset, axis=1)
        )
        along = distance**2 / (camera.focal_length * camera.height)
        white, blobs = _textures()
        shift = self._shifts
        near = np.clip(1.5 - distance / 20, 0, 1)  # of textures that a pixel resolves
        fine = near * _sample(white, x + shift[0, 0], y + shift[0, 1], 0.04)
        coarse = _sample(blobs, x + shift[1, 0], y + shift[1, 1], 0.25) - 0.5
        ground = (
            look.grass.astype(np.float32)
            * (1 + look.patches * (0.9 * coarse + 0.15 * fine))[..., None]
        )
        # The right line is at -lane / 2, the left one at 3 / 2 lane.
        lane, line = look.lane, look.line
        half = lane + look.shoulder
        gravel = _line(offset, lane / 2, 2 * half + 1.6, across)
        ground = _mix(ground, look.gravel, gravel * (0.7 + 0.6 * coarse))
        road = _line(offset, lane / 2, 2 * half, across)
        asphalt = (
            look.asphalt.astype(np.float32)
            * (1 + 0.06 * fine + 0.15 * look.patches * coarse)[..., None]
        )
        ground += (asphalt - ground) * road[..., None]
        left_paint = 1 - look.wear * (0.6 + coarse + 0.3 * fine)
        for middle in -lane / 2, 3 / 2 * lane:
            painted = _line(offset, middle, line, across) * left_paint
            ground = _mix(ground, look.paint, painted)
        # A whole number of dashes, so that the track's end meets its beginning.
        period = self.track.length / round(self.track.length / look.period)
        in_period = np.mod(s, period) - period / 2
        dashes = _line(in_period, 0.0, look.dash, along)
        painted = _line(offset, lane / 2, line, across) * dashes * left_paint
        ground = _mix(ground, look.centre_paint, painted)
        shadow = _sample(blobs, x + shift[2, 0], y + shift[2, 1], 0.4)
        shadow = np.clip((look.shaded - shadow) * 12 + 0.5, 0, 1)
        ground *= (1 - look.shade * shadow)[..., None]
        hazy = _MOST_HAZE * (1 - np.exp(-distance / look.visibility))
        return _mix(ground, look.haze, hazy)

    def _sky(self, azimuth: np.ndarray, up: np.ndarray) -> np.ndarray:
        """Colours of rays [N] that rise by `up` for each unit of length, [N, 3]."""
        look = self.look
        high = np.clip(up / 0.35, 0, 1) ** 0.7
        colours = _mix(
            np.broadcast_to(look.haze.astype(np.float32), (len(up), 3)),
            look.zenith,
            high,
        )
        blobs = _textures()[1]
        cloud = _sample(blobs, azimuth * 6, up * 30 + self._shifts[3, 0], 0.1)
        colours = _mix(colours, np.ones(3), np.clip(cloud - 0.55, 0, 1) * 1.2 * high)
        size, waves, phase = look.hills
        heights = np.sum(size * np.sin(np.multiply.outer(azimuth, waves) + phase), -1)
        hill = np.clip((np.maximum(0.02 + heights, 0.006) - up) * 150 + 0.5, 0, 1)
        return _mix(colours, 0.6 * look.hill + 0.4 * look.haze, hill)

    def _add_trees(
        self, pixels: np.ndarray, eye: tuple[float, float, float], camera: Camera
    ) -> None:
        """Draws the trees, the farthest first."""
        trees = self._trees
        dx, dy = trees[:, 0] - eye[0], trees[:, 1] - eye[1]
        cosine, sine = math.cos(eye[2]), math.sin(eye[2])
        ahead, left = cosine * dx + sine * dy, cosine * dy - sine * dx
        seen = (ahead > 2) & (ahead < _TREES_SEEN) & (np.abs(left) < ahead + 4)
        order = np.flatnonzero(seen)[np.argsort(-ahead[seen])]
        for i in order:
            self._add_tree(pixels, ahead[i], left[i], trees[i, 2:], camera)

    def _add_tree(
        self,
        pixels: np.ndarray,
        ahead: float,
        left: float,
        tree: np.ndarray,
        camera: Camera,
    ) -> None:
        """Draws a trunk and an ellipse of leaves over pixels [H, W, 3]."""
        height, width, bright = tree
        foot, crown = camera.project([[ahead, left, 0], [ahead, left, 0.6 * height]])
        scale = camera.focal_length / ahead
        radii = np.maximum(scale * np.array([0.4 * height, width / 2]), 0.5)
        clear = math.exp(-ahead / self.look.visibility)
        haze = self.look.haze * (1 - clear)
        half = max(0.5, 0.05 * width * scale)
        trunk = _window(
            camera.size, (crown[0], foot[1] - half), (foot[0], foot[1] + half)
        )
        pixels[trunk] = np.array([0.22, 0.17, 0.12]) * bright * clear + haze
        place = _window(camera.size, crown - radii - 1, crown + radii + 1)
        down, right = np.ogrid[place]
        down = (down + 0.5 - crown[0]) / radii[0]
        right = (right + 0.5 - crown[1]) / radii[1]
        inside = (1 - np.hypot(down, right)) * radii.min() + 0.5
        shaded = bright * (0.9 - 0.35 * np.clip(down + 0.4 * right, -1, 1))
        leaves = 0.75 * self.look.grass * np.array([0.75, 1.0, 0.7])
        colours = shaded[..., None] * leaves * clear + haze
        pixels[place] += (colours - pixels[place]) * np.clip(inside, 0, 1)[..., None]

    def _expose(
        self, pixels: np.ndarray, noise: np.random.Generator | None
    ) -> np.ndarray:
        """What the camera makes of the light, uint8 [H, W, 3]."""
        look, (height, width, _) = self.look, pixels.shape
        if look.blur > 0.2:
            sigma = look.blur * width / 200
            pixels = ndimage.gaussian_filter(pixels, (sigma, sigma, 0), truncate=3)
        y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        corners = (1 - look.vignette * (x**2 + y**2) / 2).astype(np.float32)
        pixels = pixels * (look.gain * look.light).astype(np.float32)
        pixels *= corners[..., None]
        pixels = np.maximum(pixels, 0) ** np.float32(look.gamma)
        if noise is not None:
            grain = noise.standard_normal(pixels.shape, np.float32)
            pixels += np.float32(look.noise) * grain
        return np.clip(np.rint(255 * pixels), 0, 255).astype(np.uint8)
