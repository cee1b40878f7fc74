"""Makes pilotnet.npz: PilotNet written down in torch.

    python tests/reference/make_pilotnet_reference.py

No library has PilotNet. It stands here a second time, from Figure 4 of Bojarski et al.
2016, as functions of torch; parameters have the names and shapes of ours and are made
from those by filling.py. All is computed in float64. Gradients are those of half the
sum of the squared outputs, of each parameter projected on a random direction.
"""

from pathlib import Path

import filling
import numpy as np
import torch
from torch.nn import functional as F

CONVS = {  # kernel, stride, inputs, filters
    "stem": (5, 2, 3, 24),
    "stage1_block1": (5, 2, 24, 36),
    "stage1_block2": (5, 2, 36, 48),
    "stage2_block1": (3, 1, 48, 64),
    "stage2_block2": (3, 1, 64, 64),
}
DENSE = {
    "stage3_block1/dense": (1152, 100),
    "stage3_block2/dense": (100, 50),
    "stage3_block3/dense": (50, 10),
    "head": (10, 1),
}
SHAPE = (3, 66, 200, 3)


def pilotnet(images: torch.Tensor, values: dict[str, torch.Tensor]) -> torch.Tensor:
    red, green, blue = images.permute(3, 0, 1, 2)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    # https://en.wikipedia.org/wiki/Y'UV, SDTV with BT.470.
    u, v = 0.436 * (blue - luma) / 0.886, 0.615 * (red - luma) / 0.701
    x = torch.stack([2 * luma - 1, 2 * u, 2 * v], dim=1)
    for name, (_, stride, _, _) in CONVS.items():
        kernel = values[f"{name}/conv/kernel"].permute(3, 2, 0, 1)
        x = F.relu(F.conv2d(x, kernel, values[f"{name}/conv/bias"], stride))
    x = x.permute(0, 2, 3, 1).flatten(1)  # rows, columns, channels
    for name in DENSE:
        x = x @ values[f"{name}/kernel"] + values[f"{name}/bias"]
        x = x if name == "head" else F.relu(x)
    return x


def shapes() -> dict[str, tuple[int, ...]]:
    found = {}
    for name, (size, _, inputs, filters) in CONVS.items():
        found[f"{name}/conv/kernel"] = (size, size, inputs, filters)
        found[f"{name}/conv/bias"] = (filters,)
    for name, shape in DENSE.items():
        found[f"{name}/kernel"], found[f"{name}/bias"] = shape, shape[1:]
    return found


if __name__ == "__main__":
    values = {
        name: torch.from_numpy(x).requires_grad_()
        for name, x in filling.tensors(shapes()).items()
    }
    output = pilotnet(torch.from_numpy(filling.images(SHAPE)), values)
    (output.square().sum() / 2).backward()
    directions = filling.directions(shapes())
    slopes = {
        n: float((x.grad.numpy() * directions[n]).sum()) for n, x in values.items()
    }
    print(output.detach().numpy().ravel(), slopes)
    np.savez_compressed(
        Path(__file__).with_name("pilotnet.npz"),
        output=output.detach().numpy(),
        names=np.array(list(slopes)),
        slopes=np.array(list(slopes.values())),
    )
