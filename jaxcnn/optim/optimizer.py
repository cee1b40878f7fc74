"""The optimizer: one optax chain.

clip the gradient by its global norm -> a row of OPTIMIZERS -> factors by layer group.

Weight decay and trust ratios are for kernels only, the parameters whose last name is
"kernel": biases, norms and the like are never decayed, and have a trust ratio of 1.
"Coupled" decay is added to the gradient, and goes through momentum and moments as the
L2 term of the loss would; "decoupled" decay is added after them (Loshchilov and Hutter,
"Decoupled Weight Decay Regularization", 2019, https://arxiv.org/abs/1711.05101). Both
are multiplied by the learning rate.

optim.name also names a function of your own, as "my_package.optimizers:mine". It is
called like those of OPTIMIZERS: mine(config, schedule) returns an
optax.GradientTransformation. Its updates are added to the parameters, so it multiplies
by the learning rate, schedule(number of updates), and by -1.
"""

from collections.abc import Callable
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxcnn import names
from jaxcnn.config import OptimConfig
from jaxcnn.errors import require
from jaxcnn.optim import layerwise
from jaxcnn.optim.plan import Plan


def kernels(params: Any) -> Any:
    """True for each parameter whose last name is "kernel", in the tree of params."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: jax.tree_util.keystr(path[-1:], simple=True) == "kernel", params
    )


def coupled_decay(config: OptimConfig) -> optax.GradientTransformation:
    """Adds the decay to the gradient, as the weight_decay of PyTorch's optimizers."""
    return optax.add_decayed_weights(config.weight_decay, mask=kernels)


def sgd(config: OptimConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Heavy ball of Polyak, 1964; coupled decay. The rate multiplies the velocity."""
    return optax.chain(coupled_decay(config), optax.sgd(schedule, config.momentum))


def nesterov(
    config: OptimConfig, schedule: optax.Schedule
) -> optax.GradientTransformation:
    """Nesterov's momentum as Sutskever et al., ICML 2013, write it; coupled decay.

    https://proceedings.mlr.press/v28/sutskever13.html, in the form of PyTorch, with
    the gradient taken at the point that is looked ahead to.
    """
    return optax.chain(
        coupled_decay(config), optax.sgd(schedule, config.momentum, nesterov=True)
    )


def rmsprop(
    config: OptimConfig, schedule: optax.Schedule
) -> optax.GradientTransformation:
    """RMSProp with momentum: Graves, 2013, sec. 4.2, not centred; coupled decay.

    https://arxiv.org/abs/1308.0850. The rate is inside the velocity, as there and in
    TensorFlow; PyTorch multiplies by it afterwards, which is the same for a constant
    rate. Epsilon is outside the root and the accumulator starts at 0, as in PyTorch.
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

    As rmsprop, but epsilon is inside the root and the accumulator starts at 1, which
    the large epsilons of the papers that trained with it count on.
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

    Trust coefficient 0.001, the decay inside the ratio, the rate inside the velocity.
    optax takes the norm of gradient plus decay; the paper adds the norms of the two.
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

    With phi the identity, and decoupled decay inside the trust ratio. optax.lamb would
    take a trust ratio for every parameter, so its links are put together here.
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


def make_optimizer(
    config: OptimConfig,
    schedule: optax.Schedule,
    plan: Plan,
    step: int = 0,
    warmup_steps: int = 0,
) -> optax.GradientTransformation:
    """The chain that turns gradients into updates, for what is trained at a step.

    Parameters that the plan starts to train later have an optimizer of their own,
    which counts its updates from there: its moments are not those of a run that is old
    already, and it has a warm-up of its own.

    Args:
        config: The choices. Those that the chosen optimizer does not use are ignored.
        schedule: Learning rate of each step, from make_schedule.
        plan: From make_plan.
        step: Updates before; the chain is for the parameters plan.trained(step).
        warmup_steps: In which the rate of what joins later rises from 0 to the
            schedule's.

    Raises:
        UserError: A choice that is not allowed.
    """
    make = names.resolve(config.name, OPTIMIZERS, "optimizer")
    require(callable(make), "optim.name", config.name, "the name of a function")
    for name in ("momentum", "beta1", "beta2"):
        value = getattr(config, name)
        require(0 <= value < 1, f"optim.{name}", value, "in [0, 1)")
    for name in ("weight_decay", "epsilon"):
        value = getattr(config, name)
        require(0 <= value < math.inf, f"optim.{name}", value, "0 or more")

    links = []
    if config.clip_norm is not None:
        holds = 0 < config.clip_norm < math.inf
        require(holds, "optim.clip_norm", config.clip_norm, "a positive number or None")
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
    """The schedule for parameters that join after `start` updates, by their own."""
    if start == 0:
        return schedule
    if warmup_steps == 0:
        return lambda count: schedule(count + start)
    return lambda count: schedule(count + start) * jnp.minimum(count / warmup_steps, 1)


def _labels(plan: Plan, params: Any) -> Any:
    """The name in optax.partition of each parameter's part."""
    return jax.tree_util.tree_map_with_path(
        lambda keys, _: str(plan.starts[layerwise.path(keys)]), params
    )


def carry_over(old: optax.OptState, new: optax.OptState) -> optax.OptState:
    """The optimizer state after more parameters have joined.

    Args:
        old: The state of the chain before.
        new: A fresh state of the chain after.

    Returns:
        new with what old remembers in it.
    """
    known = dict(jax.tree_util.tree_leaves_with_path(old))
    return jax.tree_util.tree_map_with_path(
        lambda keys, leaf: known.get(keys, leaf), new
    )
