"""Makes the .npz files of this folder from other people's networks.

It needs torch 2.13.0 with torchvision 0.28.0, timm 1.0.31, pytorchcv 0.0.74,
facenet-pytorch 2.6.0 and Keras 3.15.1, on a CPU:

    python tests/reference/make_reference.py             # all, of every family
    python tests/reference/make_reference.py resnet18 resnet50

The networks are those of NETWORKS in outside/<family>.py. Each file has the names and
shapes of the tensors of a network and its logits for two images in evaluation, in
float32 and float64; where the row asks for it, logits at a second size, and, in
float64, logits in training with the gradient of the sum of logits * directions: of
each tensor the norm of the gradient and its projection on a direction.

Printed are the smallest and the largest root mean square of what any layer gives,
which should stay of order 1, and how far the logits of the two images differ.
"""

from collections.abc import Callable
import contextlib
import importlib.metadata
import importlib.util
import os
from pathlib import Path
import sys
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")
with contextlib.suppress(ImportError):
    import outside  # noqa: F401  a helper that lets torchvision import without CUDA
import filling
from network import Network
import numpy as np
import torch

HERE = Path(__file__).parent
DIFFERENCE = 0.1  # of the logits of two images, relative


class TorchNetwork:
    """A torch.nn.Module; its tensors are those of its state_dict."""

    def __init__(self, module: torch.nn.Module, dtype: str) -> None:
        self.dtype = getattr(torch, dtype)
        self.module = module.to(self.dtype).eval()
        package = type(self.module).__module__.partition(".")[0]
        self.library = "torch" if package.startswith("outside_") else package
        self.shapes = {
            name: tuple(tensor.shape)
            for name, tensor in self.module.state_dict().items()
            if not name.endswith("num_batches_tracked")
        }

    def fill(self, tensors: dict[str, np.ndarray]) -> None:
        state = {name: torch.from_numpy(t) for name, t in tensors.items()}
        self.module.load_state_dict(state, strict=False)

    def logits(self, images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self.module(self._channels_first(images)).numpy()

    def layer_sizes(self, images: np.ndarray) -> dict[str, float]:
        """Root mean square of what each layer gives."""
        sizes = {}

        def hook(name):
            def record(module, inputs, output):
                if isinstance(output, torch.Tensor):
                    sizes[name] = float(output.square().mean().sqrt())

            return record

        handles = [
            module.register_forward_hook(hook(name))
            for name, module in self.module.named_modules()
        ]
        self.logits(images)
        for handle in handles:
            handle.remove()
        return sizes

    def train(
        self, images: np.ndarray, split: Callable[[Any], tuple[torch.Tensor, ...]]
    ) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
        """Outputs in training without dropout, and the gradient of each parameter."""
        for module in self.module.modules():
            if type(module).__name__ in ("Dropout", "Dropout2d", "StochasticDepth"):
                module.p = 0.0
            elif type(module).__name__ == "DropPath":
                module.drop_prob = 0.0
        outputs = split(self.module.train()(self._channels_first(images)))
        _directed_sum(outputs).backward()
        gradients = {n: p.grad.numpy() for n, p in self.module.named_parameters()}
        return [output.detach().numpy() for output in outputs], gradients

    def _channels_first(self, images: np.ndarray) -> torch.Tensor:
        images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        return torch.from_numpy(images).to(self.dtype)


class KerasNetwork:
    """A Keras model; its tensors are named LAYER/VARIABLE."""

    library = "keras"

    def __init__(self, module: Any, dtype: str) -> None:
        self.module = module
        self.dtype = dtype
        self.variables = {
            f"{layer.name}/{variable.name}": variable
            for layer in self.module.layers
            for variable in layer.weights
        }
        self.shapes = {name: tuple(v.shape) for name, v in self.variables.items()}

    def fill(self, tensors: dict[str, np.ndarray]) -> None:
        for name, tensor in tensors.items():
            self.variables[name].assign(tensor.astype(self.dtype))

    def logits(self, images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self._call(images, False).numpy()

    def layer_sizes(self, images: np.ndarray) -> dict[str, float]:
        """Root mean square of what each layer gives."""
        import keras

        layers = self.module.layers[1:]
        every = keras.Model(self.module.inputs, [layer.output for layer in layers])
        with torch.no_grad():
            outputs = every(images.astype(self.dtype))
        return {
            layer.name: float(output.square().mean().sqrt())
            for layer, output in zip(layers, outputs, strict=True)
        }

    def train(
        self, images: np.ndarray, split: Callable[[Any], tuple[torch.Tensor, ...]]
    ) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
        """Outputs in training without dropout, and the gradient of each parameter."""
        for layer in self.module.layers:
            if hasattr(layer, "rate"):
                layer.rate = 0.0
        outputs = split(self._call(images, True))
        _directed_sum(outputs).backward()
        gradients = {
            name: variable.value.grad.numpy()
            for name, variable in self.variables.items()
            if variable.trainable
        }
        return [output.detach().numpy() for output in outputs], gradients

    def _call(self, images: np.ndarray, training: bool) -> torch.Tensor:
        return self.module(images.astype(self.dtype), training=training)


def _directed_sum(outputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Sum of outputs * directions, whose gradient is compared."""
    directions = filling.directions(
        {f"output{i}": tuple(output.shape) for i, output in enumerate(outputs)}
    )
    return sum(
        (output * torch.from_numpy(direction)).sum()
        for output, direction in zip(outputs, directions.values(), strict=True)
    )


def build(row: Network, dtype: str) -> TorchNetwork | KerasNetwork:
    """The network of a row, with parameters of a dtype."""
    if "keras" in sys.modules:
        keras = sys.modules["keras"]
        keras.utils.clear_session()  # layers are numbered from the start
        config = keras.config
        config.set_floatx(dtype)
        config.set_dtype_policy(dtype)
        # Of float64 and float32 Keras makes float32 but on TensorFlow, and would
        # normalise batches in that.
        keras.src.backend.common.dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
    module = row.build()
    is_keras = type(module).__module__.startswith("keras.")
    return (KerasNetwork if is_keras else TorchNetwork)(module, dtype)


def numbers(name: str, row: Network) -> dict[str, np.ndarray]:
    """Everything that the file of a network holds."""
    images = filling.images((2, *row.image_shape))
    found = {"image_shape": np.array(images.shape)}
    for dtype in ("float32", "float64") if row.float64 else ("float32",):
        network = build(row, dtype)
        network.fill(filling.tensors(network.shapes, row.gains, dtype))
        found[dtype] = network.logits(images)
        assert found[dtype].dtype == dtype
    shapes = network.shapes
    sizes = network.layer_sizes(images)
    smallest, largest = min(sizes, key=sizes.get), max(sizes, key=sizes.get)
    logits = found[dtype]
    difference = np.linalg.norm(logits[0] - logits[1]) / np.linalg.norm(logits[0])
    print(
        f"{name}: layers from {sizes[smallest]:.2g} ({smallest}) to "
        f"{sizes[largest]:.2g} ({largest}); images differ by {difference:.0%}"
    )
    if not difference >= DIFFERENCE:
        raise ValueError(f"The logits of two images of {name} hardly differ.")
    version = importlib.metadata.version(network.library.replace("_", "-"))
    version = version.partition("+")[0]  # of torch without "+cpu"
    found |= {
        "library": np.array(f"{network.library} {version}"),
        "names": np.array(list(shapes)),
        "shapes": np.array([" ".join(map(str, shape)) for shape in shapes.values()]),
        "gain_patterns": np.array(list(row.gains), dtype=str),
        "gain_factors": np.array(list(row.gains.values()), dtype=float),
    }
    if row.second:
        images_2 = filling.images((2, *row.second))
        found["second_image_shape"] = np.array(images_2.shape)
        found["second"] = network.logits(images_2)
    if row.train:
        outputs, gradients = network.train(images, row.outputs)
        directions = filling.directions(shapes)
        found["train_outputs"] = np.concatenate(outputs, axis=-1)
        found["train_output_sizes"] = np.array([o.shape[-1] for o in outputs])
        found["gradient_names"] = np.array(list(gradients))
        found["gradient_norms"] = np.array(
            [np.linalg.norm(g) for g in gradients.values()]
        )
        found["gradient_projections"] = np.array(
            [np.vdot(g, directions[n]) for n, g in gradients.items()]
        )
    return found


def networks() -> dict[str, Network]:
    """The rows of every family."""
    found = {}
    for path in sorted((HERE / "outside").glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"outside_{path.stem}", path)
        family = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(family)
        found |= family.NETWORKS
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    rows = networks()
    for name in sys.argv[1:] or rows:
        np.savez_compressed(HERE / f"{name}.npz", **numbers(name, rows[name]))
