"""`jaxcnn VERB ...`, or `python -m jaxcnn VERB ...`: runs cli/VERB.py."""

from collections.abc import Sequence
import ctypes
import importlib
import io
import os
import pkgutil
import signal
import sys
import types
import warnings

from absl import flags

import jaxcnn
from jaxcnn import cli
from jaxcnn.errors import EXPLAINED, UNCHANGED, UserError, printable, unknown

USER_MISTAKE = 2
FAILURE = 1
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # of mallopt, malloc.h
_SIGNAL = 128  # exit codes over it are those of signals
INTERRUPTED = _SIGNAL + signal.SIGINT
_MEMORY_ADVICE = (
    "out of memory: a smaller data.batch_size, data.eval_batch_size or data.image_size "
    "takes less, as do data.micro_batch_size=auto and remat=True"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a verb and returns its exit code; sys.argv[1:] is the default."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if "" not in sys.path:  # "" is the current directory, for names.py
        sys.path.insert(0, "")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=UNCHANGED)  # names need not be UTF-8
    try:
        return _dispatch(argv)
    except EXPLAINED as error:
        mistake = isinstance(error, UserError)
        return _failed(str(error), USER_MISTAKE if mistake else FAILURE)
    except KeyboardInterrupt:
        return _failed("interrupted.", INTERRUPTED)
    except BrokenPipeError:  # the reader of our output, such as head, has gone
        sys.stderr.close()
        return FAILURE
    except OSError as error:
        file = "" if error.filename is None else f": {error.filename}"
        return _failed(f"{error.strerror or error}{file}.", FAILURE)
    except (RuntimeError, AssertionError, MemoryError) as error:
        why = _platform_mistake()
        if why:
            return _failed(why, USER_MISTAKE)
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            return _failed(f"{_MEMORY_ADVICE} ({str(error)[:300]})", FAILURE)
        raise


def _failed(line: str, code: int) -> int:
    """Prints one line, whatever the text holds; returns the exit code."""
    print(f"jaxcnn: {printable(line)}", file=sys.stderr)
    return code


def _platform_mistake() -> str:
    """Why JAX has no device of JAX_PLATFORMS; empty where it has."""
    platforms = os.environ.get("JAX_PLATFORMS")
    if not platforms or "jax" not in sys.modules:
        return ""
    try:
        sys.modules["jax"].devices()
    except (RuntimeError, AssertionError) as error:
        why = str(error) or "no installed plugin of JAX has this platform"
        return f"JAX_PLATFORMS is {platforms}, which JAX cannot use here: {why}"
    return ""


def _dispatch(argv: list[str]) -> int:
    # A damaged image is one line of ours, without the remarks of its decoder.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    names = [module.name for module in pkgutil.iter_modules(cli.__path__)]
    verbs = [name for name in names if not name.startswith("_")]
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_overview(verbs))
        return 0 if argv else USER_MISTAKE
    name, *rest = argv
    if name == "--version":
        print(f"jaxcnn {jaxcnn.__version__}")
        return 0
    if name not in verbs:
        raise unknown("verb", name, verbs)
    verb = _module(name)
    values = flags.FlagValues()
    try:
        verb.define_flags(values, argv)
        if any(arg in ("-h", "--help", "-help") for arg in rest):
            print(_help(verb, values))
            return 0
        arguments = values(argv)[1:]
    except flags.Error as error:
        raise UserError(" ".join(str(error).split())) from error
    return verb.run(values, arguments)


def _module(verb: str) -> types.ModuleType:
    return importlib.import_module(f"jaxcnn.cli.{verb}")


def _overview(verbs: Sequence[str]) -> str:
    lines = [
        "usage: jaxcnn VERB ...; jaxcnn VERB --help explains its flags, and",
        "       jaxcnn --version prints the version.",
        "",
    ]
    width = max(map(len, verbs))
    for verb in verbs:
        lines.append(f"  {verb:<{width}}  {_module(verb).__doc__.splitlines()[0]}")
    return "\n".join(lines)


def _help(verb: types.ModuleType, values: flags.FlagValues) -> str:
    lines = [verb.__doc__.strip(), "", "Flags:"]
    for name in values:
        flag = values[name]
        default = "" if flag.default is None else f" (default: {flag.default_as_str})"
        lines.append(f"  --{name}: {flag.help}{default}")
    if hasattr(verb, "more_help"):
        lines += ["", verb.more_help()]
    return "\n".join(lines)


def _keep_freed_memory() -> None:
    """Makes glibc keep what is freed for what is allocated next.

    XLA allocates all that a step computes in anew for each step. glibc returns that
    much memory to the system at once, and then each of its pages costs a page fault:
    41,000 in a step of MobileNetV2 on a CPU, a third of its time. Settings of the
    user's own stay as they are.
    """
    own = "GLIBC_TUNABLES" in os.environ or any(
        n.startswith("MALLOC_") for n in os.environ
    )
    if own or not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # malloc.h; musl has no such function
        for option, value in (
            (_ARENA_MAX, 1),
            (_MMAP_MAX, 0),
            (_TRIM_THRESHOLD, 2**31 - 1),
        ):
            mallopt(option, value)


def _keep_short_compilations() -> None:
    """Makes JAX's persistent cache keep every compilation, unless the user says which.

    By default those of less than a second are made again in each process; for a new
    run that is a second of CPU time.
    """
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def run() -> None:
    """Runs a verb and ends the process with its exit code."""
    _keep_freed_memory()
    _keep_short_compilations()
    code = main()
    if code > _SIGNAL:  # all is saved; a thread may hang in a slow read
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    run()
