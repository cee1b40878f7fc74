"""Calls of any Linen module as a network, whether or not it takes `train`.

A network is called as (images, train=...) or as (images). Inside it, a module that
requires `train` and is called without it, as nn.Sequential calls its layers, is given
the network's own.
"""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import functools
import inspect
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.errors import UserError


def check(model: Any) -> None:
    """Raises UserError unless it is a Linen module that is called with images alone,
    or with images and `train`."""
    if not isinstance(model, nn.Module):
        kind = model.__name__ if isinstance(model, type) else type(model).__name__
        raise UserError(f"A network must be a flax.linen.Module, not {kind}.")
    name = type(model).__name__
    parameters = _parameters(type(model))
    if parameters is None:
        raise UserError(f"{name} has no __call__, so it cannot be called with images.")
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)
    first, *others = parameters.values() if parameters else [None]
    required = [
        p.name
        for p in others
        if p.name != "train"
        and p.default is p.empty
        and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    takes_images = first is not None and (
        first.kind in positional or first.kind is first.POSITIONAL_OR_KEYWORD
    )
    if required or not takes_images or first.name == "train":
        raise UserError(
            f"{name} is called as ({', '.join(parameters)}); a network must be "
            "called as (images) or (images, train=...)."
        )


@functools.cache
def _parameters(cls: type[nn.Module]) -> Mapping[str, inspect.Parameter] | None:
    """The parameters of a module's __call__ without `self`."""
    if not any("__call__" in vars(base) for base in cls.__mro__):
        return None
    signature = inspect.signature(cls.__call__)
    return dict(list(signature.parameters.items())[1:])


@contextlib.contextmanager
def passing_train(train: bool) -> Iterator[None]:
    """Gives `train` to the network, and to each module inside it that needs it and is
    called without it."""

    def add(method: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if context.method_name == "__call__" and "train" not in kwargs:
            # Not the class's own: with super().__call__ it is that of its base.
            signature = inspect.signature(context.orig_method)
            parameter = signature.parameters.get("train")
            if parameter is not None and _is_given(context.module, parameter):
                given = signature.bind_partial(*args, **kwargs)
                if "train" not in given.arguments:
                    kwargs = kwargs | {"train": train}
        return method(*args, **kwargs)

    with nn.intercept_methods(add):
        yield


def _is_given(module: nn.Module, parameter: inspect.Parameter) -> bool:
    """Whether the network's `train` is passed to a module that is called without it: a
    default is the choice of who calls, unless nn.Sequential does."""
    is_called_blindly = module.path == () or isinstance(module.parent, nn.Sequential)
    return is_called_blindly or parameter.default is parameter.empty


def apply(
    model: nn.Module, variables: Any, images: jax.Array, *, train: bool, **options: Any
) -> Any:
    """The network's output, and what changed where `mutable` is among the options.

    Args:
        options: See nn.Module.apply.
    """
    with passing_train(train):
        return model.apply(variables, images, **options)


def init(model: nn.Module, key: jax.Array, images: jax.Array) -> Any:
    """The network's initial variables, as in evaluation."""
    with passing_train(False):
        return model.init(key, images)


def call_order(model: nn.Module, image_shape: tuple[int, int, int]) -> tuple[str, ...]:
    """The top-level names of the parameters, in the order of their first use.

    The name of a module comes at its first call, that of a parameter of the network
    itself before the module that is called next.
    """
    order: dict[str, None] = {}

    def note(method: Callable, args: Any, kwargs: Any, context: Any) -> Any:
        if context.method_name != "setup":
            root = context.module
            while isinstance(root.parent, nn.Module):
                root = root.parent
            own = root.variables.get("params", {})
            order.update(
                (name, None)
                for name, value in own.items()
                if not isinstance(value, Mapping)
            )
            order.update(dict.fromkeys(context.module.path[:1]))
        return method(*args, **kwargs)

    def initialise(key: jax.Array, images: jax.Array) -> Any:
        with nn.intercept_methods(note):
            params = init(model, key, images).get("params", {})
        order.update(dict.fromkeys(params))  # in the order of their creation
        return nn.meta.unbox(params)

    images = jnp.zeros((1, *image_shape))
    params = jax.eval_shape(initialise, jax.random.key(0), images)
    return tuple(name for name in order if name in params)
