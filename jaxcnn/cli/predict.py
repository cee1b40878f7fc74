"""Prints a trained network's predictions, such as the classes of images.

jaxcnn predict --workdir=runs/digits IMAGE_OR_FOLDER ...

With --output, each image is written as a PNG with its prediction on it.
"""

from collections.abc import Sequence

from absl import flags

import jaxcnn
from jaxcnn.cli import _flags
from jaxcnn.errors import UserError


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    _flags.define_run(values)
    flags.DEFINE_integer(
        "top_k",
        5,
        "maximum number of answers listed for each image",
        lower_bound=1,
        flag_values=values,
    )
    _flags.define_format(values, "table", "json", "csv")
    _flags.define_output(values, "the images with their predictions on them")


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    if not arguments:
        raise UserError("predict needs at least one image, or a folder of images.")
    workdir = _flags.workdir(values)
    output = _flags.output(values) if values.output else None
    from jaxcnn.data import folder, images
    from jaxcnn.report import pictures, text

    paths = folder.find_images(arguments)
    predictor = jaxcnn.load(workdir, values.checkpoint, raw=values.raw)
    answers = predictor.answers(paths, values.top_k)
    predictions = list(zip(paths, answers, strict=True))
    print(text.PREDICTIONS[values.format](predictor.task, predictions))
    if output:
        names = pictures.file_names(paths)
        for name, (path, answer) in zip(names, predictions, strict=True):
            pixels = images.decode(path, predictor.channels)
            pictures.draw(pixels, predictor.task.marks(answer)).save(output / name)
    return 0
