"""Predicts what a run was trained for, such as the classes of images.

jaxcnn predict --workdir=runs/digits IMAGE_OR_FOLDER ...
"""

from collections.abc import Sequence

from absl import flags

import jaxcnn
from jaxcnn.cli import _flags
from jaxcnn.errors import UserError


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    _flags.define_run(values)
    flags.DEFINE_integer(
        "top_k", 5, "most classes for each image", lower_bound=1, flag_values=values
    )
    _flags.define_format(values, "table", "json", "csv")


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    if not arguments:
        raise UserError("predict needs at least one image, or a folder of images.")
    workdir = _flags.workdir(values)
    from jaxcnn.data import folder
    from jaxcnn.report import text

    paths = folder.find_images(arguments)
    predictor = jaxcnn.load(workdir, values.checkpoint, raw=values.raw)
    answers = predictor.answers(paths, values.top_k)
    predictions = list(zip(paths, answers, strict=True))
    print(text.PREDICTIONS[values.format](predictor.task, predictions))
    return 0
