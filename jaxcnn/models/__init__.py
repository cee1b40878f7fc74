"""All networks by name, and what can be computed from a network alone.

A family of architectures is one file with a VARIANTS table, and one line in MODELS.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
import fnmatch
import functools
import inspect
import json
import pathlib
import re
import types
import typing
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from jaxcnn import errors, names
from jaxcnn.models import (
    adapter,
    alexnet,
    autoencoder,
    character,
    convnext,
    counting,
    crnn,
    deepgaze,
    deeplab,
    densenet,
    dilation,
    dncnn,
    efficientnet,
    fcn,
    fcn_vgg,
    googlenet,
    hmax,
    inception,
    inception_resnet,
    lenet,
    linear,
    lraspp,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    neocognitron,
    pilotnet,
    pspnet,
    regnet,
    resnet,
    resnet_keras,
    resnet_v2,
    resnext,
    salnet,
    segnet,
    senet,
    shufflenet_v1,
    shufflenet_v2,
    squeezenet,
    tdnn,
    unet,
    vgg,
    wide_resnet,
    xception,
    zipcode,
)
from jaxcnn.models.variant import Variant

MODELS: dict[str, Variant] = {
    **linear.VARIANTS,
    **neocognitron.VARIANTS,
    **tdnn.VARIANTS,
    **zipcode.VARIANTS,
    **lenet.VARIANTS,
    **hmax.VARIANTS,
    **character.VARIANTS,
    **crnn.VARIANTS,
    **alexnet.VARIANTS,
    **vgg.VARIANTS,
    **googlenet.VARIANTS,
    **inception.VARIANTS,
    **inception_resnet.VARIANTS,
    **xception.VARIANTS,
    **resnet.VARIANTS,
    **resnet_v2.VARIANTS,
    **wide_resnet.VARIANTS,
    **resnet_keras.VARIANTS,
    **resnext.VARIANTS,
    **senet.VARIANTS,
    **densenet.VARIANTS,
    **squeezenet.VARIANTS,
    **mobilenet_v1.VARIANTS,
    **mobilenet_v2.VARIANTS,
    **mobilenet_v3.VARIANTS,
    **shufflenet_v1.VARIANTS,
    **shufflenet_v2.VARIANTS,
    **efficientnet.VARIANTS,
    **regnet.VARIANTS,
    **convnext.VARIANTS,
    **fcn_vgg.VARIANTS,
    **fcn.VARIANTS,
    **dilation.VARIANTS,
    **segnet.VARIANTS,
    **pspnet.VARIANTS,
    **deeplab.VARIANTS,
    **lraspp.VARIANTS,
    **unet.VARIANTS,
    **dncnn.VARIANTS,
    **autoencoder.VARIANTS,
    **salnet.VARIANTS,
    **deepgaze.VARIANTS,
    **pilotnet.VARIANTS,
}

CATALOGUE = pathlib.Path(__file__).with_name("catalogue.json")

ImageShape = tuple[int, int, int]  # height, width, channels
NO_OUTPUTS: Mapping[str, Any] = types.MappingProxyType({})


def list_models(pattern: str = "*") -> list[str]:
    """The names that match a shell pattern such as "resnet*", resnet18 first."""
    return sorted(fnmatch.filter(MODELS, pattern), key=natural)


def create_model(name: str, num_classes: int, **fields: Any) -> nn.Module:
    """Creates a network by name.

    Args:
        name: Name of the network, a key of MODELS.
        num_classes: Number of classes. 0: the network has no head and returns its
            pooled features [B, C], or its last map where it has classes for each pixel.
        **fields: Values that override fields of the module class, such as dropout=0.5.

    Raises:
        UserError: The name or a field is unknown, or a value is not allowed.
    """
    return build(name, fields, {"num_classes": num_classes})


def build(
    name: str, fields: Mapping[str, Any], outputs: Mapping[str, Any] = NO_OUTPUTS
) -> Any:
    """The network of a name that a config can hold.

    Args:
        name: A name in MODELS, or "module:attribute" of a user's own: a Linen module,
            or a module class, or a function that gives a module.
        fields: Values for fields of the module class, or arguments of the function.
        outputs: Further arguments, such as num_classes=10, which fields override; a
            user's own is given those that it takes, a network of MODELS all of them.

    Raises:
        UserError: An unknown name or field, or a value that the field cannot have.
    """
    row = names.resolve(name, MODELS, "model")
    if isinstance(row, Variant):
        return _make(name, row.build, {**outputs, **fields})
    return adapt(row, fields, outputs, name)


def backbone_of(name: str, fields: Mapping[str, Any]) -> str | None:
    """Name of the classifier that a network is built on; None: it is on none.

    Args:
        name: A name that a config can hold, see build.
        fields: Values for fields of the network.
    """
    if name not in MODELS:
        return None
    return getattr(create_model(name, 1, **fields), "backbone", None)


def normalisation(name: str) -> tuple[float, float] | None:
    """(mean, standard deviation) by which images get the scale that a network of MODELS
    is made for; None where it, or a user's own, is made for no scale."""
    variant = MODELS.get(name)
    return None if variant is None else variant.normalisation


