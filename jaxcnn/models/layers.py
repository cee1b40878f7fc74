"""The layers that all networks are built from.

Convolution, pooling, normalisation, dropout and activations come from here and from
nowhere else. Layers compute with the operations of the table that is in force while
they are traced (`jaxcnn.ops`). Padding, epsilon, momentum and initial values are
PyTorch's, because most of the networks are compared with torchvision; a family that
follows another library passes that library's numbers.

Parameters are initialised in float32. A layer computes in the wider of the dtypes of
its input and its parameters, so the caller chooses the precision by casting both.
"""

from collections.abc import Callable
import math

from flax import errors
from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import ops
from jaxcnn.errors import UserError, unknown

Activation = Callable[[jax.Array], jax.Array]
Initializer = nn.initializers.Initializer
Size = int | tuple[int, int]  # of both axes, or (rows, columns)
Padding = tuple[tuple[int, int], tuple[int, int]]  # (top, bottom), (left, right)

NAMED: set[str] = set()  # functions that are one layer of a network's table


def named(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Marks the operations of a function with its name in the jaxpr."""
    NAMED.add(function.__name__)
    return jax.named_scope(function.__name__)(function)


def relu(x: jax.Array) -> jax.Array:
    """The larger of x and 0."""
    return ops.current().relu(x)


def relu6(x: jax.Array) -> jax.Array:
    """ReLU that does not pass 6."""
    return ops.current().relu6(x)


def leaky_relu(x: jax.Array) -> jax.Array:
    """x where it is positive, 0.01 * x elsewhere."""
    return ops.current().leaky_relu(x)


def silu(x: jax.Array) -> jax.Array:
    """x * sigmoid(x), "swish"."""
    return ops.current().silu(x)


def gelu(x: jax.Array) -> jax.Array:
    """x times the standard normal's distribution function."""
    return ops.current().gelu(x)


def softplus(x: jax.Array) -> jax.Array:
    """log(1 + exp(x))."""
    return ops.current().softplus(x)


def sigmoid(x: jax.Array) -> jax.Array:
    """1 / (1 + exp(-x))."""
    return ops.current().sigmoid(x)


def tanh(x: jax.Array) -> jax.Array:
    """Hyperbolic tangent."""
    return ops.current().tanh(x)


def hard_sigmoid(x: jax.Array) -> jax.Array:
    """A sigmoid of three straight pieces (Howard et al., ICCV 2019, section 5.2)."""
    return ops.current().hard_sigmoid(x)


def hard_swish(x: jax.Array) -> jax.Array:
    """x * hard_sigmoid(x)."""
    return ops.current().hard_swish(x)


def add_relu(x: jax.Array, y: jax.Array) -> jax.Array:
    """ReLU of x + y, where a residual branch joins its shortcut."""
    return ops.current().add_relu(x, y)


RESIZE_METHODS = ("bilinear", "nearest")

ACTIVATIONS: dict[str, Activation] = {
    "relu": relu,
    "leaky_relu": leaky_relu,
    "softplus": softplus,
    "sigmoid": sigmoid,
    "tanh": tanh,
}

# nn.init.kaiming_normal_(mode="fan_out"), as in torchvision's ResNet.
kaiming_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
he_uniform = nn.initializers.he_uniform()  # segmentation-models-pytorch's decoders
# The default of nn.Conv2d and nn.Linear: uniform in +-1/sqrt(fan_in).
torch_uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def _torch_bias(kernel: jax.Array) -> Initializer:
    """Uniform in +-1/sqrt(fan_in of the kernel), like nn.Conv2d and nn.Linear."""
    return _uniform_in_root(kernel.size // kernel.shape[-1])


def _uniform_in_root(fan_in: int) -> Initializer:
    """Uniform in +-1/sqrt(fan_in)."""
    bound = 1 / math.sqrt(fan_in)

    def init(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def bilinear_kernel(
    key: jax.Array, shape: tuple[int, int, int, int], dtype: jnp.dtype = jnp.float32
) -> jax.Array:
    """Initializer of a transposed convolution that interpolates bilinearly.

    Long, Shelhamer and Darrell, CVPR 2015, https://arxiv.org/abs/1411.4038, section
    3.3, as in their code. It enlarges a map s times with stride s, a kernel of 2 * s -
    s % 2 pixels and a padding of s // 2; the border of the map fades to zero, which
    `resize` does not do.

    Args:
        key: Not used.
        shape: [kh, kw, C/groups, filters]. Filter f shows channel f % (C/groups) of its
            group: each channel once with as many filters as channels.
        dtype: Dtype of the kernel.

    Raises:
        UserError: The number of filters is no multiple of C/groups.
    """
    height, width, inputs, filters = shape
    if filters % inputs:
        raise UserError(
            f"bilinear_kernel needs a multiple of {inputs} filters, the channels that "
            f"each one sees, not {filters}; to interpolate {inputs} channels give the "
            f"layer {inputs} filters."
        )

    def tent(size: int) -> np.ndarray:
        return 1 - np.abs(np.arange(size) - (size - 1) / 2) / ((size + 1) // 2)

    maps = np.arange(inputs)[:, None] == np.arange(filters) % inputs
    kernel = np.multiply.outer(np.outer(tent(height), tent(width)), maps)
    return jnp.asarray(kernel, dtype)


def _pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


def _padding(x: jax.Array, window: Size, padding: Size) -> Padding:
    """Symmetric padding (before, after) of both axes, once the window fits x.

    Checks that the window fits x. The padding is explicit, because with a stride "SAME"
    starts one pixel later than PyTorch.
    """
    pads = _pair(padding)
    for size, width, pad in zip(x.shape[1:3], _pair(window), pads, strict=True):
        if size + 2 * pad < width:
            raise UserError(
                f"A window of {width} pixels does not fit {size} pixels padded by "
                f"{pad}; this network needs larger images."
            )
    rows, columns = pads
    return (rows, rows), (columns, columns)


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    stride: Size = 1,
    padding: Size | None = None,
    groups: int = 1,
    dilation: Size = 1,
    bias: jax.Array | None = None,
) -> jax.Array:
    """Convolution with a given kernel [kh, kw, C/groups, filters].

    For kernels that are fixed or computed; if they are parameters, use Conv.
    """
    dilation = _pair(dilation)
    reach = [d * (k - 1) for k, d in zip(kernel.shape[:2], dilation, strict=True)]
    padding = [r // 2 for r in reach] if padding is None else padding
    return ops.current().conv(
        x,
        kernel,
        bias,
        stride=_pair(stride),
        padding=_padding(x, [r + 1 for r in reach], padding),
        dilation=dilation,
        groups=groups,
    )


def parameter(
    module: nn.Module, name: str, init: Initializer, shape: tuple[int, ...]
) -> jax.Array:
    """A parameter as of module.param(name, init, shape, jnp.float32).

    module.param traces the initializer of a parameter that exists already, to compare
    shapes; that was a sixth of the time that tracing the step of DenseNet-121 took.

    Raises:
        ScopeParamShapeError: The parameter exists and has another shape.
    """
    if not module.has_variable("params", name):
        return module.param(name, init, shape, jnp.float32)
    value = module.get_variable("params", name)
    if value.shape != shape:
        raise errors.ScopeParamShapeError(
            name, "/" + "/".join(module.path), value.shape, shape
        )
    return value


class Conv(nn.Module):
    """Convolution, equal to PyTorch's nn.Conv2d.

    Attributes:
        padding: Zeros on each side. None: dilation * (kernel - 1) // 2, which keeps the
            size if the kernel is odd and the stride is 1.
        bias_init: Initializer of the bias. None: uniform in +-1/sqrt(fan_in of the
            kernel), as in PyTorch.
    """

    filters: int
    kernel: Size
    stride: Size = 1
    padding: Size | None = None
    groups: int = 1
    dilation: Size = 1
    bias: bool = True
    kernel_init: Initializer = torch_uniform
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H/stride, W/stride, filters], rounded up."""
        shape = (*_pair(self.kernel), x.shape[-1] // self.groups, self.filters)
        kernel = parameter(self, "kernel", self.kernel_init, shape)
        bias = None
        if self.bias:
            init = self.bias_init or _torch_bias(kernel)
            bias = parameter(self, "bias", init, (self.filters,))
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias)
        return convolve(
            x, kernel, self.stride, self.padding, self.groups, self.dilation, bias
        )


class ConvTranspose(nn.Module):
    """Transposed convolution, equal to PyTorch's nn.ConvTranspose2d.

    Its kernel is [kh, kw, C/groups, filters], see ops.lax.conv_transpose.

    Attributes:
        stride: Factor by which the map becomes larger.
        padding: Pixels that are cut off on each side.
        output_padding: Pixels that are added at the bottom and at the right.
        kernel_init: Initializer of the kernel. None: uniform in +-1/sqrt(kh * kw *
            filters / groups), as in PyTorch.
        bias_init: Initializer of the bias. None: like that of the kernel in PyTorch.
    """

    filters: int
    kernel: Size
    stride: Size = 1
    padding: Size = 0
    output_padding: Size = 0
    groups: int = 1
    dilation: Size = 1
    bias: bool = True
    kernel_init: Initializer | None = None
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H', W', filters], where H' is (H - 1) * stride - 2 *
        padding + dilation * (kernel - 1) + output_padding + 1."""
        padding = self._padding(x)
        shape = (*_pair(self.kernel), x.shape[-1] // self.groups, self.filters)
        in_root = _uniform_in_root(math.prod(shape[:2]) * self.filters // self.groups)
        kernel_init = self.kernel_init or in_root
        kernel = self.param("kernel", kernel_init, shape, jnp.float32)
        bias = None
        if self.bias:
            init = self.bias_init or in_root
            bias = self.param("bias", init, (self.filters,), jnp.float32)
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias)
        return ops.current().conv_transpose(
            x,
            kernel,
            bias,
            stride=_pair(self.stride),
            padding=padding,
            dilation=_pair(self.dilation),
            groups=self.groups,
        )

    def _padding(self, x: jax.Array) -> Padding:
        """What is cut off on each side, once something is left."""
        for number, name in ((x.shape[-1], "channels"), (self.filters, "filters")):
            if number % self.groups:
                raise UserError(
                    f"{number} {name} do not divide into {self.groups} groups."
                )
        result = []
        for size, width, step, cut, added, gap in zip(
            x.shape[1:3],
            *(_pair(self.kernel), _pair(self.stride), _pair(self.padding)),
            *(_pair(self.output_padding), _pair(self.dilation)),
            strict=True,
        ):
            if not 0 <= added < max(step, gap):
                raise UserError(
                    f"output_padding={added} of a transposed convolution is not in "
                    f"[0, {max(step, gap)}), below its stride or dilation."
                )
            if (size - 1) * step + gap * (width - 1) + 1 + added <= 2 * cut:
                raise UserError(
                    f"A transposed convolution with kernel {width}, stride {step} and "
                    f"padding {cut} leaves nothing of {size} pixels."
                )
            result.append((cut, cut - added))
        return tuple(result)


class Dense(nn.Module):
    """Linear layer, equal to PyTorch's nn.Linear.

    Attributes:
        bias_init: Initializer of the bias. None: uniform in +-1/sqrt(fan_in of the
            kernel), as in PyTorch.
    """

    features: int
    kernel_init: Initializer = torch_uniform
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, C] -> [B, features]."""
        shape = (x.shape[-1], self.features)
        kernel = parameter(self, "kernel", self.kernel_init, shape)
        init = self.bias_init or _torch_bias(kernel)
        bias = parameter(self, "bias", init, (self.features,))
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias)
        return ops.current().dense(x, kernel, bias)


def head(
    num_classes: int, dense: Callable[..., nn.Module] = Dense
) -> Callable[[jax.Array], jax.Array]:
    """Returns the last linear layer of a network, the identity if num_classes is 0.

    Args:
        num_classes: Number of classes.
        dense: Linear layer class, called as dense(num_classes, name="head").
    """
    if num_classes == 0:
        return lambda features: features
    return dense(num_classes, name="head")


def lstm(
    hidden: int, name: str, reverse: bool = False
) -> Callable[[jax.Array], jax.Array]:
    """Returns Flax's LSTM over the frames of a sequence, [B, T, C] -> [B, T, hidden].

    As PyTorch's nn.LSTM, with the sum of its two biases as one bias for each gate.

    Args:
        hidden: Number of units.
        name: Name of its parameters.
        reverse: Whether the frames are read from the last to the first. The result is
            in the order of the frames in any case.
    """
    rnn = nn.RNN(
        nn.OptimizedLSTMCell(hidden, name=name), reverse=reverse, keep_order=True
    )

    def apply(frames: jax.Array) -> jax.Array:
        # In the dtype of the frames; Flax's own is that of initialisation.
        zeros = jnp.zeros((len(frames), hidden), frames.dtype)
        return rnn(frames, initial_carry=(zeros, zeros))

    return apply


def _scale_and_bias(
    module: "BatchNorm | LayerNorm", channels: int
) -> tuple[jax.Array | None, jax.Array | None]:
    """The parameters of a normalisation, each [C], None where it has none."""
    scale = bias = None
    if module.use_scale:
        scale = parameter(module, "scale", module.scale_init, (channels,))
    if module.use_bias:
        bias = parameter(module, "bias", module.bias_init, (channels,))
    return scale, bias


class BatchNorm(nn.Module):
    """Batch normalisation with PyTorch's epsilon and momentum.

    Its running variance is the biased one, as Flax keeps it; PyTorch's is larger by
    n/(n - 1). Parameters and running statistics have the names of Flax's BatchNorm.

    Attributes:
        momentum: The share of the running statistics that is kept; PyTorch calls the
            other share momentum.
        epsilon: Added to the variance.
        use_scale: Whether there is a scale for each channel.
        use_bias: Whether there is a bias for each channel.
        axis_name: Axis of pmap whose replicas share their statistics.
        num_examples: Consecutive examples that are normalised by their own statistics
            in training; the running ones follow the mean of all of these. None: the
            whole batch.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    use_scale: bool = True
    use_bias: bool = True
    scale_init: Initializer = nn.initializers.ones
    bias_init: Initializer = nn.initializers.zeros
    axis_name: str | None = None
    num_examples: int | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, ..., C] -> [B, ..., C]."""
        shape = x.shape[-1:]
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        scale, bias = _scale_and_bias(self, *shape)
        values = (x, scale, bias, mean.value, var.value)
        if not train:
            return ops.current().batch_norm(*values, epsilon=self.epsilon)
        num_examples = self.num_examples or len(x)
        if len(x) % num_examples:
            raise UserError(
                f"num_examples={num_examples} does not divide a batch of {len(x)}."
            )
        y, new_mean, new_var = ops.current().batch_norm_train(
            *values,
            momentum=self.momentum,
            epsilon=self.epsilon,
            # model.init is called outside of pmap.
            axis_name=None if self.is_initializing() else self.axis_name,
            groups=len(x) // num_examples,
        )
        if not self.is_initializing():
            mean.value, var.value = new_mean, new_var
        return y


class ConvNorm(nn.Module):
    """Convolution without bias, normalisation, activation.

    Attributes:
        act: Activation function. None: no activation.
        norm: Normalisation class, called as
            norm(scale_init=..., name=...)(x, train=...).
        scale_init: Initial scale of the normalisation.
    """

    filters: int
    kernel: Size
    stride: Size = 1
    padding: Size | None = None
    groups: int = 1
    dilation: Size = 1
    act: Activation | None = relu
    norm: Callable[..., nn.Module] = BatchNorm
    kernel_init: Initializer = kaiming_normal
    scale_init: Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/stride, W/stride, filters], rounded up."""
        x = Conv(
            self.filters,
            self.kernel,
            self.stride,
            self.padding,
            self.groups,
            self.dilation,
            bias=False,
            kernel_init=self.kernel_init,
            name="conv",
        )(x)
        x = self.norm(scale_init=self.scale_init, name="norm")(x, train=train)
        return x if self.act is None else self.act(x)


class ConvAct(nn.Module):
    """Convolution with bias, activation."""

    filters: int
    kernel: Size
    stride: Size = 1
    padding: Size | None = None
    groups: int = 1
    act: Activation = relu
    kernel_init: Initializer = torch_uniform
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H/stride, W/stride, filters], rounded up."""
        conv = Conv(
            self.filters,
            self.kernel,
            self.stride,
            self.padding,
            self.groups,
            kernel_init=self.kernel_init,
            bias_init=self.bias_init,
            name="conv",
        )
        return self.act(conv(x))


class Dropout(nn.Module):
    """In training, sets each value to 0 with probability rate and scales the rest."""

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return nn.Dropout(self.rate, deterministic=not train)(x)


class StochasticDepth(nn.Module):
    """In training, drops the residual branch of each example independently.

    Huang et al., ECCV 2016, https://arxiv.org/abs/1603.09382; as in torchvision
    (mode "row"), a branch that is kept is divided by the probability of keeping it.

    Attributes:
        rate: Probability that the branch is dropped.
    """

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, C]."""
        drop = nn.Dropout(self.rate, (1, 2, 3), deterministic=not train)
        return drop(x)


class SqueezeExcitation(nn.Module):
    """A gate per channel, from the channel means (Hu et al., CVPR 2018, Figure 3).

    Attributes:
        filters: Size of the squeezed vector.
        act: Activation after the first linear layer.
        gate: Activation after the second linear layer.
        kernel_init, bias_init: Initializers of both linear layers, see Conv.
    """

    filters: int
    act: Activation = relu
    gate: Activation = sigmoid
    kernel_init: Initializer = torch_uniform
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, C]."""
        init = {"kernel_init": self.kernel_init, "bias_init": self.bias_init}
        pool = ops.current().global_avg_pool
        y = pool(x, axes=(1, 2), keepdims=True)  # [B, 1, 1, C]
        y = self.act(Conv(self.filters, 1, **init, name="fc1")(y))  # [B, 1, 1, filters]
        return x * self.gate(Conv(x.shape[-1], 1, **init, name="fc2")(y))


class LayerNorm(nn.Module):
    """Normalisation over the channels of each pixel; epsilon as in ConvNeXt.

    Attributes:
        axis_name: Not used: replicas of pmap have nothing to share.
    """

    epsilon: float = 1e-6
    use_scale: bool = True
    use_bias: bool = True
    scale_init: Initializer = nn.initializers.ones
    bias_init: Initializer = nn.initializers.zeros
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[..., C] -> [..., C]."""
        scale, bias = _scale_and_bias(self, x.shape[-1])
        return ops.current().layer_norm(x, scale, bias, epsilon=self.epsilon)


