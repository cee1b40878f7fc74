"""Drives a car around rendered tracks, steered by a trained network.

    jaxcnn drive --workdir=runs/pilotnet_road
    jaxcnn drive --workdir=runs/pilotnet_road --seed=7 --laps=1 --film=lap.gif

The network is a regression of one number, 1/r, such as one that was trained on the data
set road. For each lap, metres off the middle of the lane are printed, and autonomy, the
percentage of the time in which nobody would have to intervene. The tracks are none of
those of the data set.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from jaxcnn import folders
from jaxcnn.cli import _flags
from jaxcnn.errors import UserError


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    _flags.define_run(values)
    flags.DEFINE_integer(
        "seed",
        0,
        "seed of the first track and its look; the next laps have the next seeds",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "laps", 3, "number of laps, each on a track", lower_bound=1, flag_values=values
    )
    flags.DEFINE_string(
        "film", None, "GIF file for a film of the first lap", flag_values=values
    )
    _flags.define_format(values, "table", "json")


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    _flags.no_arguments(arguments)
    workdir = _flags.workdir(values)
    film_path = _film(values)
    from jaxcnn.data import road
    from jaxcnn.report import driving as driving_report
    from jaxcnn.report import film
    from jaxcnn.serving import driving

    predictor = driving.load(workdir, values.checkpoint, raw=values.raw)
    laps = {}
    for seed in range(values.seed, values.seed + values.laps):
        scene = road.scene_to_drive(seed)
        laps[seed] = driving.drive(scene.track, driving.driver(predictor, scene, seed))
    summaries = {seed: lap.summary() for seed, lap in laps.items()}
    print(driving_report.FORMATS[values.format](summaries), flush=True)
    if film_path is not None:
        scene, lap = road.scene_to_drive(values.seed), laps[values.seed]
        film.write(
            film_path,
            lap,
            scene.track.points,
            lambda step: scene.view(lap.poses[step], film.VIEW, None),
        )
        if values.format == "table":
            print(f"\nWritten: {film_path}")
    return 0


def _film(values: flags.FlagValues) -> Path | None:
    """The file --film, in a folder that is there; None where it is not given."""
    if values.film is None:
        return None
    path = Path(values.film)
    if path.suffix.lower() != ".gif":
        raise UserError(
            f"--film must be a file that ends with .gif, not {values.film}."
        )
    if path.is_dir() or not path.parent.is_dir():
        raise UserError(f"--film={path} is a folder, or in a folder that is not there.")
    folders.check_writable(path.parent, "--film")
    return path
