"""Where the parameters of a run start, if not at random."""

from collections.abc import Collection, Mapping, Sequence
import dataclasses
import os
from pathlib import Path
from typing import Any

from flax import linen as nn
from flax import traverse_util
import numpy as np

from jaxcnn import models
from jaxcnn.config import Config
from jaxcnn.errors import UserError
from jaxcnn.optim import layerwise
from jaxcnn.pretrained import weights as weights_lib
from jaxcnn.training import network, parallel, workdir

Arrays = dict[str, np.ndarray]  # "params/stem/conv/kernel" -> numbers


@dataclasses.dataclass(frozen=True)
class Source:
    """A trained network to start from.

    Attributes:
        name: Name of the source, for the log.
        arrays: Its variables.
        mean: Mean by which its images were normalised.
        std: Standard deviation of each channel there.
        order: Order of the channels of its images, RGB or BGR.
        names: Names of its outputs, such as classes. None: they are not known.
    """

    name: str
    arrays: Arrays
    mean: tuple[float, ...]
    std: tuple[float, ...]
    order: str = "RGB"
    names: tuple[str, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Start:
    """What a run takes from a trained network.

    Attributes:
        source: Its name.
        arrays: The variables that are taken, in the shapes of the run's network.
        mean: Mean of each channel there: images are normalised by it, or what was
            learned from them would be of no use.
        std: Standard deviation of each channel there.
        groups: (layer group, what becomes of it), from input to head.
        dropped: Layer groups of the source of which something is not used.
    """

    source: str
    arrays: Arrays
    mean: tuple[float, ...]
    std: tuple[float, ...]
    groups: tuple[tuple[str, str], ...]
    dropped: tuple[str, ...]

    def fill(self, variables: dict[str, Any]) -> dict[str, Any]:
        """The variables with those that are taken in their places."""
        flat = traverse_util.flatten_dict(variables, sep="/", keep_empty_nodes=True)
        for path, array in self.arrays.items():
            flat[path] = array.astype(flat[path].dtype)
        return traverse_util.unflatten_dict(flat, sep="/")


def open_source(config: Config) -> Source:
    """The trained network at config.init_from.path.

    Raises:
        UserError: There is none that can be read.
    """
    path = Path(config.init_from.path)
    if not os.path.exists(path):
        raise UserError(f"init_from.path is {str(path)!r}, which does not exist.")
    if path.is_dir() and not weights_lib.is_folder(path):
        run, info = workdir.read(path)
        run.parallel = "jit"
        mesh = parallel.data_mesh(1)
        step, variables = network.load_variables(path, run, info, "best", mesh)
        name = f"{run.model} of {path}, step {step}"
        names = network.open_task(run, info).output_names
        return Source(name, _flat(variables), info.mean, info.std, names=names)
    weights = _weights(config, path)
    expected = weights.preprocessing
    return Source(
        name=f"{weights.model} of {path}",
        arrays=_flat(weights.variables),
        mean=expected.mean,
        std=expected.std,
        order=expected.order,
        names=weights.output_names,
    )


def _weights(config: Config, path: Path) -> weights_lib.Weights:
    """Imported weights, or a weight file of the run's network, or else of the
    classifier that it is built on."""
    if path.is_dir():
        return weights_lib.open_folder(path)
    fields = dict(config.model_fields)
    try:
        return weights_lib.load(config.model, path, **fields)
    except UserError as error:
        backbone = models.backbone_of(config.model, fields)
        if backbone is None:
            raise
        try:
            return weights_lib.load(backbone, path)
        except UserError:
            raise error from None


def _flat(variables: Any) -> Arrays:
    flat = traverse_util.flatten_dict(dict(variables), sep="/")
    return {path: np.asarray(array) for path, array in flat.items()}


def make_start(
    source: Source,
    model: nn.Module,
    image_shape: tuple[int, int, int],
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    names: Sequence[str] | None = None,
) -> Start:
    """What a network takes from a trained one.

    The head, and what of an auxiliary head has the classes as its last axis, starts at
    random where the classes differ, in number, names or order. Where one of the two
    does not name its classes, their number decides, and the table of groups says so.
    A first kernel for RGB is summed over its channels for a network that takes grey
    images. Where the network is built on a classifier, as for segmentation, and the
    source is that, its decoder and head start at random, too, and what the classifier
    has behind its last feature map is left.

    Args:
        source: The trained network.
        model: The network of the run.
        image_shape: (H, W, C) of what it sees.
        only: Patterns of what is taken; (): all.
        skip: Patterns of what is not.
        names: Names of the network's outputs. None: they are not known.

    Raises:
        UserError: A pattern matches nothing, or what is to be taken is missing or of
            another shape there, or the source has more than the network.
    """
    variables = models.abstract_variables(model, image_shape)
    flat = traverse_util.flatten_dict(variables, sep="/")
    # Parameters before statistics: errors name the first that do not fit.
    paths = sorted(flat, key=lambda path: (not path.startswith("params/"), path))
    target = {path: flat[path].shape for path in paths}
    first = _kernels_of_images(model, image_shape)
    wanted = _wanted(target, only, skip)
    arrays, left, unnamed, misfits = {}, {}, set(), []
    other_names = _other_names(source.names, names)
    groups = models.layer_groups(model, image_shape, variables["params"])
    for path, shape in target.items():
        group = path.split("/")[1]
        if path not in wanted:
            left[path] = "by choice"
        elif path not in source.arrays:
            if models.is_head(group, groups) or group == "decoder":
                left[path] = "the source has none"
            else:
                misfits.append(f"{path} is missing")
        else:
            array = source.arrays[path]
            if path in first and source.order == "BGR":
                array = array[:, :, ::-1]
            if path in first and shape[2] == 1 and array.shape[2] == 3:
                array = array.sum(axis=2, keepdims=True)
            fits = array.shape == shape
            of_outputs = models.is_head(group, groups) and (
                names is not None and shape[-1:] == (len(names),)
            )
            if fits and of_outputs and other_names:
                left[path] = other_names
            elif fits:
                arrays[path] = array
                if of_outputs and source.names is None:
                    unnamed.add(group)
            elif models.is_head(group, groups) and _of_classes(array.shape, shape):
                left[path] = (
                    f"{array.shape[-1]} classes in the source, {shape[-1]} in this "
                    "network"
                )
            elif models.is_head(group, groups) and array.ndim != len(shape):
                left[path] = "the source has another kind of layer"
            else:
                misfits.append(
                    f"{path} has shape {array.shape} in the source and {shape} in this "
                    "network"
                )
    unused = source.arrays.keys() - arrays.keys()
    if not (only or skip):
        extra = unused - target.keys()
        ignored = {"head", groups[-1]}
        if getattr(model, "backbone", None) is not None:
            ignored |= _behind_maps(groups, {path.split("/")[1] for path in extra})
        extra = {path for path in extra if path.split("/")[1] not in ignored}
        misfits += [f"{path} is only in the source" for path in sorted(extra)]
    if misfits:
        more = f" and {len(misfits) - 5} more" if len(misfits) > 5 else ""
        raise UserError(
            f"init_from: {source.name} does not fit this network: "
            f"{'; '.join(misfits[:5])}{more}. init_from.only and init_from.skip choose "
            "parts."
        )
    if not arrays:
        if only or skip:
            raise UserError("init_from.only and init_from.skip leave nothing to take.")
        raise UserError(
            f"init_from: {source.name} has nothing for this network: "
            f"{', '.join(dict.fromkeys(left.values()))}."
        )
    mean, std = source.mean, source.std
    if source.order == "BGR":
        mean, std = mean[::-1], std[::-1]
    if image_shape[2] == 1 and len(mean) == 3:
        mean, std = ((float(np.mean(numbers)),) for numbers in (mean, std))
    return Start(
        source=source.name,
        arrays=arrays,
        mean=mean,
        std=std,
        groups=_groups(groups, target, left, unnamed),
        dropped=tuple(
            sorted({path.split("/")[1] for path in unused}, key=models.natural)
        ),
    )


def _of_classes(theirs: tuple[int, ...], ours: tuple[int, ...]) -> bool:
    """Whether two shapes differ by the number of classes alone.

    That is the last axis; of upsampling, as in FCN-8s, the last two.
    """
    upsamples = theirs[-2:-1] == theirs[-1:] and ours[-2:-1] == ours[-1:]
    axes = 2 if upsamples and len(ours) == 4 else 1
    return len(theirs) == len(ours) and theirs[:-axes] == ours[:-axes]


def _behind_maps(groups: Sequence[str], others: Collection[str]) -> set[str]:
    """Which groups of a classifier are behind the last that a network on it has.

    Args:
        groups: Layer groups of the network.
        others: Groups that the classifier has besides.
    """
    own = [group for group in groups if group.startswith(("stem", "stage"))]
    order = models.sort_groups({*own, *filter(models.is_group, others)})
    return {*order[order.index(own[-1]) + 1 :]} & {*others}


def _other_names(theirs: Sequence[str] | None, ours: Sequence[str] | None) -> str:
    """How the outputs of two networks differ that have the same number of them.

    Empty: they do not, or the names are not known.
    """
    if theirs is None or ours is None or len(theirs) != len(ours):
        return ""
    pairs = zip(theirs, ours, strict=True)
    differ = [i for i, (their, our) in enumerate(pairs) if their != our]
    if not differ:
        return ""
    first = differ[0]
    is_order = sorted(theirs) == sorted(ours)
    kind = "the same classes in another order" if is_order else "other classes"
    return (
        f"{kind} in the source, where class {first} is {theirs[first]!r}, not "
        f"{ours[first]!r}"
    )


def _wanted(
    target: Mapping[str, Any], only: Sequence[str], skip: Sequence[str]
) -> set[str]:
    """The variables that patterns of parameters choose.

    Running statistics go with the parameters of their layer, and where it has none,
    with those of their group.
    """
    params = {
        path.removeprefix("params/"): path
        for path in target
        if path.startswith("params/")
    }
    tree = traverse_util.unflatten_dict(dict.fromkeys(params, 0), sep="/")
    taken = layerwise.first_match(only, tree)
    skipped = layerwise.first_match(skip, tree)
    chosen = {
        path
        for path in params
        if (not only or taken[path] is not None) and skipped[path] is None
    }
    layers = {path.rpartition("/")[0]: path in chosen for path in params}
    groups = {layerwise.group(path) for path in chosen}
    statistics = {
        path
        for path in target.keys() - set(params.values())
        if layers.get(
            path.partition("/")[2].rpartition("/")[0], path.split("/")[1] in groups
        )
    }
    return {params[path] for path in chosen} | statistics


def _kernels_of_images(model: nn.Module, image_shape: tuple[int, int, int]) -> set[str]:
    """The kernels that see the images: whose shape depends on their channels."""
    height, width, channels = image_shape
    shapes = [
        traverse_util.flatten_dict(
            models.abstract_variables(model, (height, width, c))["params"], sep="/"
        )
        for c in (channels, 4 - channels)  # grey and RGB
    ]
    return {
        f"params/{path}"
        for path, leaf in shapes[0].items()
        if leaf.shape != shapes[1][path].shape and len(leaf.shape) == 4
    }


def _groups(
    groups: Sequence[str],
    target: Mapping[str, Any],
    left: Mapping[str, str],
    unnamed: Collection[str],
) -> tuple[tuple[str, str], ...]:
    """(layer group, "loaded" or why it is not), from input to head.

    Args:
        groups: The layer groups.
        target: Path of a variable -> anything.
        left: Path of a variable that is not taken -> why.
        unnamed: Groups that are taken although the source does not name its classes.
    """
    by_group = {}
    for path in target:
        by_group.setdefault(path.split("/")[1], []).append(left.get(path))
    rows = []
    for group in groups:
        reasons = dict.fromkeys(reason for reason in by_group[group] if reason)
        if not reasons:
            as_many = "; as many classes, which the source does not name"
            rows.append((group, "loaded" + as_many * (group in unnamed)))
        else:
            part = "partly " if None in by_group[group] else ""
            rows.append((group, f"{part}at random: {', '.join(reasons)}"))
    return tuple(rows)
