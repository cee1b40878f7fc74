"""A user's own network is trained and frozen as ours are."""

import dataclasses
import functools
import sys
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import models
from jaxcnn.config import AverageConfig
from jaxcnn.errors import UserError
from jaxcnn.models import layers
from jaxcnn.models.adapter import Adapted, call_order
from jaxcnn.training import intercept, parallel, prepare
from tests.test_fit import make_config, noise

SHAPE = (4, 4, 1)
IMAGES = np.random.default_rng(0).normal(size=(6, *SHAPE)).astype(np.float32)
KEY = jax.random.key(0)


def applied(model, variables, train, key=KEY):
    """(output, new statistics) of a network of ours or an adapted one."""
    return model.apply(
        variables,
        IMAGES,
        train=train,
        mutable=["batch_stats"],
        rngs={"dropout": key},
    )


# How an author tells a layer: (argument, value) -> (fields, arguments, keywords).
STYLES = {
    "nothing": lambda name, value: ({}, (), {}),
    "field": lambda name, value: ({name: value}, (), {}),
    "position": lambda name, value: ({}, (value,), {}),
    "keyword": lambda name, value: ({}, (), {name: value}),
}


def layer(style, make, name, train, x):
    """Flax's BatchNorm or Dropout, told whether to train in one of these ways."""
    told = "use_running_average" if make is nn.BatchNorm else "deterministic"
    fields, args, kwargs = STYLES[style](told, not train)
    rate = (0.5,) if make is nn.Dropout else ()
    return make(*rate, **fields, name=name)(x, *args, **kwargs)


class Trunk(nn.Module):
    style: str

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(8, name="dense")(x)
        x = layer(self.style, nn.BatchNorm, "norm", train, x)
        return layer(self.style, nn.Dropout, "drop", train, x)


class Network(nn.Module):
    """A block, a norm and a dropout beside it, a linear layer."""

    num_classes: int = 2
    style: str = "nothing"

    @nn.compact
    def __call__(self, images, train):
        x = images.reshape(len(images), -1)
        args, kwargs = STYLES[self.style]("train", train)[1:]
        if self.style == "field":  # of its layers; the block has none
            args = (train,)
        x = Trunk(self.style, name="trunk")(x, *args, **kwargs)
        x = layer(self.style, nn.BatchNorm, "norm", train, x)
        x = layer(self.style, nn.Dropout, "drop", train, x)
        return nn.Dense(self.num_classes, name="top")(x)


@pytest.mark.parametrize("style", STYLES)
def test_layers_of_flax_behave_as_if_they_were_told(style):
    told, model = Network(style="keyword"), Adapted(Network(style=style))
    variables = told.init(KEY, IMAGES, False)
    found = model.init(KEY, IMAGES, train=False)
    jax.tree.map(np.testing.assert_array_equal, found, variables)
    outputs = []
    for train in False, True:
        (output, stats), expected = (
            applied(model, variables, train),
            applied(told, variables, train),
        )
        jax.tree.map(np.testing.assert_array_equal, (output, stats), expected)
        outputs.append(output)
    assert np.abs(outputs[0] - outputs[1]).max() > 0.1


class Silent(nn.Module):
    """Its output is a dropout mask."""

    @nn.compact
    def __call__(self, images):
        return nn.Dropout(0.5)(jnp.ones((64,)))


class Positional(nn.Module):
    @nn.compact
    def __call__(self, images, train):
        return layers.Dropout(0.5)(jnp.ones((64,)), train=train)


class Keyword(nn.Module):
    @nn.compact
    def __call__(self, images, *, train):
        return nn.Dropout(0.5, deterministic=not train)(jnp.ones((64,)))


class Default(nn.Module):
    @nn.compact
    def __call__(self, images, train=False):
        return nn.Dropout(0.5)(jnp.ones((64,)), not train)


@pytest.mark.parametrize("network", [Silent, Positional, Keyword, Default])
def test_train_may_be_no_argument_or_one_of_any_kind(network):
    model = Adapted(network())
    assert set(applied(model, {}, False)[0].tolist()) == {1.0}
    assert set(applied(model, {}, True)[0].tolist()) == {0.0, 2.0}


class Attending(nn.Module):
    """Attention with dropout, which is told or not."""

    tell: bool = False

    @nn.compact
    def __call__(self, images, train):
        attention = nn.MultiHeadDotProductAttention(2, dropout_rate=0.5, name="heads")
        kwargs = {"deterministic": not train} if self.tell else {}
        return attention(images[..., 0], **kwargs)


class Doubled(nn.BatchNorm):
    """Twice what its parent gives, which alone can be told."""

    def __call__(self, x):
        return 2 * super().__call__(x)


