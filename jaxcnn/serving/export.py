"""Exports a run's weights for other libraries."""

from pathlib import Path

from jaxcnn import errors
from jaxcnn.pretrained import rules
from jaxcnn.pretrained import weights as weights_lib
from jaxcnn.training import network, parallel, workdir


def export_weights(
    folder: str | Path,
    path: str | Path,
    library: str | None,
    checkpoint: str = "best",
    *,
    raw: bool = False,
) -> str:
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
        The library.

    Raises:
        UserError: There is nothing to export, or the library has no such network.
    """
    folder = Path(folder)
    if weights_lib.is_folder(folder):
        weights = weights_lib.open_folder(folder)
        name, model, variables = weights.model, weights.make_model(), weights.variables
        library = library or weights.library
    else:
        config, info = workdir.read(folder)
        name = config.model
        model = network.make_model(config, network.open_task(config, info))
        mesh = parallel.data_mesh(1)
        _, variables = network.load_variables(
            folder, config, info, checkpoint, mesh, raw=raw
        )
        known = [library for library in rules.sources(name) if library != "keras"]
        library = library or next(iter(known), None)
    if library is None:
        raise errors.UserError(f"No known PyTorch library has {name}.")
    weights_lib.export(name, model, variables, library, path)
    return library