def adapt(
    given: Any,
    fields: Mapping[str, Any],
    outputs: Mapping[str, Any] = NO_OUTPUTS,
    name: str | None = None,
) -> Any:
    """A user's own network with the interface of ours, see adapter.py.

    Args:
        given: A Linen module; or a module class, or a function, that gives one.
        fields: Arguments of a class or function; nothing where it is a module already.
        outputs: Further arguments, of which it is given those that it takes.
        name: Name of the model in error messages. None: that of the class or function.

    Raises:
        UserError: It is no such thing, it is not called with images, or it does not
            take the fields.
    """
    if name is None:
        name = getattr(given, "__name__", type(given).__name__)
    gives_one = callable(given) and not isinstance(given, nn.Module)
    if gives_one:
        taken = {n: v for n, v in outputs.items() if adapter.takes(given, n)}
        model = _make(name, given, {**taken, **fields})
    else:
        model = given
    try:
        adapter.check(model)
    except errors.UserError as error:
        raise errors.UserError(f"Model {name!r}: {error}") from error
    if not gives_one:
        refuse_fields(name, fields)
    return adapter.adapted(model)


def refuse_fields(name: str, fields: Mapping[str, Any]) -> None:
    """Raises UserError where fields are chosen for what is a network already."""
    if fields:
        chosen = ", ".join(f"{field}={value!r}" for field, value in fields.items())
        raise errors.UserError(
            f"{chosen} cannot be chosen: {name} is a network already. model_fields "
            "must be () for a model that is given as a network, not as its class."
        )


def _make(name: str, make: Callable[..., Any], fields: Mapping[str, Any]) -> Any:
    """make(**fields); UserError for fields that it does not take."""
    cls = make.func if isinstance(make, functools.partial) else make
    if isinstance(cls, type) and issubclass(cls, nn.Module):
        _check_fields(name, cls, fields)
    num_classes = fields.get("num_classes", 0)
    if isinstance(num_classes, int) and num_classes < 0:
        raise errors.UserError(
            "A network has at least 1 class, or 0 for pooled features; "
            f"num_classes={num_classes}."
        )
    try:
        inspect.signature(make).bind(**fields)
    except TypeError as error:
        given = ", ".join(f"{field}={value!r}" for field, value in fields.items())
        raise errors.UserError(
            f"Model {name!r} cannot be built with ({given}): {error}."
        ) from error
    return make(**fields)


def _check_fields(name: str, cls: type[nn.Module], fields: Mapping[str, Any]) -> None:
    """Raises UserError for a field that a module class does not have, or whose value
    is of another type."""
    try:
        hints = typing.get_type_hints(cls)
    except Exception:  # evaluates any text, such as a name that is imported for types
        hints = {}
    known = {f.name for f in dataclasses.fields(cls)} - {"parent", "name"}
    for field, value in fields.items():
        if field not in known:
            raise errors.unknown(f"field of {name}", field, known - {"num_classes"})
        hint = hints.get(field, Any)
        if not is_a(value, hint):
            kind = hint.__name__ if isinstance(hint, type) else hint
            raise errors.UserError(
                f"Field {field} of {name} is {value!r}; it must be of type {kind}."
            )


def imprint(model: Any) -> Callable[..., dict[str, Any]] | None:
    """The method of a network that sets variables from training images.

    It is called before the first step as imprint(variables, images, key), with
    normalised images, and returns the variables. None: the network has none.
    """
    method = getattr(model, "imprint", None)
    return method if callable(method) else None


