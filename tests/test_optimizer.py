"""Optimizers against PyTorch's and the papers' formulas, in float64."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import models
from jaxcnn.config import OptimConfig
from jaxcnn.errors import UserError
from jaxcnn.optim import OPTIMIZERS, make_optimizer, make_plan
from jaxcnn.optim.optimizer import kernels

# Made by tests/reference/make_optimizer_reference.py with torch 2.13.0, timm 1.0.31.
REFERENCE = dict(np.load(Path(__file__).parent / "reference" / "optimizers.npz"))
NAMES = ("stem/kernel", "stem/bias", "head/kernel", "head/bias")
PARAMS = {name: REFERENCE[f"params/{name}"] for name in NAMES}
GRADS = {name: REFERENCE[f"grads/{name}"] for name in NAMES}
NUM_STEPS, LR, DECAY = 10, 0.05, 0.1
BETAS = {"beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3}


def falling(step):
    """The rate of each step that the references use."""
    return LR - step * (LR / NUM_STEPS)  # int32 / int would be float32


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def tree(arrays):
    """{"stem/kernel": ...} as {"stem": {"kernel": ...}}."""
    nested = {}
    for path, array in arrays.items():
        group, name = path.split("/")
        nested.setdefault(group, {})[name] = jnp.asarray(array)
    return nested


def flat(nested):
    """The inverse of tree."""
    return {f"{g}/{n}": np.asarray(a) for g, p in nested.items() for n, a in p.items()}


def optimizer(config, schedule, params):
    plan = make_plan(config, params, ("stem", "head"), NUM_STEPS, 1.0)
    return make_optimizer(config, schedule, plan)


def trajectory(schedule=falling, **choices):
    """Parameters and updates after each of ten updates with the fixed gradients."""
    params = tree(PARAMS)
    config = OptimConfig(**{"weight_decay": DECAY, **choices})
    tx = optimizer(config, schedule, params)
    update = jax.jit(tx.update)
    state, path, steps = tx.init(params), [], []
    for step in range(NUM_STEPS):
        grads = tree({name: grad[step] for name, grad in GRADS.items()})
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
        path.append(flat(params))
        steps.append(flat(updates))
    return path, steps


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("sgd", {"momentum": 0.9}),
        ("nesterov", {"momentum": 0.9}),
        ("rmsprop", {"momentum": 0.9, "beta2": 0.95, "epsilon": 1e-3}),
        ("rmsprop_tf", {"momentum": 0.9, "beta2": 0.95, "epsilon": 0.3}),
        ("adam", BETAS),
        ("adamw", BETAS),
    ],
)
def test_ten_updates_are_those_of_pytorch(name, choices):
    # RMSprop at a constant rate: PyTorch has the rate outside the velocity.
    schedule = optax.constant_schedule(LR) if name == "rmsprop" else falling
    path, _ = trajectory(schedule, name=name, **choices)
    for parameter in NAMES:
        found = [params[parameter] for params in path]
        np.testing.assert_allclose(found, REFERENCE[f"{name}/{parameter}"], rtol=1e-9)


def test_rmsprop_keeps_the_rate_of_each_step_in_its_velocity():
    # Graves 2013, sec. 4.2, without centring: v = m v - lr g / sqrt(n).
    path, _ = trajectory(name="rmsprop", momentum=0.9, beta2=0.95, epsilon=1e-3)
    for name in NAMES:
        w, mean_square, velocity = PARAMS[name], 0.0, 0.0
        for step, grad in enumerate(GRADS[name]):
            g = grad + (DECAY * w if name.endswith("kernel") else 0.0)
            mean_square = 0.95 * mean_square + 0.05 * g**2
            velocity = 0.9 * velocity + falling(step) * g / (
                np.sqrt(mean_square) + 1e-3
            )
            w = w - velocity
        np.testing.assert_allclose(path[-1][name], w, rtol=1e-9)


def lars(w, grads, decay, adapt):
    """You et al. 2017, Algorithm 1, with |g + decay w| for |g| + decay |w|."""
    velocity = 0.0
    for step, grad in enumerate(grads):
        g = grad + decay * w
        trust = 0.001 * np.linalg.norm(w) / np.linalg.norm(g) if adapt else 1.0
        velocity = 0.9 * velocity + falling(step) * trust * g
        w = w - velocity
        yield w


def lamb(w, grads, decay, adapt):
    """You et al. 2020, Algorithm 2, phi(x) = x."""
    m, v = 0.0, 0.0
    for step, g in enumerate(grads):
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g**2
        m_hat, v_hat = m / (1 - 0.8 ** (step + 1)), v / (1 - 0.95 ** (step + 1))
        r = m_hat / (np.sqrt(v_hat) + 1e-3) + decay * w
        trust = np.linalg.norm(w) / np.linalg.norm(r) if adapt else 1.0
        w = w - falling(step) * trust * r
        yield w


@pytest.mark.parametrize(
    ("formula", "choices"), [(lars, {"momentum": 0.9}), (lamb, BETAS)]
)
@pytest.mark.parametrize("decay", [0.0, DECAY])
def test_ten_updates_are_those_of_the_paper(formula, choices, decay):
    path, _ = trajectory(name=formula.__name__, weight_decay=decay, **choices)
    for name in NAMES:
        kernel = name.endswith("kernel")
        expected = formula(PARAMS[name], GRADS[name], decay * kernel, adapt=kernel)
        found = [params[name] for params in path]
        np.testing.assert_allclose(found, list(expected), rtol=1e-9)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay_leaves_biases_alone(name):
    decayed, plain = (trajectory(name=name, weight_decay=d)[0][-1] for d in (0.5, 0.0))
    for parameter in NAMES:
        same = np.array_equal(decayed[parameter], plain[parameter])
        assert same == parameter.endswith("bias")


def test_weight_decay_is_for_what_has_two_axes_or_more():
    # Goyal et al. 2017, sec. 5.1: none on the parameters of batch normalisation.
    model = models.create_model("resnet18", 10)
    init = functools.partial(model.init, train=False)
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    params = jax.eval_shape(init, jax.random.key(0), images)["params"]
    expected = jax.tree.map(lambda leaf: len(leaf.shape) >= 2, params)
    assert kernels(params) == expected
    assert sum(jax.tree.leaves(expected)) == 21  # 20 convolutions, 1 linear layer


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_factor_multiplies_the_whole_update(name):
    # The same gradients and parameters to both, so that only the factor differs.
    config = OptimConfig(name=name, weight_decay=DECAY, clip_norm=1.0)
    plain = optimizer(config, falling, tree(PARAMS))
    config.lr_factors = (("stem", 0.1), (".*/bias", 0.0), (".*", 1.7))
    scaled = optimizer(config, falling, tree(PARAMS))
    states = [plain.init(tree(PARAMS)), scaled.init(tree(PARAMS))]
    updates = [jax.jit(plain.update), jax.jit(scaled.update)]
    for step in range(NUM_STEPS):
        grads = tree({name: grad[step] for name, grad in GRADS.items()})
        expected, states[0] = updates[0](grads, states[0], tree(PARAMS))
        found, states[1] = updates[1](grads, states[1], tree(PARAMS))
        expected, found = flat(expected), flat(found)
        for parameter, factor in zip(NAMES, (0.1, 0.1, 1.7, 0.0), strict=True):
            assert np.any(expected[parameter])
            np.testing.assert_array_equal(
                found[parameter], factor * expected[parameter]
            )


def test_the_optimizer_remembers_the_same_with_and_without_factors():
    leaves = [
        jax.tree.leaves(optimizer(config, falling, tree(PARAMS)).init(tree(PARAMS)))
        for config in (OptimConfig(), OptimConfig(lr_factors=((".*", 0.5),)))
    ]
    jax.tree.map(np.testing.assert_array_equal, *leaves)


def test_the_gradient_is_clipped_before_everything_else():
    # Pascanu et al. 2013, Algorithm 1: a gradient of norm n > c is scaled by c / n.
    _, steps = trajectory(
        name="sgd",
        momentum=0.0,
        weight_decay=0.0,
        clip_norm=0.5,
        schedule=lambda _: 1.0,
    )
    first = np.concatenate([grad[0].ravel() for grad in GRADS.values()])
    assert np.linalg.norm(first) > 0.5
    for name, grad in GRADS.items():
        expected = -grad[0] * 0.5 / np.linalg.norm(first)
        np.testing.assert_allclose(steps[0][name], expected, rtol=1e-12)


def test_shapes_are_enough_to_make_the_optimizer():
    shapes = jax.eval_shape(lambda: tree(PARAMS))
    optimizer(OptimConfig(lr_factors=((".*", 0.5),)), falling, shapes)


@pytest.mark.parametrize(
    ("choices", "text"),
    [
        ({"name": "adamW"}, "Unknown optimizer 'adamW'; nearest: adam; known: adam, "),
        ({"lr_factors": (("body", 1.0),)}, "Pattern 'body' matches no layer group"),
    ],
)
def test_a_choice_that_is_not_allowed_is_refused(choices, text):
    with pytest.raises(UserError, match=text):
        optimizer(OptimConfig(**choices), falling, tree(PARAMS))


OWN_OPTIMIZERS = """
import optax

