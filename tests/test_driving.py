"""Driving in closed loop: the car, the counting by hand, and the command."""

import json
import math

import numpy as np
from PIL import Image
import pytest

from jaxcnn import __main__, fit
from jaxcnn.config import Config, DataConfig, TaskConfig
from jaxcnn.data import road, road_view, tracks
from jaxcnn.errors import UserError
from jaxcnn.report import film
from jaxcnn.serving import driving
from jaxcnn.tasks.classification import Classification
from jaxcnn.tasks.regression import Regression


def circle(radius):
    turn = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    points = radius * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    return tracks.Track.through(points)


def oracle(track):
    """The driver that knows the track."""
    return lambda pose: float(road.steering(track, np.array(track.place(pose))))


def test_a_car_moves_along_its_circle():
    # A quarter of a circle of 10 m to the left, then of 4 m to the right.
    pose = driving.move(tracks.Pose(0.0, 0.0, 0.0), 0.1, 5 * math.pi)
    assert (pose.x, pose.y, pose.angle) == pytest.approx((10, 10, math.pi / 2))
    pose = driving.move(pose, -0.25, 2 * math.pi)
    assert (pose.x, pose.y) == pytest.approx((14, 14))
    assert pose.angle == pytest.approx(0, abs=1e-12)
    pose = driving.move(pose, 0.0, 3.0)
    assert (pose.x, pose.y) == pytest.approx((17, 14))


@pytest.mark.parametrize("seed", range(3))
def test_who_steers_as_the_labels_say_stays_in_the_middle(seed):
    track = road.track("drive", seed)
    lap = driving.drive(track, oracle(track))
    numbers = lap.summary()
    assert numbers["max_distance"] < 0.1
    assert (numbers["interventions"], numbers["autonomy_percent"]) == (0, 100.0)
    # 600 m at 10 m/s.
    assert numbers["seconds"] == pytest.approx(60, abs=0.5)
    # It comes back from aside, too, in about two seconds.
    asides = iter([1.5] + [0.0] * 10_000)  # the first step is to the left
    steer = oracle(track)
    lap = driving.drive(track, lambda pose: steer(pose) + 0.05 * next(asides))
    assert 0.05 < lap.summary()["max_distance"] < 1.0
    assert np.abs(lap.offsets[60:]).max() < 0.1


def test_who_goes_straight_on_is_put_back_and_counted():
    # A circle of 55 m, in steps of 1 m: after 11 of them the car is sqrt(55^2 + 11^2) -
    # 55 = 1.09 m outside (after 10 it was 0.9 m), after 55 atan(11 / 55) = 10.86 m of
    # the 345.6 m of the track. So it is put back 31 times, each 12 steps after the one
    # before, and comes around 11 steps after the last, with 10 m straight on.
    lap = driving.drive(circle(55.0), lambda pose: 0.0)
    assert lap.interventions == tuple(range(11, 31 * 12, 12))
    assert len(lap.poses) == 31 * 12 + 11
    numbers = lap.summary()
    assert numbers["seconds"] == pytest.approx(38.3)
    assert numbers["autonomy_percent"] == pytest.approx(100 * (1 - 31 * 6 / 38.3))
    expected = np.hypot(55, np.arange(12)) - 55
    np.testing.assert_allclose(-lap.offsets[:12], expected, atol=1e-3)
    assert numbers["max_distance"] == pytest.approx(expected[-1], abs=1e-3)
    whole = np.concatenate([*[expected] * 31, expected[:11]])
    assert numbers["mean_distance"] == pytest.approx(whole.mean(), abs=1e-3)
    assert numbers["p95_distance"] == pytest.approx(np.percentile(whole, 95), abs=1e-3)


def test_wheels_turn_no_further_than_they_can():
    lap = driving.drive(circle(55.0), lambda pose: 9.0)
    assert lap.steering.max() == pytest.approx(math.radians(35))
    assert lap.interventions


def test_what_is_no_number_does_not_steer():
    with pytest.raises(UserError, match="steers with 1/r = nan, no finite number"):
        driving.drive(circle(55.0), lambda pose: math.nan)


