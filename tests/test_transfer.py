"""What a run takes from a trained network, and what it leaves at random."""

import dataclasses
import re

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import models
from jaxcnn.config import AverageConfig, Config, DataConfig, InitConfig, OptimConfig
from jaxcnn.errors import UserError
from jaxcnn.models import googlenet
from jaxcnn.training import begin, network, parallel, prepare, workdir
from jaxcnn.training.transfer import Source, make_start
from tests.test_evaluation import fit

GREY, RGB = (32, 32, 1), (32, 32, 3)


def source_of(name, num_classes, shape, **kwargs):
    """A trained network whose numbers tell where they are from."""
    model = models.create_model(name, num_classes)
    shapes = traverse_util.flatten_dict(
        models.abstract_variables(model, shape), sep="/"
    )
    rng = np.random.default_rng(0)
    arrays = {path: rng.normal(size=leaf.shape) for path, leaf in shapes.items()}
    channels = shape[2]
    return Source(name, arrays, (0.2, 0.4, 0.6)[:channels], (0.5,) * channels, **kwargs)


def test_the_head_is_left_at_random_where_the_classes_differ():
    source = source_of("resnet20_cifar", 26, GREY)
    model = models.create_model("resnet20_cifar", 10)
    start = make_start(source, model, GREY)
    groups = dict(start.groups)
    left = "at random: 26 classes in the source, 10 in this network"
    assert groups.pop("head") == left
    assert set(groups.values()) == {"loaded"}
    assert start.dropped == ("head",)
    variables = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, *GREY)), train=False)
    )
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), variables)
    filled = traverse_util.flatten_dict(start.fill(zeros), sep="/")
    for path, array in filled.items():
        expected = 0 if "head" in path else source.arrays[path].astype(np.float32)
        np.testing.assert_array_equal(array, np.broadcast_to(expected, array.shape))


def test_the_same_number_of_classes_keeps_the_head():
    source = source_of("resnet20_cifar", 10, GREY)
    start = make_start(source, models.create_model("resnet20_cifar", 10), GREY)
    assert set(dict(start.groups).values()) == {"loaded"}
    assert start.dropped == ()


TEN = tuple("abcdefghij")


@pytest.mark.parametrize(
    ("theirs", "ours", "head"),
    [
        (TEN, TEN, "loaded"),
        (None, TEN, "loaded; as many classes, which the source does not name"),
        (
            (*TEN[:3], "x", *TEN[4:]),
            TEN,
            "at random: other classes in the source, where class 3 is 'x', not 'd'",
        ),
        (
            (*TEN[:8], "j", "i"),
            TEN,
            "at random: the same classes in another order in the source, where class 8 "
            "is 'j', not 'i'",
        ),
        (
            ("A\x1b[2J", *TEN[1:]),
            TEN,
            r"at random: other .* 0 is 'A\\x1b\[2J', not 'a'",
        ),
    ],
)
def test_the_head_is_kept_where_the_names_of_the_classes_match(theirs, ours, head):
    source = source_of("resnet20_cifar", 10, GREY, names=theirs)
    model = models.create_model("resnet20_cifar", 10)
    start = make_start(source, model, GREY, names=ours)
    groups = dict(start.groups)
    found = groups.pop("head")
    assert found == head or re.fullmatch(head, found)
    assert set(groups.values()) == {"loaded"}
    is_kept = head.startswith("loaded")
    assert start.dropped == (() if is_kept else ("head",))
    assert {p for p in source.arrays if p not in start.arrays} == (
        set() if is_kept else {"params/head/kernel", "params/head/bias"}
    )


@pytest.mark.slow
def test_of_an_auxiliary_head_only_the_classes_are_new():
    fields, shape = {"aux": googlenet.AdaptiveAuxiliary}, (64, 64, 3)
    model = models.create_model("googlenet", 10, **fields)
    flat = traverse_util.flatten_dict(models.abstract_variables(model, shape), sep="/")
    arrays = {path: np.zeros(leaf.shape, np.float32) for path, leaf in flat.items()}
    source = Source("googlenet", arrays, (0.5,) * 3, (0.5,) * 3, names=TEN)
    start = make_start(source, model, shape, names=TEN[::-1])
    groups = dict(start.groups)
    new = "at random: the same classes in another order"
    assert groups["head"].startswith(new)
    assert groups["aux1"].startswith(f"partly {new}")
    assert groups["aux2"].startswith(f"partly {new}")
    left = {path: flat[path].shape for path in arrays if path not in start.arrays}
    assert {size[-1] for size in left.values()} == {10}
    assert len(left) == 6  # kernel and bias of three


@pytest.mark.slow
def test_the_first_layers_are_one_line():
    source = source_of("vgg11_bn", 10, (32, 32, 3))
    model = models.create_model("vgg11_bn", 10)
    start = make_start(source, model, (32, 32, 3), only=("stage[12]_.*",))
    groups = dict(start.groups)
    assert groups.pop("head") == "at random: by choice"
    loaded = [group for group, what in groups.items() if what == "loaded"]
    expected = [g for g in groups if g.startswith(("stage1", "stage2"))]
    assert loaded == expected
    # Running statistics go with their layers.
    assert any(path.startswith("batch_stats/stage2") for path in start.arrays)
    assert not any(path.startswith("batch_stats/stage3") for path in start.arrays)
    rest = make_start(source, model, (32, 32, 3), skip=("stage[12]_.*",))
    assert start.arrays.keys() | rest.arrays.keys() == source.arrays.keys()
    assert not start.arrays.keys() & rest.arrays.keys()


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_a_grey_image_gives_what_three_equal_channels_gave(order):
    source = source_of("lenet5", 10, RGB, order=order)
    grey = make_start(source, models.create_model("lenet5", 10), GREY)
    kernel = source.arrays["params/stem/conv/kernel"]
    np.testing.assert_allclose(
        grey.arrays["params/stem/conv/kernel"], kernel.sum(axis=2, keepdims=True)
    )
    assert (grey.mean, grey.std) == ((pytest.approx(0.4),), (0.5,))