def layer_groups(
    model: nn.Module,
    image_shape: ImageShape = (224, 224, 3),
    params: Mapping[str, Any] | None = None,
) -> tuple[str, ...]:
    """Returns the layer groups from input to head.

    A group is a top-level name of the parameters, such as "stage2_block1", so each
    parameter belongs to exactly one. Names of our networks say where they stand; those
    of another module are in the order in which they are first called, see adapter.py.

    Args:
        model: A network of this package, or any other Linen module.
        image_shape: Shape of any images that the network takes; the groups do not
            depend on it.
        params: The network's parameters, or their shapes; None: they are traced.
    """
    groups = (
        abstract_variables(model, image_shape)["params"] if params is None else params
    )
    if all(map(is_group, groups)):
        return sort_groups(groups)
    return adapter.call_order(model, image_shape)


def is_group(name: str) -> bool:
    """Whether a name is one that the layer groups of this package's networks have."""
    return _GROUP.fullmatch(name) is not None


def is_head(group: str, groups: Sequence[str]) -> bool:
    """Whether a layer group is made anew where the outputs of a network change.

    Args:
        group: The group.
        groups: All groups of the network, from input to head.
    """
    return group.startswith(("head", "aux")) or group == groups[-1]


def sort_groups(groups: Iterable[str]) -> tuple[str, ...]:
    """Names of layer groups from input to head: names are parsed, since a dictionary
    of parameters comes back in the order of its letters."""
    return tuple(sorted(groups, key=_depth))


def abstract_variables(model: nn.Module, image_shape: ImageShape) -> dict[str, Any]:
    """Returns the shapes and dtypes of the variables without computing them.

    Raises:
        UserError: The model is no Linen module, or is not called with images.
    """
    adapter.check(model)
    init = functools.partial(adapter.adapted(model).init, train=False)
    images = jnp.zeros((1, *image_shape))
    variables = dict(nn.meta.unbox(jax.eval_shape(init, jax.random.key(0), images)))
    variables.setdefault("params", {})
    return variables


def count_params(model: nn.Module, image_shape: ImageShape) -> int:
    """Number of trainable parameters of the network."""
    params = abstract_variables(model, image_shape)["params"]
    return sum(p.size for p in jax.tree.leaves(params))


def count_macs(model: nn.Module, image_shape: ImageShape) -> int:
    """Number of multiply-adds for one image, see counting.equation_macs."""
    variables = abstract_variables(model, image_shape)
    return counting.macs(counting.forward(model, variables, image_shape).jaxpr)


def catalogue(pattern: str = "*") -> list[dict[str, Any]]:
    """Describes each network, with 1000 classes or the paper's number of classes.

    Reads catalogue.json, which `python docs/generate_catalogue.py` writes.

    Args:
        pattern: Shell pattern for the names, see list_models.

    Returns:
        One dict per network: "model", "paper", "image_size" (a number, or (height,
        width)), "channels", "num_classes", "task", "parameters", "macs", "top1"
        (percent, or None), "top1_source", "reference" (what the network is checked
        against).
    """
    rows = {row["model"]: row for row in json.loads(CATALOGUE.read_text())}
    for row in rows.values():
        if isinstance(row["image_size"], list):  # as JSON has a tuple
            row["image_size"] = tuple(row["image_size"])
    return [rows[name] for name in list_models(pattern) if name in rows]


def natural(name: str) -> list[Any]:
    """A key that sorts resnet18 before resnet101."""
    return [int(s) if s.isdigit() else s for s in re.split(r"(\d+)", name)]


_GROUP = re.compile(r"stem|stage(\d+)_block(\d+)|decoder|aux(\d+)|head")


def _depth(group: str) -> tuple[int, ...]:
    """A key that sorts layer groups from input to head."""
    match = _GROUP.fullmatch(group)
    if match is None:
        raise ValueError(
            f"{group!r} is no layer group; groups are stem, stage<i>_block<j>, "
            "decoder, aux<i> and head."
        )
    if match[1]:
        return 1, int(match[1]), int(match[2])
    if match[3]:
        return 3, int(match[3])
    return {"stem": (0,), "decoder": (2,), "head": (4,)}[group]


def is_a(value: Any, hint: Any) -> bool:
    """Whether a value has a type.

    Only numbers, strings, None, tuples of them and what can be called are checked;
    other types always pass.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return any(is_a(value, argument) for argument in arguments)
    if tuple in (hint, origin):
        if not isinstance(value, tuple) or not arguments:
            return isinstance(value, tuple)
        if arguments[-1] is Ellipsis:
            return all(is_a(item, arguments[0]) for item in value)
        return len(value) == len(arguments) and all(map(is_a, value, arguments))
    if origin is Callable:
        return callable(value)
    if hint is float:
        return type(value) in (int, float)
    if hint in (int, str, bool, type(None)):
        return type(value) is hint  # a bool does not count as an int
    return True
