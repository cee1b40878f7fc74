"""Prints how far eight devices are from one after ten updates, in float32 and float64.

    python -m tests.device_distances

That float64 agrees, test_parallel.py proves; float32 shows what rounding makes of it.
"""

from tests import conftest  # noqa: F401, I001  before JAX: eight devices on the CPU

import jax

from tests import test_parallel

if __name__ == "__main__":
    test_parallel.parallel._MIN_SHARDED = 8
    for name in test_parallel.NETWORKS:
        for layout, dropout in ("jit", 0.2), ("fsdp", 0.2), ("pmap", 0.0):
            print(f"{name}, {layout}, 8 devices against 1:", end="", flush=True)
            for dtype in "float32", "float64":
                with jax.enable_x64(dtype == "float64"):
                    one, eight = (
                        test_parallel.train(*where, dropout, name, num_steps=10)[1]
                        for where in (("jit", 1), (layout, 8))
                    )
                distance = test_parallel.distance(one, eight)
                print(f" {dtype} {distance:.1e}", end="", flush=True)
            print()
