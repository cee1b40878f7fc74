"""A film of a drive: the camera's view, a map, the steering and the distance driven off
the middle of the lane, as an animated GIF."""

from collections.abc import Callable, Iterable, Sequence
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from jaxcnn import whole_files
from jaxcnn.report import letters, palette

if TYPE_CHECKING:
    from jaxcnn.serving.driving import Lap

VIEW = (112, 340)  # height and width of the camera's view, pixels
STEPS_PER_FRAME = 5
_FRAME_MILLISECONDS = 100
_GAP = 8  # pixels
_CHART = (64, VIEW[1])  # height and width, as of all below
_MAP = (126, 150)
_WHEEL = (50, 50)
_PAGE = (VIEW[0] + _CHART[0] + 3 * _GAP, VIEW[1] + _MAP[1] + 3 * _GAP)
_RATIO = 15  # turns of the steering wheel for one of the front wheels
_FINE = 3  # lines are drawn larger by this factor, then averaged
_COLOURS = 128  # of the views, besides those of lines
_SAMPLE = 8  # views that these colours are chosen from
_METRES = 1.2  # that the chart shows to each side
_PAPER, _INK, _FAINT, _ROAD = ((grey,) * 3 for grey in (255, 50, 220, 187))
_BLUE, _RED = palette.OKABE_ITO[5:7]


def write(
    path: Path, lap: "Lap", centre_line: np.ndarray, view: Callable[[int], np.ndarray]
) -> None:
    """Writes the film of a lap, five times as fast as the car.

    Args:
        path: The file, whose name ends with ".gif".
        lap: Record of the lap.
        centre_line: Points of the middle of the lane, metres, [N, 2].
        view: Function from the number of a step to the camera's view, uint8 [*VIEW, 3].
    """
    pages = list(frames(lap, centre_line, view))
    colours = _colours(pages)
    first, *others = (
        page.quantize(palette=colours, dither=Image.Dither.NONE) for page in pages
    )
    with whole_files.replacing(path) as unfinished:
        first.save(
            unfinished,
            format="GIF",
            save_all=True,
            append_images=others,
            duration=_FRAME_MILLISECONDS,
            loop=0,
        )