@named
def local_response_norm(
    x: jax.Array, size: int, alpha: float, beta: float, k: float
) -> jax.Array:
    """Returns x / (k + alpha * sum of squares over `size` adjacent channels) ** beta.

    Krizhevsky et al., NIPS 2012, section 3.3. Caffe and PyTorch divide alpha by size.
    """
    return ops.current().local_response_norm(x, size=size, alpha=alpha, beta=beta, k=k)


def channel_shuffle(x: jax.Array, groups: int) -> jax.Array:
    """Interleaves the channels of the groups (ShuffleNet, Figure 1).

    [B, H, W, C] -> [B, H, W, C].
    """
    grouped = x.reshape(*x.shape[:-1], groups, -1)  # [B, H, W, groups, C/groups]
    return grouped.swapaxes(-1, -2).reshape(x.shape)


def max_pool(
    x: jax.Array,
    window: Size,
    stride: Size,
    padding: Size = 0,
    ceil_mode: bool = False,
) -> jax.Array:
    """Largest value of each window; the padding is minus infinity.

    With ceil_mode, as in PyTorch, a last window that starts inside the image may extend
    beyond it.
    """
    place = _pool_place(x, window, stride, padding, ceil_mode)
    return ops.current().max_pool(x, **place)


def _pool_place(
    x: jax.Array, window: Size, stride: Size, padding: Size, ceil_mode: bool
) -> dict[str, tuple]:
    """window, stride and padding of a pool as operations take them."""
    if ceil_mode:
        sides = zip(_pair(window), _pair(stride), strict=True)
        inside = tuple(width - step + 1 for width, step in sides)  # of a first window
        padding = _ceil_padding(x, window, stride, _padding(x, inside, padding))
    else:
        padding = _padding(x, window, padding)
    return {"window": _pair(window), "stride": _pair(stride), "padding": padding}


