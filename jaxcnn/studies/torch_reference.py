"""The same networks and the same steps in PyTorch, for `benchmark --vs=torch`.

This is the only file that imports torch and torchvision: `pip install torch
torchvision`, and timm for the networks that only timm has.

A step does what ours does with a batch on the device: scale uint8 images, forward pass,
mean cross-entropy, backward pass, SGD with Nesterov momentum and weight decay on the
kernels. PyTorch is set up as its tuning guide recommends
(https://docs.pytorch.org/tutorials/recipes/recipes/tuning_guide.html): fused optimizer,
gradients set to None, cuDNN autotuning, autocast for lower precision, and TF32 for
float32 on a GPU, which is also XLA's default.
"""

from collections.abc import Callable
import functools
import gc
import importlib.util
import time
from typing import Any

import numpy as np
import torch
from torch import nn
import torchvision

from jaxcnn.config import OptimConfig
from jaxcnn.data.transforms import height_and_width
from jaxcnn.errors import UserError
from jaxcnn.studies.timing import FEW_STEPS

Size = int | tuple[int, int]  # of both sides, or (height, width)

# Mode -> (memory format, compiled).
MODES = {
    "torch_eager": (torch.contiguous_format, False),
    "torch_channels_last": (torch.channels_last, False),
    "torch_compile": (torch.channels_last, True),
}


