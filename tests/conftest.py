"""What all tests share."""

import os
import pathlib

# Before JAX is imported. Eight devices on the CPU; tests say how many they use. Most of
# the time of a test is the compiler's, which needs less than half of it where it does
# not optimise. The programs that tests start have neither: they run as a user's do.
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
)
# What one test has compiled, another need not.
_CACHE = pathlib.Path(__file__).parent.parent / ".pytest_cache" / "compiled"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["MPLBACKEND"] = "agg"