class DoubledByHand(nn.Module):
    @nn.compact
    def __call__(self, images, train):
        return 2 * nn.BatchNorm(name="norm")(images, use_running_average=not train)


class WithDoubled(nn.Module):
    @nn.compact
    def __call__(self, images):
        return Doubled(name="norm")(images)


class Stacked(nn.Module):
    """nn.Sequential of SEQUENCE, by hand."""

    @nn.compact
    def __call__(self, images, train):
        x = layers.ConvNorm(4, 3, name="layers_0")(images, train=train)
        x = nn.BatchNorm(name="layers_1")(x, use_running_average=not train)
        x = layers.Dropout(0.5, name="layers_2")(nn.relu(x), train=train)
        x = nn.Dropout(0.5, name="layers_4")(x, deterministic=not train)
        return nn.Dense(3, name="layers_6")(x.mean(axis=(1, 2)))


SEQUENCE = nn.Sequential(
    [
        layers.ConvNorm(4, 3),
        nn.BatchNorm(),
        layers.Dropout(0.5),
        nn.relu,
        nn.Dropout(0.5),
        functools.partial(jnp.mean, axis=(1, 2)),
        nn.Dense(3),
    ]
)


@pytest.mark.parametrize(
    ("network", "by_hand"),
    [
        (Attending(), Attending(tell=True)),
        (WithDoubled(), DoubledByHand()),
        (SEQUENCE, Stacked()),
    ],
    ids=["attention", "super", "Sequential"],
)
def test_a_network_is_the_one_whose_layers_are_told_by_hand(network, by_hand):
    variables = by_hand.init(KEY, IMAGES, False)
    model = Adapted(network)
    found = model.init(KEY, IMAGES, train=False)
    # Names of its parameters are its own.
    jax.tree.map(np.testing.assert_array_equal, found, variables)
    for train in False, True:
        expected = applied(by_hand, variables, train)
        found = applied(model, variables, train)
        jax.tree.map(np.testing.assert_array_equal, found, expected)
    outputs = [applied(model, variables, train)[0] for train in (False, True)]
    assert np.abs(outputs[0] - outputs[1]).max() > 0.01


class Constant(nn.Module):
    """A norm that its author never lets see the statistics of a batch."""

    @nn.compact
    def __call__(self, images):
        return nn.BatchNorm(use_running_average=True, name="norm")(images)


def test_what_its_author_says_stays():
    model = Adapted(Constant())
    variables = model.init(KEY, IMAGES, train=False)
    _, stats = applied(model, variables, True)
    del variables["params"]
    jax.tree.map(np.testing.assert_array_equal, stats, variables)


@pytest.mark.parametrize("style", STYLES)
def test_frozen_groups_behave_as_in_evaluation(style):
    model = Adapted(Network(style=style))
    variables = model.init(KEY, IMAGES, train=False)
    before = variables["batch_stats"]

    def statistics(trained):
        with intercept.frozen_as_in_evaluation(variables["params"], trained):
            return applied(model, variables, True)[1]["batch_stats"]

    def moved(after, group):
        pairs = zip(*map(jax.tree.leaves, (before[group], after[group])), strict=True)
        return [bool((old != new).any()) for old, new in pairs]

    after = statistics({"norm/scale", "top/kernel"})
    assert moved(after, "trunk") == [False, False]
    assert moved(after, "norm") == [True, True]
    # A normalisation of which every parameter is frozen is frozen, in any group.
    after = statistics({"trunk/dense/kernel", "top/kernel"})
    assert moved(after, "trunk") == [False, False]
    after = statistics({"trunk/norm/bias", "top/kernel"})
    assert moved(after, "trunk") == [True, True]
    assert moved(after, "norm") == [False, False]


@pytest.mark.parametrize("style", STYLES)
def test_the_dropout_of_a_frozen_group_is_off(style):
    class OnlyTrunk(nn.Module):
        @nn.compact
        def __call__(self, images, train):
            x = images.reshape(len(images), -1)
            return Trunk(style, name="trunk")(x, train)

    model = Adapted(OnlyTrunk())
    variables = model.init(KEY, IMAGES, train=False)
    with intercept.frozen_as_in_evaluation(variables["params"], frozenset()):
        frozen, _ = applied(model, variables, True)
    expected, _ = applied(model, variables, False)
    np.testing.assert_array_equal(frozen, expected)


class OutOfOrder(nn.Module):
    """Called in another order than it is defined in or spelled in."""

    def setup(self):
        self.a_head = nn.Dense(2)
        self.b_unused = nn.Dense(2)
        self.z_first = nn.Dense(8)
        self.middle = nn.Dense(8)
        self.token = self.param("token", nn.initializers.zeros, (16,))

    def __call__(self, images):
        x = self.z_first(images.reshape(len(images), -1) + self.token)
        return self.a_head(self.middle(x))


