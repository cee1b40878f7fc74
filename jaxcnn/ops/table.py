"""The table of operations, and the context that chooses one.

The choice is a user context of JAX, so it is part of the key of every compiled
function: what jax.jit has traced under one table is not used under another, nor are
cached bodies of scan, checkpoint and custom gradients. Tables are compared by the
functions in them; a function that is made anew is another table and compiles again.
"""

from collections.abc import Callable
import contextlib
import dataclasses

import jax
import jax.numpy as jnp

from jaxcnn.ops import lax

Pointwise = Callable[[jax.Array], jax.Array]


def relu6(x: jax.Array) -> jax.Array:
    """The smaller of ReLU and 6."""
    return jnp.minimum(current().relu(x), 6)


def hard_sigmoid(x: jax.Array) -> jax.Array:
    """relu6(x + 3) / 6, a sigmoid of three straight pieces.

    Howard et al., ICCV 2019, https://arxiv.org/abs/1905.02244, section 5.2.
    """
    return current().relu6(x + 3) / 6


def hard_swish(x: jax.Array) -> jax.Array:
    """x * hard_sigmoid(x), ibid."""
    return x * current().hard_sigmoid(x)


def add_relu(x: jax.Array, y: jax.Array) -> jax.Array:
    """ReLU of a sum, where a residual branch joins its shortcut; equal shapes."""
    return current().relu(x + y)


@dataclasses.dataclass(frozen=True)
class Table:
    """One function for each operation. `Table(relu=f)` is LAX with another ReLU.

    The function that stands here by default says what arguments an operation takes and
    what it must compute; jaxcnn/ops/lax.py documents shapes and units. Activations take
    an array of any shape and return one of the same shape and dtype.

    Operations that are composed of others look those up in the table in force: another
    relu is also what relu6, hard_sigmoid, hard_swish and add_relu call, unless the
    table has functions of its own for them.
    """

    conv: Callable[..., jax.Array] = lax.conv
    conv_transpose: Callable[..., jax.Array] = lax.conv_transpose
    dense: Callable[..., jax.Array] = lax.dense
    max_pool: Callable[..., jax.Array] = lax.max_pool
    max_pool_switches: Callable[..., tuple[jax.Array, jax.Array]] = (
        lax.max_pool_switches
    )
    max_unpool: Callable[..., jax.Array] = lax.max_unpool
    avg_pool: Callable[..., jax.Array] = lax.avg_pool
    global_avg_pool: Callable[..., jax.Array] = lax.global_avg_pool
    batch_norm: Callable[..., jax.Array] = lax.batch_norm
    batch_norm_train: Callable[..., lax.Normalised] = lax.batch_norm_train
    layer_norm: Callable[..., jax.Array] = lax.layer_norm
    local_response_norm: Callable[..., jax.Array] = lax.local_response_norm
    resize: Callable[..., jax.Array] = lax.resize
    relu: Pointwise = jax.nn.relu
    relu6: Pointwise = relu6
    leaky_relu: Pointwise = jax.nn.leaky_relu  # slope 0.01 below zero
    silu: Pointwise = jax.nn.silu  # x * sigmoid(x), "swish"
    gelu: Pointwise = lax.gelu
    softplus: Pointwise = jax.nn.softplus
    sigmoid: Pointwise = jax.nn.sigmoid
    tanh: Pointwise = jnp.tanh
    hard_sigmoid: Pointwise = hard_sigmoid
    hard_swish: Pointwise = hard_swish
    add_relu: Callable[[jax.Array, jax.Array], jax.Array] = add_relu


LAX = Table()

_in_force = jax.make_user_context(LAX)


def current() -> Table:
    """The table in force in this thread, which is hashable."""
    return _in_force.value


def using(table: Table) -> contextlib.AbstractContextManager[None]:
    """Makes a table the one in force while functions are traced in this thread.

    A thread starts with LAX, and a function that is traced later does not remember the
    table under which it was defined. A step that must keep one has the table as an
    argument and enters `using(table)` itself, around its call of the network.

    Raises:
        TypeError: It is no Table, or holds a function that is not hashable.
    """
    if not isinstance(table, Table):
        raise TypeError(f"ops.using takes a Table, not {table!r}.")
    hash(table)
    return _in_force(table)
