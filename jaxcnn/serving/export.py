"""What others can use of a run."""

from pathlib import Path

from jaxcnn import errors
from jaxcnn.pretrained import rules, weights
from jaxcnn.serving import predictor
from jaxcnn.training import parallel, setup, workdir


def export_weights(
    folder: str | Path, path: str | Path, library: str | None, checkpoint: str
) -> str:
    """Writes the weights of a run, or imported ones, for another library.

    Args:
        folder: The run's folder, or that of imported weights.
        path: The .safetensors file.
        library: Whose names; None: the one that the weights are from, or else the
            first of PyTorch's that has the network.
        checkpoint: Of a run: "best", "latest" or a step.

    Returns:
        The library.

    Raises:
        UserError: There is nothing to export, or the library has no such network.
    """
    folder = Path(folder)
    if weights.is_folder(folder):
        found = weights.open_folder(folder)
        name, model, variables = found.model, found.make_model(), found.variables
        library = library or found.library
    else:
        config, info = workdir.read(folder)
        name, model = config.model, setup.make_model(config, info)
        mesh = parallel.data_mesh(1)
        _, variables = predictor.load_variables(folder, config, info, checkpoint, mesh)
        known = [library for library in rules.sources(name) if library != "keras"]
        library = library or next(iter(known), None)
    if library is None:
        raise errors.UserError(f"No library of PyTorch is known that has {name}.")
    weights.export(name, model, variables, library, path)
    return library
