"""Rendered roads: geometry by hand, and pixels where a pinhole camera has them."""

import dataclasses
import math
import pickle

import numpy as np
import pytest
from scipy import integrate, spatial, special

from jaxcnn.config import DataConfig
from jaxcnn.data import datasets, road, road_view, tracks
from jaxcnn.errors import UserError


def ellipse(a, b, number=400):
    turn = np.linspace(0, 2 * np.pi, number, endpoint=False)
    return tracks.Track.through(np.stack([a * np.cos(turn), b * np.sin(turn)], axis=1))


@pytest.fixture(scope="module")
def circle():
    return ellipse(50, 50)


@pytest.fixture(scope="module")
def dataset():
    patch = pytest.MonkeyPatch()
    patch.setattr(road, "NUM_TRACKS", {"train": 2, "validation": 1, "test": 1})
    yield datasets.load(DataConfig(name="road", image_size=(33, 100)))
    patch.undo()


def test_a_track_has_the_length_and_curvature_of_its_curve(circle):
    assert circle.length == pytest.approx(100 * np.pi, rel=1e-7)
    s = np.linspace(0, circle.length, 50)
    np.testing.assert_allclose(circle.curvature(s), 1 / 50, rtol=1e-3)
    long = ellipse(60, 40)
    # Of an ellipse: 4 a E(1 - b^2/a^2), and a/b^2 and b/a^2 at the ends of its axes.
    perimeter = 4 * 60 * special.ellipe(1 - (40 / 60) ** 2)
    assert long.length == pytest.approx(perimeter, rel=1e-6)
    assert long.curvature(0.0) == pytest.approx(60 / 40**2, rel=1e-3)
    quarter = long.length / 4
    assert long.curvature(quarter) == pytest.approx(40 / 60**2, rel=1e-3)
    assert abs(long.angle(quarter)) == pytest.approx(np.pi, abs=1e-4)


def test_places_on_a_circle_are_those_by_hand(circle):
    # Anticlockwise, so that left is towards the middle.
    pose = tracks.Pose(0.0, 48.0, math.pi + 0.1)
    s, offset, angle = circle.place(pose)
    assert s == pytest.approx(25 * math.pi, abs=1e-4)
    assert offset == pytest.approx(2.0, abs=1e-4)
    assert angle == pytest.approx(0.1, abs=1e-4)
    assert dataclasses.astuple(circle.pose(s, offset, angle)) == pytest.approx(
        dataclasses.astuple(pose)
    )
    rng = np.random.default_rng(0)
    turn, radius = rng.uniform(0, 2 * np.pi, 500), rng.uniform(40, 58, 500)
    s, offset = circle.places(radius * np.cos(turn), radius * np.sin(turn))
    np.testing.assert_allclose(offset, 50 - radius, atol=0.01)
    turned = np.angle(np.exp(1j * (s / 50 - turn)))
    np.testing.assert_allclose(50 * turned, 0, atol=0.05)


def test_tracks_have_bounded_curvature_and_do_not_meet_themselves():
    found = [road.track(split, i) for split in ("train", "drive") for i in range(4)]
    turns = set()
    for track in found:
        assert track.length == pytest.approx(600, rel=1e-3)
        bends = track.curvature(np.linspace(0, track.length, 3000))
        assert 1 / 61 < np.abs(bends).max() < 1 / 24.9
        turns.add(int(np.sign(bends.mean())))
        # Points that are near in the plane are near along the track.
        pairs = spatial.cKDTree(track.points).query_pairs(25, output_type="ndarray")
        apart = np.abs(pairs[:, 0] - pairs[:, 1])
        apart = np.minimum(apart, len(track.points) - apart) * tracks.SPACING
        assert apart.max() < 60
    assert turns == {-1, 1}  # driven in both directions


def test_tracks_of_all_splits_and_those_to_drive_differ():
    names = [*road.NUM_TRACKS, "drive"]
    shapes = {road.track(name, i).points.tobytes() for name in names for i in range(3)}
    assert len(shapes) == 3 * len(names)


def test_steering_in_the_middle_of_a_circle_is_the_inverse_of_its_radius(circle):
    places = np.column_stack([np.arange(0, 300, 10), np.zeros((30, 2))])
    np.testing.assert_allclose(road.steering(circle, places), 1 / 50, rtol=1e-3)


