"""Segmentation against scikit-learn, SciPy, torchmetrics and cases made by hand."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, special
from sklearn import metrics
from sklearn.utils.class_weight import compute_class_weight

from jaxcnn.config import TaskConfig
from jaxcnn.errors import UserError
from jaxcnn.report import confusion
from jaxcnn.targets import Target
from jaxcnn.tasks import Segmentation, boundaries, create_task, runs
from jaxcnn.tasks.parts import Matrix, Table
from tests.reference.segmentation_cases import VOID, predictions

REFERENCE = pathlib.Path(__file__).parent / "reference" / "segmentation.npz"
NAMES = ("ground", "tree", "car", "sign", "river")
TASK = Segmentation(NAMES, void=VOID)
EVAL_SUMS = jax.jit(TASK.eval_sums)


def target(names=NAMES, **fields):
    return {
        "mask": Target("mask", "uint8", names=tuple(names), **{"fill": VOID} | fields)
    }


def created(config=None, masks=None, **fields):
    """The task for a data set, with what it measures of the training masks."""
    targets, config = target(**fields), config or TaskConfig()
    statistics = {}
    if masks is not None:
        statistics = Segmentation.measure(config, targets, {"mask": masks}.__getitem__)
        statistics = json.loads(json.dumps(statistics))
    return Segmentation.create(config, targets, statistics)


def logits_of(predicted, seed=0):
    """Logits float32 [B, H, W, 5] whose largest are at the predicted classes."""
    noise = np.random.default_rng(seed).uniform(0, 1, (*predicted.shape, 5))
    return np.float32(noise + 1.5 * np.eye(5)[predicted])


def measured(logits, true, weight=None):
    weight = np.ones(len(true), np.float32) if weight is None else weight
    sums = EVAL_SUMS(logits, {"mask": np.uint8(true), "weight": weight})
    return TASK.metrics({n: np.asarray(x, np.float64) for n, x in sums.items()}, {})


def test_metrics_are_those_of_scikit_learn_and_torchmetrics():
    true, predicted = predictions()
    logits = logits_of(predicted)
    found = measured(logits, true)
    is_labelled = true != VOID
    y, p = true[is_labelled], predicted[is_labelled]
    probabilities = special.softmax(logits[is_labelled].astype(float), axis=1)
    expected = {
        "mean_iou": metrics.jaccard_score(y, p, average="macro"),
        "mean_dice": metrics.f1_score(y, p, average="macro"),
        "pixel_accuracy": metrics.accuracy_score(y, p),
        "mean_accuracy": metrics.recall_score(
            y, p, average="macro", labels=np.unique(y)
        ),
        "loss": metrics.log_loss(y, probabilities, labels=np.arange(5)),
        "confusion": metrics.confusion_matrix(y, p, labels=np.arange(5)),
        "pixels": np.bincount(y, minlength=5),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, err_msg=name)
    with np.load(REFERENCE) as theirs:
        for name in ("iou", "dice"):
            assert found[f"mean_{name}"] == pytest.approx(theirs[f"macro_{name}"])
            np.testing.assert_allclose(
                found[f"{name}_each"][:4], theirs[f"none_{name}"][:4], rtol=1e-6
            )
        assert found["pixel_accuracy"] == pytest.approx(theirs["pixel_accuracy"])
    # The last class is nowhere; the one before is predicted, but never true.
    for name in ("iou_each", "dice_each", "boundary_f1_each"):
        assert found[name][3:] == [0.0, None]
    assert found["accuracy_each"][3:] == [None, None]


def test_evaluation_is_exact_over_batches_of_any_size_and_their_padding():
    true, predicted = predictions()
    logits = logits_of(predicted)
    whole = measured(logits, true)
    totals = {}
    for rows, weight in (([0, 1, 2, 3], [1, 1, 1, 1]), ([4, 5, 0, 0], [1, 1, 0, 0])):
        batch = {"mask": np.uint8(true[rows]), "weight": np.float32(weight)}
        for name, x in EVAL_SUMS(logits[rows], batch).items():
            assert name == "loss" or x.dtype == jnp.int32
            totals[name] = totals.get(name, 0) + np.asarray(x, np.float64)
    found = TASK.metrics(totals, {})
    assert found.pop("loss") == pytest.approx(whole.pop("loss"), rel=1e-6)
    assert found == whole


def scipys_matches(true, predicted, number, tolerance):
    """The counts of boundaries.matches for one image, by erosion and distances."""
    void = true < 0
    counts = np.zeros((4, number), int)
    for k in range(number):
        edges = []
        for mask in (true, predicted):
            inside = ndimage.binary_erosion((mask == k) | void, border_value=1)
            edges.append((mask == k) & ~void & ~inside)
        for row, (own, other) in zip((0, 2), (edges, edges[::-1]), strict=True):
            far = np.full(own.shape, np.inf)
            if other.any():
                far = ndimage.distance_transform_edt(~other)
            counts[row : row + 2, k] = own.sum(), (own & (far <= tolerance)).sum()
    return counts


@pytest.mark.parametrize("tolerance", [0, 1, 1.5, 3.2])
def test_boundaries_near_each_other_are_those_of_scipys_distances(tolerance):
    rng = np.random.default_rng(0)
    blobs = ndimage.gaussian_filter(rng.normal(size=(3, 40, 30)), (0, 3, 3))
    true = np.digitize(blobs, [-0.05, 0.06])
    predicted = np.roll(true, (1, 2), axis=(1, 2))
    true[0, :8] = -1
    true[2, 20:, 10:14] = -1
    found = boundaries.matches(jnp.array(true), jnp.array(predicted), 4, tolerance)
    images = zip(true, predicted, strict=True)
    expected = sum(scipys_matches(*image, 4, tolerance) for image in images)
    np.testing.assert_array_equal(found, expected)
    assert 0 < found.found[0] <= found.true[0]
    assert found.true[3] == 0


def test_the_boundary_f1_of_a_shifted_half_is_as_counted_by_hand():
    # 12 x 12 pixels, tolerance 1: the left half is class 1. Its inner boundary and that
    # of class 0 are lines of 12 pixels. Predicted two columns to the right, where the
    # lines are 2 apart, nothing is found; one column to the right everything is.
    true = np.zeros((1, 12, 12), int)
    true[:, :, :6] = 1
    for shift, expected in ((0, 1.0), (1, 1.0), (2, 0.0)):
        found = measured(
            logits_of(
                np.roll(true, shift, axis=2) | (np.arange(12) < shift).astype(int)
            ),
            true,
        )
        assert found["boundary_f1"] == expected, shift
        assert found["boundary_f1_each"][2:] == [None] * 3


def test_a_split_without_a_boundary_or_without_labels_has_scores_of_0():
    found = measured(logits_of(np.zeros((1, 12, 10), int)), np.zeros((1, 12, 10), int))
    assert (found["mean_iou"], found["boundary_f1"]) == (1.0, 0.0)
    found = measured(logits_of(np.zeros((1, 12, 10), int)), np.full((1, 12, 10), VOID))
    assert {found[name] for name in TASK.METRICS} == {0.0}


def test_mean_iou_is_the_default_and_only_a_smaller_loss_is_better():
    assert TASK.metric(None).name == "mean_iou"
    for name, metric in TASK.METRICS.items():
        assert metric.greater_is_better == (name != "loss")


def test_balanced_weights_are_those_of_scikit_learn_over_the_labelled_pixels():
    true, _ = predictions()
    names = NAMES[:3]
    task = created(TaskConfig(class_weights="balanced"), np.uint8(true), names=names)
    expected = compute_class_weight(
        "balanced", classes=np.arange(3), y=true[true != VOID]
    )
    np.testing.assert_allclose(task.class_weights, expected, rtol=1e-12)
    of_sizes = np.empty(2, object)
    of_sizes[:] = [np.uint8(true[0]), np.uint8(true[1, :5])]  # masks as in files
    given = TaskConfig(class_weights="balanced")
    found = Segmentation.measure(given, target(names), {"mask": of_sizes}.__getitem__)
    assert sum(found["counts"]) == (true[0] != VOID).sum() + (true[1, :5] != VOID).sum()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"loss": "dise"}, "Unknown loss 'dise'; nearest: dice"),
        (
            {"loss": "dice+"},
            "task.loss must be one of cross_entropy, .*, or a sum of different ones "
            r"such as cross_entropy\+dice, not 'dice\+'",
        ),
        ({"loss": "+"}, r"task.loss must be one of .*, not '\+'"),
        ({"loss": "dice+dice"}, r"or a sum of different ones .*, not 'dice\+dice'"),
        ({"loss": "dice", "label_smoothing": 0.1}, "label_smoothing must be 0.0 for"),
        (
            {"loss": "lovasz", "class_weights": (1.0,) * 5},
            "class_weights must be 'none'",
        ),
        ({"focal_gamma": 1.0}, "focal_gamma must be 2.0 for task.loss='cross_entropy'"),
        ({"loss": "focal", "gap_weight": 10.0}, "gap_weight must be 0.0 for"),
        ({"class_weights": (1.0, 2.0)}, "or 5 weights, one for each class, at least 0"),
        ({"class_weights": (0.0,) * 5}, "or 5 weights"),
        ({"class_weights": (1.0, "a", 1, 1, 1)}, "or 5 weights"),
        ({"class_weights": 3}, "Unknown class weights '3'"),
        ({"class_weights": "balanced"}, "where no training pixel is counted"),
        ({"target": "label"}, r"task.target must be in \['mask'\]"),
    ],
)
def test_a_choice_that_is_not_allowed_is_refused(options, text):
    with pytest.raises(UserError, match=text):
        created(TaskConfig(**options))


def test_a_class_without_a_training_pixel_cannot_be_balanced():
    text = "needs a training pixel of each class; there is none of sign, river"
    with pytest.raises(UserError, match=text):
        created(TaskConfig(class_weights="balanced"), np.uint8(predictions()[0]))


@pytest.mark.parametrize(
    "fields", [{"names": ()}, {"names": ("one",)}, {"shape": (2,)}]
)
def test_a_mask_without_named_classes_is_refused(fields):
    with pytest.raises(
        UserError, match="needs a mask .* names of at least two classes"
    ):
        created(**fields)


@pytest.mark.parametrize(
    ("fields", "void", "dtype"),
    [
        ({}, VOID, "uint8"),
        ({"fill": 0}, None, "uint8"),
        ({"fill": 5}, 5, "uint8"),
        ({"dtype": "int32", "fill": -1}, -1, "int32"),
    ],
)
def test_the_fill_of_a_mask_is_the_void_label_unless_it_is_a_class(fields, void, dtype):
    fields = {"dtype": "uint8", "fill": VOID} | fields
    targets = {"mask": Target("mask", names=NAMES, **fields)}
    task = create_task(TaskConfig(name="segmentation"), targets, {})
    assert (task.void, task.targets["mask"].dtype) == (void, dtype)
    assert task.targets["mask"].fill == (void or 0)


def test_a_task_that_is_an_object_numbers_classes_as_the_masks_do():
    other = Segmentation(NAMES[::-1], void=VOID)
    with pytest.raises(UserError, match="with names .'river', .* has .'ground', "):
        create_task(TaskConfig(), target(), {}, other)
    assert create_task(TaskConfig(), target(), {}, TASK) is TASK


@pytest.mark.parametrize("shape", [(2, 8, 8, 4), (2, 4, 4, 5), (2, 5), (2, 8, 8)])
def test_logits_of_another_size_than_the_mask_are_refused(shape):
    batch = {"mask": jnp.zeros((2, 8, 8), jnp.uint8)}
    with pytest.raises(UserError, match=r"needs .* \[8, 8, 5\] numbers .* gives"):
        TASK.loss(jnp.zeros(shape), batch)
    with pytest.raises(UserError, match=r"this one gives {'out': \[8, 8, 5\]}"):
        TASK.loss({"out": jnp.zeros((2, 8, 8, 5))}, batch)


def test_the_report_has_a_row_for_each_class_and_the_confusion_of_pixels():
    true, predicted = predictions()
    found = measured(logits_of(predicted), true)
    table, matrix = TASK.report(found, {})
    assert isinstance(table, Table)
    assert table.rows[0] == (
        "ground",
        *(f"{found[f'{name}_each'][0]:.4f}" for name in ("iou", "dice", "accuracy")),
        f"{found['boundary_f1_each'][0]:.4f}",
        f"{found['pixels'][0] / sum(found['pixels']):.2%}",
    )
    assert table.rows[4] == ("river", "-", "-", "-", "-", "0.00%")
    assert isinstance(matrix, Matrix)
    assert np.sum(matrix.counts) == (true != VOID).sum()


def prediction():
    """What is predicted of 3 x 4 pixels: 9 of ground, 2 of car, 1 of tree."""
    mask = np.array([[[0, 0, 2, 2], [0, 0, 0, 1], [0, 0, 0, 0]]])
    predicted = TASK.predict(jnp.asarray(logits_of(mask)))
    np.testing.assert_array_equal(predicted["mask"], mask)
    assert predicted["mask"].dtype == jnp.uint8
    expected = special.softmax(logits_of(mask), axis=-1).max(axis=-1)
    np.testing.assert_allclose(predicted["confidence"], expected, rtol=1e-5)
    return {name: np.asarray(x[0]) for name, x in predicted.items()}


def test_an_answer_has_the_largest_classes_and_the_whole_mask():
    predicted = prediction()
    answer = json.loads(json.dumps(TASK.answer(predicted, limit=2)))
    shares = {row["class"]: row["share"] for row in answer["classes"]}
    assert shares == {"ground": 9 / 12, "car": 2 / 12}
    sure = predicted["confidence"][predicted["mask"] == 2].mean()
    assert answer["classes"][1]["confidence"] == pytest.approx(sure)
    # Column by column, from the top: COCO's order.
    assert answer["mask"] == [
        {"class": "ground", "label": 0, "size": [3, 4], "counts": [0, 6, 1, 2, 2, 1]},
        {"class": "tree", "label": 1, "size": [3, 4], "counts": [10, 1, 1]},
        {"class": "car", "label": 2, "size": [3, 4], "counts": [6, 1, 2, 1, 2]},
    ]
    (mark,) = TASK.marks(answer)
    np.testing.assert_array_equal(mark.mask, predicted["mask"])
    assert mark.key == {0: "ground 75.0%", 1: "tree 8.3%", 2: "car 16.7%"}
    assert TASK.cells(answer) == ["ground 75.0%", "car 16.7%"]
    assert [(r["class"], r["share"]) for r in TASK.rows(answer)] == [
        ("ground", "0.750000"),
        ("car", "0.166667"),
    ]
    shares = TASK.spread(predicted)
    assert shares == {
        "share(ground)": "0.750000",
        "share(tree)": "0.083333",
        "share(car)": "0.166667",
        "share(sign)": "0.000000",
        "share(river)": "0.000000",
    }


@pytest.mark.parametrize(
    ("pixels", "counts"),
    # The examples in the documentation of pycocotools.mask.
    [([0, 0, 1, 1, 1, 0, 1], [2, 3, 1, 1]), ([1, 1, 1, 1, 1, 1, 0], [0, 6, 1])],
)
def test_runs_are_those_of_coco(pixels, counts):
    mask = np.array(pixels, bool)[:, None]
    assert runs.encode(mask) == {"size": [7, 1], "counts": counts}
    np.testing.assert_array_equal(runs.decode(runs.encode(mask)), mask)


def test_the_runs_of_a_mask_give_it_back():
    for seed in range(5):
        mask = np.random.default_rng(seed).random((5, 7)) < seed / 4
        np.testing.assert_array_equal(runs.decode(runs.encode(mask)), mask)


def test_a_caption_names_the_classes_of_a_mask_and_groups_have_its_images():
    masks = np.full((3, 2, 3), VOID, np.uint8)
    masks[0] = [[1, 1, 4], [VOID, 4, 4]]
    masks[1, 0, 0] = 1
    captions = [TASK.caption({"mask": mask}) for mask in masks]
    assert captions == ["river, tree", "tree", "no class"]
    groups = TASK.groups({"mask": masks}.__getitem__)
    assert list(groups) == [*NAMES]
    assert groups["tree"].tolist() == [True, True, False]
    assert groups["river"].tolist() == [True, False, False]
    assert not groups["ground"].any()


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (99_999, "99999"),
        (100_000, "100k"),
        (999_499, "999k"),
        (999_500, "1M"),
        (16_777_217, "16.8M"),
        (2_147_483_647, "2.15G"),
    ],
)
def test_counts_of_pixels_fit_into_a_confusion_matrix(count, text):
    assert confusion.short(count) == text
