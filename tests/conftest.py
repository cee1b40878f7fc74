"""What all tests share."""

import os

# Before JAX is imported. Eight devices on the CPU; tests say how many they use. Most of
# the time of a test is the compiler's, which needs less than half of it where it does
# not optimise. The programs that tests start have neither: they run as a user's do.
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
)
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["MPLBACKEND"] = "agg"