def sign(config, schedule):
    return optax.chain(optax.scale_by_sign(), optax.scale_by_learning_rate(schedule))

def nothing(config, schedule):
    pass

FACTOR = 0.5
"""


@pytest.fixture
def _own_optimizers(tmp_path, monkeypatch):
    (tmp_path / "own_optimizers.py").write_text(OWN_OPTIMIZERS)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("_own_optimizers")
def test_an_optimizer_of_ones_own_follows_the_schedule_and_the_factors():
    _, steps = trajectory(
        name="own_optimizers:sign", lr_factors=(("head", 0.5), (".*", 1.0))
    )
    for name in NAMES:
        factor = 0.5 if name.startswith("head") else 1.0
        for step in range(NUM_STEPS):
            expected = -factor * falling(step) * np.sign(GRADS[name][step])
            np.testing.assert_allclose(steps[step][name], expected, rtol=1e-12)


@pytest.mark.usefixtures("_own_optimizers")
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sgn", "has no 'sgn'; nearest: sign"),
        ("FACTOR", "must be the name of a function, not 'own_optimizers:FACTOR'"),
        ("nothing", "a function that returns an optax.GradientTransformation"),
    ],
)
def test_what_is_no_optimizer_is_refused(name, text):
    with pytest.raises(UserError, match=text):
        optimizer(OptimConfig(name=f"own_optimizers:{name}"), falling, tree(PARAMS))
