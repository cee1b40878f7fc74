"""The optimizer: one optax chain.

clip the gradient by its global norm -> a row of OPTIMIZERS -> factors by layer group.

Weight decay and trust ratios apply only to kernels, the parameters whose last name is
"kernel"; biases and normalisation parameters are never decayed and have a trust ratio
of 1. "Coupled" decay is added to the gradient and passes through momentum and moments,
like an L2 term of the loss; "decoupled" decay is added after them (Loshchilov and
Hutter, "Decoupled Weight Decay Regularization", 2019,
https://arxiv.org/abs/1711.05101). Both are multiplied by the learning rate.

optim.name also names a function of your own, as "my_package.optimizers:mine". It is
called like those of OPTIMIZERS: mine(config, schedule) returns an
optax.GradientTransformation. Its updates are added to the parameters, so it multiplies
by the learning rate, schedule(number of updates), and by -1.
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxcnn import names
from jaxcnn.config import OptimConfig
from jaxcnn.errors import require
from jaxcnn.optim import layerwise, schedules
from jaxcnn.optim.plan import Plan


def kernels(params: Any) -> Any:
    """Returns a tree like params: True for parameters whose last name is "kernel"."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: jax.tree_util.keystr(path[-1:], simple=True) == "kernel", params
    )


def coupled_decay(config: OptimConfig) -> optax.GradientTransformation:
    """Adds the decay to the gradient, like weight_decay in PyTorch's optimizers."""
    return optax.add_decayed_weights(config.weight_decay, mask=kernels)


