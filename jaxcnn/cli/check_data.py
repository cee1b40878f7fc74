r"""Checks a data set for copies, imbalance and broken images.

    jaxcnn check_data --config=experiments/lenet5_digits.py
    jaxcnn check_data --config=FILE --config.data.name=folder:photos --output=checked

Every image of every split is read once. Copies and near-duplicates (rescaled,
recompressed, brightened) are found within and across splits. With --output, a contact
sheet of each group of images, such as a class, with masks over their images, and
check_data.json with all findings are written. Findings are not errors: the exit code is
0.
"""

from collections.abc import Sequence
import re

from absl import flags

from jaxcnn.cli import _flags

_SHEET = 48  # images on a contact sheet

more_help = _flags.describe_fields


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    _flags.define_config(values, argv)
    _flags.define_output(values, "contact sheets and JSON")
    flags.DEFINE_float(
        "similarity",
        0.98,
        "smallest correlation of two images, reduced to 16x16 grey pixels, that makes "
        "them near-duplicates",
        flag_values=values,
    )
    _flags.define_format(values, "table", "json")


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    _flags.no_arguments(arguments)
    config = _flags.config(values)
    from jaxcnn import config_fields, data
    from jaxcnn.report import contact_sheet, data_check, progress
    from jaxcnn.studies import check_data as study

    config_fields.check(config)
    output = _flags.output(values) if values.output else None
    dataset = data.load(config.data)
    with progress.bar("reading images") as update:
        report = study.check(dataset, config, values.similarity, update)
    print(data_check.FORMATS[values.format](report))
    if output:
        (output / "check_data.json").write_text(data_check.as_json(report) + "\n")
        sheets = [*report.groups] or [None]  # without groups, one sheet of all images
        for number, group in enumerate(sheets):
            name = "all images" if group is None else group
            counts = report.counts if group is None else report.group_counts(group)
            title = ", ".join(f"{count} {split}" for split, count in counts.items())
            cells = (
                contact_sheet.Cell(
                    sample.image,
                    data_check.caption(sample.place),
                    sample.finding.replace("_", " "),
                    sample.mask,
                )
                for sample in study.samples(dataset, report, group, _SHEET)
            )
            file = re.sub(r"[^\w.-]", "_", f"{number:03}_{name[:60]}.png")
            heading, classes = f"{name}: {title}", report.mask_names
            contact_sheet.write(output / file, heading, cells, classes)
        if values.format == "table":
            print(
                f"\nWritten: {output / 'check_data.json'} and "
                f"{len(sheets)} contact sheets."
            )
    return 0
