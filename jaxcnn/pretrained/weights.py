"""Loads a weight file into a network, and saves it as a folder of imported weights.

The folder contains variables.safetensors, whose tensors are named by paths such as
params/stem/conv/conv/kernel, and model.json, which describes the network.
"""

from collections.abc import Mapping, Sequence
import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
from pathlib import Path
import shutil
import tempfile
from typing import Any

from flax import linen as nn
from flax import traverse_util
import numpy as np

from jaxcnn import errors, json_files, models, whole_files
from jaxcnn.errors import UserError, require
from jaxcnn.pretrained import description, files, names, preprocessing, rules
from jaxcnn.pretrained.checks import readable
from jaxcnn.pretrained.description import Description
from jaxcnn.pretrained.names import Misfit, Source, Tensors, Variables
from jaxcnn.pretrained.preprocessing import Preprocessing

VARIABLES = "variables.safetensors"
MODEL = "model.json"
_IMAGENET_CLASSES = Path(__file__).with_name("imagenet_classes.txt")
_MAX_CONFIG = 1_000_000  # characters of timm's config.json
_MAX_CLASSES = 10**6
_MAX_TRIED = 6  # other networks on which weights that do not fit are tried


@dataclasses.dataclass(frozen=True)
class Weights:
    """A network with its variables and where they come from.

    Attributes:
        model: jaxcnn model name.
        fields: Values that override the network's fields.
        num_classes: Number of classes of the file's own classifier. 0: it has none.
        class_names: Names of the classes. None: they are not known.
        channels: Image channels: 1 grey, 3 RGB.
        preprocessing: Preprocessing that the weights expect.
        library: Library that the weights come from.
        file: Name of the weight file.
        sha256: SHA-256 of the weight file, in hexadecimal.
        variables: "params" and, if the network has statistics, "batch_stats".
        task: Task of the network, see Description. {}: a classification.
    """

    model: str
    fields: Mapping[str, Any]
    num_classes: int
    class_names: tuple[str, ...] | None
    channels: int
    preprocessing: Preprocessing
    library: str
    file: str
    sha256: str
    variables: Variables = dataclasses.field(repr=False)
    task: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def output_names(self) -> tuple[str, ...] | None:
        """Names of the network's outputs; None: they are not known."""
        return self.class_names

    @property
    def description(self) -> Description:
        """What an exported file says about the network."""
        given = (self.model, self.fields, self.class_names, self.preprocessing)
        return Description(*given, self.task)

    def make_model(self) -> nn.Module:
        return models.create_model(self.model, self.num_classes, **self.fields)


