"""How a step runs on the devices. The only file that knows how many there are."""

from collections.abc import Callable
import dataclasses
import functools
import math
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
import numpy as np

from jaxcnn import errors

AXIS = "data"
_MIN_SHARDED = 2**14  # numbers of an array; of smaller ones each device has a copy


def data_mesh(num_devices: int | None = None) -> Mesh:
    """One axis, "data", over the first num_devices devices, or over all.

    Raises:
        UserError: There are not as many devices.
    """
    available = jax.device_count()
    num_devices = available if num_devices is None else num_devices
    if not 1 <= num_devices <= available:
        raise errors.UserError(
            f"num_devices is {num_devices}; this machine has 1 to {available}."
        )
    if jax.process_count() > 1 and num_devices != available:
        raise errors.UserError(
            f"num_devices is {num_devices}; a run of several processes takes all "
            f"{available}."
        )
    devices = jax.devices()[:num_devices]
    # The default axis type is Explicit, under which Linen's Dropout fails.
    return jax.make_mesh(
        (num_devices,), (AXIS,), axis_types=(AxisType.Auto,), devices=devices
    )


def check_batch_size(field: str, batch_size: int, mesh: Mesh) -> None:
    """Raises UserError where the devices cannot have equal shares of a batch."""
    if batch_size < 1 or batch_size % mesh.size:
        below = batch_size // mesh.size * mesh.size
        nearest = [str(n) for n in (below, below + mesh.size) if n > 0]
        raise errors.UserError(
            f"{field} is {batch_size}, which does not divide over {mesh.size} devices; "
            f"nearest that do: {', '.join(nearest)}."
        )


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This host's share of a batch -> the global batch, its examples split."""
    split = NamedSharding(mesh, PartitionSpec(AXIS))
    return {
        name: jax.make_array_from_process_local_data(split, array)
        for name, array in batch.items()
    }


def _put_batch_pmap(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """As put_batch, with a leading axis of devices, as pmap wants it."""
    local = len(mesh.local_devices)
    return put_batch(
        {name: x.reshape(local, -1, *x.shape[1:]) for name, x in batch.items()}, mesh
    )


def _sharded(shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
    """A part on each device: along the longest axis that they divide, of equals the
    last; small arrays, and those without such an axis, are on every device."""
    axes = [axis for axis, size in enumerate(shape) if size % mesh.size == 0]
    if math.prod(shape) < _MIN_SHARDED or not axes:
        return replicated(mesh)
    longest = max(axes, key=lambda axis: (shape[axis], axis))
    return NamedSharding(mesh, PartitionSpec(*[None] * longest, AXIS))


def _jit(step: Callable, mesh: Mesh, shardings: Any) -> Callable:
    everywhere, split = replicated(mesh), NamedSharding(mesh, PartitionSpec(AXIS))
    return jax.jit(
        step,
        in_shardings=(shardings, split, everywhere),
        out_shardings=(shardings, everywhere),
        donate_argnums=0,
    )


def _pmap(step: Callable, mesh: Mesh, shardings: Any) -> Callable:
    # With None as axis the state goes in and comes out as under jit: one array a
    # leaf, on every device. Both layouts have the same state and checkpoints.
    return jax.pmap(
        functools.partial(step, axis_name=AXIS),
        axis_name=AXIS,
        in_axes=(None, 0, None),
        out_axes=None,
        devices=list(mesh.devices.flat),
        donate_argnums=0,
    )


@dataclasses.dataclass(frozen=True)
class Layout:
    """One way to run a step on many devices.

    Attributes:
        compile: (step, mesh, shardings of the state) -> step(state, batch, key), which
            consumes its state.
        put: (this host's batch, mesh) -> the batch as the compiled step takes it.
        sharding: (shape of an array of the state, mesh) -> where it lies.
        norm_axis: Axis name that BatchNorm averages over; None where its batch is
            global already.
    """

    compile: Callable[[Callable, Mesh, Any], Callable]
    put: Callable[[dict[str, np.ndarray], Mesh], dict[str, jax.Array]]
    sharding: Callable[[tuple[int, ...], Mesh], NamedSharding]
    norm_axis: str | None

    def shardings(self, tree: Any, mesh: Mesh) -> Any:
        """Where each array of a state, or a part of it, lies."""
        return jax.tree.map(lambda x: self.sharding(x.shape, mesh), tree)


LAYOUTS = {
    "jit": Layout(_jit, put_batch, lambda shape, mesh: replicated(mesh), None),
    # Fully sharded, as in Rajbhandari et al., "ZeRO", SC 2020, stage 3,
    # https://arxiv.org/abs/1910.02054: XLA gathers an array where it is used.
    "fsdp": Layout(_jit, put_batch, _sharded, None),
    "pmap": Layout(_pmap, _put_batch_pmap, lambda shape, mesh: replicated(mesh), AXIS),
}


def layout(name: str) -> Layout:
    """The row of LAYOUTS; UserError for an unknown name."""
    if name not in LAYOUTS:
        raise errors.unknown("parallel", name, LAYOUTS)
    return LAYOUTS[name]


def described(tree: Any, shardings: Any) -> Any:
    """jax.ShapeDtypeStruct of each array, with where it lies."""
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        tree,
        shardings,
    )


def bytes_per_device(described: Any) -> int:
    """Of arrays with shardings, what one device holds."""
    return sum(
        math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
        for x in jax.tree.leaves(described)
    )


def jit_eval(
    step: Callable[..., Any],
    mesh: Mesh,
    compiler_options: dict[str, Any] | None = None,
) -> Callable[..., Any]:
    """Compiles step(variables, batch), whose result is on every device.

    The variables lie where they are.
    """
    everywhere, split = replicated(mesh), NamedSharding(mesh, PartitionSpec(AXIS))
    return jax.jit(
        step,
        in_shardings=(None, split),
        out_shardings=everywhere,
        compiler_options=compiler_options,
    )
