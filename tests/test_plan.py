"""Which parameters are trained when, and optimizers that are joined on the way."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import models, optim
from jaxcnn.config import OptimConfig
from jaxcnn.errors import UserError

PARAMS = {
    "head": {"kernel": jnp.full((2,), 3.0)},
    "stage1_block1": {"conv": {"kernel": jnp.ones(2), "bias": jnp.ones(2)}},
    "stem": {"kernel": jnp.full((2,), 2.0)},
}
GROUPS = ("stem", "stage1_block1", "head")
PATHS = {
    "stem/kernel",
    "stage1_block1/conv/kernel",
    "stage1_block1/conv/bias",
    "head/kernel",
}


def plan(**choices):
    """Of a run of 40 steps, ten of them an epoch."""
    return optim.make_plan(OptimConfig(**choices), PARAMS, GROUPS, 40, 10.0)


def test_all_is_trained_from_the_start_unless_something_says_otherwise():
    assert plan().trained(0) == PATHS
    assert plan().boundaries == (0,)
    assert set(plan().factors.values()) == {1.0}


def test_freezing_and_a_factor_of_0_are_the_same():
    frozen = plan(freeze=("stem", ".*/bias"))
    assert frozen.trained(39) == {"stage1_block1/conv/kernel", "head/kernel"}
    factor = plan(lr_factors=(("stem", 0.0), (".*/bias", 0.0), (".*", 1.0)))
    assert factor.starts == frozen.starts


def test_unfreezing_counts_epochs():
    found = plan(unfreeze=(("head", 0), ("stage1_.*", 1.5), ("stem", 3)))
    assert found.boundaries == (0, 15, 30)
    assert found.trained(0) == found.trained(14) == {"head/kernel"}
    assert found.trained(15) == PATHS - {"stem/kernel"}
    assert found.trained(30) == PATHS
    assert found.never == ()


def test_groups_that_no_plan_trains_are_named():
    assert plan(unfreeze=(("head", 0),)).never == ("stem", "stage1_block1")
    # The run has four epochs, so that the fifth never comes.
    late = plan(unfreeze=(("head", 0), ("stage1_.*", 4)), freeze=("stem",))
    assert late.never == ("stage1_block1",)  # freezing the stem was said


def test_rates_decay_towards_the_input():
    assert plan(lr_decay=0.1).factors == pytest.approx(
        {
            "stem/kernel": 0.01,
            "stage1_block1/conv/kernel": 0.1,
            "stage1_block1/conv/bias": 0.1,
            "head/kernel": 1.0,
        }
    )


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "mobilenet_v2", "hmax"])
def test_decay_by_stage_gives_the_head_1_and_the_stem_the_least(name):
    model = models.create_model(name, 10)
    shape = (224, 224, models.MODELS[name].channels)
    params = models.abstract_variables(model, shape)["params"]
    groups = models.sort_groups(params)
    config = OptimConfig(lr_decay=0.5)
    factors = optim.make_plan(config, params, groups, 10, 1.0).factors
    assert {f for path, f in factors.items() if path.startswith("head/")} == {1.0}
    stages = len({group.partition("_")[0] for group in groups if "aux" not in group})
    assert min(factors.values()) == 0.5 ** (stages - 1)


@pytest.mark.parametrize(
    ("choices", "text"),
    [
        ({"freeze": (".*",)}, "Every parameter is frozen at the first step"),
        ({"lr_factors": ((".*", 0.0),)}, "Every parameter is frozen"),
        ({"unfreeze": (("head", 1),)}, "Every parameter is frozen at the first step"),
        ({"freeze": ("stage2_.*",)}, "Pattern 'stage2_.*' matches no layer group"),
        ({"unfreeze": (("haed", 0),)}, "Pattern 'haed' matches no .* nearest: head"),
        ({"lr_factors": ((".*", -0.5),)}, "factor of '.*' must be 0 or more, not -0.5"),
        ({"lr_decay_per": "layer"}, "lr_decay_per must be stage or block, not 'layer'"),
        (
            {"lr_decay": 0.5, "lr_factors": ((".*", 0.5),)},
            "optim.lr_decay=0.5 and optim.lr_factors both set",
        ),
    ],
)
def test_a_plan_that_cannot_be_meant_is_refused(choices, text):
    with pytest.raises(UserError, match=text):
        plan(**choices)


def update(config, joined, schedule, step, state, params, warmup_steps=0):
    tx = optim.make_optimizer(config, schedule, joined, step, warmup_steps)
    grads = jax.tree.map(jnp.ones_like, params)
    return tx.update(grads, state, params)


def subtree(*groups):
    return {group: PARAMS[group] for group in groups}


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_what_joins_later_has_a_young_optimizer_and_the_rest_goes_on(name):
    # The reference is two optimizers that know nothing of each other.
    config = OptimConfig(
        name=name, weight_decay=0.1, unfreeze=(("head", 0), (".*", 0.2))
    )
    joined = optim.make_plan(config, PARAMS, GROUPS, 40, 10.0)
    assert joined.boundaries == (0, 2)
    schedule = optax.linear_schedule(0.1, 0.0, 40)
    alone = optim.OPTIMIZERS[name](config, schedule)
    late = optim.OPTIMIZERS[name](
        config, lambda count: schedule(count + 2) * min(count / 4, 1)
    )
    old, new = subtree("head"), subtree("stem", "stage1_block1")
    states = alone.init(old), late.init(new)
    state = optim.make_optimizer(config, schedule, joined, 0).init(old)
    for step in range(6):
        params = old if step < 2 else PARAMS
        if step == 2:
            fresh = optim.make_optimizer(config, schedule, joined, 2).init(PARAMS)
            state = optim.carry_over(state, fresh)
        found, state = update(config, joined, schedule, step, state, params, 4)
        ones = jax.tree.map(jnp.ones_like, PARAMS)
        expected, first = alone.update({"head": ones["head"]}, states[0], old)
        if step >= 2:
            grads = {group: ones[group] for group in new}
            more, second = late.update(grads, states[1], new)
            expected, states = expected | more, (first, second)
        else:
            states = (first, states[1])
        jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_the_gradient_of_all_parts_is_clipped_as_one():
    config = OptimConfig(
        name="sgd", momentum=0.0, clip_norm=1.0, unfreeze=(("head", 0), (".*", 0.1))
    )
    joined = optim.make_plan(config, PARAMS, GROUPS, 40, 10.0)
    schedule = optax.constant_schedule(1.0)
    state = optim.make_optimizer(config, schedule, joined, 1).init(PARAMS)
    found, _ = update(config, joined, schedule, 1, state, PARAMS)
    assert float(optax.tree.norm(found)) == pytest.approx(1.0)
    np.testing.assert_allclose(found["stem"]["kernel"], -1 / np.sqrt(8))
