"""A user's own Linen module, called as the networks of this package are.

Any module will do whose input is images [B, H, W, C]: with or without `train` among its
arguments, built of our layers or of Flax's, with names as its author likes. What its
layers must know, whether the network is being trained, reaches them from outside, by
Linen's interceptors.
"""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import contextvars
import dataclasses
import functools
import inspect
from typing import Any

import flax
from flax import linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.errors import UserError

# Whether a layer behaves as in evaluation, whatever `train` says.
_is_frozen: contextvars.ContextVar[Callable[[nn.Module], bool]] = (
    contextvars.ContextVar("frozen layers", default=lambda module: False)
)

# Argument by which a layer is told -> its value, from `train`. The first is ours, the
# others are those of Flax's BatchNorm, and of its Dropout and attention.
_TOLD_BY: dict[str, Callable[[bool], bool]] = {
    "train": lambda train: train,
    "use_running_average": lambda train: not train,
    "deterministic": lambda train: not train,
}


@contextlib.contextmanager
def frozen(is_frozen: Callable[[nn.Module], bool]) -> Iterator[None]:
    """A context in which the layers of an adapted network for which a function is true
    are told that it is evaluated."""
    token = _is_frozen.set(is_frozen)
    try:
        yield
    finally:
        _is_frozen.reset(token)


@dataclasses.dataclass(frozen=True)
class Adapted:
    """A module with the interface of our networks; its variables are its own.

    Attributes:
        module: The user's module.
    """

    module: nn.Module

    def init(self, key: Any, images: jax.Array, *, train: bool) -> dict[str, Any]:
        """Fresh variables, see flax.linen.Module.init."""
        return self.init_with_output(key, images, train=train)[1]

    def init_with_output(
        self, key: Any, images: jax.Array, *, train: bool
    ) -> tuple[Any, dict[str, Any]]:
        """(output, fresh variables), see flax.linen.Module.init_with_output."""
        with _told(train):
            output, variables = self.module.init_with_output(key, images)
            return output, dict(variables)

    def apply(
        self, variables: Any, images: jax.Array, *, train: bool, **kwargs: Any
    ) -> Any:
        """The module's output, see flax.linen.Module.apply."""
        try:
            with _told(train):
                return self.module.apply(variables, images, **kwargs)
        except flax.errors.InvalidRngError as error:
            name = type(self.module).__name__
            raise UserError(
                f"{name} draws random numbers under a name of its own; a layer of a "
                f"network is given a key for 'dropout' alone ({error})."
            ) from error

    def clone(self, **fields: Any) -> "Adapted":
        """The same with other values of the module's fields."""
        return Adapted(self.module.clone(**fields))

    def __getattr__(self, name: str) -> Any:
        if name == "module":  # of an object that is being unpickled
            raise AttributeError(name)
        return getattr(self.module, name)


@contextlib.contextmanager
def _told(train: bool) -> Iterator[None]:
    """Tells each layer that is called, and was not told, whether to train.

    Frozen ones are told that they do not, whatever they were told.
    """

    def call(
        method: Callable, args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        module = context.module
        if context.method_name != "__call__":
            return method(*args, **kwargs)
        is_frozen = _is_frozen.get()(module)
        # Not of the module's class: it may be its parent's that is called.
        for name, place in _arguments(context.orig_method.func).items():
            value = _TOLD_BY[name](train and not is_frozen)
            is_told = name in kwargs or place < len(args)
            if getattr(module, name, None) is not None or (is_told and not is_frozen):
                continue
            if place < len(args):
                args = (*args[:place], value, *args[place + 1 :])
            else:
                kwargs = {**kwargs, name: value}
        fields = _fields_as_in_evaluation(module)
        with fields if is_frozen else contextlib.nullcontext():
            return method(*args, **kwargs)

    with nn.intercept_methods(call):
        yield


@contextlib.contextmanager
def _fields_as_in_evaluation(module: nn.Module) -> Iterator[None]:
    """Temporarily sets a module's fields train, use_running_average and deterministic
    as in evaluation.

    `nn.BatchNorm(use_running_average=not train)` has such a field.
    """
    fields = {
        name: getattr(module, name)
        for name in _TOLD_BY
        if isinstance(getattr(module, name, None), bool)
    }
    try:
        for name in fields:
            object.__setattr__(module, name, _TOLD_BY[name](False))
        yield
    finally:
        for name, value in fields.items():
            object.__setattr__(module, name, value)


@functools.cache
def _arguments(function: Callable) -> dict[str, float]:
    """Argument in _TOLD_BY of a module's call -> its position; infinite where it is
    given by keyword only."""
    places = {}
    parameters = list(inspect.signature(function).parameters.values())[1:]
    for place, parameter in enumerate(parameters):
        if parameter.name in _TOLD_BY:
            by_keyword = parameter.kind is parameter.KEYWORD_ONLY
            places[parameter.name] = float("inf") if by_keyword else place
    return places


def adapted(model: Any) -> Any:
    """Wraps a network so that it has the interface of this package's networks; wrapping
    one of ours changes nothing."""
    return model if isinstance(model, Adapted) else Adapted(model)


def takes(function: Callable, argument: str) -> bool:
    """Whether a class or function can be called with an argument of that name."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # compiled functions have none
        return False
    return any(
        p.kind is p.VAR_KEYWORD
        or (p.name == argument and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
        for p in parameters
    )


def check(model: Any) -> None:
    """Raises UserError unless it is a Linen module that is called with images alone,
    or with images and `train`."""
    model = model.module if isinstance(model, Adapted) else model
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


def call_order(model: Any, image_shape: tuple[int, int, int]) -> tuple[str, ...]:
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
            params = adapted(model).init(key, images, train=False).get("params", {})
        order.update(dict.fromkeys(params))  # in the order of their creation
        return nn.meta.unbox(params)

    images = jnp.zeros((1, *image_shape))
    params = jax.eval_shape(initialise, jax.random.key(0), images)
    return tuple(name for name in order if name in params)
