"""Patterns over layers, and the factors that they give."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.errors import UserError
from jaxcnn.optim import layerwise

PARAMS = {
    "head": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)},
    "stage1_block1": {
        "conv1": {"kernel": jnp.ones(3)},
        "conv2": {"kernel": jnp.ones(3)},
    },
    "stage1_block10": {"conv1": {"kernel": jnp.ones(3)}},
    "stem": {"conv": {"kernel": jnp.ones(4)}},
}


def factors(*rules):
    """Path -> factor, seen from what becomes of an update of ones."""
    tx = layerwise.scale_by_path(layerwise.factors(rules, PARAMS))
    scaled, _ = tx.update(PARAMS, tx.init(PARAMS))
    kernel = lambda group, conv: float(scaled[group][conv]["kernel"][0])  # noqa: E731
    return {
        "head": float(scaled["head"]["kernel"][0, 0]),
        "head/bias": float(scaled["head"]["bias"][0]),
        "block1/conv1": kernel("stage1_block1", "conv1"),
        "block1/conv2": kernel("stage1_block1", "conv2"),
        "block10": kernel("stage1_block10", "conv1"),
        "stem": kernel("stem", "conv"),
    }


def test_a_pattern_is_a_whole_name_and_the_first_match_wins():
    assert factors(("stage1_block1", 0.25), ("head", 2.0), (".*", 0.5)) == {
        "head": 2.0,
        "head/bias": 2.0,
        "block1/conv1": 0.25,
        "block1/conv2": 0.25,
        "block10": 0.5,  # stage1_block1 is no more than its beginning
        "stem": 0.5,
    }


def test_a_pattern_with_a_slash_is_a_whole_path():
    found = factors(("stage1_block1/conv2/kernel", 4.0), (".*/bias", 0.0), (".*", 1.0))
    assert found == {
        "head": 1.0,
        "head/bias": 0.0,
        "block1/conv1": 1.0,
        "block1/conv2": 4.0,
        "block10": 1.0,
        "stem": 1.0,
    }


def test_the_first_match_of_each_parameter_may_be_none():
    # Freezing and the like need not name every parameter.
    assert layerwise.first_match(["stem", "stage1_.*"], PARAMS) == {
        "head/bias": None,
        "head/kernel": None,
        "stage1_block1/conv1/kernel": 1,
        "stage1_block1/conv2/kernel": 1,
        "stage1_block10/conv1/kernel": 1,
        "stem/conv/kernel": 0,
    }


def test_decay_by_depth_halves_the_rate_with_each_group_below_the_head():
    rules = layerwise.decay_by_depth(
        ["stem", "stage1_block1", "stage1_block10", "head"], 0.5
    )
    assert [factor for _, factor in rules] == [0.125, 0.25, 0.5, 1.0]
    found = factors(*rules)
    assert (found["stem"], found["block10"], found["head"]) == (0.125, 0.5, 1.0)


def test_decay_by_depth_may_count_stages_and_takes_auxiliary_heads_for_heads():
    groups = ["stem", "stage1_block1", "stage1_block2", "stage2_block1", "aux1", "head"]
    stages = layerwise.decay_by_depth(groups, 0.1, "stage")
    assert [f for _, f in stages] == pytest.approx([1e-3, 1e-2, 1e-2, 0.1, 1.0, 1.0])
    blocks = layerwise.decay_by_depth(groups, 0.1, "block")
    assert [f for _, f in blocks] == pytest.approx([1e-4, 1e-3, 1e-2, 0.1, 1.0, 1.0])


def test_an_update_keeps_its_dtype():
    tx = layerwise.scale_by_path({"head": 0.5})
    scaled, _ = tx.update({"head": jnp.ones(2, jnp.bfloat16)}, tx.init(None))
    assert scaled["head"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(scaled["head"].astype(float), [0.5, 0.5])


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        (
            [("stage2_.*", 1.0), (".*", 1.0)],
            "Pattern 'stage2_.*' matches no layer group; nearest: stage1_block1",
        ),
        (
            [("stem/conv1/kernel", 1.0), (".*", 1.0)],
            "Pattern 'stem/conv1/kernel' matches no parameter; nearest: stem/conv/kern",
        ),
        (
            [(".*", 1.0), ("head", 2.0)],
            r"Pattern 'head' is never the first to match: the patterns before it, \.",
        ),
        (
            [("head", 1.0), ("head", 2.0), (".*", 1.0)],
            "Pattern 'head' is never the first to match",
        ),
        (
            [("stage.*", 1.0), ("head/bias", 1.0)],
            r"No learning-rate rule matches head/kernel, stem; a last rule \('.\*', 1",
        ),
        ([("head", -1.0)], "factor of 'head' must be 0 or more, not -1.0."),
        ([("head", float("nan"))], "factor of 'head' must be 0 or more, not nan."),
        ([("head", float("inf"))], "factor of 'head' must be 0 or more, not inf."),
        ([("stem(", 1.0)], r"'stem\(' is not a regular expression: missing \)"),
    ],
)
def test_a_table_that_does_not_say_what_it_means_is_refused(rules, text):
    with pytest.raises(UserError, match=text):
        layerwise.factors(rules, PARAMS)
