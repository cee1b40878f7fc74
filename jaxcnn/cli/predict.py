"""Prints a trained network's predictions, such as the classes of images.

jaxcnn predict --workdir=runs/digits IMAGE_OR_FOLDER ...

Results are printed as they come; what could not be read is listed at the end on stderr,
with exit code 1, as are files of other types in the folders, which are no failure.
With --output, each image is written as a PNG with its prediction on it. A mask is drawn
on the image as the network saw it, and is written by itself to the folder masks, too.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
import sys
from typing import Any

from absl import flags

import jaxcnn
from jaxcnn.cli import _flags
from jaxcnn.errors import UNCHANGED, UserError, printable


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    _flags.define_run(values)
    flags.DEFINE_integer(
        "top_k",
        5,
        "maximum number of answers listed for each image",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "tile",
        None,
        "height and width, pixels, a multiple of 32, of the tiles in which a network "
        "that predicts maps sees an image; without it, the whole image at once",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "overlap",
        128,
        "pixels by which tiles overlap, a multiple of 32",
        flag_values=values,
    )
    flags.DEFINE_list(
        "scales",
        ["1"],
        "factors of the image's size at which a network that predicts maps sees it, "
        "such as 0.75,1,1.25",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "mirrored",
        False,
        "show each image mirrored, too, to a network that predicts maps",
        flag_values=values,
    )
    _flags.define_format(values, "table", "json", "csv")
    _flags.define_output(values, "the images with their predictions on them")


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    if not arguments:
        raise UserError("predict needs at least one image, or a folder of images.")
    workdir = _flags.workdir(values)
    output = _flags.output(values) if values.output else None
    from jaxcnn.data import folder
    from jaxcnn.report import text

    passes = _passes(values)
    paths, others = folder.find_images(arguments)
    predictor = jaxcnn.load(workdir, values.checkpoint, raw=values.raw, passes=passes)
    problems: list[str] = []

    def predictions() -> Iterator[tuple[str, Any]]:
        for prediction in predictor.stream(paths, values.top_k):
            if prediction.problem is not None:
                problems.append(prediction.problem)
                continue
            yield prediction.image, prediction.answer

    answered = predictions()
    if output is not None:
        answered = _drawn(predictor, paths, answered, output)
    lines = text.PREDICTIONS[values.format](predictor.task, paths, answered)
    for line in lines:
        _print(line, sys.stdout)
    if len(problems) == len(paths):
        raise UserError(f"No image could be read; the first: {problems[0]}.")
    for title, listed in (
        (f"Could not be read: {len(problems)} of {len(paths)} images", problems),
        (f"Of other types, and not read: {len(others)} files", others),
    ):
        for line in [f"{title}:", *listed] if listed else []:
            _print(line, sys.stderr)
    return 1 if problems else 0


def _passes(values: flags.FlagValues) -> Any:
    """How the network passes over an image; None where no flag says so."""
    names = ("tile", "overlap", "scales", "mirrored")
    if all(values[name].using_default_value for name in names):
        return None
    if values.tile is None and not values["overlap"].using_default_value:
        raise UserError("--overlap is of tiles; --tile=PIXELS is missing.")
    try:
        scales = tuple(float(scale) for scale in values.scales)
    except ValueError:
        scales = values.scales
    return jaxcnn.Passes(values.tile, values.overlap, scales, values.mirrored)


def _drawn(
    predictor: Any, paths: Sequence[str], predictions: Iterator[Any], output: Path
) -> Iterator[Any]:
    """The predictions, of which each is drawn on its image before it is passed on."""
    from jaxcnn.data import images
    from jaxcnn.report import pictures

    names = dict(zip(paths, pictures.file_names(paths), strict=True))
    for path, answer in predictions:
        marks = predictor.task.marks(answer)
        if pictures.are_per_pixel(marks):  # of what the network saw of the image
            pixels = predictor.read(path)
        else:
            pixels = images.decode(path, predictor.channels, None, predictor.max_pixels)
        pictures.write(output, names[path], pixels, marks)
        yield path, answer


def _print(line: str, stream: Any) -> None:
    """Prints a line with the bytes of names as they are in the file system.

    On a terminal, control characters are shown as escapes, since it would obey them.
    """
    if stream.isatty():
        line = printable(line)
    stream.flush()
    stream.buffer.write(f"{line}\n".encode("utf-8", UNCHANGED))
    stream.buffer.flush()
