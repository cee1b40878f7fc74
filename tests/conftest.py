"""What all tests share."""

import os

# Before JAX is imported. Eight devices on the CPU; tests say how many they use. The
# programs that tests start are given an environment without this.
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["MPLBACKEND"] = "agg"
