"""Makes paper_networks.npz: networks of papers, written down in torch.

    python tests/reference/make_paper_networks_reference.py

No library has FCN on VGG-16, dilated VGG-16 and its context module, SegNet, the U-Net
of 2015 and a CRNN with residual convolutions as their papers describe them. They stand
here a second time, as functions of torch; parameters have the names and shapes of ours
and are made from those by filling.py. All is computed in float64.
"""

from pathlib import Path

import filling
import numpy as np
import torch
from torch.nn import functional as F

CLASSES = 3
UNET = (4, 6, 8, 10, 12)  # filters
VGG = (4, 6, 8, 10, 12)
DEPTHS = (2, 2, 3, 3, 3)
HIDDEN = 14
SIZES = {
    "unet_2015": (20, 36),
    "fcn": (70, 101),
    "dilated": (72, 96),
    "segnet": (37, 50),
    "crnn_resnet": (32, 43),
}
CRNN = (4, 6, 8, 10, 12, 12)  # filters
CRNN_HIDDEN = 5


def get(name: str, *shape: int) -> torch.Tensor:
    return torch.from_numpy(filling.tensors({name: shape})[name])


def conv(
    x: torch.Tensor, name: str, filters: int, size: int, padding: int, dilation: int = 1
):
    kernel = get(f"{name}/kernel", size, size, x.shape[1], filters)
    bias = get(f"{name}/bias", filters)
    kernel = kernel.permute(3, 2, 0, 1)
    return F.conv2d(x, kernel, bias, padding=padding, dilation=dilation)


def norm(x: torch.Tensor, name: str) -> torch.Tensor:
    filters = x.shape[1]
    scale, bias = get(f"{name}/weight", filters), get(f"{name}/bias", filters)
    mean, var = get(f"{name}/mean", filters), get(f"{name}/running_var", filters)
    return F.batch_norm(x, mean, var, scale, bias, eps=1e-5)


def unet_2015(x: torch.Tensor) -> torch.Tensor:
    def two(x, name, filters):
        for i in 1, 2:
            x = F.relu(conv(x, f"{name}/conv{i}/conv", filters, 3, 0))
        return x

    x = mirrored(x, 92)
    copies = []
    for i, filters in enumerate(UNET, start=1):
        if i > 1:
            x = F.max_pool2d(x, 2)
        x = two(x, f"stage{i}_block1", filters)
        copies.append(x)
    for i, filters in enumerate(UNET[-2::-1], start=6):
        name = f"stage{i}_block1"
        kernel = get(f"{name}/up/kernel", 2, 2, x.shape[1], filters)
        bias = get(f"{name}/up/bias", filters)
        x = F.relu(F.conv_transpose2d(x, kernel.permute(2, 3, 0, 1), bias, stride=2))
        copy = copies[9 - i]
        border = (copy.shape[2] - x.shape[2]) // 2
        copy = copy[:, :, border:-border, border:-border]
        x = two(torch.cat([copy, x], dim=1), f"{name}/convs", filters)
    return conv(x, "head", CLASSES, 1, 0)


def mirrored(x: torch.Tensor, border: int) -> torch.Tensor:
    padding = ((0, 0), (0, 0), (border, border), (border, border))
    return torch.from_numpy(np.pad(x.numpy(), padding, mode="reflect"))


