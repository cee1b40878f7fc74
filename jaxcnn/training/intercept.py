"""What is done to a network from outside, by Linen's interceptors.

Frozen layer groups, remat and the input of one child: no model file knows of them.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
import contextlib
from typing import Any

from flax import linen as nn
import jax

from jaxcnn.models import adapter, backbone
from jaxcnn.optim import layerwise


def frozen_groups(params: Any, trained: Collection[str] | None) -> frozenset[str]:
    """The layer groups without a trained parameter; None: all parameters are
    trained."""
    if trained is None:
        return frozenset()
    return frozenset(params) - {path.partition("/")[0] for path in trained}


def frozen_layers(params: Any, trained: Collection[str] | None) -> frozenset[str]:
    """Paths of the layers with parameters of their own, none of which is trained."""
    if trained is None:
        return frozenset()
    own = {path: path.rpartition("/")[0] for path in layerwise.paths(params)}
    return frozenset(own.values()) - {own[path] for path in trained}


@contextlib.contextmanager
def frozen_as_in_evaluation(
    params: Any, trained: Collection[str] | None
) -> Iterator[None]:
    """Calls the frozen layer groups of a network with train=False, and each
    normalisation of which every parameter is frozen.

    BatchNorm then uses and keeps its running statistics, and the dropout of frozen
    groups is off, with no switch in any model.
    """
    groups, layers = frozen_groups(params, trained), frozen_layers(params, trained)

    def is_frozen(module: nn.Module) -> bool:
        path = module.path
        if path and path[0] in groups:
            return True
        if "/".join(path) not in layers:
            return False
        statistics = module.variables.get("batch_stats", {})
        return any(not isinstance(value, Mapping) for value in statistics.values())

    def call(
        method: Callable, args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        if "train" in kwargs and is_frozen(context.module):
            kwargs = {**kwargs, "train": False}
        return method(*args, **kwargs)

    with nn.intercept_methods(call), adapter.frozen(is_frozen):
        yield


@contextlib.contextmanager
def recomputed_blocks() -> Iterator[None]:
    """Rematerialises each child of a network except the head: the backward pass
    recomputes it from its inputs.

    Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016,
    https://arxiv.org/abs/1604.06174, sec. 4, with no switch in any model.
    """

    def call(
        method: Callable, args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        if len(context.module.path) != 1 or "train" not in kwargs:
            return method(*args, **kwargs)

        def block(module: nn.Module, *args: Any) -> Any:
            # Without train, so it comes here for a second time and passes.
            return context.orig_method.func(module, *args, **kwargs)

        return backbone.recomputed(
            context.module,
            lambda: method(*args, **kwargs),
            lambda: nn.remat(block)(context.module, *args),
        )

    with nn.intercept_methods(call):
        yield


@contextlib.contextmanager
def input_replaced(child: str, value: jax.Array) -> Iterator[None]:
    """Gives a child of a network another input than the network does."""

    def call(method: Callable, args: Any, kwargs: Any, context: Any) -> Any:
        if context.module.path == (child,) and context.method_name == "__call__":
            args = (value, *args[1:])
        return method(*args, **kwargs)

    with nn.intercept_methods(call):
        yield


@contextlib.contextmanager
def inputs_recorded() -> Iterator[list[tuple[str, Any]]]:
    """Gives a list of (name, input) of each child of a network, in order of calls."""
    calls: list[tuple[str, Any]] = []

    def call(method: Callable, args: Any, kwargs: Any, context: Any) -> Any:
        if len(context.module.path) == 1 and context.method_name == "__call__":
            calls.append((context.module.path[0], args[0]))
        return method(*args, **kwargs)

    with nn.intercept_methods(call):
        yield calls