def load(
    name: str,
    path: str | Path,
    class_names: Sequence[str] | None = None,
    num_classes: int | None = None,
    **fields: Any,
) -> Weights:
    """Loads a weight file into one of our networks.

    Args:
        name: jaxcnn model name.
        path: Weight file, see files.read. If jaxcnn wrote it, the preprocessing, class
            names and fields are read from its metadata. Otherwise, if timm's
            config.json is in the same folder, the preprocessing is read from it.
        class_names: Names of the classes. None: those of the file; if it has none,
            ImageNet's if there are 1000 classes, otherwise unknown.
        num_classes: 0: the file's classifier is left out, and the network gives
            features. None: the network has the file's own classifier.
        **fields: Values that override the network's fields.

    Raises:
        UserError: The file cannot be read, or its weights do not fit the network. The
            error then lists the differences and names a network that fits, if any.
    """
    models.create_model(name, 1, **fields)  # refuses an unknown name before reading
    candidates = rules.sources(name)
    if not candidates:
        raise UserError(f"No known library has weights for {name}.")
    path = Path(path)
    tensors = files.read(path)
    told = _description(path)
    image_size = models.MODELS[name].image_shape[:2]
    if told is not None:
        image_size = told.preprocessing.size
        if told.model == name:
            fields = {**told.fields, **fields}
            shape = (*image_size, len(told.preprocessing.mean))
            _shapes(path, name, 1, fields, shape)  # refuses what cannot be made
    misfits = []
    ways = itertools.product(candidates.values(), _auxiliaries(name, fields))
    for source, chosen in ways:
        try:
            known, channels, variables = _fit(name, source, tensors, chosen, image_size)
            fields = chosen
            break
        except Misfit as misfit:
            misfits.append((source.library, misfit))
        except UserError as error:
            raise UserError(f"{path} cannot be used: {error}") from error
    else:
        library, misfit = min(misfits, key=lambda pair: pair[1].count)
        raise UserError(
            f"{path} does not fit {name} ({library}); {_others(name, tensors)}; "
            f"{misfit.differences}."
        )
    giver = "were given"
    if class_names is None and told is not None:
        class_names, giver = (
            told.names,
            "are in its metadata; --class_names replaces them",
        )
    elif class_names is None and known == 1000:
        class_names = _IMAGENET_CLASSES.read_text().splitlines()
    if class_names is not None and len(class_names) != known:
        raise UserError(
            f"{path} has {known} classes, but {len(class_names)} class names {giver}."
        )
    if num_classes not in (None, known, 0):
        raise UserError(
            f"num_classes must be {known}, as in {path}, or 0 for a network without a "
            f"classifier, not {num_classes!r}."
        )
    if num_classes == 0 != known:
        variables = _without_head(name, fields, (*image_size, channels), variables)
        known, class_names = 0, None
    sha256 = _sha256(path)
    if told is None:
        expected = preprocessing.expected(
            source.library, name, models.MODELS[name], channels, sha256
        )
        expected = _with_timm_config(expected, path)
    else:
        expected = told.preprocessing
    if len(expected.mean) != channels:
        raise UserError(
            f"{path} has weights for images of {channels} channels, but the mean of "
            f"{len(expected.mean)}."
        )
    return Weights(
        model=name,
        fields=fields,
        num_classes=known,
        class_names=None if class_names is None else tuple(class_names),
        channels=channels,
        preprocessing=expected,
        library=source.library,
        file=path.name,
        sha256=sha256,
        variables=variables,
        task=told.task if told is not None and known else {},
    )