def hidden(x: torch.Tensor, dilation: int = 1) -> torch.Tensor:
    for j, side in (1, 7), (2, 1):
        # A linear layer, whose inputs are the rows, columns and channels of a window.
        name, inputs = f"stage6_block{j}/dense", side * side * x.shape[1]
        kernel = get(f"{name}/kernel", inputs, HIDDEN)
        padding = dilation * (side // 2)
        windows = F.unfold(x, side, padding=padding, dilation=dilation)
        windows = windows.reshape(x.shape[0], x.shape[1], side * side, -1)
        windows = windows.permute(0, 3, 2, 1).reshape(x.shape[0], -1, inputs)
        y = windows @ kernel + get(f"{name}/bias", HIDDEN)
        x = F.relu(y.permute(0, 2, 1).reshape(x.shape[0], HIDDEN, *x.shape[2:]))
    return x


def fcn(x: torch.Tensor, num_maps: int, normed: bool = False) -> torch.Tensor:
    size, pools = x.shape[2:], []
    for i, (depth, filters) in enumerate(zip(DEPTHS, VGG, strict=True), start=1):
        for j in range(1, depth + 1):
            x = conv(x, f"stage{i}_block{j}/conv", filters, 3, 1)
            x = F.relu(norm(x, f"stage{i}_block{j}/norm") if normed else x)
        x = F.max_pool2d(x, 2)
        pools.append(x)
    x = hidden(x)
    y = conv(x, "head/score1", CLASSES, 1, 0)
    for i, pool in enumerate((pools[3], pools[2])[: num_maps - 1], start=2):
        kernel = get(f"head/up{i}/kernel", 4, 4, CLASSES, CLASSES)
        up = F.conv_transpose2d(y, kernel.permute(2, 3, 0, 1), stride=2, padding=1)
        # Where pooling has dropped a row or column, output_padding brings it back.
        extra = [a - b for a, b in zip(pool.shape[2:], up.shape[2:], strict=True)]
        up = F.conv_transpose2d(
            y, kernel.permute(2, 3, 0, 1), stride=2, padding=1, output_padding=extra
        )
        y = up + conv(pool, f"head/score{i}", CLASSES, 1, 0)
    return F.interpolate(y, size, mode="bilinear", align_corners=False)


def dilated(x: torch.Tensor, channels: tuple[int, ...] | None) -> torch.Tensor:
    size = x.shape[2:]
    for i, (depth, filters) in enumerate(zip(DEPTHS, VGG, strict=True), start=1):
        dilation = 2 if i == 5 else 1
        for j in range(1, depth + 1):
            name = f"stage{i}_block{j}/conv"
            x = F.relu(conv(x, name, filters, 3, dilation, dilation))
        if i < 4:
            x = F.max_pool2d(x, 2)
    x = conv(hidden(x, dilation=4), "head/score", CLASSES, 1, 0)
    if channels is not None:
        rows = zip(channels, (1, 1, 2, 4, 8, 16, 1), strict=True)
        for i, (multiple, dilation) in enumerate(rows, start=1):
            filters = multiple * CLASSES
            name = f"head/context{i}"
            x = F.relu(conv(x, name, filters, 3, dilation, dilation))
        x = conv(x, "head/context8", CLASSES, 1, 0)
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def segnet(x: torch.Tensor) -> torch.Tensor:
    def unit(x, name, filters):
        x = conv(x, f"{name}/conv", filters, 3, 1)
        return F.relu(norm(x, f"{name}/norm"))

    pools = []
    for i, (depth, filters) in enumerate(zip(DEPTHS, VGG, strict=True), start=1):
        for j in range(1, depth + 1):
            x = unit(x, f"stage{i}_block{j}", filters)
        size = x.shape[2:]
        x, indices = F.max_pool2d(x, 2, return_indices=True)
        pools.append((indices, size))
    for i in range(5, 0, -1):
        indices, size = pools[i - 1]
        x = F.max_unpool2d(x, indices, 2, output_size=size)
        filters = [VGG[i - 1]] * (DEPTHS[i - 1] - 1) + ([VGG[i - 2]] if i > 1 else [])
        for j, width in enumerate(filters, start=1):
            x = unit(x, f"decoder/level{6 - i}_conv{j}", width)
    return conv(x, "head", CLASSES, 3, 1)


def crnn_resnet(x: torch.Tensor) -> torch.Tensor:
    """The layers in Table 6 of Baek et al. 2019, two bidirectional LSTMs."""

    def unit(x, name, filters, size=3, stride=1, padding=1):
        kernel = get(f"{name}/conv/kernel", size, size, x.shape[1], filters)
        x = F.conv2d(x, kernel.permute(3, 2, 0, 1), stride=stride, padding=padding)
        return norm(x, f"{name}/norm")

    def block(x, name, filters):
        y = F.relu(unit(x, f"{name}/conv1", filters))
        y = unit(y, f"{name}/conv2", filters)
        if x.shape[1] != filters:
            x = unit(x, f"{name}/proj", filters, 1, padding=0)
        return F.relu(x + y)

    first, second, *stages = CRNN
    x = F.relu(unit(x, "stem/conv1", first))
    x = F.relu(unit(x, "stem/conv2", second))
    for i, (filters, depth) in enumerate(zip(stages, (1, 2, 5, 3), strict=True), 1):
        if i < 3:
            x = F.max_pool2d(x, 2)
        elif i == 3:
            x = F.max_pool2d(x, 2, (2, 1), (0, 1))
        for j in range(1, depth + 1):
            x = block(x, f"stage{i}_block{j}", filters)
        name = f"stage{i}_block{depth + 1}"
        if i < 4:
            x = F.relu(unit(x, name, filters))
        else:
            x = F.relu(unit(x, name, filters, 2, (2, 1), (0, 1)))
            x = F.relu(unit(x, f"stage4_block{depth + 2}", filters, 2, padding=0))
    x = x[:, :, 0].permute(0, 2, 1)  # [B, T, C]
    x = both_ways(x, "stage5_block1")
    kernel = get("stage5_block1/join/kernel", 2 * CRNN_HIDDEN, CRNN_HIDDEN)
    x = x @ kernel + get("stage5_block1/join/bias", CRNN_HIDDEN)
    x = both_ways(x, "stage5_block2")
    kernel = get("head/kernel", 2 * CRNN_HIDDEN, CLASSES)
    return x @ kernel + get("head/bias", CLASSES)


def both_ways(x: torch.Tensor, name: str) -> torch.Tensor:
    forward = lstm(x, f"{name}/forward")
    backward = lstm(x.flip(1), f"{name}/backward").flip(1)
    return torch.cat([forward, backward], dim=2)


def lstm(x: torch.Tensor, name: str) -> torch.Tensor:
    network = torch.nn.LSTM(x.shape[2], CRNN_HIDDEN, batch_first=True).double()
    gates = [f"{name}/{{}}{gate}" for gate in "ifgo"]  # the order of PyTorch
    inputs = [get(f"{g.format('i')}/kernel", x.shape[2], CRNN_HIDDEN) for g in gates]
    hidden = [get(f"{g.format('h')}/kernel", CRNN_HIDDEN, CRNN_HIDDEN) for g in gates]
    biases = [get(f"{g.format('h')}/bias", CRNN_HIDDEN) for g in gates]
    state = {
        "weight_ih_l0": torch.cat(inputs, dim=1).T,
        "weight_hh_l0": torch.cat(hidden, dim=1).T,
        "bias_ih_l0": torch.cat(biases),
        "bias_hh_l0": torch.zeros(4 * CRNN_HIDDEN),
    }
    network.load_state_dict(state)
    with torch.no_grad():
        return network(x)[0]


def images(name: str) -> torch.Tensor:
    pixels = filling.images((2, *SIZES[name], 3))
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))


if __name__ == "__main__":
    found = {
        "unet_2015": unet_2015(images("unet_2015")),
        "segnet": segnet(images("segnet")),
        **{f"fcn{32 // 2**i}s": fcn(images("fcn"), i + 1) for i in range(3)},
        "fcn16s_bn": fcn(images("fcn"), 2, normed=True),
        "dilated": dilated(images("dilated"), None),
        "dilated_basic": dilated(images("dilated"), (1,) * 7),
        "dilated_large": dilated(images("dilated"), (2, 2, 4, 8, 16, 32, 32)),
    }
    for name, y in found.items():
        print(name, tuple(y.shape), float(y.square().mean().sqrt()))
    arrays = {n: y[:, :, ::4, ::3].permute(0, 2, 3, 1) for n, y in found.items()}
    arrays["crnn_resnet"] = crnn_resnet(images("crnn_resnet"))
    print("crnn_resnet", tuple(arrays["crnn_resnet"].shape))
    np.savez_compressed(Path(__file__).with_name("paper_networks.npz"), **arrays)
