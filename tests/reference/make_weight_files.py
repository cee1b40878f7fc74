"""Makes the weight files in files/, with PyTorch and Keras, and what is in them.

It needs torch 2.13.0, timm 1.0.31 and Keras 3.15.1:

    python tests/reference/make_weight_files.py

expected.npz has the tensors under FILE/NAME.
"""

import argparse
from collections import OrderedDict
from collections.abc import Iterator
import contextlib
import copy
import os
from pathlib import Path
import tempfile

os.environ.setdefault("KERAS_BACKEND", "torch")
with contextlib.suppress(ImportError):
    import outside  # noqa: F401  a helper that lets torch be a build without CUDA
import h5py
import keras
from keras.src.legacy.saving import legacy_h5_format
import numpy as np
import timm.utils
import torch

FOLDER = Path(__file__).parent / "files"


def torch_files() -> dict[str, dict[str, np.ndarray]]:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    state = network.state_dict()
    whole = torch.arange(12.0)
    views = OrderedDict(
        transposed=whole.reshape(3, 4).T,
        tail=whole[5:],
        every_second=whole[::2],
        scalar=torch.tensor(2.5, dtype=torch.float64),
        empty=torch.zeros(0, 3),
        half=torch.tensor([1.5, -0.1], dtype=torch.float16),
        bfloat16=torch.tensor([1.5, -0.1], dtype=torch.bfloat16),
        ints=torch.tensor([[-1, 2**40]]),
        bytes=torch.tensor([0, 255], dtype=torch.uint8),
        flags=torch.tensor([True, False]),
    )
    module = {f"module.{name}": tensor for name, tensor in state.items()}
    optimizer = {"momentum": torch.ones(5)}
    nested = {"epoch": 3, "optimizer": optimizer, "state_dict": module}
    parameters = {"model": OrderedDict(network.named_parameters()), "best": 0.5}
    found = {}
    for name, content, tensors in [
        ("plain", state, state),
        ("views", views, views),
        ("nested", nested, state),
        ("parameters", parameters, parameters["model"]),
        *checkpoints(copy.deepcopy(network)),
    ]:
        arrays = {n: t.detach().float().numpy() for n, t in tensors.items()}
        for kind, is_zip in [("zip", True), ("legacy", False)]:
            file = f"{name}_{kind}.pth"
            torch.save(content, FOLDER / file, _use_new_zipfile_serialization=is_zip)
            found[file] = arrays
    return found


def checkpoints(network: torch.nn.Module) -> Iterator[tuple[str, dict, dict]]:
    """Yields (name, what training programs save, the state dict that it is of)."""
    state = network.state_dict()
    average = torch.optim.swa_utils.AveragedModel(network)
    average.update_parameters(network)  # the first is a copy
    for tensor in average.module.parameters():
        tensor.data += 1
    averaged = average.module.state_dict()
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    network(torch.ones(2, 1, 4, 4)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    arguments = argparse.Namespace(lr=0.1, betas=[0.9, 0.99], size=(3, 32, 32))
    parallel = torch.nn.DataParallel
    yield "averaged", average.state_dict(), averaged
    yield "compiled", parallel(torch.compile(network)).state_dict(), state
    yield "compiled_parallel", torch.compile(parallel(network)).state_dict(), state
    yield (  # as torchvision's references/classification/train.py
        "references",
        {
            "model": state,
            "optimizer": optimizer.state_dict(),
            "lr_scheduler": schedule.state_dict(),
            "epoch": 3,
            "args": arguments,
            "model_ema": average.state_dict(),
        },
        averaged,
    )
    yield (  # as lightning.pytorch's Trainer.save_checkpoint
        "lightning",
        {
            "epoch": 1,
            "pytorch-lightning_version": "2.6.0",
            "state_dict": {
                **{f"model.{name}": tensor for name, tensor in state.items()},
                "criterion.weight": torch.ones(3),
            },
            "callbacks": {"ModelCheckpoint{}": {"best_model_score": torch.tensor(0.5)}},
            "optimizer_states": [optimizer.state_dict()],
            "hparams_name": "kwargs",
            "hyper_parameters": {"lr": 0.1, "size": torch.Size([1, 2])},
        },
        state,
    )
    with tempfile.TemporaryDirectory() as folder:
        ema = timm.utils.ModelEmaV3(network)
        ema.module.load_state_dict(averaged)
        saver = timm.utils.CheckpointSaver(
            *(network, optimizer, arguments, ema),
            checkpoint_dir=folder,
            recovery_dir=folder,
        )
        arguments.model = "small"
        saver.save_checkpoint(1, metric=np.float64(0.5))
        path = Path(folder, "last.pth.tar")
        yield "timm", torch.load(path, weights_only=False), averaged


def keras_files() -> dict[str, dict[str, np.ndarray]]:
    keras.utils.set_random_seed(0)
    layers = keras.layers
    keras.layers.Conv2D(1, 1)  # takes the first number
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, name="conv1")(image)
    x = layers.BatchNormalization(name="bn1", scale=False)(x)
    x = layers.Conv2D(2, 3)(x)  # Keras numbers these itself
    x = layers.Conv2D(2, 3)(x)
    x = layers.BatchNormalization()(x)
    x = layers.DepthwiseConv2D(3, name="depthwise", use_bias=False)(x)
    x = layers.SeparableConv2D(5, 1, name="separable")(x)
    x = layers.GlobalAveragePooling2D()(x)
    network = keras.Model(image, layers.Dense(3, name="predictions")(x))
    generator = np.random.default_rng(0)
    for variable in network.variables:
        variable.assign(generator.uniform(size=variable.shape))
    network.save_weights(FOLDER / "keras3.weights.h5")
    with h5py.File(FOLDER / "keras2.h5", "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, network)
    first, second = sorted(la.name for la in network.layers if "conv2d_" in la.name)
    renamed = {first: "conv2d", second: "conv2d_1"}
    arrays = {
        f"{renamed.get(layer.name, layer.name)}/{variable.name}": np.array(variable)
        for layer in network.layers
        for variable in layer.weights
    }
    return dict.fromkeys(["keras3.weights.h5", "keras2.h5"], arrays)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    expected = {
        f"{file}/{name}": array
        for file, arrays in (torch_files() | keras_files()).items()
        for name, array in arrays.items()
    }
    np.savez_compressed(FOLDER / "expected.npz", **expected)
