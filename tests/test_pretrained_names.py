"""Every tensor of other people's weights is used once, and every variable filled."""

import jax
import numpy as np
import pytest

from jaxcnn import models
from jaxcnn.pretrained import names, rules
from jaxcnn.pretrained.names import Rule, Source
from tests.reference import compare

# In one process, which makes what the tests share once.
pytestmark = pytest.mark.xdist_group("pretrained_names")

TORCHVISION = rules.find("torchvision", "resnet18")
MODEL = models.create_model("resnet18", 10)


@pytest.fixture(scope="module")
def tensors():
    """Those of torchvision's resnet18 with 10 classes."""
    row = compare.Parity("resnet18", "resnet18", "torchvision")
    return compare.Comparison(row).tensors


@pytest.fixture
def state_dict(tensors):
    return dict(tensors)


def test_kernels_are_transposed_and_statistics_are_no_parameters(state_dict):
    state_dict["bn1.num_batches_tracked"] = np.array(7)
    variables = names.import_tensors(state_dict, MODEL, TORCHVISION)
    block = variables["params"]["stage4_block2"]
    kernel = state_dict["layer4.1.conv2.weight"]  # [out, in, kh, kw]
    assert block["conv2"]["conv"]["kernel"][0, 2, 3, 5] == kernel[5, 3, 0, 2]
    head = variables["params"]["head"]["kernel"]
    assert head[3, 5] == state_dict["fc.weight"][5, 3]
    mean = variables["batch_stats"]["stem"]["conv"]["norm"]["mean"]
    np.testing.assert_array_equal(mean, state_dict["bn1.running_mean"])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda s: s.pop("bn1.bias"),
            r"fit; missing: bn1.bias \(params/stem/conv/no",
        ),
        (
            lambda s: s.update({"extra.weight": s["fc.weight"]}),
            "not used: extra.weight.",
        ),
        (lambda s: s.update({"fc.extra": s["fc.bias"]}), "not used: fc.extra."),
        (
            lambda s: s.update({"fc.bias": np.zeros(1000)}),
            r"wrong shape: fc.bias has \(1000,\), not \(10,\)\.",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(state_dict, change, text):
    change(state_dict)
    with pytest.raises(ValueError, match=text):
        names.import_tensors(state_dict, MODEL, TORCHVISION)


def test_of_many_names_the_first_are_listed(state_dict):
    with pytest.raises(ValueError, match=r"and 72 more; not used: a\.") as caught:
        names.import_tensors({"a": state_dict["fc.bias"]}, MODEL, TORCHVISION)
    assert len(str(caught.value)) < 3000  # 102 tensors are missing, 30 are listed


def test_rules_that_name_two_variables_alike_are_refused(state_dict):
    source = Source("torchvision", "resnet18", (Rule(".*", lambda: "fc"),))
    with pytest.raises(ValueError, match="same name for two variables: fc.run"):
        names.import_tensors(state_dict, MODEL, source)


def test_a_variable_without_a_rule_is_refused(state_dict):
    source = Source("torchvision", "resnet18", TORCHVISION.rules[1:])
    with pytest.raises(ValueError, match="no names for params/stem/conv/conv/kernel"):
        names.import_tensors(state_dict, MODEL, source)


def test_a_network_without_rules_is_refused():
    with pytest.raises(ValueError, match="No rules for mlp in torchvision; known: "):
        rules.find("torchvision", "mlp")
    with pytest.raises(ValueError, match="for lenet5 in timm; known: pytorch."):
        rules.find("timm", "lenet5")


def test_what_is_written_is_what_was_read(state_dict):
    variables = names.import_tensors(state_dict, MODEL, TORCHVISION)
    written = names.export_tensors(variables, MODEL, TORCHVISION)
    counters = {n for n in written if n.endswith("num_batches_tracked")}
    # torchvision's resnet18 has 20 batch normalisations.
    assert len(counters) == 20
    assert set(written) - counters == set(state_dict)
    for name, tensor in state_dict.items():
        np.testing.assert_array_equal(written[name], tensor)


# (leaf, our shape, fields of the rule, library, their tensor of ours, by hand)
PLACES = [
    ("kernel", (3, 2, 4, 5), {}, "timm", lambda a: np.einsum("hwio->oihw", a)),
    ("kernel", (4, 5), {}, "timm", lambda a: a.T),
    ("kernel", (4, 5), {"ndim": 4}, "timm", lambda a: a.T[:, :, None, None]),
    ("kernel", (1, 1, 4, 5), {"ndim": 2}, "timm", lambda a: a[0, 0].T),
    (
        "kernel",
        (3, 2, 4, 5),
        {"ndim": 2},
        "timm",
        lambda a: np.einsum("hwio->oihw", a).reshape(5, 24),
    ),
    (
        "kernel",
        (12, 5),
        {"channels": 4},
        "timm",
        lambda a: np.einsum("pio->oip", a.reshape(3, 4, 5)).reshape(5, 12),
    ),
    ("layer_scale", (4,), {"ndim": 3}, "timm", lambda a: a[:, None, None]),
    ("bias", (4,), {"ndim": 4}, "timm", lambda a: a),
    ("kernel", (3, 2, 4, 5), {}, "keras", lambda a: a),
    ("kernel", (12, 5), {"channels": 4}, "keras", lambda a: a),
    (
        "kernel",
        (3, 2, 1, 5),
        {"depthwise": True},
        "keras",
        lambda a: a.reshape(3, 2, 5, 1),
    ),
    ("kernel", (4, 5), {"ndim": 4}, "keras", lambda a: a[None, None]),
    ("kernel", (1, 1, 4, 5), {"ndim": 2}, "keras", lambda a: a[0, 0]),
]


@pytest.mark.parametrize(("leaf", "shape", "fields", "library", "by_hand"), PLACES)
def test_numbers_are_ordered_as_the_other_library_has_them(
    leaf, shape, fields, library, by_hand
):
    ours = np.random.default_rng(0).normal(size=shape)
    source = Source(library, "", (Rule("stem", lambda: "its", **fields),))
    places = names.find_places({f"params/stem/{leaf}": ours}, None, source)
    (place,) = places.values()
    theirs = by_hand(ours)
    assert place.shape == theirs.shape
    np.testing.assert_array_equal(place.theirs(ours), theirs)
    np.testing.assert_array_equal(place.ours(theirs, shape), ours)


@pytest.mark.parametrize(
    ("library", "expected"),
    [
        (
            "timm",
            {
                "a.conv.weight",
                *("a.norm.weight", "a.norm.bias"),
                *("a.norm.running_mean", "a.norm.running_var"),
            },
        ),
        (
            "keras",
            {
                "a.conv/kernel",
                *("a.norm/gamma", "a.norm/beta"),
                *("a.norm/moving_mean", "a.norm/moving_variance"),
            },
        ),
    ],
)
def test_tensors_have_the_last_names_of_their_library(library, expected):
    vector, kernel = np.zeros(5), np.zeros((3, 3, 4, 5))
    variables = {
        "params/stem/conv/kernel": kernel,
        "params/stem/norm/scale": vector,
        "params/stem/norm/bias": vector,
        "batch_stats/stem/norm/mean": vector,
        "batch_stats/stem/norm/var": vector,
    }
    source = Source(library, "", (Rule(r"stem/(\w+)", lambda part: f"a.{part}"),))
    places = names.find_places(variables, None, source)
    assert {place.name for place in places.values()} == expected


def test_rules_may_depend_on_the_network(state_dict):
    def rules_of(model):
        assert model.depths == (2, 2, 2, 2)
        return TORCHVISION.rules

    source = Source("torchvision", "resnet18", rules_of)
    found = names.import_tensors(state_dict, MODEL, source)
    expected = names.import_tensors(state_dict, MODEL, TORCHVISION)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_older_names_and_tensors_that_nobody_needs_are_known(state_dict):
    source = Source(
        "torchvision",
        "resnet18",
        TORCHVISION.rules,
        ignored=r"mean_of_images|std",
        rename=lambda name: name.replace("old.fc", "fc"),
    )
    state_dict["mean_of_images"] = np.zeros(3)
    state_dict["old.fc.bias"] = state_dict.pop("fc.bias")
    variables = names.import_tensors(state_dict, MODEL, source)
    bias = variables["params"]["head"]["bias"]
    np.testing.assert_array_equal(bias, state_dict["old.fc.bias"])
    state_dict["fc.bias"] = state_dict["old.fc.bias"]
    with pytest.raises(ValueError, match="fit; not used: fc.bias."):
        names.import_tensors(state_dict, MODEL, source)
