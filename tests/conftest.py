"""What all tests share. All of it is set before JAX is first used."""

import os
import pathlib
import signal

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["MPLBACKEND"] = "agg"
# What one test has compiled, another need not.
_CACHE = pathlib.Path(__file__).parent.parent / ".pytest_cache" / "compiled"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
# A job in the background or under nohup ignores signals, and so would what it starts.
for _number in signal.SIGHUP, signal.SIGINT:
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)


def pytest_configure(config):
    """Sets the flags of XLA; a test that starts a program gives it others.

    Eight devices on the CPU; tests say how many they use. Most of the time of a test is
    the compiler's, which needs less than half of it where it does not optimise; not so
    that of the heavy tests.
    """
    flags = ["--xla_force_host_platform_device_count=8"]
    if config.option.markexpr in ("not slow", "slow and not heavy"):
        flags.append("--xla_backend_optimization_level=0")
    os.environ["XLA_FLAGS"] = " ".join(flags)