def test_steering_back_by_hand():
    def back(*place, distance=20.0):
        return tracks.steering_back(*place, distance)

    assert back(0.0, 0.0, 0.02, 0.0) == 0.02
    assert back(1.0, 0.0, 0.0, 0.0) == pytest.approx(-6 / 400)
    # A curve y(x) with slope tan a has 1/r = y'' cos(a)^3.
    expected = -4 * math.tan(0.1) / 20 * math.cos(0.1) ** 3
    assert back(0.0, 0.1, 0.0, 0.0) == pytest.approx(expected)
    # With all the time in the world: on the circle beside a circle.
    aside = back(2.0, 0.0, 1 / 50, 0.0, distance=1e9)
    assert aside == pytest.approx(1 / 48)


@pytest.mark.parametrize("start", [(0.0, 1.2, 0.0), (70.0, -0.8, 0.6)])
def test_who_follows_the_way_back_is_back_in_two_seconds(start):
    # SciPy drives the car through the plane of an ellipse, whose curvature changes.
    track, distance = ellipse(60, 40), 20.0
    begin = track.pose(*start)
    begun = track.place(begin)[0]

    def moved(_, state):
        s, offset, angle = track.place(tracks.Pose(*state[:3]))
        before, at, after = (float(track.curvature(s + x)) for x in (-0.5, 0, 0.5))
        left = distance - state[3]
        curvature = tracks.steering_back(offset, angle, at, after - before, left)
        along = math.cos(angle) / (1 - at * offset)  # of the road, for a metre
        return [math.cos(state[2]), math.sin(state[2]), curvature, along]

    def near_the_end(_, state):
        return state[3] - 0.98 * distance

    near_the_end.terminal = True
    state = [begin.x, begin.y, begin.angle, 0.0]
    done = integrate.solve_ivp(
        moved, (0, 40), state, rtol=1e-6, events=near_the_end, dense_output=True
    )
    slope = (1 - float(track.curvature(begun)) * start[1]) * math.tan(start[2])
    for share in (0.1, 0.3, 0.5, 0.98):
        time = np.interp(share * distance, done.y[3], done.t)
        _, offset, angle = track.place(tracks.Pose(*done.sol(time)[:3]))
        # Hermite's cubic from the offset and the slope to zero.
        expected = start[1] * (1 - 3 * share**2 + 2 * share**3)
        expected += slope * distance * share * (1 - share) ** 2
        assert offset == pytest.approx(expected, abs=0.005)
    assert abs(angle) < 0.04  # two hundredths from the end


def test_a_point_is_seen_where_a_pinhole_camera_has_it():
    camera = road_view.Camera((66, 200), height=1.35)
    # 75 degrees wide: focal length 130 pixels; the horizon is at row 21.12.
    row, column = camera.project([10.0, 2.0, 0.0])
    assert row == pytest.approx(21.12 + 130 * 1.35 / 10)
    assert column == pytest.approx(100 - 130 * 2 / 10)
    assert np.isnan(camera.project([-1.0, 0.0, 0.0])).all()
    # Turned: as SciPy turns the world around the camera, first up by the pitch (about
    # the axis to the left), then about the axis ahead.
    pitch, roll = 0.1, 0.05
    turned = road_view.Camera((66, 200), 1.35, pitch, roll)
    rotation = spatial.transform.Rotation.from_euler("yx", [-pitch, -roll])
    x, y, z = rotation.apply([10.0, 2.0, -1.35])
    row, column = turned.project([10.0, 2.0, 0.0])
    assert row == pytest.approx(21.12 - 130 * z / x)
    assert column == pytest.approx(100 - 130 * y / x)


def test_rays_are_those_of_the_pixels():
    camera = road_view.Camera((12, 20), 1.35, 0.07, 0.04)
    rays = np.moveaxis(camera.rays(), 0, -1)  # [H, W, 3]
    points = 3.0 * rays + [0, 0, camera.height]
    rows, columns = np.moveaxis(camera.project(points), -1, 0)
    np.testing.assert_allclose(rows, np.arange(12)[:, None] + 0.5 + 0 * columns, 1e-4)
    np.testing.assert_allclose(columns, np.arange(20) + 0.5 + 0 * rows, 1e-4)


@pytest.fixture(scope="module")
def plain():
    """A look in which lines are white, and everything else is dark and smooth."""
    look = road_view.random_look(np.random.default_rng(0))
    dark = dict.fromkeys(("asphalt", "gravel", "grass"), np.full(3, 0.1))
    white = dict.fromkeys(("paint", "centre_paint", "light"), np.ones(3))
    none = dict.fromkeys(("wear", "patches", "shade", "vignette", "blur", "noise"), 0.0)
    return dataclasses.replace(
        look, **dark, **white, **none, gain=1.0, gamma=1.0, visibility=1e9, pitch=0.02
    )


