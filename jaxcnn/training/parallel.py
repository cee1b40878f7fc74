"""Compiles steps for the devices. The only file that knows how many there are."""

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
_MIN_SHARDED = 2**14  # elements; smaller arrays are replicated


def data_mesh(num_devices: int | None = None) -> Mesh:
    """Returns a mesh with one axis, "data", over the first num_devices or all devices.

    Raises:
        UserError: There are too few devices, or a run of several processes would not
            use all of them.
    """
    available = jax.device_count()
    num_devices = available if num_devices is None else num_devices
    if not 1 <= num_devices <= available:
        raise errors.UserError(
            f"num_devices is {num_devices}; this machine has 1 to {available}."
        )
    if jax.process_count() > 1 and num_devices != available:
        raise errors.UserError(
            f"num_devices is {num_devices}; a run of several processes must use all "
            f"{available}."
        )
    devices = jax.devices()[:num_devices]
    # The default axis type is Explicit, under which Linen's Dropout fails.
    return jax.make_mesh(
        (num_devices,), (AXIS,), axis_types=(AxisType.Auto,), devices=devices
    )


def check_batch_size(field: str, batch_size: int, mesh: Mesh) -> None:
    """Raises UserError unless a batch can be split evenly over the devices."""
    if batch_size < 1 or batch_size % mesh.size:
        below = batch_size // mesh.size * mesh.size
        nearest = [str(n) for n in (below, below + mesh.size) if n > 0]
        raise errors.UserError(
            f"{field} is {batch_size}, which does not divide over {mesh.size} devices; "
            f"nearest that do: {', '.join(nearest)}."
        )


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding with a full copy of the array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Makes the global batch, split by examples, from each host's share."""
    split = NamedSharding(mesh, PartitionSpec(AXIS))
    return {
        name: jax.make_array_from_process_local_data(split, array)
        for name, array in batch.items()
    }


def _put_batch_pmap(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Makes the global batch like put_batch, with a leading device axis for pmap."""
    local = len(mesh.local_devices)
    return put_batch(
        {name: x.reshape(local, -1, *x.shape[1:]) for name, x in batch.items()}, mesh
    )


def _sharded(shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
    """Shards along the longest axis that the number of devices divides.

    Of equally long axes the last is used. Small arrays, and arrays without such an
    axis, are replicated.
    """
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
    # With axis None the state is the same as under jit, one replicated array per leaf,
    # so that both layouts share state and checkpoints.
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
    """A way to run a step on several devices.

    Attributes:
        compile: Function (step, mesh, shardings of the state) -> compiled step(state,
            batch, key), which consumes its state.
        put: Function (this host's batch, mesh) -> batch for the compiled step.
        sharding: Function (shape of an array in the state, mesh) -> its sharding.
        norm_axis: Axis name over which BatchNorm averages. None: its batch is already
            global.
    """

    compile: Callable[[Callable, Mesh, Any], Callable]
    put: Callable[[dict[str, np.ndarray], Mesh], dict[str, jax.Array]]
    sharding: Callable[[tuple[int, ...], Mesh], NamedSharding]
    norm_axis: str | None

    def shardings(self, tree: Any, mesh: Mesh) -> Any:
        """Returns the sharding of each array in a state or a part of it."""
        return jax.tree.map(lambda x: self.sharding(x.shape, mesh), tree)


LAYOUTS = {
    "jit": Layout(_jit, put_batch, lambda shape, mesh: replicated(mesh), None),
    # Fully sharded, as in Rajbhandari et al., "ZeRO", SC 2020, stage 3,
    # https://arxiv.org/abs/1910.02054: XLA gathers each array when it is needed.
    "fsdp": Layout(_jit, put_batch, _sharded, None),
    "pmap": Layout(_pmap, _put_batch_pmap, lambda shape, mesh: replicated(mesh), AXIS),
}


def layout(name: str) -> Layout:
    """Returns a row of LAYOUTS; raises UserError for an unknown name."""
    if name not in LAYOUTS:
        raise errors.unknown("parallel", name, LAYOUTS)
    return LAYOUTS[name]


def described(tree: Any, shardings: Any) -> Any:
    """Returns a jax.ShapeDtypeStruct with sharding for each array."""
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        tree,
        shardings,
    )


def bytes_per_device(described: Any) -> int:
    """Bytes that one device stores of arrays with shardings."""
    return sum(
        math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
        for x in jax.tree.leaves(described)
    )


def jit_eval(
    step: Callable[..., Any],
    mesh: Mesh,
    compiler_options: dict[str, Any] | None = None,
) -> Callable[..., Any]:
    """Compiles step(variables, batch), whose result is replicated.

    The variables keep their sharding.
    """
    everywhere, split = replicated(mesh), NamedSharding(mesh, PartitionSpec(AXIS))
    return jax.jit(
        step,
        in_shardings=(None, split),
        out_shardings=everywhere,
        compiler_options=compiler_options,
    )