def _colours(pages: Sequence[Image.Image]) -> Image.Image:
    """An image with the palette of the film: colours of its views and of its lines."""
    box = (_GAP, _GAP, _GAP + VIEW[1], _GAP + VIEW[0])
    chosen = [page.crop(box) for page in pages[:: max(1, len(pages) // _SAMPLE)]]
    together = Image.fromarray(np.concatenate([np.asarray(view) for view in chosen]))
    reduced = together.quantize(_COLOURS, dither=Image.Dither.NONE)
    lines = [(128,) * 3, _PAPER, _INK, _FAINT, _ROAD, _BLUE, _RED]
    palette_image = Image.new("P", (1, 1))
    of_views = reduced.getpalette()[: 3 * _COLOURS]
    palette_image.putpalette([*of_views, *(value for line in lines for value in line)])
    return palette_image


def frames(
    lap: "Lap", centre_line: np.ndarray, view: Callable[[int], np.ndarray]
) -> Iterable[Image.Image]:
    """The frames of the film, one for STEPS_PER_FRAME steps; see write."""
    number = len(lap.poses)
    positions = np.array([(pose.x, pose.y) for pose in lap.poses])
    seconds = lap.seconds / number
    to_map = _map_scale(centre_line)
    road = _map_of(to_map(centre_line))
    for step in range(0, number, STEPS_PER_FRAME):
        page = Image.new("RGB", _PAGE[::-1], _PAPER)
        page.paste(Image.fromarray(view(step)), (_GAP, _GAP))
        chart = _chart(lap.offsets[: step + 1], lap.interventions, number)
        page.paste(chart, (_GAP, VIEW[0] + 2 * _GAP))
        left = VIEW[1] + 2 * _GAP
        taken = sum(when <= step for when in lap.interventions)
        picture = _with_car(road, to_map(positions[: step + 1]), lap.poses[step].angle)
        page.paste(picture, (left, _GAP))
        top = _PAGE[0] - _GAP - _WHEEL[0]
        page.paste(_wheel(_RATIO * float(lap.steering[step])), (left, top))
        draw = ImageDraw.Draw(page)
        lines = (
            f"{seconds * step:.0f} s",
            f"{lap.offsets[step]:+.2f} m",
            f"{taken} interventions" if taken != 1 else "1 intervention",
        )
        font = letters.font(11, "".join(lines))
        for i, line in enumerate(lines):
            place = (left + _WHEEL[1] + _GAP, top + 2 + 16 * i)
            draw.text(place, line, _INK, font)
        yield page


def _map_scale(points: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Function from metres to places on the map in fine pixels, north up."""
    low, high = points.min(axis=0), points.max(axis=0)
    page, margin = _FINE * np.array(_MAP[::-1]), 8 * _FINE
    scale = ((page - 2 * margin) / (high - low)).min()
    middle = (low + high) / 2

    def to_map(points: np.ndarray) -> np.ndarray:
        return page / 2 + scale * (points - middle) * [1, -1]

    return to_map


def _map_of(line: np.ndarray) -> Image.Image:
    """The map without a car, in fine pixels."""
    picture = Image.new("RGB", (_FINE * _MAP[1], _FINE * _MAP[0]), _PAPER)
    draw = ImageDraw.Draw(picture)
    for x, y in line:  # as discs, because wide lines have notches between points
        draw.circle((x, y), 3.5 * _FINE, _ROAD)
    return picture


def _with_car(road: Image.Image, path: np.ndarray, angle: float) -> Image.Image:
    """The map with the path so far and the car at its end."""
    picture = road.copy()
    draw = ImageDraw.Draw(picture)
    draw.line([tuple(point) for point in path], _BLUE, 2 * _FINE, "curve")
    ahead = np.array([math.cos(angle), -math.sin(angle)])
    aside = np.array([-ahead[1], ahead[0]])
    size = 6 * _FINE
    corners = (1.2 * ahead, 0.8 * aside - 0.8 * ahead, -0.8 * aside - 0.8 * ahead)
    draw.polygon([tuple(path[-1] + size * corner) for corner in corners], _RED)
    return picture.reduce(_FINE)


def _chart(
    offsets: np.ndarray, interventions: Iterable[int], number: int
) -> Image.Image:
    """Metres off the middle of the lane until now, of a lap of a number of steps."""
    height, width = _CHART
    picture = Image.new("RGB", (_FINE * width, _FINE * height), _PAPER)
    draw = ImageDraw.Draw(picture)
    text = "+1 m"
    font = letters.font(10 * _FINE, text)
    left = math.ceil(font.getlength(text)) + 4 * _FINE

    def place(step: float, metres: float) -> tuple[float, float]:
        x = left + (_FINE * width - left - _FINE) * step / max(1, number - 1)
        return x, _FINE * height * (0.5 - metres / (2 * _METRES))

    for metres, label in ((1, text), (0, "0 m"), (-1, "-1 m")):
        line = [place(0, metres), place(number - 1, metres)]
        draw.line(line, _FAINT if metres == 0 else _ROAD, _FINE)
        right = (left - 3 * _FINE, place(0, metres)[1])
        draw.text(right, label, _INK, font, anchor="rm")
    shown = np.clip(offsets, -_METRES, _METRES)
    for step in interventions:
        if step < len(offsets):
            draw.line([place(step, -_METRES), place(step, _METRES)], _RED, 2 * _FINE)
    if len(shown) > 1:
        points = [place(step, metres) for step, metres in enumerate(shown)]
        draw.line(points, _BLUE, 2 * _FINE, "curve")
    return picture.reduce(_FINE)


def _wheel(angle: float) -> Image.Image:
    """A steering wheel, turned to the left by an angle in radians."""
    side = _FINE * _WHEEL[0]
    picture = Image.new("RGB", (side, side), _PAPER)
    draw = ImageDraw.Draw(picture)
    middle, rim = np.array([side / 2, side / 2]), side / 2 - 4 * _FINE
    width = 4 * _FINE
    box = (*(middle - rim - width / 2), *(middle + rim + width / 2))
    draw.ellipse(box, outline=_INK, width=width)
    for spoke in (0, math.pi, -math.pi / 2):  # to the right, to the left, down
        direction = np.array([math.cos(angle + spoke), -math.sin(angle + spoke)])
        draw.line([tuple(middle), tuple(middle + rim * direction)], _INK, width)
    top = np.array([math.cos(angle + math.pi / 2), -math.sin(angle + math.pi / 2)])
    dot = middle + rim * top
    draw.ellipse((*(dot - 1.1 * width), *(dot + 1.1 * width)), fill=_RED)
    return picture.reduce(_FINE)