def _auxiliaries(name: str, fields: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """The fields of a network, and without auxiliary heads, which its weights may lack
    because only training needs them."""
    if "aux" in fields or not getattr(models.create_model(name, 1), "aux", None):
        return (fields,)
    return fields, {**fields, "aux": None}


def _description(path: Path) -> Description | None:
    """What jaxcnn wrote about the network into a weight file; None: nothing."""
    text = files.read_metadata(path).get(description.KEY)
    return None if text is None else description.parse(path, text)


def _shapes(
    path: Path,
    name: str,
    num_classes: int,
    fields: Mapping[str, Any],
    image_shape: models.ImageShape,
) -> dict[str, tuple[int, ...]]:
    """Shapes of the variables, by path, of the network that a file describes.

    Raises:
        UserError: There is no such network.
    """
    try:
        description.check_fields(fields)
        model = models.create_model(name, num_classes, **fields)
        variables = models.abstract_variables(model, image_shape)
    except Exception as error:  # values of the right type can be absurd in any way
        raise UserError(
            f"{path} cannot be used: {name} cannot be made as it says "
            f"({readable(error, 300)})."
        ) from error
    flat = traverse_util.flatten_dict(variables, sep="/")
    return {path: leaf.shape for path, leaf in flat.items()}


def _fit(
    name: str,
    source: Source,
    tensors: Tensors,
    fields: Mapping[str, Any],
    image_size: tuple[int, int],
) -> tuple[int, int, Variables]:
    """Fits tensors to a network; returns (number of classes, channels, variables).

    Raises:
        Misfit: The tensors do not fit.
        UserError: They fit, but have numbers that no weight has.
    """
    variant = models.MODELS[name]
    channels = variant.image_shape[2]
    model = models.create_model(name, variant.num_classes, **fields)
    num_classes = _num_classes(model, source, tensors)
    if num_classes != variant.num_classes:
        model = models.create_model(name, num_classes, **fields)
    try:
        shape = (*image_size, channels)
        variables = names.import_tensors(tensors, model, source, shape)
    except Misfit as misfit:
        if misfit.missing or misfit.unused:
            raise
        channels = 4 - channels  # RGB instead of grey, or grey instead of RGB
        try:
            shape = (*image_size, channels)
            variables = names.import_tensors(tensors, model, source, shape)
        except Misfit:
            raise misfit from None
    flat = traverse_util.flatten_dict(variables, sep="/")
    flat = {path: _numbers(path, value) for path, value in flat.items()}
    return num_classes, channels, traverse_util.unflatten_dict(flat, sep="/")


def _numbers(path: str, value: np.ndarray) -> np.ndarray:
    """A copy of a variable in float32, which does not depend on its file.

    Raises:
        UserError: It has numbers that no weight has.
    """
    if value.dtype.kind != "f":
        raise UserError(f"{path} would have numbers of dtype {value.dtype}.")
    with np.errstate(over="ignore"):  # which would be infinite
        numbers = np.array(value, np.float32)
    if not np.isfinite(numbers).all():
        raise UserError(f"{path} would have numbers that are not finite.")
    if path.endswith("/var") and (numbers < 0).any():
        raise UserError(f"{path} would have variances below 0.")
    return numbers


def _without_head(
    name: str,
    fields: Mapping[str, Any],
    image_shape: models.ImageShape,
    variables: Variables,
) -> Variables:
    """The variables of the same network without a classifier."""
    model = models.create_model(name, 0, **fields)
    kept = traverse_util.flatten_dict(models.abstract_variables(model, image_shape))
    flat = traverse_util.flatten_dict(variables)
    return traverse_util.unflatten_dict({path: flat[path] for path in kept})


def _num_classes(model: nn.Module, source: Source, tensors: Tensors) -> int:
    """Number of classes of the classifier among the tensors; 0 if there is none."""
    by_name = {source.rename(name): tensor for name, tensor in tensors.items()}
    for path in "params/head/bias", "params/head/low/bias":  # the latter: LR-ASPP's
        with contextlib.suppress(UserError):  # no such layer
            (place,) = names.find_places({path: np.zeros(1)}, model, source).values()
            return by_name[place.name].size if place.name in by_name else 0
    raise UserError(f"{source.library} has no name for the classifier.")


def _others(name: str, tensors: Tensors) -> str:
    """Says in words which other network the tensors fit.

    Each try takes about a second, so only the networks with the most similar number of
    parameters are tried.
    """
    size = sum(
        tensor.size
        for tensor_name, tensor in tensors.items()
        if not tensor_name.endswith(
            ("_mean", "_var", "_variance", "num_batches_tracked")
        )
    )
    sizes = {row["model"]: row["parameters"] for row in models.catalogue()}
    near = [n for n in sizes if abs(sizes[n] - size) < size / 4 and n != name]
    near = sorted(filter(rules.sources, near), key=lambda n: abs(sizes[n] - size))
    for other in near[:_MAX_TRIED]:
        for source in rules.sources(other).values():
            with contextlib.suppress(UserError):
                image_size = models.MODELS[other].image_shape[:2]
                _fit(other, source, tensors, {}, image_size)
                return f"it fits {other} ({source.library})"
    return "nor does it fit any similar network"


def _with_timm_config(expected: Preprocessing, path: Path) -> Preprocessing:
    """The preprocessing in timm's config.json next to a weight file, if it is there."""
    config = path.with_name("config.json")
    if not os.path.isfile(config):
        return expected
    try:
        with config.open() as file:
            given = json.loads(file.read(_MAX_CONFIG))["pretrained_cfg"]
        _, height, width = map(int, given["input_size"])
        values = {
            "image_size": height,
            "crop_ratio": float(given["crop_pct"]),
            "interpolation": str(given["interpolation"]),
            "mean": tuple(map(float, given["mean"])),
            "std": tuple(map(float, given["std"])),
        }
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return expected  # it is not timm's
    if height != width:
        raise UserError(
            f"{config} says images of {height}x{width} pixels; weights can be "
            "imported with square images only."
        )
    try:
        return dataclasses.replace(expected, **values)
    except UserError as error:
        raise UserError(f"{config}: {readable(error, 300)}") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save(weights: Weights, folder: str | Path) -> None:
    """Writes a folder of imported weights, completely or not at all.

    Raises:
        UserError: The folder exists and is not empty.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not empty.")
    values = {
        field.name: getattr(weights, field.name)
        for field in dataclasses.fields(weights)
        if field.name != "variables" and (field.name != "task" or weights.task)
    }
    values["preprocessing"] = weights.preprocessing.to_json()
    flat = traverse_util.flatten_dict(weights.variables, sep="/")
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        tensors = {path: np.ascontiguousarray(value) for path, value in flat.items()}
        _write_safetensors(tensors, unfinished / VARIABLES)
        json_files.write(unfinished / MODEL, values)
        unfinished.chmod(0o755)
        unfinished.replace(folder)
    except BaseException:
        shutil.rmtree(unfinished)
        raise


def _write_safetensors(tensors: Tensors, path: Path, **metadata: str) -> None:
    import safetensors.numpy

    # Some PyTorch programs require this entry.
    metadata["format"] = "pt"
    safetensors.numpy.save_file(tensors, path, metadata=metadata)
    path.chmod(0o644)  # safetensors makes it readable by the owner only


def is_folder(folder: str | Path) -> bool:
    """Whether a folder contains imported weights."""
    return os.path.isfile(Path(folder) / MODEL)


def _described(values: dict[str, Any]) -> Weights:
    """The weights that model.json describes, without variables."""
    weights = json_files.build(Weights, {**values, "variables": {}})
    fields = {n: json_files.cast(x, Any) for n, x in weights.fields.items()}
    weights = dataclasses.replace(weights, fields=fields)
    if weights.model not in models.MODELS:
        raise errors.unknown("model", weights.model, models.MODELS)
    holds = 0 <= weights.num_classes <= _MAX_CLASSES
    rule = f"0 to {_MAX_CLASSES:,}"
    require(holds, "num_classes", weights.num_classes, rule)
    require(weights.channels in (1, 3), "channels", weights.channels, "1 or 3")
    names_given, expected = weights.class_names, weights.preprocessing
    holds = names_given is None or len(names_given) == weights.num_classes
    rule = f"the {weights.num_classes} names of the classes, or null"
    require(holds, "class_names", names_given, rule)
    holds = len(expected.mean) == weights.channels
    rule = f"of {weights.channels} channels"
    require(holds, "preprocessing.mean", expected.mean, rule)
    return weights


def open_folder(folder: str | Path) -> Weights:
    """Reads a folder of imported weights.

    Raises:
        UserError: The folder contains no imported weights, or files that do not fit
            together.
    """
    folder = Path(folder)
    if not is_folder(folder):
        raise UserError(f"{folder} contains no imported weights: it has no {MODEL}.")
    weights = json_files.read(folder / MODEL, _described)
    shape = (*weights.preprocessing.size, weights.channels)
    named = (weights.model, weights.num_classes, weights.fields)
    flat = files.read(folder / VARIABLES)
    if _shapes(folder / MODEL, *named, shape) != {p: v.shape for p, v in flat.items()}:
        raise UserError(f"{folder / VARIABLES} does not fit {MODEL} in this folder.")
    try:
        flat = {path: _numbers(path, value) for path, value in flat.items()}
    except UserError as error:
        raise UserError(f"{folder / VARIABLES} cannot be used: {error}") from error
    variables = traverse_util.unflatten_dict(flat, sep="/")
    return dataclasses.replace(weights, variables=variables)


def export(
    name: str,
    model: nn.Module,
    variables: Variables,
    library: str,
    path: str | Path,
    about: Description | None = None,
) -> None:
    """Writes a state dict that the same network of another library can load.

    Args:
        name: jaxcnn model name.
        model: The network.
        variables: The network's variables.
        library: Library whose tensor names and layout are written. It must be a
            PyTorch library.
        path: The .safetensors file, written completely or not at all.
        about: Description of the network, for the file's metadata. None: it has none.

    Raises:
        UserError: The library has no such network.
    """
    source = rules.find(library, name)
    if library == "keras":
        raise UserError("Keras cannot read .safetensors; PyTorch libraries can.")
    tensors = names.export_tensors(variables, model, source)
    path = Path(path)
    if path.suffix != ".safetensors":
        raise UserError(f"The file name must end with .safetensors: {path}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {} if about is None else {description.KEY: about.to_json()}
    with whole_files.replacing(path) as unfinished:
        _write_safetensors(tensors, unfinished, **metadata)