def test_lines_are_seen_where_a_pinhole_camera_has_them(circle, plain):
    pose = circle.pose(30.0, 0.7, -0.05)
    image = road_view.Scene(circle, plain).view(pose, (66, 200), None)
    bright = image.mean(axis=-1) > 110
    camera, half = plain.camera((66, 200)), plain.lane / 2
    ahead = np.array([math.cos(pose.angle), math.sin(pose.angle)])
    eye = np.array([pose.x, pose.y]) + road_view.CAMERA_AHEAD * ahead
    checked = 0
    for offset in (-half, 3 * half):  # the solid lines
        for turn in np.linspace(0, 0.4, 60):  # 20 m of the circle
            radius, around = 50 - offset, (30 + 1.5) / 50 + turn
            away = radius * np.array([math.cos(around), math.sin(around)]) - eye
            point = [away @ ahead, away @ [-ahead[1], ahead[0]], 0.0]
            row, column = camera.project(point)
            if not (40 < row < 65 and 5 < column < 195):  # near enough to be wide
                continue
            row, column = int(row), int(column)
            assert bright[row, column - 1 : column + 2].any(), (row, column)
            checked += 1
    assert checked > 10
    assert bright[40:].mean() < 0.15


def test_dashes_come_at_their_period(circle, plain):
    look = dataclasses.replace(plain, dash=4.0, period=10.0)
    scene = road_view.Scene(circle, look)
    # A place 8 m ahead of the camera on the centre line, as the car goes by: a circle
    # of 314.2 m has 31 dashes.
    camera = look.camera((66, 200))
    is_paint = []
    for s in np.arange(0, 314, 1.0):
        pose = circle.pose(s)
        ahead = np.array([math.cos(pose.angle), math.sin(pose.angle)])
        eye = np.array([pose.x, pose.y]) + road_view.CAMERA_AHEAD * ahead
        around, radius = (s + 9.5) / 50, 50 - look.lane / 2
        away = radius * np.array([math.cos(around), math.sin(around)]) - eye
        row, column = camera.project([away @ ahead, away @ [-ahead[1], ahead[0]], 0])
        image = scene.view(pose, (66, 200), None)
        is_paint.append(image[int(row), int(column) - 1 : int(column) + 2].max() > 110)
    changes = np.count_nonzero(np.diff(np.append(is_paint, is_paint[0]).astype(int)))
    assert changes == 2 * 31
    assert 0.3 < np.mean(is_paint) < 0.5


def test_what_it_says_of_itself(dataset):
    assert dataset.info.num_examples == {"train": 200, "validation": 100, "test": 100}
    (target,) = dataset.info.targets.values()
    assert (target.kind, target.names) == ("value", ("curvature",))
    assert not any("Warning" in remark for remark in dataset.remarks)


def test_a_view_is_a_function_of_its_split_and_number(dataset):
    train = dataset.splits["train"]
    again = pickle.loads(pickle.dumps(train))
    for i in (150, 3, 150):
        np.testing.assert_array_equal(again[i]["image"], train[i]["image"])
        np.testing.assert_array_equal(again[i]["value"], train.column("value")[i])
        assert train[i]["image"].shape == (33, 100, 3)
    images = {
        dataset.splits[s][i]["image"].tobytes()
        for s in dataset.splits
        for i in range(3)
    }
    assert len(images) == 9
    with pytest.raises(IndexError, match="There are 100 views, none with index 100"):
        dataset.splits["test"][100]


def test_views_are_shifted_turned_and_labelled_with_the_way_back(dataset):
    places, values = road.views_of("train", 1)
    track = road.track("train", 1)
    assert 0.3 < places[:, 1].std() < 0.7
    assert 0.03 < places[:, 2].std() < 0.09
    for place, value in zip(places[:20], values[:20], strict=True):
        s, offset, angle = track.place(track.pose(*place))
        before, at, after = (float(track.curvature(s + x)) for x in (-0.5, 0, 0.5))
        expected = tracks.steering_back(offset, angle, at, after - before, 20.0)
        assert value[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"image_size": 15}, "data.image_size must be at least 16 x 16, not 15"),
        ({"groups": "(a)"}, "data.groups must be None for road"),
        ({"channels": 1}, "data.channels must be 3 or None for road, not 1"),
    ],
)
def test_what_it_cannot_do_is_refused(changes, text):
    with pytest.raises(UserError, match=text):
        datasets.load(DataConfig(name="road", **changes))
