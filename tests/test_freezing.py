"""What is frozen stays as it is, and costs nothing."""

import functools

import jax
import numpy as np
import pytest

from jaxcnn import models, optim, tasks
from jaxcnn.config import OptimConfig
from jaxcnn.training import groups
from jaxcnn.training import state as state_lib
from jaxcnn.training import step as step_lib
from tests.test_step import MEAN, STD, batch_of
from tests.tiny import Tiny, augmentation_of

SHAPE = (16, 16, 1)


def setup(model, shape=SHAPE, **choices):
    """(step, first state) with the parameters that are frozen from the start."""
    config = OptimConfig(weight_decay=0.1, **choices)
    init = functools.partial(state_lib.init_variables, model, image_shape=shape)
    shapes = jax.eval_shape(init, jax.random.key(0))["params"]
    groups = models.sort_groups(shapes)
    plan = optim.make_plan(config, shapes, groups, 50, 10.0)
    tx = optim.make_optimizer(config, lambda step: 0.05, plan)
    trained = plan.trained(0)

    def create():
        return state_lib.create_state(init(jax.random.key(0)), tx, trained)

    step = functools.partial(
        step_lib.train_step,
        model=model,
        tx=tx,
        task=tasks.Classification(tuple("0123456789")),
        augment=augmentation_of(MEAN * shape[2], STD * shape[2]),
        trained=trained,
    )
    return step, create


@pytest.mark.parametrize("name", ["nesterov", "adamw"])
def test_what_is_frozen_keeps_its_bits_for_fifty_steps(name):
    step, create = setup(Tiny(10, dropout=0.5), name=name, freeze=("stem",))
    first = now = jax.jit(create)()
    step = jax.jit(step)
    for seed in range(50):
        now, _ = step(now, batch_of(8, SHAPE, seed=seed), jax.random.key(1))
    for before, after in ((first.params, now.params), (first.batch_stats,) * 2):
        jax.tree.map(np.testing.assert_array_equal, before["stem"], after["stem"])
    jax.tree.map(
        np.testing.assert_array_equal,
        first.batch_stats["stem"],
        now.batch_stats["stem"],
    )
    for tree in (now.params, now.batch_stats):
        before = first.params if tree is now.params else first.batch_stats
        moved = jax.tree.map(
            lambda a, b: bool((a != b).any()),
            tree["stage1_block1"],
            before["stage1_block1"],
        )
        assert all(jax.tree.leaves(moved))


def test_the_optimizer_remembers_nothing_of_what_is_frozen():
    _, create = setup(Tiny(10), freeze=("stem",))
    paths = jax.tree_util.tree_leaves_with_path(jax.eval_shape(create).opt_state)
    names = [jax.tree_util.keystr(path) for path, _ in paths]
    assert any("head" in name for name in names)
    assert not any("stem" in name for name in names)


@pytest.mark.slow
def test_a_frozen_group_behaves_as_in_evaluation():
    # With all but the head frozen nothing random is left: two keys, one loss.
    step, create = setup(Tiny(10, dropout=0.5), freeze=("stem", "stage1_.*"))
    step, create = jax.jit(step), jax.jit(create)
    batch = batch_of(8, SHAPE)
    _, one = step(create(), batch, jax.random.key(1))
    _, two = step(create(), batch, jax.random.key(2))
    assert one["loss"] == two["loss"]
    # And the loss is that of the network in evaluation.
    model, variables = Tiny(10), create().variables
    images = (batch["image"] / 255 - MEAN[0]) / STD[0]
    logits = model.apply(variables, images.astype(np.float32), train=False)
    log_p = jax.nn.log_softmax(logits)[np.arange(8), batch["label"]]
    np.testing.assert_allclose(one["loss"], -log_p.mean(), rtol=1e-5)


