"""Segmentation from training to pictures: bright squares and discs on noise."""

import dataclasses
import json
import pathlib
import tracemalloc

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest
from scipy import special

import jaxcnn
from jaxcnn import __main__, data, models
from jaxcnn.config import AugmentConfig, Config, DataConfig, OptimConfig, TaskConfig
from jaxcnn.data import masks as masks_lib
from jaxcnn.data.examples import Joined, path_of, paths_of
from jaxcnn.errors import UserError
from jaxcnn.models import layers
from jaxcnn.models.variant import Variant
from jaxcnn.report import evaluation, palette
from jaxcnn.serving import measure
from jaxcnn.targets import Target
from jaxcnn.tasks import Segmentation
from jaxcnn.training import parallel, prepare, step
from tests import interrupted

SIDE = 16
NAMES = ("noise", "square", "disc")
TARGETS = {"mask": Target("mask", "uint8", names=NAMES, fill=255)}


class Convolutions(nn.Module):
    """Three convolutions that keep the size of the image."""

    num_classes: int
    stride: int = 1

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        x = layers.ConvNorm(8, 5, self.stride, name="stem")(images, train=train)
        x = layers.ConvNorm(16, 5, name="stage1_block1")(x, train=train)
        return layers.Conv(self.num_classes, 1, name="head")(x)


def scenes(number, seed):
    """Images uint8 [N, 16, 16] and masks with a square and a disc, each of a grey of
    its own; the first row is void."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 80, (number, SIDE, SIDE), np.uint8)
    masks = np.zeros(images.shape, np.uint8)
    y, x = np.mgrid[:SIDE, :SIDE]
    for image, mask in zip(images, masks, strict=True):
        top, left = rng.integers(1, 8, 2)
        mask[top : top + 6, left : left + 6] = 1
        cy, cx = rng.integers(4, 13, 2)
        mask[(y - cy) ** 2 + (x - cx) ** 2 <= 9] = 2
        image += np.array([0, 100, 160], np.uint8)[mask]
    masks[:, 0] = 255
    return images, {"mask": masks}


def config(num_devices=1, **task):
    return Config(
        model="convolutions",
        data=DataConfig(image_size=SIDE, batch_size=8, eval_batch_size=16),
        task=TaskConfig("segmentation", **task),
        optim=OptimConfig(peak_lr=0.1),
        num_epochs=4.0,
        num_devices=num_devices,
    )


def dataset():
    return jaxcnn.Dataset.from_arrays(
        *scenes(48, 0), targets=TARGETS, test=scenes(21, 1), validation=scenes(8, 2)
    )


@pytest.fixture(scope="module", autouse=True)
def convolutions():
    """The network, by its name."""
    patch = pytest.MonkeyPatch()
    variant = Variant(Convolutions, paper="none", image_size=SIDE, channels=1)
    patch.setitem(models.MODELS, "convolutions", variant)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(folder of a run, its result)."""
    folder = tmp_path_factory.mktemp("run")
    chosen = config(loss="cross_entropy+dice", class_weights="balanced")
    return folder, jaxcnn.fit(chosen, folder, dataset=dataset())


def test_a_network_learns_to_tell_the_pixels_apart(run):
    folder, result = run
    assert result.test["mean_iou"] > 0.8  # of one class for all pixels: below 0.3
    records = [json.loads(x) for x in (folder / "metrics.jsonl").open()]
    trained = [r for r in records if r["split"] == "train"]
    assert trained[-1]["pixel_accuracy"] > 0.8
    images, targets = scenes(21, 1)
    mask = np.stack(jaxcnn.load(folder)(list(images))["mask"])
    right = (mask == targets["mask"])[:, 1:].mean()
    assert result.test["pixel_accuracy"] == pytest.approx(right, abs=1e-12)
    masks = scenes(48, 0)[1]["mask"]
    info = json.loads((folder / "dataset.json").read_text())
    counts = [int((masks == k).sum()) for k in range(3)]
    assert info["statistics"] == {"counts": counts}


