"""Makes optimizers.npz: ten updates of PyTorch's optimizers with fixed gradients.

    DIR/bin/python tests/reference/make_optimizer_reference.py

where DIR is an environment with torch 2.13, and timm 1.0.31 for RMSpropTF. Two kernels,
which decay, and two biases, which do not; the rate falls in a straight line, but for
RMSprop it is constant.
"""

import contextlib
from pathlib import Path

with contextlib.suppress(ImportError):
    import outside  # noqa: F401  a helper that lets timm import without CUDA
import numpy as np
from timm.optim import RMSpropTF
import torch

NUM_STEPS, LR, DECAY = 10, 0.05, 0.1
SHAPES = {
    "stem/kernel": (3, 4),
    "stem/bias": (4,),
    "head/kernel": (4, 2),
    "head/bias": (2,),
}
OPTIMIZERS = {
    "sgd": (torch.optim.SGD, {"momentum": 0.9}),
    "nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "rmsprop": (torch.optim.RMSprop, {"momentum": 0.9, "alpha": 0.95, "eps": 1e-3}),
    "rmsprop_tf": (RMSpropTF, {"momentum": 0.9, "alpha": 0.95, "eps": 0.3}),
    "adam": (torch.optim.Adam, {"betas": (0.8, 0.95), "eps": 1e-3}),
    "adamw": (torch.optim.AdamW, {"betas": (0.8, 0.95), "eps": 1e-3}),
}


def main() -> None:
    generator = np.random.default_rng(0)
    start = {name: generator.normal(size=shape) for name, shape in SHAPES.items()}
    grads = {
        name: generator.normal(size=(NUM_STEPS, *shape))
        for name, shape in SHAPES.items()
    }
    arrays = {f"params/{name}": value for name, value in start.items()}
    arrays |= {f"grads/{name}": value for name, value in grads.items()}
    for optimizer_name, (optimizer_class, options) in OPTIMIZERS.items():
        params = {
            name: torch.nn.Parameter(torch.tensor(value))
            for name, value in start.items()
        }
        groups = [
            {
                "params": [p for name, p in params.items() if name.endswith(suffix)],
                "weight_decay": decay,
            }
            for suffix, decay in (("kernel", DECAY), ("bias", 0.0))
        ]
        optimizer = optimizer_class(groups, lr=LR, **options)
        for step in range(NUM_STEPS):
            for group in optimizer.param_groups:
                falls = optimizer_name != "rmsprop"
                group["lr"] = LR * (1 - falls * step / NUM_STEPS)
            for name, param in params.items():
                param.grad = torch.tensor(grads[name][step])
            optimizer.step()
            for name, param in params.items():
                key = f"{optimizer_name}/{name}"
                arrays.setdefault(key, []).append(param.detach().numpy().copy())
    np.savez_compressed(Path(__file__).with_name("optimizers.npz"), **arrays)


if __name__ == "__main__":
    main()
