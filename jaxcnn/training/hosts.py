"""Several processes, on one host or many, as one run.

Each is started with the same command and reads its share of the batches; the first
writes the log. One that dies takes the others with it: JAX's coordination service, in
the first process, hears from each of them and ends the run where one falls silent.
"""

from collections.abc import Iterator
import contextlib
import sys
import time

import jax

from jaxcnn.errors import EXPLAINED, UserError, require

HEARTBEAT_SECONDS = 30

# That of this process, which is connected at most once, as JAX itself has it.
_heartbeat_seconds = HEARTBEAT_SECONDS


def connect(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    heartbeat_seconds: int = HEARTBEAT_SECONDS,
) -> None:
    """Makes this process one of several; before anything else is done with JAX.

    Without arguments JAX finds them out from Slurm, Open MPI, Kubernetes or Cloud TPU.

    Args:
        coordinator_address: HOST:PORT of the first process.
        num_processes: Number of processes of the run.
        process_id: Number of this one, from 0.
        heartbeat_seconds: A process that gives no sign of life for so long is dead.

    Raises:
        UserError: The arguments are invalid, or JAX cannot detect them.
    """
    require(
        heartbeat_seconds >= 1, "--heartbeat_seconds", heartbeat_seconds, "at least 1"
    )
    given = (coordinator_address, num_processes, process_id)
    if None in given and given != (None, None, None):
        raise UserError(
            "--coordinator_address, --num_processes and --process_id belong together; "
            f"they are {', '.join(map(str, given))}."
        )
    if coordinator_address is not None:
        _, colon, port = coordinator_address.rpartition(":")
        if not (colon and port.isdecimal()):
            raise UserError(
                f"--coordinator_address={coordinator_address} must be HOST:PORT."
            )
        if not 0 <= process_id < num_processes:
            raise UserError(
                f"--process_id={process_id} must be 0 to {num_processes - 1}, under "
                "--num_processes."
            )
    global _heartbeat_seconds
    _heartbeat_seconds = heartbeat_seconds
    try:
        jax.distributed.initialize(
            *given,
            heartbeat_timeout_seconds=heartbeat_seconds,
            shutdown_timeout_seconds=heartbeat_seconds,
        )
    except ValueError as error:  # of what JAX could not find out
        raise UserError(
            "--distributed finds no Slurm, Open MPI, Kubernetes or Cloud TPU "
            f"({error}); give --coordinator_address, --num_processes and --process_id."
        ) from error


def is_first() -> bool:
    """Whether this process writes the files that a run has once, such as the log."""
    return jax.process_index() == 0


@contextlib.contextmanager
def named_failure() -> Iterator[None]:
    """Holds an error back until it is known whether another process has died.

    Where a process is dead, those that wait for its numbers see a broken connection,
    which says nothing of whose it is. The coordination service ends them with its
    number, as soon as it has missed its heartbeats.
    """
    try:
        yield
    except EXPLAINED:
        raise
    except Exception as error:
        if jax.process_count() > 1:
            why = " ".join(str(error).split())
            print(
                f"Process {jax.process_index()} of {jax.process_count()}: {why[:300]} "
                f"If another process has died, it is named within {_heartbeat_seconds} "
                "seconds.",
                file=sys.stderr,
                flush=True,
            )
            time.sleep(_heartbeat_seconds + 10)
        raise