def test_samples_are_the_first_images_with_what_is_predicted_and_true(run):
    folder, _ = run
    done = measure.evaluate(folder, num_samples=18, dataset=dataset())
    images, targets = scenes(21, 1)
    expected = jaxcnn.load(folder)(list(images[:18]))["mask"]
    rows = evaluation.gallery(done)
    assert len(rows) == 18
    for i, ((image, marks), (same, truth)) in enumerate(rows):
        np.testing.assert_array_equal(image[..., 0], images[i])
        np.testing.assert_array_equal(same, image)
        np.testing.assert_array_equal(marks[0].mask, expected[i])
        np.testing.assert_array_equal(truth[0].mask, targets["mask"][i])
        assert truth[0].key[255] == "no class"


def test_a_run_is_not_resumed_with_other_classes(run):
    # Before the pixels of three classes are taken for those of four.
    chosen = config(loss="cross_entropy+dice", class_weights="balanced")
    targets = {"mask": Target("mask", "uint8", names=(*NAMES, "new"), fill=255)}
    other = jaxcnn.Dataset.from_arrays(
        *scenes(48, 0), targets=targets, test=scenes(21, 1), validation=scenes(8, 2)
    )
    text = r"another run \(dataset's targets.mask.names from 3 on: none -> 'new'\)"
    with pytest.raises(UserError, match=text):
        jaxcnn.fit(chosen, run[0], dataset=other)


def test_eight_devices_measure_what_one_does(run):
    folder, result = run
    assert jax.device_count() == 8  # of which the run used one
    done = measure.evaluate(folder, dataset=dataset())
    assert done.measured.metrics["confusion"] == result.test["confusion"]
    for name in Segmentation.METRICS:
        expected = pytest.approx(result.test[name], rel=1e-6)
        assert done.measured.metrics[name] == expected


@pytest.mark.parametrize("name", ["cross_entropy", "lovasz"])
def test_the_gradient_of_a_batch_does_not_depend_on_its_devices(name):
    _, targets = scenes(8, 3)
    masks = targets["mask"]
    masks[:3, :9] = 255  # fewer labelled pixels than in the other images
    task = Segmentation(NAMES, void=255, loss_name=name)

    def loss(logits, batch):
        return jnp.mean(task.loss(logits, batch))

    logits = np.random.default_rng(0).normal(size=(*masks.shape, 3))
    found = []
    with jax.enable_x64(True):
        for number in (1, 8):
            given = {"logits": logits, "mask": masks}
            given = parallel.put_batch(given, parallel.data_mesh(number))
            gradient = jax.jit(jax.grad(loss))(given.pop("logits"), given)
            assert len(gradient.sharding.device_set) == number
            found.append(np.asarray(gradient))
    np.testing.assert_allclose(*found, rtol=1e-12, atol=1e-16)