def test_a_part_of_a_group_may_be_frozen():
    step, create = setup(Tiny(10), freeze=(".*/kernel",))
    first = jax.jit(create)()
    after, _ = jax.jit(step)(first, batch_of(8, SHAPE), jax.random.key(1))
    same = jax.tree.map(lambda a, b: bool((a == b).all()), first.params, after.params)
    assert same["stem"]["conv1"]["conv"]["kernel"]
    assert not same["stem"]["conv1"]["norm"]["bias"]
    # Its scale and bias are trained, so its statistics are those of batches.
    moved = jax.tree.map(
        lambda a, b: bool((a != b).any()), first.batch_stats, after.batch_stats
    )
    assert all(jax.tree.leaves(moved["stem"]))


@pytest.mark.parametrize(
    "choices",
    [
        {"freeze": (".*/norm/.*",)},
        {"lr_factors": ((".*/norm/.*", 0.0), (".*", 1.0))},
        {"unfreeze": ((".*/kernel", 0.0), (".*", 9.0))},  # epochs
    ],
)
def test_a_normalisation_of_which_all_is_frozen_keeps_its_statistics(choices):
    step, create = setup(Tiny(10, dropout=0.5), **choices)
    first = jax.jit(create)()
    # Statistics that no batch has, to tell which are used.
    stats = jax.tree.map(lambda x: x - 0.25, first.batch_stats)
    first = first.replace(batch_stats=stats)
    step = jax.jit(step)
    after, one = step(first, batch_of(8, SHAPE), jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, stats, after.batch_stats)
    # The group is trained: its dropout is on.
    _, two = step(first, batch_of(8, SHAPE), jax.random.key(2))
    assert one["loss"] != two["loss"]


def test_a_normalisation_of_which_a_part_is_frozen_is_trained():
    step, create = setup(Tiny(10), freeze=("stem/.*/norm/scale", "stage1.*/norm/.*"))
    first = jax.jit(create)()
    after, _ = jax.jit(step)(first, batch_of(8, SHAPE), jax.random.key(1))
    moved = jax.tree.map(
        lambda a, b: bool((a != b).any()), first.batch_stats, after.batch_stats
    )
    assert jax.tree.leaves(moved["stem"]) == [True, True]
    assert jax.tree.leaves(moved["stage1_block1"]) == [False, False]


def test_the_table_of_a_run_says_which_statistics_are_used():
    init = functools.partial(state_lib.init_variables, Tiny(10), image_shape=SHAPE)
    variables = jax.eval_shape(init, jax.random.key(0))
    names = models.sort_groups(variables["params"])

    def modes(*freeze):
        config = OptimConfig(freeze=freeze)
        plan = optim.make_plan(config, variables["params"], names, 50, 10.0)
        rows = groups.group_rows(config, plan, variables, names, 10.0)
        return [row.batch_norm for row in rows]

    assert modes() == ["batch", "batch", "none"]
    assert modes("stem") == ["running", "batch", "none"]
    assert modes(".*/norm/.*") == ["running", "running", "none"]
    assert modes("stem/.*/norm/scale") == ["batch", "batch", "none"]


def costs(freeze):
    """(FLOPs, bytes beyond arguments and results) of a step of a ResNet."""
    model = models.create_model("resnet20_cifar", 10)
    step, create = setup(model, (16, 16, 3), freeze=freeze)
    lowered = jax.jit(step).lower(
        jax.eval_shape(create), batch_of(8, (16, 16, 3)), jax.random.key(1)
    )
    compiled = lowered.compile()
    analysis = compiled.cost_analysis()
    return analysis["flops"], compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.slow
def test_what_is_frozen_costs_no_gradient():
    flops, memory = costs(())
    head_flops, head_memory = costs(("stem", "stage.*"))
    # Forward, and two products as large backward: a third is left.
    assert head_flops < 0.4 * flops
    assert head_memory < 0.5 * memory
    half_flops, _ = costs(("stem", "stage1_.*", "stage2_.*"))
    assert head_flops < half_flops < 0.8 * flops