def test_layer_groups_are_in_the_order_of_their_calls():
    # A parameter of the network itself, such as a position embedding, comes first.
    expected = ("token", "z_first", "middle", "a_head")
    assert call_order(Adapted(OutOfOrder()), SHAPE) == expected
    assert models.layer_groups(Adapted(OutOfOrder()), SHAPE) == expected
    assert models.is_head("a_head", expected)
    assert not models.is_head("token", expected)
    assert models.layer_groups(Adapted(SEQUENCE), SHAPE) == (
        *("layers_0", "layers_1", "layers_6"),
    )


class Fixed(nn.Module):
    """It has no field for its outputs."""

    width: int = 4

    @nn.compact
    def __call__(self, images):
        x = nn.Dense(self.width)(images.reshape(len(images), -1))
        return nn.Dense(2)(x)


def fixed(width=4):
    return Fixed(width)


def keyword_only(*, num_classes, **fields):
    return Network(num_classes, **fields)


READY = Network(2)
HERE = __name__


@pytest.mark.parametrize(
    ("given", "fields", "expected"),
    [
        (Fixed, {"width": 8}, Fixed(8)),
        (fixed, {"width": 8}, Fixed(8)),
        (functools.partial(Fixed), {"width": 8}, Fixed(8)),
        (keyword_only, {"style": "field"}, Network(10, style="field")),
        (functools.partial(Network, 3), {}, Network(3)),
        (Network, {"num_classes": 5}, Network(5)),
    ],
)
def test_a_network_is_given_the_outputs_that_it_takes(
    given, fields, expected, monkeypatch
):
    monkeypatch.setitem(globals(), "named", given)
    outputs = {"num_classes": 10}
    assert models.build(f"{HERE}:named", fields, outputs).module == expected
    assert models.adapt(given, fields, outputs).module == expected


@pytest.mark.parametrize(
    ("name", "fields", "text"),
    [
        ("Fixed", {"num_classes": 2}, "Unknown field of .*:Fixed 'num_classes'; known"),
        ("fixed", {"depth": 2}, r"cannot be built with \(depth=2\): got an unexpected"),
        ("Network", {"style": 3}, "Field style of .*:Network is 3; it must be of type"),
        (
            "READY",
            {"style": "field"},
            "style='field' cannot be chosen: .*:READY is a n",
        ),
        (
            "SHAPE",
            {},
            "Model '.*:SHAPE': A network must be a flax.linen.Module, not tu",
        ),
        (
            "noise",
            {},
            "Model '.*:noise': A network must be a flax.linen.Module, not Da",
        ),
    ],
)
def test_fields_that_a_network_does_not_take_are_refused(name, fields, text):
    with pytest.raises(UserError, match=text):
        models.build(f"{HERE}:{name}", fields, {"num_classes": 2})


class Pair(nn.Module):
    @nn.compact
    def __call__(self, x, y):
        return nn.Dense(2)(x + y)


@pytest.mark.parametrize(
    ("fields", "model", "text"),
    [
        (
            (("style", "field"),),
            READY,
            r"model_fields must be \(\) for a model that is",
        ),
        ((), Pair(), r"Pair is called as \(x, y\); a network must be called as"),
        ((), Pair, r"Pair is called as \(x, y\); a network must be called as"),
        ((), "Network", "model must be an object; a name goes into config.model"),
    ],
)
def test_what_cannot_be_trained_leaves_no_folder_behind(fields, model, text, tmp_path):
    config = make_config()
    config.model_fields = fields
    with pytest.raises(UserError, match=text):
        jaxcnn.fit(config, tmp_path / "run", model=model, dataset=noise(), writers=())
    assert not (tmp_path / "run").exists()


HINTS = """
from __future__ import annotations
import typing
from typing import TYPE_CHECKING
from flax import linen as nn
if TYPE_CHECKING:
    from jaxtyping import Array, Float

class Net(nn.Module):
    width: int = 4
    sizes: HINT = (1, 2)

    @nn.compact
    def __call__(self, images):
        return nn.Dense(self.width)(images)
"""


