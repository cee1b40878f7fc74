"""Feature maps of a classifier, with an output stride by dilation.

A network that says something about every pixel needs what a classifier knows before it
pools: its maps at strides of 1, 2, 4, 8, 16 and 32 pixels. They are taken from outside,
so any network of convolutions will do, and its parameters keep their names.

With an output stride of 16 or 8, the layers that would go below that resolution keep it
and the layers behind them are dilated instead, so that the same weights give the same
values at the old places and new ones between them ("atrous" convolution; Chen et al.,
"DeepLab", TPAMI 2018, https://arxiv.org/abs/1606.00915, section 3.1; Yu and Koltun,
ICLR 2016, https://arxiv.org/abs/1511.07122).

What is done is read off a trace of the network for one large image: the stride at which
each convolution and each pooling reads its input. A second trace repeats the same calls
with other strides and dilations. Strides that a network has outside of the table of
operations, such as slices, cannot be dilated.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent import futures
import contextlib
import contextvars
import dataclasses
import functools
import math
from typing import Any, NamedTuple

import flax
from flax import linen as nn
import jax
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn.errors import UserError, require, unknown
from jaxcnn.ops.taps import Padding, Pair

PROBE_PIXELS = 512  # large, so that padding hardly changes the ratio of two sizes
OUTPUT_STRIDES = (8, 16, 32)


@flax.struct.dataclass
class Maps:
    """Feature maps of a batch of images.

    Attributes:
        by_stride: Stride of the classifier -> the last map that it computes at this
            stride, [B, H', W', C]. Dilated maps keep the key of their stride in the
            classifier and are larger.
        by_path: Path of a module, such as "stage3_block2" -> its output [B, H', W', C].
        image_size: (height, width) of the images, pixels.
    """

    by_stride: Mapping[int, jax.Array]
    by_path: Mapping[str, jax.Array]
    image_size: tuple[int, int] = flax.struct.field(pytree_node=False)

    def at(self, tap: int | str) -> jax.Array:
        """The map of a stride, or of the path of a module.

        Raises:
            UserError: The backbone has no map of the stride.
        """
        if isinstance(tap, str):
            if tap not in self.by_path:
                raise UserError(
                    f"The decoder needs the map of {tap!r}, which `also` must name; it "
                    f"names {', '.join(self.by_path) or 'none'}."
                )
            return self.by_path[tap]
        if tap not in self.by_stride:
            raise UserError(
                f"The backbone has no map at stride {tap}, which the decoder needs; it "
                f"has {', '.join(map(str, self.by_stride))}."
            )
        return self.by_stride[tap]


def feature_maps(
    network: nn.Module,
    images: jax.Array,
    *,
    train: bool,
    output_stride: int = 32,
    also: tuple[str, ...] = (),
    dilate_strided: bool = False,
) -> Maps:
    """The feature maps of a classifier, which is called up to the last of them.

    It is called inside of a parent that shares its scope with the network
    (nn.share_scope): the parent's parameters then have the names of the classifier's,
    without those behind the last map.

    Args:
        network: A classifier whose layers compute with the table of jaxcnn.ops.
        images: [B, H, W, C].
        train: Passed on to the network.
        output_stride: The largest stride, 8, 16 or 32.
        also: Paths of modules whose outputs are wanted, too.
        dilate_strided: Whether a layer that loses its stride is dilated like those
            behind it, as in torchvision's MobileNetV3. Otherwise it reads what it would
            read with its stride, as in torchvision's ResNets.

    Raises:
        UserError: Another output stride, or a path that is no module with a map.
    """
    check_output_stride(output_stride)
    unbound = network.clone(parent=None, name=None)
    plan = _plan(unbound, images.shape[-1], train)
    for path in also:
        if path not in plan.paths:
            raise unknown("module with a feature map", path, plan.paths)
    taps = plan.taps
    record = _Record({*taps.values(), *also})
    table = _dilated(record, plan.strides, output_stride, dilate_strided)
    token = _wanted.set(record)
    try:
        with (
            _recorded(record, network.path),
            ops.using(table),
            contextlib.suppress(_LastMapError),
        ):
            network(images, train=train)
    finally:
        _wanted.reset(token)
    return Maps(
        {stride: record.maps[tap] for stride, tap in taps.items()},
        {path: record.maps[path] for path in also},
        images.shape[1:3],
    )


def recomputed(
    module: nn.Module, call: Callable[[], Any], recompute: Callable[[], Any]
) -> Any:
    """The output of a layer group that is rematerialised, kept where it is a map.

    Its own modules are called out of sight then, so a group with a map inside of it,
    such as the stem of a ResNet for a U-Net, is called as usual.

    Args:
        module: The layer group.
        call: Function that calls it as usual.
        recompute: Function that calls it so that the backward pass recomputes it.
    """
    record, (group,) = _wanted.get(), module.path
    if record is None:
        return recompute()
    taps = record.wanted or ()
    if any(isinstance(tap, str) and tap.startswith(f"{group}/") for tap in taps):
        return call()
    output = recompute()
    record.keep(group, output)
    return output


def check_output_stride(output_stride: int) -> None:
    """Raises UserError unless it is one of OUTPUT_STRIDES."""
    rule = f"one of {OUTPUT_STRIDES}"
    require(output_stride in OUTPUT_STRIDES, "output_stride", output_stride, rule)


class _LastMapError(Exception):
    """Ends the call of a network that has computed all maps that are wanted."""


class _Record:
    """What one call of a network has computed so far.

    A tap is the path of a module, or the number of the call of a pooling that no module
    makes but the network itself.

    Attributes:
        wanted: Taps after which the call of the network ends; None: it does not.
        maps: Tap -> its last output [B, H', W', C], in the order of the outputs.
        num_calls: Number of convolutions and poolings.
        depth: Number of modules that are being called, without the network.
    """

    def __init__(self, wanted: Set[str | int] | None) -> None:
        self.wanted = wanted
        self.maps: dict[str | int, jax.Array] = {}
        self.num_calls = 0
        self.depth = 0

    def keep(self, tap: str | int, output: Any) -> None:
        """Keeps the output of a tap, if it is a map."""
        if getattr(output, "ndim", None) != 4:
            return
        self.maps.pop(tap, None)
        self.maps[tap] = output
        if self.wanted is not None and self.wanted <= self.maps.keys():
            raise _LastMapError

    def keep_pooled(self, output: jax.Array) -> None:
        """Keeps the output of a pooling if the network itself calls it."""
        if self.depth == 0:
            self.keep(self.num_calls, output)


@contextlib.contextmanager
def _recorded(record: _Record, root: tuple[str, ...] = ()) -> Iterator[None]:
    """Keeps the outputs of the modules of a network, at a path, that is called."""

    def call(method: Callable, args: Any, kwargs: Any, context: Any) -> Any:
        path = context.module.path[len(root) :]
        if context.method_name != "__call__" or not path:
            return method(*args, **kwargs)
        record.depth += 1
        output = method(*args, **kwargs)
        record.depth -= 1
        record.keep("/".join(path), output)
        return output

    with nn.intercept_methods(call):
        yield


# Of the call of feature_maps that is being traced.
_wanted: contextvars.ContextVar[_Record | None] = contextvars.ContextVar(
    "wanted feature maps", default=None
)


class _Plan(NamedTuple):
    """What a trace of a network shows.

    Attributes:
        strides: Stride of the input of each convolution and pooling, in order.
        taps: Stride -> tap of the last map that has it.
        paths: Paths of all modules whose outputs are maps.
    """

    strides: tuple[int, ...]
    taps: Mapping[int, str | int]
    paths: tuple[str, ...]


@functools.lru_cache(maxsize=64)
def _plan(network: nn.Module, channels: int, train: bool) -> _Plan:
    """What a trace of a network shows, whatever is in force in this thread.

    Interceptors of Linen, such as those that rematerialise blocks, tables of operations
    and wider dtypes are a thread's own.
    """
    with futures.ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(_traced, network, channels, train).result()


def _traced(network: nn.Module, channels: int, train: bool) -> _Plan:
    """Traces a network for one image of PROBE_PIXELS.

    The map of a stride is that of a layer group or, where there is none, of any module
    or of a pooling between groups.
    """
    record, strides = _Record(None), []

    def watched(operation: Callable[..., jax.Array], is_pool: bool) -> Callable:
        def call(x: jax.Array, *args: Any, **choices: Any) -> jax.Array:
            strides.append(_stride(x))
            record.num_calls += 1
            y = operation(x, *args, **choices)
            if is_pool:
                record.keep_pooled(y)
            return y

        return call

    table = dataclasses.replace(
        ops.LAX,
        conv=watched(ops.LAX.conv, False),
        max_pool=watched(ops.LAX.max_pool, True),
        avg_pool=watched(ops.LAX.avg_pool, True),
    )
    init = functools.partial(network.init, train=train)
    keys = dict.fromkeys(("params", "dropout"), jax.random.key(0))
    image = jax.ShapeDtypeStruct((1, PROBE_PIXELS, PROBE_PIXELS, channels), jnp.float32)
    with _recorded(record), ops.using(table):
        jax.eval_shape(init, keys, image)
    groups: dict[int, str | int] = {}
    others: dict[int, str | int] = {}
    for tap, y in record.maps.items():
        if min(y.shape[1:3]) > 1:  # others are gates, or pooled
            is_group = isinstance(tap, str) and "/" not in tap
            (groups if is_group else others)[_stride(y)] = tap
    if not (others or groups):
        name = type(network).__name__
        raise UserError(f"{name} has no feature maps, so it is no backbone.")
    paths = tuple(tap for tap in record.maps if isinstance(tap, str))
    return _Plan(tuple(strides), dict(sorted((others | groups).items())), paths)


def _stride(x: jax.Array) -> int:
    """The power of two that is nearest to the stride of a map."""
    return 2 ** round(math.log2(PROBE_PIXELS / x.shape[1]))


class _Steps(NamedTuple):
    """How one operation moves over its input, pixels."""

    rate: int  # its dilation, over that in the classifier
    stride: Pair
    padding: Padding


def _dilated(
    record: _Record, strides: Sequence[int], output_stride: int, dilate_strided: bool
) -> ops.Table:
    """The table in force with the strides and dilations of an output stride.

    Args:
        record: That of the call for which it is used.
        strides: Stride of the input of each call, where nothing is dilated.
        output_stride: The largest stride.
        dilate_strided: See feature_maps.
    """
    table = ops.current()

    def steps(window: Pair, stride: Pair, padding: Padding) -> _Steps:
        before = strides[record.num_calls]
        record.num_calls += 1
        after = before * max(stride)
        if before < output_stride < after:
            raise UserError(
                f"output_stride={output_stride}; one layer of this network goes from "
                f"{before} to {after} pixels."
            )
        loses_stride = max(stride) > 1 and after > output_stride
        rate = after if loses_stride and dilate_strided else before
        rate = max(1, rate // output_stride)
        pads = []
        for size, (low, high) in zip(window, padding, strict=True):
            low, reach = rate * low, rate * (size - 1)
            # Without its stride a layer keeps the size of what it reads.
            pads.append((low, reach - low if loses_stride else rate * high))
        return _Steps(rate, (1, 1) if loses_stride else stride, tuple(pads))

    def conv(
        x: jax.Array,
        kernel: jax.Array,
        bias: jax.Array | None = None,
        *,
        stride: Pair,
        padding: Padding,
        dilation: Pair,
        groups: int,
    ) -> jax.Array:
        sides = zip(kernel.shape[:2], dilation, strict=True)
        window = tuple(d * (k - 1) + 1 for k, d in sides)
        new = steps(window, stride, padding)
        dilation = tuple(new.rate * d for d in dilation)
        choices = {"stride": new.stride, "padding": new.padding, "dilation": dilation}
        return table.conv(x, kernel, bias, groups=groups, **choices)

    def max_pool(
        x: jax.Array, *, window: Pair, stride: Pair, padding: Padding
    ) -> jax.Array:
        new = steps(window, stride, padding)
        pool = functools.partial(table.max_pool, window=window, stride=new.stride)
        if new.rate == 1:
            y = pool(x, padding=new.padding)
        else:
            y = _at_rate(pool, _padded(x, new.padding, -jnp.inf), window, new.rate)
        record.keep_pooled(y)
        return y

    def avg_pool(
        x: jax.Array,
        *,
        window: Pair,
        stride: Pair,
        padding: Padding,
        count_include_pad: bool,
    ) -> jax.Array:
        new = steps(window, stride, padding)
        pool = functools.partial(
            table.avg_pool, window=window, stride=new.stride, count_include_pad=True
        )

        def mean(x: jax.Array) -> jax.Array:
            x = _padded(x, new.padding, 0.0)
            return _at_rate(pool, x, window, new.rate)

        y = mean(x)
        if not count_include_pad:
            y = y / mean(jnp.ones_like(x))
        record.keep_pooled(y)
        return y

    return dataclasses.replace(table, conv=conv, max_pool=max_pool, avg_pool=avg_pool)


def _padded(x: jax.Array, padding: Padding, value: float) -> jax.Array:
    """[B, H, W, C] with a value around it."""
    return jnp.pad(x, ((0, 0), *padding, (0, 0)), constant_values=value)


def _at_rate(
    pool: Callable[..., jax.Array], x: jax.Array, window: Pair, rate: int
) -> jax.Array:
    """Pooling with stride 1 and a dilated window: that of each of rate * rate grids.

    [B, H, W, C] -> [B, H - rate * (rows - 1), W - rate * (columns - 1), C].
    """
    batch, height, width, channels = x.shape
    behind = ((0, -height % rate), (0, -width % rate))
    x = _padded(x, behind, 0.0)  # seen by no window that is kept
    grids = (batch, x.shape[1] // rate, rate, x.shape[2] // rate, rate, channels)
    x = x.reshape(grids).transpose(2, 4, 0, 1, 3, 5)
    y = pool(x.reshape(-1, *x.shape[3:]), padding=((0, 0), (0, 0)))
    y = y.reshape(*x.shape[:3], *y.shape[1:]).transpose(2, 3, 0, 4, 1, 5)
    y = y.reshape(batch, rate * y.shape[1], rate * y.shape[3], channels)
    rows, columns = (rate * (size - 1) for size in window)
    return y[:, : height - rows, : width - columns]