def sgd(config: OptimConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Polyak's heavy ball, 1964; coupled decay. The rate multiplies the velocity."""
    return optax.chain(coupled_decay(config), optax.sgd(schedule, config.momentum))


def nesterov(
    config: OptimConfig, schedule: optax.Schedule
) -> optax.GradientTransformation:
    """Nesterov momentum as in Sutskever et al., ICML 2013; coupled decay.

    https://proceedings.mlr.press/v28/sutskever13.html, in PyTorch's form: parameters
    are stored at the look-ahead point, where the gradient is taken.
    """
    return optax.chain(
        coupled_decay(config), optax.sgd(schedule, config.momentum, nesterov=True)
    )


def rmsprop(
    config: OptimConfig, schedule: optax.Schedule
) -> optax.GradientTransformation:
    """RMSProp with momentum: Graves, 2013, sec. 4.2, not centred; coupled decay.

    https://arxiv.org/abs/1308.0850. The velocity includes the rate, as in the paper and
    in TensorFlow; PyTorch multiplies by the rate afterwards, which is the same for a
    constant rate. Epsilon is outside the square root and the accumulator starts at 0,
    as in PyTorch.
    """
    return optax.chain(
        coupled_decay(config),
        optax.rmsprop(
            schedule,
            decay=config.beta2,
            eps=config.epsilon,
            eps_in_sqrt=False,
            initial_scale=0.0,
            momentum=config.momentum,
        ),
    )


def rmsprop_tf(
    config: OptimConfig, schedule: optax.Schedule
) -> optax.GradientTransformation:
    """TensorFlow's RMSProp with momentum; coupled decay.

    Unlike in rmsprop, epsilon is inside the square root and the accumulator starts at
    1. The large epsilons in the papers that used it assume this.
    """
    return optax.chain(
        coupled_decay(config),
        optax.rmsprop(
            schedule,
            decay=config.beta2,
            eps=config.epsilon,
            eps_in_sqrt=True,
            initial_scale=1.0,
            momentum=config.momentum,
        ),
    )


def adam(config: OptimConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Kingma and Ba, ICLR 2015, https://arxiv.org/abs/1412.6980; coupled decay."""
    return optax.chain(
        coupled_decay(config),
        optax.adam(schedule, config.beta1, config.beta2, config.epsilon),
    )


def adamw(
    config: OptimConfig, schedule: optax.Schedule
) -> optax.GradientTransformation:
    """Adam with decoupled decay, https://arxiv.org/abs/1711.05101."""
    return optax.adamw(
        schedule,
        config.beta1,
        config.beta2,
        config.epsilon,
        weight_decay=config.weight_decay,
        mask=kernels,
    )


def lars(config: OptimConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """You, Gitman and Ginsburg, 2017, https://arxiv.org/abs/1708.03888.

    The trust coefficient is 0.001, the ratio includes the decay, and the velocity
    includes the rate. optax takes the norm of gradient plus decay; the paper adds the
    norms of the two.
    """
    return optax.lars(
        schedule,
        config.weight_decay,
        weight_decay_mask=kernels,
        trust_ratio_mask=kernels,
        momentum=config.momentum,
    )


def lamb(config: OptimConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """You et al., ICLR 2020, Algorithm 2, https://arxiv.org/abs/1904.00962.

    phi is the identity, and the trust ratio includes the decoupled decay. optax.lamb
    would use a trust ratio for every parameter, so we build the chain from its links.
    """
    return optax.chain(
        optax.scale_by_adam(config.beta1, config.beta2, config.epsilon),
        optax.add_decayed_weights(config.weight_decay, mask=kernels),
        optax.masked(optax.scale_by_trust_ratio(), kernels),
        optax.scale_by_learning_rate(schedule),
    )


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "sgd": sgd,
    "nesterov": nesterov,
    "rmsprop": rmsprop,
    "rmsprop_tf": rmsprop_tf,
    "adam": adam,
    "adamw": adamw,
    "lars": lars,
    "lamb": lamb,
}

# Fields of OptimConfig that only some of OPTIMIZERS use, and which.
_USED = {
    "momentum": ("sgd", "nesterov", "rmsprop", "rmsprop_tf", "lars"),
    "beta1": ("adam", "adamw", "lamb"),
    "beta2": ("adam", "adamw", "lamb", "rmsprop", "rmsprop_tf"),
    "epsilon": ("adam", "adamw", "lamb", "rmsprop", "rmsprop_tf"),
}


def unused(config: OptimConfig) -> dict[str, str]:
    """The fields that the schedule or the optimizer does not use -> why.

    One of a user's own may use all of them.
    """
    whys = {}
    for field, known, used in (
        ("schedule", schedules.SCHEDULES, schedules.USED),
        ("name", OPTIMIZERS, _USED),
    ):
        chosen = getattr(config, field)
        for name, users in used.items():
            if chosen in known and chosen not in users:
                whys[name] = f"optim.{field} {chosen!r} does not use it"
    return whys


def make_optimizer(
    config: OptimConfig,
    schedule: optax.Schedule,
    plan: Plan,
    step: int = 0,
    warmup_steps: int = 0,
) -> optax.GradientTransformation:
    """Builds the chain that turns gradients into updates.

    Parameters that are unfrozen during the run get their own optimizer, which counts
    updates from that step, so that its moments and its warm-up start afresh.

    Args:
        config: Optimizer settings. Those that the optimizer does not use are ignored.
        schedule: Learning rate of each step, see make_schedule.
        plan: Plan of which parameters are trained from which step, see make_plan.
        step: Number of updates so far. The chain is for plan.trained(step).
        warmup_steps: Number of updates in which the rate of parameters that are
            unfrozen later rises from 0 to the schedule's.

    Raises:
        UserError: A setting is not allowed.
    """
    make = names.resolve(config.name, OPTIMIZERS, "optimizer")
    require(callable(make), "optim.name", config.name, "the name of a function")

    links = []
    if config.clip_norm is not None:
        links.append(optax.clip_by_global_norm(config.clip_norm))
    parts = {
        str(start): make(config, _joined(schedule, start, warmup_steps))
        for start in plan.boundaries
        if start <= step
    }
    for part in parts.values():
        holds = isinstance(part, optax.GradientTransformation)
        rule = "the name of a function that returns an optax.GradientTransformation"
        require(holds, "optim.name", config.name, rule)
    if len(plan.boundaries) == 1:
        links += parts.values()
    else:
        links.append(optax.partition(parts, functools.partial(_labels, plan)))
    if any(factor != 1 for factor in plan.factors.values()):
        links.append(layerwise.scale_by_path(plan.factors))
    return optax.chain(*links)


def _joined(schedule: optax.Schedule, start: int, warmup_steps: int) -> optax.Schedule:
    """The schedule of parameters unfrozen at `start`, by their own update count."""
    if start == 0:
        return schedule
    if warmup_steps == 0:
        return lambda count: schedule(count + start)
    return lambda count: schedule(count + start) * jnp.minimum(count / warmup_steps, 1)


def _labels(plan: Plan, params: Any) -> Any:
    """Returns the label of each parameter for optax.partition."""
    return jax.tree_util.tree_map_with_path(
        lambda keys, _: str(plan.starts[layerwise.path(keys)]), params
    )


def carry_over(old: optax.OptState, new: optax.OptState) -> optax.OptState:
    """Extends an optimizer state after more parameters have been unfrozen.

    Args:
        old: State of the previous chain.
        new: Freshly initialised state of the new chain.

    Returns:
        The new state, with every leaf that the old state has taken from there.
    """
    old_leaves = dict(jax.tree_util.tree_leaves_with_path(old))
    return jax.tree_util.tree_map_with_path(
        lambda keys, leaf: old_leaves.get(keys, leaf), new
    )