@pytest.mark.parametrize(
    ("task", "text"),
    [
        (Classification(("a", "b")), "task classification; a car is steered by"),
        (
            Regression(("x", "y"), (0.0, 0.0), (1.0, 1.0)),
            "task regression of x, y; a car is steered by a regression of one number",
        ),
    ],
)
def test_other_runs_do_not_drive(task, text, monkeypatch):
    class Other:
        pass

    other = Other()
    other.task = task
    monkeypatch.setattr(driving.predictor_lib, "load", lambda *_, **__: other)
    with pytest.raises(UserError, match=text):
        driving.load("runs/other")


def test_a_film_shows_the_views_the_way_and_the_steering(tmp_path):
    track = circle(20.0)
    lap = driving.drive(track, lambda pose: 0.06)  # too far to the left
    assert lap.interventions
    shown = []

    def view(step):
        shown.append(step)
        return np.full((*film.VIEW, 3), (40, 90, 200), np.uint8)

    film.write(tmp_path / "lap.gif", lap, track.points, view)
    assert shown == list(range(0, len(lap.poses), film.STEPS_PER_FRAME))
    with Image.open(tmp_path / "lap.gif") as gif:
        assert (gif.format, gif.n_frames) == ("GIF", len(shown))
        gif.seek(len(shown) - 1)
        last = np.asarray(gif.convert("RGB")).astype(int)
    assert np.abs(last[20, 20] - [40, 90, 200]).max() < 8
    # Vermilion: the car, the mark of the wheel, and a line for each intervention.
    is_red = np.abs(last - [213, 94, 0]).sum(axis=-1) < 30
    chart = is_red[film.VIEW[0] + 20 : -20, : film.VIEW[1]]
    columns = np.flatnonzero(chart.mean(axis=0) > 0.5)
    assert 1 + np.count_nonzero(np.diff(columns) > 1) == len(lap.interventions)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a small network that has learned little, on small circles."""
    patch = pytest.MonkeyPatch()
    patch.setattr(road, "NUM_TRACKS", {"train": 2, "validation": 1, "test": 1})
    patch.setattr(road, "track", lambda split, number: circle(18.0 + number))
    config = Config(
        model="lenet5",
        data=DataConfig(name="road", image_size=32, batch_size=20),
        task=TaskConfig(name="regression"),
        num_devices=1,
        num_epochs=1.0,
    )
    folder = tmp_path_factory.mktemp("driving") / "run"
    fit(config, folder)
    yield folder
    patch.undo()


@pytest.mark.slow
def test_the_command_drives_and_films(run, tmp_path, capsys):
    command = ["drive", f"--workdir={run}", "--laps=2", "--seed=1"]
    capsys.readouterr()
    assert __main__.main([*command, "--format=json"]) == 0
    laps = json.loads(capsys.readouterr().out)
    assert [lap["track"] for lap in laps] == [1, 2]
    predictor = driving.load(run)
    scene = road.scene_to_drive(2)
    lap = driving.drive(scene.track, driving.driver(predictor, scene, 2))
    assert laps[1] == {"track": 2, **lap.summary()}
    path = tmp_path / "lap.gif"
    assert __main__.main([*command, f"--film={path}"]) == 0
    printed = capsys.readouterr().out
    assert f"{laps[0]['mean_distance']:.3f}" in printed
    assert f"Written: {path}" in printed
    with Image.open(path) as gif:
        steps = round(10 * laps[0]["seconds"])
        assert gif.n_frames == -(-steps // film.STEPS_PER_FRAME)


@pytest.mark.slow
def test_a_network_sees_what_the_camera_sees(run):
    predictor = driving.load(run)
    scene = road_view.Scene(
        circle(19.0), road_view.random_look(np.random.default_rng(5))
    )
    pose = scene.track.pose(7.0, 0.3, 0.1)
    image = scene.view(pose, (32, 32), np.random.default_rng(9))
    (answer,) = predictor.answers([image])
    steered = driving.driver(predictor, scene, 9)(pose)
    assert steered == pytest.approx(answer["values"]["curvature"], abs=1e-6)


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("--film=lap.png", "--film must be a file that ends with .gif, not lap.png"),
        ("--film=nowhere/lap.gif", "nowhere/lap.gif is a folder, or in a folder that"),
        ("--laps=0", "laps=0"),
        ("somewhere.png", "takes only flags, not 'somewhere.png'"),
    ],
)
def test_a_mistake_is_one_line(flag, text, capsys):
    assert __main__.main(["drive", "--workdir=runs/none", flag]) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
