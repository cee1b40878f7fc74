"""How a network computes: the one place where its numbers are cast, and where the
operations of its layers are chosen."""

import dataclasses
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from jaxcnn import errors, ops
from jaxcnn.config import Config
from jaxcnn.ops import backends


@dataclasses.dataclass(frozen=True)
class Precision:
    """How a network's forward and backward pass are computed.

    Attributes:
        compute_dtype: Dtype of parameters and images within the network.
        matmul: Precision of products of float32 numbers, "default" or "highest", as
            jax.default_matmul_precision takes it; None: as JAX is set.
        table: Operations that the network's layers compute with; None: those in force
            where it is traced.
    """

    compute_dtype: Any = jnp.float32
    matmul: str | None = None
    table: ops.Table | None = None

    def apply(
        self,
        model: nn.Module,
        variables: dict[str, Any],
        images: jax.Array,
        **kwargs: Any,
    ) -> Any:
        """model.apply with parameters and images in the compute dtype.

        Running statistics keep their dtype.

        Args:
            model: The network.
            variables: Its "params" and the other collections.
            images: Its input, normalised.
            **kwargs: Arguments of model.apply.
        """
        params = jax.tree.map(
            lambda p: p.astype(self.compute_dtype), variables["params"]
        )
        table = ops.current() if self.table is None else self.table
        with jax.default_matmul_precision(self.matmul), ops.using(table):
            return model.apply(
                {**variables, "params": params},
                images.astype(self.compute_dtype),
                **kwargs,
            )


FLOAT32 = Precision()


def widened(tree: Any) -> Any:
    """Each array in the wider of its own dtype and float32."""
    return jax.tree.map(
        lambda x: x.astype(jnp.promote_types(x.dtype, jnp.float32)), tree
    )


def make_precision(config: Config, num_devices: int = 1) -> Precision:
    """The precision that a config asks for, with its operations.

    Where a table is in force that is not LAX, that one is used. A run keeps its table,
    whatever is in force where its steps are traced later on.

    float32 is float64 under jax_enable_x64, as everything else is then.

    Args:
        config: The run's choices.
        num_devices: Number of devices that share a batch.

    Raises:
        UserError: The dtype or the name of the operations is unknown, or this machine
            does not have these operations.
    """
    dtypes = {
        "float32": jnp.result_type(float),
        "bfloat16": jnp.bfloat16,
        "float16": jnp.float16,
    }
    name = config.compute_dtype
    if name not in dtypes:
        raise errors.unknown("compute_dtype", name, dtypes)
    return Precision(
        compute_dtype=jnp.dtype(dtypes[name]),
        matmul="default" if config.tf32 else "highest",
        table=_table(config.ops, num_devices),
    )


def fastest() -> Precision:
    """float32, or what else the arrays have, by the fastest operations there are."""
    return Precision(table=_table(backends.AUTO))


def _table(name: str, num_devices: int = 1) -> ops.Table:
    chosen = ops.TABLES[backends.choose(name, num_devices)]
    table = ops.current()
    return chosen if table == ops.LAX else table
