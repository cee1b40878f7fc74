"""Exports a run's weights for other libraries."""

import dataclasses
from pathlib import Path

from jaxcnn import errors
from jaxcnn.config import Config
from jaxcnn.data import transforms
from jaxcnn.data.examples import DatasetInfo
from jaxcnn.pretrained import rules
from jaxcnn.pretrained import weights as weights_lib
from jaxcnn.pretrained.description import Description
from jaxcnn.pretrained.preprocessing import Preprocessing
from jaxcnn.tasks import TASKS, Classification, Task
from jaxcnn.training import network, parallel, workdir


def export_weights(
    folder: str | Path,
    path: str | Path,
    library: str | None,
    checkpoint: str = "best",
    *,
    raw: bool = False,
) -> tuple[str, Description]:
    """Writes the weights of a run, or imported ones, for another library.

    Args:
        folder: The run's folder, or that of imported weights.
        path: The .safetensors file.
        library: Library whose tensor names are written. None: the library that the
            weights were imported from, or the first PyTorch library with this network.
        checkpoint: Checkpoint of a run: "best", "latest", a step, or "mean:K",
            the mean of the newest K.
        raw: Whether to use the raw parameters instead of their average.

    Returns:
        The library, and what the file says about the network: how images must be
        prepared, and what the outputs are.

    Raises:
        UserError: There is nothing to export, or the library has no such network.
    """
    folder = Path(folder)
    if weights_lib.is_folder(folder):
        weights = weights_lib.open_folder(folder)
        name, model, variables = weights.model, weights.make_model(), weights.variables
        library, about = library or weights.library, weights.description
    else:
        config, info = workdir.read(folder)
        name = config.model
        task = network.open_task(config, info)
        model, about = network.make_model(config, task), _describe(config, info, task)
        mesh = parallel.data_mesh(1)
        _, variables = network.load_variables(
            folder, config, info, checkpoint, mesh, raw=raw
        )
        known = [library for library in rules.sources(name) if library != "keras"]
        library = library or next(iter(known), None)
    if library is None:
        raise errors.UserError(f"No known PyTorch library has {name}.")
    weights_lib.export(name, model, variables, library, path, about)
    return library, about


def _describe(config: Config, info: DatasetInfo, task: Task) -> Description:
    """What a file says about the network of a run.

    Of a task and a transform of the user's own it has the names, so that they are
    missed.
    """
    transform = config.data.eval_transform
    size = transforms.height_and_width(config.data.image_size)
    described = {}
    if type(task) is not Classification:
        described["name"] = config.task.name
        if type(task) in TASKS.values():
            described |= dataclasses.asdict(task)
    return Description(
        model=config.model,
        fields=dict(config.model_fields),
        names=task.output_names,
        preprocessing=Preprocessing(
            image_size=size[0] if size[0] == size[1] else size,
            crop_ratio=transforms.CROP_FRACTION if transform == "center_crop" else 1.0,
            interpolation="bilinear",
            mean=tuple(info.mean),
            std=tuple(info.std),
            transform=transform,
            value_range=info.value_range,
        ),
        task=described,
    )