def test_weights_for_bgr_are_turned_to_rgb():
    source = source_of("lenet5", 10, RGB, order="BGR")
    start = make_start(source, models.create_model("lenet5", 10), RGB)
    kernel = source.arrays["params/stem/conv/kernel"]
    np.testing.assert_array_equal(
        start.arrays["params/stem/conv/kernel"], kernel[:, :, ::-1]
    )
    assert start.mean == (0.6, 0.4, 0.2)


@pytest.mark.parametrize(
    ("model", "choices", "text"),
    [
        (
            "resnet18",
            {},
            r"network: params/.*; params/stage1_block1/conv1/conv/kernel has shape \(3",
        ),
        ("resnet20_cifar", {"only": ("stem2",)}, "Pattern 'stem2' matches no layer gr"),
        ("resnet20_cifar", {"skip": (".*",)}, "leave nothing to take"),
    ],
)
def test_what_does_not_fit_is_refused(model, choices, text):
    source = source_of("resnet20_cifar", 10, GREY)
    with pytest.raises(UserError, match=text):
        make_start(source, models.create_model(model, 10), GREY, **choices)


def test_a_deeper_network_is_no_source_for_a_shallower_one():
    source = source_of("resnet32_cifar", 10, GREY)
    with pytest.raises(UserError, match="stage1_block4/.* is only in the"):
        make_start(source, models.create_model("resnet20_cifar", 10), GREY)


def config(**changes):
    made = Config(
        model="softmax_regression",
        data=DataConfig(name="digits", image_size=8, batch_size=64),
        optim=OptimConfig(peak_lr=0.3),
        num_epochs=1.0,
        num_devices=1,
    )
    return dataclasses.replace(made, **changes)


def test_a_run_starts_from_another_and_goes_on_without_it(tmp_path):
    fit(config(average=AverageConfig(name="ema", decay=0.5)), tmp_path / "first")
    path = str(tmp_path / "first")
    second = config(init_from=InitConfig(path=path), seed=1)
    run = prepare.prepare(second)
    state = begin.init_state(run)
    old_config, info = workdir.read(tmp_path / "first")
    mesh = parallel.data_mesh(1)
    arguments = (tmp_path / "first", old_config, info, "best", mesh)
    _, average = network.load_variables(*arguments)
    _, raw = network.load_variables(*arguments, raw=True)
    jax.tree.map(np.testing.assert_array_equal, state.params, average["params"])
    kernels = [v["params"]["head"]["kernel"] for v in (average, raw)]
    assert (kernels[0] != kernels[1]).any()
    # The mean and deviation of the first run's images, whatever those of the second.
    assert (run.info.mean, run.info.std) == (info.mean, info.std)
    fit(second, tmp_path / "second")
    # Once it has begun, what it started from may go.
    (tmp_path / "first").rename(tmp_path / "moved")
    assert fit(second, tmp_path / "second").step == run.num_steps
    with pytest.raises(UserError, match="init_from.path is '.*first', which does not"):
        prepare.prepare(second)


@pytest.mark.slow
def test_a_run_on_other_classes_begins_with_a_new_head(tmp_path, capsys):
    fit(config(model="mlp"), tmp_path / "digits")
    images = np.zeros((20, 8, 8), np.uint8)
    images[::2] = 255
    names = [f"kind {i}" for i in range(10)]
    path = str(tmp_path / "digits")
    for classes, said in [
        (names, "other classes in the source, where class 0 is '0', not 'kind 0'"),
        ([*"0123456789"], "loaded"),
    ]:
        start = config(model="mlp", init_from=InitConfig(path=path))
        dataset = jaxcnn.Dataset.from_arrays(
            images, np.arange(20) % 10, names=classes, config=start.data
        )
        run = prepare.prepare(start, dataset=dataset)
        assert said in dict(run.start.groups)["head"]
    fit(config(), tmp_path / "head alone")
    start = config(init_from=InitConfig(path=str(tmp_path / "head alone")))
    dataset = jaxcnn.Dataset.from_arrays(
        images, np.arange(20) % 10, names=names, config=start.data
    )
    with pytest.raises(UserError, match="nothing for this network: other classes in"):
        prepare.prepare(start, dataset=dataset)


def test_the_mean_of_checkpoints_is_a_checkpoint(tmp_path):
    fit(config(eval_every_epochs=0.5), tmp_path)
    run, info = workdir.read(tmp_path)
    mesh = parallel.data_mesh(1)
    load = lambda which: network.load_variables(tmp_path, run, info, which, mesh)  # noqa: E731
    steps = sorted(int(p.name) for p in (tmp_path / "checkpoints").glob("[0-9]*"))[-2:]
    parts = [load(str(step))[1] for step in steps]
    step, mean = load("mean:2")
    assert step == steps[-1]
    jax.tree.map(
        lambda m, a, b: np.testing.assert_allclose(m, (a + b) / 2, rtol=1e-6),
        mean,
        *parts,
    )
    assert jaxcnn.load(tmp_path, "mean:2").step == step
    with pytest.raises(UserError, match=r"mean:9: .* has ([23]) .* to \1;"):
        load("mean:9")
