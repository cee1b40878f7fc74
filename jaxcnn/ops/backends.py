"""The tables of operations by name, and which of them a run computes with."""

import dataclasses

import jax

from jaxcnn.errors import UserError, unknown
from jaxcnn.ops import kernels, native, portable, portable_conv, portable_resize
from jaxcnn.ops.table import LAX, Table

AUTO = "auto"

PORTABLE = Table(
    conv=portable_conv.conv,
    conv_transpose=portable_conv.conv_transpose,
    max_pool=portable.max_pool,
    max_pool_switches=portable.max_pool_switches,
    max_unpool=portable.max_unpool,
    avg_pool=portable.avg_pool,
    batch_norm_train=portable.batch_norm_train,
    resize=portable_resize.resize,
)

NATIVE = Table(
    conv=native.conv,
    conv_transpose=native.conv_transpose,
    max_pool=native.max_pool,
    max_pool_switches=native.max_pool_switches,
    max_unpool=native.max_unpool,
    avg_pool=portable.avg_pool,
    batch_norm_train=native.batch_norm_train,
    resize=portable_resize.resize,
)

TABLES = {"lax": LAX, "portable": PORTABLE, "native": NATIVE}


def missing(num_devices: int = 1) -> str:
    """Why the native operations are not to be had here, as a phrase; empty: they are.

    They are compiled where they have not been, see kernels.build.
    """
    platform = jax.default_backend()
    if platform != "cpu":
        return f"they are for CPUs, and JAX computes on a {platform.upper()}"
    if num_devices > 1:
        return f"they are for one device, not {num_devices} that share a batch"
    try:
        kernels.load()
    except kernels.MissingError as error:
        return str(error)
    return ""


def choose(name: str, num_devices: int = 1) -> str:
    """The table that a name stands for here.

    "auto" is "lax" on GPUs and TPUs, and on CPUs "native", or "portable" where that is
    missing.

    Args:
        name: "auto" or a key of TABLES.
        num_devices: Number of devices that share a batch.

    Returns:
        A key of TABLES.

    Raises:
        UserError: It is neither, or "native" where that is missing.
    """
    if name not in (AUTO, *TABLES):
        raise unknown("ops", name, (AUTO, *TABLES))
    if name == AUTO and jax.default_backend() != "cpu":
        return "lax"
    if name not in (AUTO, "native"):
        return name
    why = missing(num_devices)
    if why and name == "native":
        raise UserError(f"ops='native' is not to be had here: {why}.")
    return "portable" if why else "native"


@dataclasses.dataclass(frozen=True)
class Backend:
    """A table of operations on this machine.

    Attributes:
        name: Key of TABLES.
        in_use: Whether "auto" stands for it here.
        missing: Why it is not to be had here; empty: it is.
    """

    name: str
    in_use: bool
    missing: str


def listing() -> list[Backend]:
    """All tables, for a run on one device."""
    chosen, why = choose(AUTO), {"native": missing()}
    return [Backend(name, name == chosen, why.get(name, "")) for name in TABLES]


def kept(name: str, num_devices: int | None) -> str:
    """The table of another run, for one that goes on with its parameters: "auto" where
    this machine does not have it.

    Args:
        name: "auto" or a key of TABLES.
        num_devices: Number of devices that share a batch. None: all.
    """
    if name != "native":
        return name
    number = jax.device_count() if num_devices is None else num_devices
    return AUTO if missing(number) else name


def remark(name: str, num_devices: int = 1) -> str:
    """A line for the log of a run; empty on GPUs and TPUs.

    Args:
        name: A key of TABLES.
        num_devices: Number of devices that share a batch.
    """
    if jax.default_backend() != "cpu":
        return ""
    if name != "portable":
        return f"Operations: {name}."
    why = missing(num_devices)
    hint = f"; native ones are faster, but {why}" if why else ""
    return f"Operations: {name}{hint}."