@pytest.mark.filterwarnings("ignore::SyntaxWarning")  # of the hint 3()
@pytest.mark.parametrize(
    "hint",
    ["Float[Array, 'b c']", "nn.NoSuch", "3()", "tuple", "typing.Tuple", "tuple[()]"],
)
def test_a_network_may_have_any_hints_of_types(hint, tmp_path, monkeypatch):
    (tmp_path / "hinted_net.py").write_text(HINTS.replace("HINT", hint))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "hinted_net", raising=False)
    fields = {"width": 8, "sizes": ()}
    model = models.build("hinted_net:Net", fields, {"num_classes": 2})
    assert (model.width, model.sizes) == (8, ())
    with pytest.raises(UserError, match="Unknown field of hinted_net:Net 'depth'"):
        models.build("hinted_net:Net", {"depth": 8})


class NormByName(nn.Module):
    norm: Any = "batch"

    @nn.compact
    def __call__(self, images):
        x = nn.BatchNorm()(images).reshape(len(images), -1)
        return nn.Dense(2)(x)


class NormOfItsOwn(nn.Module):
    @nn.compact
    def __call__(self, images):
        return nn.Dense(2)(self.norm(images).reshape(len(images), -1))

    def norm(self, x):
        return nn.BatchNorm(name="first")(x)


@pytest.mark.parametrize("model", [NormByName(), NormOfItsOwn(), NormByName(nn.relu)])
def test_a_norm_that_is_not_like_ours_stays_as_it_is(model):
    def run(**choices):
        config = make_config(**choices)
        return prepare.prepare(config, dataset=noise(), model=model)

    assert run(parallel="pmap").model == Adapted(model)
    with pytest.raises(UserError, match="average.name must be none or ema"):
        run(average=AverageConfig(name="swa"))
    with pytest.raises(UserError, match="norm_examples must be None for .* no Batch"):
        run(norm_examples=2)


def test_a_norm_that_no_layer_uses_has_no_groups():
    fields = {"depths": (1,), "filters": (2,), "hidden": (4,)}
    model = models.create_model("vgg11", 2, **fields)
    assert hasattr(model, "norm")  # that of vgg11_bn
    with pytest.raises(UserError, match="norm_examples must be None for .* no Batch"):
        prepare.prepare(make_config(norm_examples=2), dataset=noise(), model=model)


def test_a_norm_of_flax_shares_its_statistics_but_has_no_groups():
    model = NormByName(nn.BatchNorm)
    config, dataset = make_config(parallel="pmap"), noise()
    found = prepare.prepare(config, dataset=dataset, model=model).model
    (axis_name,) = found.norm.keywords.values()
    assert found == Adapted(model.clone(norm=found.norm))
    assert axis_name == parallel.layout("pmap").norm_axis
    with pytest.raises(UserError, match="norm_examples must be None for .* no Batch"):
        prepare.prepare(make_config(norm_examples=2), dataset=dataset, model=model)


@pytest.mark.parametrize(
    ("given", "has_name"),
    [
        *((Network, True), (Network(2), True), (functools.partial(Network), False)),
        *((Fixed(8), True), (fixed, True)),
    ],
)
def test_a_run_trains_it_and_its_folder_predicts(given, has_name, tmp_path):
    config, dataset = make_config(), noise()
    config.optim.freeze = ("Dense_0|trunk",)
    result = jaxcnn.fit(config, tmp_path, model=given, dataset=dataset, writers=())
    assert result.step == 6
    images = dataset.splits["test"].images
    predictor = jaxcnn.load(tmp_path, model=None if has_name else given)
    assert predictor(images)["probabilities"].shape == (4, 2)


class Counting(nn.Module):
    """A network that counts how often it is called."""

    @nn.compact
    def __call__(self, images):
        self.variable("counters", "calls", jnp.zeros, ())
        return nn.Dense(2)(images.reshape(len(images), -1))


class Noisy(nn.Module):
    """A network that draws numbers under a name of its own."""

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.Dense(2)(images.reshape(len(images), -1))
        return x + jax.random.normal(self.make_rng("noise"), x.shape) if train else x


class Flaxs(nn.Module):
    """A network with Flax's BatchNorm, of which no field says anything."""

    @nn.compact
    def __call__(self, images):
        return nn.Dense(2)(nn.BatchNorm()(images).mean(axis=(1, 2)))


@pytest.mark.parametrize(
    ("model", "fields", "text"),
    [
        (
            Counting(),
            {},
            "has variables in counters; only those in params and batch_st",
        ),
        (
            Noisy(),
            {},
            "Noisy draws random numbers under a name of its own; .*'dropout'",
        ),
        (
            Flaxs(),
            {"parallel": "pmap"},
            "parallel must be jit or fsdp for a network with",
        ),
    ],
)
def test_what_a_step_would_lose_is_refused_by_name(model, fields, text, tmp_path):
    config = dataclasses.replace(make_config(), num_devices=2, **fields)
    with pytest.raises(UserError, match=text):
        jaxcnn.fit(config, tmp_path, model=model, dataset=noise())
