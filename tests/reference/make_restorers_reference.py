"""Makes restorers.npz, with torch 2.13.0 on a CPU.

    python tests/reference/make_restorers_reference.py

What networks from images to images give, restated in torch, with the parameters and
images of filling.py: float64, in evaluation and, of those with BatchNorm, in training.

DnCNN is written after KAIR, https://github.com/cszn/KAIR, models/network_dncnn.py and
models/basicblock.py, with its names of tensors; the autoencoders have names of ours.
"""

from collections.abc import Callable
from pathlib import Path
import re

import filling
import numpy as np
import torch
from torch import nn


class DnCNN(nn.Module):
    """in_nc=out_nc, act_mode="BR": a bias in every convolution, epsilon 1e-4."""

    def __init__(self, channels: int, depth: int, filters: int = 64) -> None:
        super().__init__()
        layers = [nn.Conv2d(channels, filters, 3, 1, 1), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [
                nn.Conv2d(filters, filters, 3, 1, 1),
                nn.BatchNorm2d(filters, momentum=0.9, eps=1e-4),
                nn.ReLU(),
            ]
        layers.append(nn.Conv2d(filters, channels, 3, 1, 1))
        self.model = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - self.model(x)


class Autoencoder(nn.Module):
    """Hidden layers with a sigmoid each, on pixels in the order [H, W, C]."""

    def __init__(self, inputs: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        widths = [inputs, *hidden, *hidden[-2::-1], inputs]
        self.layers = nn.ModuleList(
            nn.Linear(a, b) for a, b in zip(widths, widths[1:], strict=False)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.permute(0, 2, 3, 1)
        shape, y = y.shape, y.reshape(len(x), -1)
        for layer in self.layers:
            y = torch.sigmoid(layer(y))
        return y.reshape(shape).permute(0, 3, 1, 2)


class ConvAutoencoder(nn.Module):
    """Convolution, BatchNorm, ReLU in stages with max-pool, and back."""

    def __init__(self, channels: int, stages: tuple[tuple[int, int], ...]) -> None:
        super().__init__()

        def stage(inputs: int, depth: int, filters: int) -> nn.Sequential:
            layers = []
            for _ in range(depth):
                layers += [
                    nn.Conv2d(inputs, filters, 3, padding=1),
                    nn.BatchNorm2d(filters),
                    nn.ReLU(),
                ]
                inputs = filters
            return nn.Sequential(*layers)

        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        width = channels
        for part, rows in ((self.encoder, stages), (self.decoder, stages[::-1])):
            for depth, filters in rows:
                part.append(stage(width, depth, filters))
                width = filters
        self.head = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for stage in self.encoder:
            x = nn.functional.max_pool2d(stage(x), 2)
        for stage in self.decoder:
            x = stage(nn.functional.interpolate(x, scale_factor=2, mode="nearest"))
        return torch.sigmoid(self.head(x))


# Name -> (the network, shape of the images [B, H, W, C]).
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "dncnn_s": (lambda: DnCNN(1, 17), (2, 12, 9, 1)),
    "dncnn_b": (lambda: DnCNN(1, 20), (2, 9, 12, 1)),
    "cdncnn_b": (lambda: DnCNN(3, 20), (2, 9, 12, 3)),
    "autoencoder": (lambda: Autoencoder(6 * 5 * 3, (8, 7, 4)), (2, 6, 5, 3)),
    "conv_autoencoder": (
        lambda: ConvAutoencoder(3, ((1, 4), (2, 6))),
        (2, 8, 12, 3),
    ),
}


def main() -> None:
    arrays = {}
    for name, (build, shape) in NETWORKS.items():
        network = build().double().eval()
        state = {
            key: tuple(tensor.shape)
            for key, tensor in network.state_dict().items()
            if not key.endswith("num_batches_tracked")
        }
        tensors = filling.tensors(state)
        network.load_state_dict(
            {key: torch.from_numpy(x) for key, x in tensors.items()}, strict=False
        )
        images = torch.from_numpy(filling.images(shape).transpose(0, 3, 1, 2).copy())
        with torch.no_grad():
            arrays[f"{name}/output"] = network(images).numpy().transpose(0, 2, 3, 1)
            if any(re.search("running_mean", key) for key in state):
                output = network.train()(images)
                arrays[f"{name}/train"] = output.numpy().transpose(0, 2, 3, 1)
        arrays[f"{name}/names"] = np.array(list(state))
        arrays[f"{name}/shapes"] = np.array(
            [" ".join(map(str, x)) for x in state.values()]
        )
        print(name, np.std(arrays[f"{name}/output"]))
    np.savez_compressed(Path(__file__).with_name("restorers.npz"), **arrays)


if __name__ == "__main__":
    main()
