"""What XLA is told when it compiles the steps of a run.

Options of the single compilation, so that no environment variable is needed.
"""

Options = dict[str, bool | int | str]


def options(platform: str, *, remat: bool, deterministic: bool) -> Options:
    """The options for a platform: "cpu", "gpu" or "tpu".

    Args:
        platform: Of the devices.
        remat: Whether blocks are computed again in the backward pass. On the CPU a
            pass of XLA would take away the barriers in front of that, and find that
            the same has been computed before: nothing would be saved.
        deterministic: Whether the same step must give the same bits. On a GPU this
            leaves out operations whose order of summation varies, and the trials that
            choose the fastest of several kernels. CPUs and TPUs need nothing for it.
    """
    if platform == "cpu" and remat:
        return {"xla_disable_hlo_passes": "cse_barrier_expander"}
    if platform == "gpu" and deterministic:
        return {"xla_gpu_deterministic_ops": True, "xla_gpu_autotune_level": 0}
    return {}