class LeNet5(nn.Module):
    """The modern form of LeNet-5, see models/lenet.py."""

    def __init__(self, num_classes: int, image_size: Size) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        rows, columns = (((n - 4) // 2 - 4) // 2 for n in height_and_width(image_size))
        self.fc1 = nn.Linear(16 * rows * columns, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv in (self.conv1, self.conv2):
            x = nn.functional.max_pool2d(conv(x).relu(), 2)
        x = x.flatten(1)
        for linear in (self.fc1, self.fc2):
            x = linear(x).relu()
        return self.fc3(x)


class CifarBlock(nn.Module):
    """Two 3x3 convolutions with the shortcut of section 3.3, option A."""

    def __init__(self, inputs: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, filters, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.stride, self.new = stride, filters - inputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        if self.new:
            x = x[:, :, :: self.stride, :: self.stride]
            x = nn.functional.pad(x, (0, 0, 0, 0, 0, self.new))
        return (x + y).relu()


class CifarResNet(nn.Module):
    """He et al. 2016, section 4.2: three stages of 16, 32 and 64 filters."""

    def __init__(self, num_classes: int, image_size: Size, *, depth: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        per_stage, blocks, inputs = (depth - 2) // 6, [], 16
        for filters in (16, 32, 64):
            for i in range(per_stage):
                stride = 2 if i == 0 and filters > 16 else 1
                blocks.append(CifarBlock(inputs, filters, stride))
                inputs = filters
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(64, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(self.bn(self.conv(x)).relu())
        return self.fc(x.mean(dim=(2, 3)))


# Called as TWINS[name](num_classes, image_size).
TWINS: dict[str, Callable[[int, Size], nn.Module]] = {
    "lenet5": LeNet5,
    **{
        f"resnet{depth}_cifar": functools.partial(CifarResNet, depth=depth)
        for depth in (20, 32, 44, 56, 110)
    },
}

_NO_AUXILIARY = {"aux_logits": False, "init_weights": False}
_ARGUMENTS = {"googlenet": _NO_AUXILIARY, "inception_v3": _NO_AUXILIARY}


def build(name: str, num_classes: int, image_size: Size, num_params: int) -> nn.Module:
    """Builds the network of that name, without auxiliary heads.

    Args:
        name: jaxcnn model name.
        num_classes: Number of classes.
        image_size: Size of the images, in pixels: a number, or (height, width).
        num_params: Number of trainable parameters, which must equal our network's.

    Raises:
        LookupError: There is no such network, or it has a different number of
            parameters.
    """
    if name in TWINS:
        network = TWINS[name](num_classes, image_size)
    elif name in torchvision.models.list_models():
        network = torchvision.models.get_model(
            name, num_classes=num_classes, **_ARGUMENTS.get(name, {})
        )
    else:
        network = _of_timm(name, num_classes)
    theirs = sum(p.numel() for p in network.parameters())
    if theirs != num_params:
        raise LookupError(
            f"PyTorch's {name} has {theirs:,} parameters, ours {num_params:,}"
        )
    return network


def _of_timm(name: str, num_classes: int) -> nn.Module:
    if importlib.util.find_spec("timm") is None:
        raise LookupError(f"torchvision has no {name}, and timm is not installed")
    import timm

    if not timm.is_model(name):
        raise LookupError(f"neither torchvision nor timm has {name}")
    return timm.create_model(name, num_classes=num_classes)


def device_of(platform: str) -> torch.device:
    """Returns PyTorch's device for a JAX platform.

    Raises:
        UserError: PyTorch cannot use this platform.
    """
    if platform == "cpu":
        return torch.device("cpu")
    if platform != "gpu" or not torch.cuda.is_available():
        raise UserError(
            f"--vs=torch: JAX runs on {platform}, which this PyTorch "
            f"({torch.__version__}) cannot use; it must be the CPU or a GPU of both."
        )
    return torch.device("cuda")


def free() -> None:
    """Frees the memory of trainers that are no longer referenced."""
    gc.collect()  # a compiled network is part of a reference cycle
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def run_alone(network: tuple[Any, ...], step: tuple[Any, ...]) -> None:
    """Takes a few steps, in a process of its own that does not need JAX.

    Args:
        network: Arguments of build.
        step: Arguments of Trainer that follow the network.
    """
    Trainer(build(*network), *step).take(FEW_STEPS)


def versions() -> dict[str, str]:
    """Versions of the PyTorch libraries."""
    return {"torch": torch.__version__, "torchvision": torchvision.__version__}


class Trainer:
    """Trains a network on the same batch again and again, or infers only.

    Attributes:
        compile_seconds: Time of the first step if the mode compiles, otherwise None.
        peak_bytes: Peak GPU memory of its tensors in the first step, including the
            parameters. None on a CPU.

    Args:
        network: Network returned by build.
        batch: Batch with uint8 [B, H, W, C] images and int32 [B] labels.
        mean: Mean of each channel, in [0, 1].
        std: Standard deviation of each channel, in [0, 1].
        optim: Optimizer settings; uses peak_lr, momentum and weight_decay.
        precision: Compute dtype: float32, bfloat16 or float16.
        platform: JAX's platform, see device_of.
        mode: Name of the mode, a key of MODES.
        inference: Whether a step is a forward pass as in evaluation.
    """

    def __init__(
        self,
        network: nn.Module,
        batch: dict[str, np.ndarray],
        mean: tuple[float, ...],
        std: tuple[float, ...],
        optim: OptimConfig,
        precision: str,
        platform: str,
        mode: str,
        inference: bool,
    ) -> None:
        device = device_of(platform)
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
        self._device, self._compiled = device, MODES[mode][1]
        self.compile_seconds: float | None = None
        self.peak_bytes: int | None = None
        self._others = torch.cuda.memory_allocated() if device.type == "cuda" else 0
        self._layout = {"device": device, "memory_format": MODES[mode][0]}
        self._network = network.to(**self._layout).train(not inference)
        self._inference = inference
        images = torch.from_numpy(batch["image"].transpose(0, 3, 1, 2).copy())
        self._images = images.to(**self._layout)  # uint8 [B, C, H, W]
        self._labels = torch.from_numpy(batch["label"].copy()).long().to(device)
        self._mean, self._std = (
            torch.tensor(values, device=device).view(1, -1, 1, 1) * 255
            for values in (mean, std)
        )
        self._dtype = getattr(torch, precision)
        self._scaler = torch.amp.GradScaler(
            device.type, enabled=self._dtype is torch.float16
        )
        decayed = [p for p in network.parameters() if p.ndim > 1]
        others = [p for p in network.parameters() if p.ndim <= 1]
        self._optimizer = torch.optim.SGD(
            [
                {"params": decayed, "weight_decay": optim.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=optim.peak_lr,
            momentum=optim.momentum,
            nesterov=True,
            fused=True,
        )
        self._forward: Any = self._logits if inference else self._loss
        if self._compiled:
            torch.compiler.reset()  # it limits the number of compiled networks
            self._forward = torch.compile(self._forward)

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        images = (images.float() - self._mean) / self._std
        with torch.autocast(
            self._device.type, self._dtype, enabled=self._dtype is not torch.float32
        ):
            return self._network(images)

    def _loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(self._logits(images), labels)

    def _step(self) -> None:
        if self._inference:
            with torch.inference_mode():
                self._forward(self._images)
            return
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._forward(self._images, self._labels)
        self._scaler.scale(loss).backward()
        self._scaler.step(self._optimizer)
        self._scaler.update()

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()

    def prepare(self) -> None:
        """Takes the first step, which compiles if the mode does."""
        on_gpu = self._device.type == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        seconds = self.take(1)
        if self._compiled:
            self.compile_seconds = seconds
        if on_gpu:
            self.peak_bytes = torch.cuda.max_memory_allocated() - self._others

    def take(self, num_steps: int) -> float:
        """Takes steps and returns the seconds until the last one is done."""
        self._wait()
        start = time.perf_counter()
        for _ in range(num_steps):
            self._step()
        self._wait()
        return time.perf_counter() - start
