"""Makes upsampling.npz, with torch 2.13.

    DIR/bin/python tests/reference/make_upsampling_reference.py

where DIR is an environment with it. For each case of upsampling_cases.py: the result,
and the gradients of the sum of the result times other numbers, in float64. Arrays are
[B, H, W, C] and kernels [kh, kw, C/groups, filters].
"""

import contextlib
from pathlib import Path

with contextlib.suppress(ImportError):
    import outside  # noqa: F401  a helper that lets torch import
import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode
from upsampling_cases import POOLED, RESIZED, ROUNDED, TRANSPOSED, numbers


def theirs(x):
    return torch.tensor(x.transpose(0, 3, 1, 2).copy(), requires_grad=True)


def ours(x):
    return x.detach().numpy().transpose(0, 2, 3, 1).copy()


def pulled_back(y):
    y.backward(
        torch.tensor(numbers(ours(y).shape, 9).transpose(0, 3, 1, 2).copy()).to(y)
    )


def main():
    arrays = {}
    for name, (shape, filters, kernel, fields) in TRANSPOSED.items():
        groups, inputs = fields.get("groups", 1), shape[-1]
        layer = torch.nn.ConvTranspose2d(inputs, filters, kernel, **fields).double()
        weight = numbers((*kernel, inputs // groups, filters), 1)
        parts = weight.reshape(*kernel, inputs // groups, groups, filters // groups)
        parts = parts.transpose(3, 2, 4, 0, 1).reshape(layer.weight.shape)
        layer.weight.data[:] = torch.tensor(parts)
        layer.bias.data[:] = torch.tensor(numbers((filters,), 2))
        x = theirs(numbers((2, *shape), 0))
        with FlopCounterMode(display=False) as counter:
            y = layer(x)
        arrays[f"transposed/{name}/macs"] = counter.get_total_flops() // 2 // len(x)
        pulled_back(y)
        gradient = layer.weight.grad.numpy()
        gradient = gradient.reshape(groups, -1, *gradient.shape[1:])
        gradient = gradient.transpose(3, 4, 1, 0, 2).reshape(weight.shape)
        arrays[f"transposed/{name}/y"] = ours(y)
        arrays[f"transposed/{name}/dx"] = ours(x.grad)
        arrays[f"transposed/{name}/dkernel"] = gradient
        arrays[f"transposed/{name}/dbias"] = layer.bias.grad.numpy()
    for i, (size, new_size, method, corners) in enumerate(RESIZED):
        x = theirs(numbers((1, *size, 2), 0))
        align = {"align_corners": corners} if method == "bilinear" else {}
        y = F.interpolate(x, new_size, mode=method, **align)
        pulled_back(y)
        arrays[f"resized/{i}/y"], arrays[f"resized/{i}/dx"] = ours(y), ours(x.grad)
    for i, (size, new_size) in enumerate(ROUNDED):
        x = theirs(numbers((1, *size, 2), 0).astype(np.float32))
        arrays[f"rounded/{i}/y"] = ours(F.interpolate(x, new_size, mode="nearest"))
    for i, (size, window, stride, padding, ceil_mode) in enumerate(POOLED):
        x = theirs(numbers((2, *size, 3), 0))
        y, places = F.max_pool2d(
            x, window, stride, padding, ceil_mode=ceil_mode, return_indices=True
        )
        pulled_back(y)
        arrays[f"pooled/{i}/y"], arrays[f"pooled/{i}/dx"] = ours(y), ours(x.grad)
        arrays[f"pooled/{i}/places"] = ours(places)
        x = theirs(numbers(ours(y).shape, 3))
        y = F.max_unpool2d(x, places, window, stride, padding, output_size=size)
        pulled_back(y)
        arrays[f"unpooled/{i}/y"], arrays[f"unpooled/{i}/dx"] = ours(y), ours(x.grad)
    np.savez_compressed(Path(__file__).with_name("upsampling.npz"), **arrays)


if __name__ == "__main__":
    main()
