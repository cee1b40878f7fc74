"""How a step runs on the devices. The only file that knows how many there are."""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
import numpy as np

from jaxcnn import errors

AXIS = "data"


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


def _jit(step: Callable, mesh: Mesh) -> Callable:
    everywhere, split = replicated(mesh), NamedSharding(mesh, PartitionSpec(AXIS))
    return jax.jit(
        step,
        in_shardings=(everywhere, split, everywhere),
        out_shardings=everywhere,
        donate_argnums=0,
    )


def _pmap(step: Callable, mesh: Mesh) -> Callable:
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
        compile: (step, mesh) -> step(state, batch, key), which consumes its state.
        put: (this host's batch, mesh) -> the batch as the compiled step takes it.
        norm_axis: Axis name that BatchNorm averages over; None where its batch is
            global already.
    """

    compile: Callable[[Callable, Mesh], Callable]
    put: Callable[[dict[str, np.ndarray], Mesh], dict[str, jax.Array]]
    norm_axis: str | None


LAYOUTS = {
    "jit": Layout(_jit, put_batch, None),
    "pmap": Layout(_pmap, _put_batch_pmap, AXIS),
}


def layout(name: str) -> Layout:
    """The row of LAYOUTS; UserError for an unknown name."""
    if name not in LAYOUTS:
        raise errors.unknown("parallel", name, LAYOUTS)
    return LAYOUTS[name]


def jit_eval(
    step: Callable[..., Any],
    mesh: Mesh,
    compiler_options: dict[str, Any] | None = None,
) -> Callable[..., Any]:
    """Compiles step(variables, batch), whose result is on every device."""
    everywhere, split = replicated(mesh), NamedSharding(mesh, PartitionSpec(AXIS))
    return jax.jit(
        step,
        in_shardings=(everywhere, split),
        out_shardings=everywhere,
        compiler_options=compiler_options,
    )