def test_predict_writes_overlays_and_masks(run, tmp_path, capsys):
    folder, _ = run
    images, targets = scenes(21, 1)
    Image.fromarray(images[0]).save(tmp_path / "scene.png")
    verb = ["predict", f"--workdir={folder}", str(tmp_path / "scene.png")]
    output = tmp_path / "out"
    assert __main__.main([*verb, "--format=json", f"--output={output}"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    predicted = jaxcnn.load(folder)([images[0]])["mask"][0]
    with Image.open(output / "masks/scene.png") as file:
        assert file.mode == "P"
        np.testing.assert_array_equal(np.asarray(file), predicted)
        np.testing.assert_array_equal(
            np.asarray(file.convert("RGB")), palette.colours(3)[predicted]
        )
    assert sum(sum(row["counts"][1::2]) for row in answer["mask"]) == SIDE**2
    shares = {row["class"]: row["share"] for row in answer["classes"]}
    assert shares["square"] == pytest.approx((predicted == 1).mean())
    overlay = np.asarray(Image.open(output / "scene.png"))
    assert overlay.shape[1] == 512
    assert overlay.shape[0] > 512  # the key is below
    # The centre of the disc has its colour over the grey of the image.
    y, x = np.argwhere(targets["mask"][0] == 2).mean(axis=0).round().astype(int)
    expected = 0.45 * images[0, y, x] + 0.55 * np.array(palette.OKABE_ITO[2])
    np.testing.assert_allclose(overlay[y * 32 + 16, x * 32 + 16], expected, atol=1)


def test_masks_have_the_size_of_their_image(run):
    folder, _ = run
    rng = np.random.default_rng(0)
    sizes = [(SIDE, SIDE), (40, 25), (33, 70)]
    images = [rng.integers(0, 256, size, np.uint8) for size in sizes]
    predictor = jaxcnn.load(folder)
    predicted = predictor(images)
    for name in ("mask", "confidence"):
        assert [x.shape for x in predicted[name]] == sizes
    # One that the network has seen as it is has the classes of its batch.
    batch = predictor.predict_batch(images[0][None, ..., None])
    np.testing.assert_array_equal(predicted["mask"][0], batch["mask"][0])
    assert jaxcnn.load(folder)([])["mask"] == []
    passes = jaxcnn.Passes(scales=(1.0, 1.5), mirrored=True)
    (mirrored,) = jaxcnn.load(folder, passes=passes)([images[1][:, ::-1]])["mask"]
    (plain,) = jaxcnn.load(folder, passes=passes)([images[1]])["mask"]
    assert (mirrored[:, ::-1] == plain).mean() > 0.99  # but for rounding


def test_a_task_without_maps_takes_no_passes(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (8, 4, 4), np.uint8)
    y = np.arange(8) % 2
    data = jaxcnn.Dataset.from_arrays(x, y, validation=(x, y))
    config = Config(model="mlp", data=DataConfig(image_size=4, batch_size=8))
    jaxcnn.fit(dataclasses.replace(config, num_epochs=1.0), tmp_path, dataset=data)
    with pytest.raises(UserError, match="Classification predicts no maps"):
        jaxcnn.load(tmp_path, passes=jaxcnn.Passes())


@pytest.mark.slow
def test_a_u_net_that_is_interrupted_ends_as_if_it_were_not(tmp_path):
    chosen = dataclasses.replace(
        config(loss="cross_entropy+dice"),
        model="unet_resnet18",
        model_fields=(("backbone", "resnet20_cifar"),),
        augment=AugmentConfig(flip=0.5, rotation_degrees=20.0),
        num_epochs=2.0,
    )
    jaxcnn.fit(chosen, tmp_path / "whole", dataset=dataset())
    with interrupted.signalled(5):
        jaxcnn.fit(chosen, tmp_path / "cut", dataset=dataset())
    assert interrupted.last_state(tmp_path / "cut", 5)
    jaxcnn.fit(chosen, tmp_path / "cut", dataset=dataset())
    whole, cut = (interrupted.last_state(tmp_path / n, 12) for n in ("whole", "cut"))
    interrupted.assert_same_bits(cut, whole)
    groups = {path.split("'")[3] for path in whole if path.startswith("['params']")}
    assert {"stem", "stage3_block3", "decoder", "head"} <= groups


def test_a_network_that_gives_a_smaller_map_is_refused():
    text = r"gives \[H, W, K\] = \[16, 16, 3\] numbers .* this one gives \[8, 8, 3\]"
    with pytest.raises(UserError, match=text):
        prepare.prepare(config(), dataset=dataset(), model=Convolutions(3, 2))


def test_a_rectangle_of_another_image_would_hide_a_part_of_the_mask():
    changed = config()
    changed.augment = AugmentConfig(cutmix=1.0)
    with pytest.raises(UserError, match="cutmix must be 0 with target 'mask' of kind"):
        prepare.prepare(changed, dataset=dataset())


def test_the_loss_of_a_mixture_is_the_cross_entropy_of_its_mixed_classes():
    # Mixup, with every pixel labelled: that of the mixed distribution at each pixel.
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 4, 5, 3))
    one, two = rng.integers(0, 3, (2, 3, 4, 5))
    share = rng.uniform(0, 0.5, 3)
    batch = {"mask": one, "other": {"mask": two}, "other_share": share}
    batch = jax.tree.map(jnp.asarray, batch)
    losses = step.example_losses(Segmentation(NAMES), jnp.asarray(logits), batch)
    share = share[:, None, None, None]
    mixed = (1 - share) * np.eye(3)[one] + share * np.eye(3)[two]
    expected = -np.sum(mixed * special.log_softmax(logits, axis=-1), axis=-1)
    np.testing.assert_allclose(losses, expected.mean(axis=(1, 2)), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("fcn8s_vgg16", {"filters": (2, 2, 3, 3, 4), "hidden": (4, 4)}),
        ("unet_2015", {"filters": (2, 3, 4)}),
    ],
)
def test_networks_that_do_not_normalise_take_no_norm(name, fields):
    images = np.random.default_rng(0).integers(0, 256, (12, 32, 32), np.uint8)
    arrays = images, {"mask": images % 3}
    given = jaxcnn.Dataset.from_arrays(*arrays, targets=TARGETS, validation=arrays)
    chosen = dataclasses.replace(config(), model=name)
    chosen.data = dataclasses.replace(chosen.data, image_size=32)
    chosen.model_fields = tuple(fields.items())
    assert prepare.prepare(chosen, dataset=given).variable_shapes["batch_stats"] == {}
    rule = f"norm_examples must be None for {name}, which has no BatchNorm, not 4"
    with pytest.raises(UserError, match=rule):
        prepare.prepare(dataclasses.replace(chosen, norm_examples=4), dataset=given)
    if name == "unet_2015":  # the other has the field for its variants with one
        chosen.model_fields += (("norm", "LayerNorm"),)
        with pytest.raises(UserError, match=f"Unknown field of {name} 'norm'"):
            prepare.prepare(chosen, dataset=given)


