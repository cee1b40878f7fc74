"""Every network by its name, and what can be computed from a network alone.

A family of architectures is one file with a VARIANTS table, and one line in MODELS.
"""

from collections.abc import Iterable
import dataclasses
import fnmatch
import functools
import json
import pathlib
import re
import types
import typing
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from jaxcnn import errors
from jaxcnn.models import (
    alexnet,
    calling,
    character,
    convnext,
    counting,
    densenet,
    efficientnet,
    googlenet,
    hmax,
    inception,
    inception_resnet,
    lenet,
    linear,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    neocognitron,
    regnet,
    resnet,
    resnet_keras,
    resnet_v2,
    resnext,
    senet,
    shufflenet_v1,
    shufflenet_v2,
    squeezenet,
    tdnn,
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
}

CATALOGUE = pathlib.Path(__file__).with_name("catalogue.json")

ImageShape = tuple[int, int, int]  # height, width, channels

call_order = calling.call_order


def list_models(pattern: str = "*") -> list[str]:
    """The names that match a shell pattern such as "resnet*", resnet18 first."""
    return sorted(fnmatch.filter(MODELS, pattern), key=_natural)


def create_model(name: str, num_classes: int, **fields: Any) -> nn.Module:
    """The network of that name.

    Args:
        name: A name in MODELS.
        num_classes: Size of the last axis of the logits. With 0 the network has no
            head and gives its pooled features [B, C].
        **fields: Other values for fields of its module class, such as dropout=0.5.

    Raises:
        UserError: An unknown name or field, or a value that the field cannot have.
    """
    if name not in MODELS:
        raise errors.unknown("model", name, list_models())
    build = MODELS[name].build
    cls = build.func if isinstance(build, functools.partial) else build
    hints = typing.get_type_hints(cls)
    known = {f.name for f in dataclasses.fields(cls)} - {"parent", "name"}
    for field, value in {"num_classes": num_classes, **fields}.items():
        if field not in known:
            raise errors.unknown(f"field of {name}", field, known - {"num_classes"})
        if not _is_a(value, hints[field]):
            hint = hints[field]
            kind = hint.__name__ if isinstance(hint, type) else hint
            raise errors.UserError(
                f"Field {field} of {name} is {value!r}; it must be of type {kind}."
            )
    if num_classes < 0:
        raise errors.UserError(
            "A network has at least 1 class, or 0 for pooled features; "
            f"num_classes={num_classes}."
        )
    return build(num_classes=num_classes, **fields)


def layer_groups(
    model: nn.Module, image_shape: ImageShape = (224, 224, 3)
) -> tuple[str, ...]:
    """The layer groups from input to head.

    A group is a top-level name of the parameters, such as "stage2_block1", so each
    parameter belongs to exactly one. Groups with other names than those of this
    package's networks are in the order of their first call.

    Args:
        model: A network of this package, or any other Linen module.
        image_shape: Of any images that the network takes; the groups do not depend
            on it.
    """
    names = abstract_variables(model, image_shape)["params"]
    if all(map(is_group, names)):
        return sort_groups(names)
    return call_order(model, image_shape)


def is_group(name: str) -> bool:
    """Whether a name is one that the layer groups of this package's networks have."""
    return _GROUP.fullmatch(name) is not None


def sort_groups(names: Iterable[str]) -> tuple[str, ...]:
    """Names of layer groups from input to head: names are parsed, since a dictionary
    of parameters comes back in the order of its letters."""
    return tuple(sorted(names, key=_depth))


def abstract_variables(model: nn.Module, image_shape: ImageShape) -> dict[str, Any]:
    """Shapes and dtypes of the variables, without computing them.

    Raises:
        UserError: The model is no Linen module, or is not called with images.
    """
    calling.check(model)
    init = functools.partial(calling.init, model)
    images = jnp.zeros((1, *image_shape))
    variables = jax.eval_shape(init, jax.random.key(0), images)
    return {"params": {}, **nn.meta.unbox(variables)}


def count_params(model: nn.Module, image_shape: ImageShape) -> int:
    """Trainable numbers of the network."""
    params = abstract_variables(model, image_shape)["params"]
    return sum(p.size for p in jax.tree.leaves(params))


def count_macs(model: nn.Module, image_shape: ImageShape) -> int:
    """Multiply-adds of one image's convolutions and linear layers in evaluation, as
    in counting.equation_macs."""
    variables = abstract_variables(model, image_shape)
    return counting.macs(counting.forward(model, variables, image_shape).jaxpr)


def catalogue(pattern: str = "*") -> list[dict[str, Any]]:
    """What there is to say of each network, for 1000 classes or the paper's own.

    It is read from catalogue.json, which `python -m jaxcnn.models.generate` writes.

    Args:
        pattern: As in list_models.

    Returns:
        One dict a network: "model", "paper", "image_size", "channels", "num_classes",
        "parameters", "macs", "top1" (percent, or None), "top1_source", "reference"
        (what the network is checked against).
    """
    rows = {row["model"]: row for row in json.loads(CATALOGUE.read_text())}
    return [rows[name] for name in list_models(pattern) if name in rows]


def _natural(name: str) -> list[Any]:
    """A key that sorts resnet18 before resnet101."""
    return [int(s) if s.isdigit() else s for s in re.split(r"(\d+)", name)]


_GROUP = re.compile(r"stem|stage(\d+)_block(\d+)|aux(\d+)|head")


def _depth(group: str) -> tuple[int, ...]:
    """A key that sorts layer groups from input to head."""
    match = _GROUP.fullmatch(group)
    if match is None:
        raise ValueError(
            f"{group!r} is no layer group; groups are stem, stage<i>_block<j>, "
            "aux<i> and head."
        )
    if match[1]:
        return 1, int(match[1]), int(match[2])
    if match[3]:
        return 2, int(match[3])
    return {"stem": (0,), "head": (3,)}[group]


def _is_a(value: Any, hint: Any) -> bool:
    """Whether a value is of a type; types other than numbers, texts and tuples of
    them are not looked at."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return any(_is_a(value, argument) for argument in arguments)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if arguments[-1] is Ellipsis:
            return all(_is_a(item, arguments[0]) for item in value)
        return len(value) == len(arguments) and all(map(_is_a, value, arguments))
    if hint is float:
        return type(value) in (int, float)
    if hint in (int, str, bool):
        return type(value) is hint  # bool is no int here
    return True
