"""XLA options for the steps of a run.

They are passed to each compilation, so that no environment variable is needed.
"""

Options = dict[str, bool | int | str]


def options(platform: str, *, remat: bool, deterministic: bool) -> Options:
    """Returns the options for a platform.

    Args:
        platform: Platform of the devices: "cpu", "gpu" or "tpu".
        remat: Whether blocks are recomputed in the backward pass. On a CPU, an XLA pass
            would remove the barriers that separate the recomputation, and common
            subexpression elimination would then undo it, so that pass is disabled.
        deterministic: Whether a step must be reproducible bit for bit. On a GPU this
            disables operations whose order of summation varies, and autotuning. CPUs
            and TPUs need no option.
    """
    if platform == "cpu" and remat:
        return {"xla_disable_hlo_passes": "cse_barrier_expander"}
    if platform == "gpu" and deterministic:
        return {"xla_gpu_deterministic_ops": True, "xla_gpu_autotune_level": 0}
    return {}
