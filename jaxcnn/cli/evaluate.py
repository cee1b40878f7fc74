"""Measures a trained network on a split of its data set.

    jaxcnn evaluate --workdir=runs/digits
    jaxcnn evaluate --workdir=runs/digits --split=validation --format=json

The figures of the task, such as the confusion matrix, are written into the run's folder
as CSV and PNG. With --pictures=8, the first 8 images are, too, each with what the
network says of it and what is true.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from jaxcnn.cli import _flags


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    _flags.define_run(values)
    flags.DEFINE_string(
        "split", "test", "train, validation or test", flag_values=values
    )
    flags.DEFINE_string(
        "data_name",
        None,
        "data.name of another data set with the same targets, such as folder:PATH",
        flag_values=values,
    )
    flags.DEFINE_string(
        "data_dir", None, "new data.dir, if the data have moved", flag_values=values
    )
    flags.DEFINE_integer(
        "pictures",
        0,
        "number of images that are drawn with what is predicted and what is true",
        lower_bound=0,
        upper_bound=100,
        flag_values=values,
    )
    _flags.define_format(values, "table", "json")


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    _flags.no_arguments(arguments)
    workdir = _flags.workdir(values)
    from jaxcnn.report import evaluation, parts, pictures
    from jaxcnn.serving import measure

    done = measure.evaluate(
        workdir,
        values.checkpoint,
        values.split,
        data_name=values.data_name,
        data_dir=values.data_dir,
        raw=values.raw,
        num_samples=values.pictures,
    )
    report = done.task.report(done.measured.metrics, done.measured.records)
    # Before the files, which a full disk may refuse.
    print(evaluation.FORMATS[values.format](done), flush=True)
    files = parts.write(Path(workdir), report, f"_{done.split}")
    if done.samples:
        files.append(Path(workdir) / f"pictures_{done.split}.png")
        pictures.write_gallery(files[-1], evaluation.gallery(done))
    if values.format == "table" and files:
        print("\nWritten: " + ", ".join(map(str, files)))
    return 0
