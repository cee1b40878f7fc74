"""Steps whose loss or gradients are not finite.

Such a step changes no parameter. More than max_skips of them in a row end the run: from
there on steps change nothing at all, not even their own number, until the host looks.
So the host need not wait for the device after each step, and the state that it finds is
still the one before the step that failed.
"""

from flax import struct
import jax
import jax.numpy as jnp


class Skips(struct.PyTreeNode):
    """Steps that changed no parameter.

    Attributes:
        in_a_row: Number of the latest of them without another step between, int32 [].
        total: Number of all of them, int32 [].
    """

    in_a_row: jax.Array
    total: jax.Array

    def after(self, bad: jax.Array, max_skips: int) -> "Skips":
        """Returns the numbers after a step.

        Args:
            bad: Whether the step's loss or gradients are not finite, bool [].
            max_skips: Steps in a row that may be bad.
        """
        in_a_row = jnp.where(bad, self.in_a_row + 1, 0)
        failed = self.failed(max_skips)
        return Skips(
            in_a_row=jnp.where(failed, self.in_a_row, in_a_row),
            total=self.total + (bad & ~failed),
        )

    def failed(self, max_skips: int) -> jax.Array:
        """Whether more steps in a row were bad than may be, bool []."""
        return self.in_a_row > max_skips

    def resumed(self, max_skips: int) -> "Skips":
        """Returns the numbers with which a run goes on whose max_skips may be lower
        than before: those that are too many by now were allowed then."""
        in_a_row = jnp.where(self.failed(max_skips), 0, self.in_a_row)
        return self.replace(in_a_row=in_a_row)


def create() -> Skips:
    """Returns the numbers before the first step."""
    return Skips(jnp.int32(0), jnp.int32(0))


def all_finite(tree: object) -> jax.Array:
    """Whether every number in a tree is finite, bool []."""
    return jnp.all(jnp.array([jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]))