def balanced_folder(root, number, side):
    """A config of a folder with that many random masks of classes 0 and 1, and the
    masks."""
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 2, (number, side, side), np.uint8)
    for name in "images", "masks":
        (root / name).mkdir()
        for i, mask in enumerate(masks):
            pixels = np.stack([mask] * 3, axis=-1) if name == "images" else mask
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    (root / "classes.txt").write_text("ground\nobject\n")
    chosen = config(class_weights="balanced")
    chosen.data = dataclasses.replace(chosen.data, name=f"folder:{root}")
    return chosen, masks


def test_pixels_are_counted_one_mask_after_another(tmp_path, monkeypatch):
    chosen, masks = balanced_folder(tmp_path, 40, 250)  # 2.5 MB in all
    loaded = data.load(chosen.data)
    read, decode = [], masks_lib.decode
    monkeypatch.setattr(
        masks_lib,
        "decode",
        lambda path, *rest: read.append(path) or decode(path, *rest),
    )
    tracemalloc.start()
    try:
        run = prepare.prepare(chosen, dataset=loaded)
        counts = run.info.statistics["counts"]
        read.clear()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        column = prepare._readable(chosen, loaded)
        again = Segmentation.measure(chosen.task, loaded.info.targets, column)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert again == {"counts": counts}
    train = loaded.splits["train"]
    paths = [paths_of(train, i)[1] for i in range(len(train))]
    assert read == paths  # of the training images, and each once
    numbers = [int(pathlib.Path(path).stem) for path in paths]
    assert counts == np.bincount(masks[numbers].ravel()).tolist()
    assert peak < 1.2e6  # a mask of 62,500 bytes, and its pixels as integers of 64 bits


def test_pixels_of_an_unreadable_image_are_not_counted(tmp_path):
    chosen, masks = balanced_folder(tmp_path, 40, 8)
    loaded = data.load(chosen.data)
    bad = path_of(loaded.splits["train"], 0)
    pathlib.Path(bad).write_bytes(b"no image")
    with pytest.raises(UserError, match="Unreadable image in the train split: .*png"):
        prepare.prepare(chosen, dataset=loaded)
    with pytest.raises(UserError, match="Unreadable image: .*png"):
        list(loaded.splits["train"].column("mask"))
    chosen.data.bad_images = "skip"
    counts = prepare.prepare(chosen, dataset=loaded).info.statistics["counts"]
    assert sum(counts) == 64 * (len(loaded.splits["train"]) - 1)


def test_masks_of_several_splits_are_one_column(tmp_path):
    chosen, masks = balanced_folder(tmp_path, 20, 8)
    splits = data.load(chosen.data).splits
    parts = splits["train"], splits["validation"]
    column = Joined(parts).column("mask")
    numbers = [
        int(pathlib.Path(path_of(part, i)).stem)
        for part in parts
        for i in range(len(part))
    ]
    np.testing.assert_array_equal(list(column), masks[numbers])
    chosen_ones = column[np.array([len(numbers) - 1, 0])]
    np.testing.assert_array_equal(list(chosen_ones), masks[[numbers[-1], numbers[0]]])