def _ceil_padding(
    x: jax.Array, window: Size, stride: Size, padding: Padding
) -> Padding:
    """The padding with what PyTorch's ceil_mode adds behind."""
    result = []
    axes = zip(x.shape[1:3], _pair(window), _pair(stride), padding, strict=True)
    for size, width, step, (before, after) in axes:
        count = -(-(size + before + after - width) // step) + 1
        if (count - 1) * step >= size + before:  # it would start in the padding
            count -= 1
        behind = (count - 1) * step + width - size - before
        result.append((before, max(behind, after)))
    return tuple(result)


@named
def max_pool_switches(
    x: jax.Array,
    window: Size,
    stride: Size,
    padding: Size = 0,
    ceil_mode: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """max_pool, and which pixel of each window was the largest, for max_unpool.

    Returns:
        Values and switches, both [B, H', W', C], see ops.lax.max_pool_switches.
    """
    place = _pool_place(x, window, stride, padding, ceil_mode)
    return ops.current().max_pool_switches(x, **place)


@named
def max_unpool(
    x: jax.Array,
    switches: jax.Array,
    window: Size,
    stride: Size,
    padding: Size = 0,
    size: tuple[int, int] | None = None,
) -> jax.Array:
    """Puts each value where its window had its largest pixel, between zeros.

    Values that windows have put in the same place are summed; see ops.lax.max_unpool.

    Args:
        x: [B, H', W', C].
        switches: Switches of max_pool_switches, [B, H', W', C].
        window, stride, padding: The arguments of max_pool_switches.
        size: Rows and columns of the result, those of the map that was pooled. None:
            the smallest with all pixels of the windows.

    Raises:
        UserError: The switches have another shape than x, or the pooling does not give
            this shape for a map of this size.
    """
    if x.shape != switches.shape:
        raise UserError(
            f"max_unpool got values {list(x.shape)} and switches "
            f"{list(switches.shape)}, which differ; they need equal shapes."
        )
    window, stride = _pair(window), _pair(stride)
    sides = [
        ((number - 1) * step + width - 2 * pad, step, pad)
        for number, step, width, pad in zip(
            *(x.shape[1:3], stride, window, _pair(padding)), strict=True
        )
    ]
    size = tuple(whole for whole, _, _ in sides) if size is None else size
    for length, (whole, step, _) in zip(size, sides, strict=True):
        if not whole - step < length < whole + step:
            raise UserError(
                f"max_unpool cannot make {length} pixels of this map, but "
                f"{max(1, whole - step + 1)} to {whole + step - 1}."
            )
    return ops.current().max_unpool(
        x,
        switches,
        size=tuple(size),
        window=window,
        stride=stride,
        # Behind, as far as the last window reaches.
        padding=tuple(
            (pad, whole + pad - length)
            for length, (whole, _, pad) in zip(size, sides, strict=True)
        ),
    )


def resize(
    x: jax.Array,
    size: Size,
    method: str = "bilinear",
    align_corners: bool = False,
) -> jax.Array:
    """[B, H, W, C] -> [B, *size, C], as PyTorch's interpolate without antialiasing.

    See ops.lax.resize, also for what jax.image.resize does otherwise.

    Args:
        x: [B, H, W, C].
        size: Rows and columns of the result.
        method: "bilinear" or "nearest".
        align_corners: Whether bilinear interpolation keeps the centres of the corner
            pixels in place, instead of the corners of the image.

    Raises:
        UserError: There is no such method, "nearest" is to align corners, or the size
            is not positive.
    """
    size = _pair(size)
    if method not in RESIZE_METHODS:
        raise unknown("method of resizing", method, RESIZE_METHODS)
    if align_corners and method == "nearest":
        raise UserError("align_corners=True is for method='bilinear', not 'nearest'.")
    if min(size) < 1:
        raise UserError(
            f"A map cannot be resized to {size} pixels; allowed: 1 or more."
        )
    return ops.current().resize(
        x, size=size, method=method, align_corners=align_corners
    )


def avg_pool(
    x: jax.Array,
    window: Size,
    stride: Size,
    padding: Size = 0,
    count_include_pad: bool = True,
) -> jax.Array:
    """Mean of each window, including or excluding the zeros of the padding."""
    padding = _padding(x, window, padding)
    return ops.current().avg_pool(
        x,
        window=_pair(window),
        stride=_pair(stride),
        padding=padding,
        count_include_pad=count_include_pad,
    )


@named
def adaptive_avg_pool(x: jax.Array, size: int) -> jax.Array:
    """[B, H, W, C] -> [B, size, size, C], for any H and W, as in PyTorch.

    Each output is the mean of the pixels that its share of the axis touches. Windows
    may therefore overlap, or repeat pixels if there are fewer than size.
    """
    pool = ops.current().global_avg_pool
    for axis in 1, 2:
        length = x.shape[axis]
        if length != size:
            ends = [
                (i * length // size, -(-(i + 1) * length // size)) for i in range(size)
            ]
            windows = [jax.lax.slice_in_dim(x, *end, axis=axis) for end in ends]
            means = [pool(window, axes=(axis,), keepdims=False) for window in windows]
            x = jnp.stack(means, axis)
    return x


def global_avg_pool(x: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, C]."""
    return ops.current().global_avg_pool(x, axes=(1, 2), keepdims=False)


def round_filters(filters: float, divisor: int = 8) -> int:
    """Returns the nearest multiple of divisor that is at least 90% of filters.

    MobileNets and EfficientNets scale their widths in this way, as in torchvision.
    """
    nearest = max(divisor, int(filters + divisor / 2) // divisor * divisor)
    return nearest if nearest >= 0.9 * filters else nearest + divisor
