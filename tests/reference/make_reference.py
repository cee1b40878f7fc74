"""Makes the .npz files of this folder from other people's networks.

It needs torch 2.13.0, torchvision 0.28.0 and pytorchcv 0.0.74, on a CPU:

    python tests/reference/make_reference.py

Each file has the names and shapes of the tensors of a network, its logits for two
images in evaluation, in float32 and float64, and, in float64, its logits in training
with the gradient of sum(logits * directions of the logits): of each tensor the norm of
the gradient and its projection on a direction.
"""

from pathlib import Path

import filling
import numpy as np
from pytorchcv.model_provider import get_model
import torch
from torch import nn
from torchvision.models import resnet18, resnet50


class LeNet5(nn.Module):
    """LeNet-5 as PyTorch's beginners' tutorial writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = nn.functional.max_pool2d(torch.relu(self.conv2(x)), 2)
        x = torch.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc3(torch.relu(self.fc2(x)))


NETWORKS = {  # name -> network, shape of the images
    "resnet18": (resnet18(num_classes=10), (2, 64, 64, 3)),
    "resnet50": (resnet50(num_classes=10), (2, 64, 64, 3)),
    "resnet20_cifar10": (get_model("resnet20_cifar10"), (2, 32, 32, 3)),
    "lenet5": (LeNet5(), (2, 32, 32, 1)),
}


def numbers(network: nn.Module, image_shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Everything that the file of a network holds."""
    shapes = {
        name: tuple(tensor.shape)
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    state = {n: torch.from_numpy(t) for n, t in filling.tensors(shapes).items()}
    images = torch.from_numpy(filling.images(image_shape).transpose(0, 3, 1, 2))
    found = {
        "names": np.array(list(shapes)),
        "shapes": np.array([" ".join(map(str, shape)) for shape in shapes.values()]),
        "image_shape": np.array(image_shape),
    }
    for dtype in torch.float32, torch.float64:
        network.to(dtype).eval()
        network.load_state_dict(state, strict=False)
        logits = network(images.to(dtype)).detach().numpy()
        found[str(dtype).removeprefix("torch.")] = logits
    logits = network.train()(images)
    found["train_logits"] = logits.detach().numpy()
    weights = filling.directions({"logits": tuple(logits.shape)})["logits"]
    (logits * torch.from_numpy(weights)).sum().backward()
    gradients = {n: p.grad.numpy() for n, p in network.named_parameters()}
    directions = filling.directions(shapes)
    found["gradient_names"] = np.array(list(gradients))
    found["gradient_norms"] = np.array([np.linalg.norm(g) for g in gradients.values()])
    found["gradient_projections"] = np.array(
        [np.vdot(g, directions[n]) for n, g in gradients.items()]
    )
    return found


if __name__ == "__main__":
    for name, (network, image_shape) in NETWORKS.items():
        found = numbers(network, image_shape)
        print(name, found["float64"][0, :4], found["train_logits"][0, :4])
        np.savez_compressed(Path(__file__).parent / f"{name}.npz", **found)
