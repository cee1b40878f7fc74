"""Slides a trained classifier of letters over lines of text.

jaxcnn slide --workdir=runs/glyphs LINE.png ...

For each image, the class at each place from left to right is printed, and the text that
is left when equal neighbours are merged, as "the" for "ttthhhee". The network must be
one whose head is a convolution, such as character_net. The task `text` reads lines
better: see experiments/crnn_text_lines.py.
"""

from collections.abc import Sequence

from absl import flags

from jaxcnn.cli import _flags
from jaxcnn.errors import UserError


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    _flags.define_run(values)
    flags.DEFINE_integer(
        "shortest_run",
        1,
        "equal neighbours that count as a letter; fewer are dropped",
        lower_bound=1,
        flag_values=values,
    )
    _flags.define_format(values, "table", "json")


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    if not arguments:
        raise UserError("slide needs at least one image of a line.")
    workdir = _flags.workdir(values)
    from jaxcnn.data import folder
    from jaxcnn.report import strict_json, text
    from jaxcnn.serving import sliding

    paths, _ = folder.find_images(arguments)
    slide = sliding.load(workdir, values.checkpoint, raw=values.raw)
    rows = []
    for path in paths:
        slid = slide(path, values.shortest_run)
        rows.append((path, "".join(slid.places), "".join(slid.text)))
    header = ("image", "places", "text")
    if values.format == "json":
        print(strict_json.dumps([dict(zip(header, row, strict=True)) for row in rows]))
    else:
        print(text.table(rows, header, left=len(header)))
    return 0
