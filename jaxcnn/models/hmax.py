"""HMAX, a model of the visual cortex.

Riesenhuber and Poggio, "Hierarchical Models of Object Recognition in Cortex", Nature
Neuroscience 2, 1999, in the form of Serre, Wolf, Bileschi, Riesenhuber and Poggio,
"Robust Object Recognition with Cortex-Like Mechanisms", IEEE Transactions on Pattern
Analysis and Machine Intelligence 29(3), 2007, https://doi.org/10.1109/TPAMI.2007.56.
BANDS is its Table 1.

Training: S1 is fixed. `imprint` cuts the patches of S2 out of training images. They
then stay fixed in the collection batch_stats, which holds everything learned from
training images without a gradient. Only the head, a linear read-out of C2, is trained
by gradient descent. Before `imprint`, all patches are 0 and S2 distinguishes nothing.

Departures:
  * The read-out is softmax regression on standardised C2 units (BatchNorm without
    parameters); the paper uses a support vector machine.
  * The sharpness of S2, per unit, is the same for large patches as for 4x4 patches
    (Mutch and Lowe, International Journal of Computer Vision 80(1), 2008).
  * C1 and S2 have no units whose windows extend beyond the border; S1 has.
  * Colour images are replaced by the mean of their channels.
"""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.errors import UserError
from jaxcnn.models.layers import BatchNorm, avg_pool, convolve, head, max_pool
from jaxcnn.models.variant import Variant

Maps = tuple[jax.Array, ...]  # one per band, [B, h, w, orientations]

ANGLES = (0, 45, 90, 135)  # degrees
ASPECT = 0.3  # gamma of equation 1
IMPRINTED_BAND = 1  # the second, as in the authors' code


Standardise = functools.partial(BatchNorm, use_bias=False, use_scale=False)


class Band(NamedTuple):
    """Two sizes of S1 units and the C1 units that pool them, a row of Table 1.

    Attributes:
        sizes: Sizes of the two filters, in pixels.
        sigmas: Widths of their Gaussians, in pixels.
        wavelengths: Wavelengths of their cosines, in pixels.
        window: Side of the neighbourhood that a C1 unit pools; the stride is half of
            it.
    """

    sizes: tuple[int, int]
    sigmas: tuple[float, float]
    wavelengths: tuple[float, float]
    window: int


BANDS = (
    Band((7, 9), (2.8, 3.6), (3.5, 4.6), 8),
    Band((11, 13), (4.5, 5.4), (5.6, 6.8), 10),
    Band((15, 17), (6.3, 7.3), (7.9, 9.1), 12),
    Band((19, 21), (8.2, 9.2), (10.3, 11.5), 14),
    Band((23, 25), (10.2, 11.3), (12.7, 14.1), 16),
    Band((27, 29), (12.3, 13.4), (15.4, 16.8), 18),
    Band((31, 33), (14.6, 15.8), (18.2, 19.7), 20),
    Band((35, 37), (17.0, 18.2), (21.2, 22.8), 22),
)


def gabor_bank(size: int, sigma: float, wavelength: float) -> np.ndarray:
    """Filters of equation 1 in four orientations, zero mean, unit norm.

    Their shape is [size, size, 1, 4].
    """
    offsets = np.arange(size) - size // 2
    x, y = offsets[None, :, None], offsets[:, None, None]
    angles = np.deg2rad(ANGLES)
    along = x * np.cos(angles) + y * np.sin(angles)
    across = y * np.cos(angles) - x * np.sin(angles)
    gauss = np.exp(-(along**2 + ASPECT**2 * across**2) / (2 * sigma**2))
    bank = gauss * np.cos(2 * np.pi * along / wavelength)
    bank -= bank.mean(axis=(0, 1))
    return (bank / np.linalg.norm(bank, axis=(0, 1)))[:, :, None]


def simple_units(x: jax.Array, size: int, sigma: float, wavelength: float) -> jax.Array:
    """S1: similarity of each position to a filter, regardless of contrast and sign.

    [B, H, W, 1] -> [B, H, W, 4], between 0 and 1.
    """
    bank = jnp.asarray(gabor_bank(size, sigma, wavelength), x.dtype)
    mean_square = avg_pool(jnp.square(x), size, 1, padding=size // 2)  # [B, H, W, 1]
    tiny = jnp.asarray(1e-12, x.dtype)
    length = size * jnp.sqrt(jnp.maximum(mean_square, tiny))
    return jnp.abs(convolve(x, bank)) / length


class Stem(nn.Module):
    """S1, and C1: the largest S1 unit in a neighbourhood, over a band's two sizes."""

    num_bands: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> Maps:
        """[B, H, W, C] -> one [B, h, w, 4] per band."""
        x = jnp.mean(x, axis=-1, keepdims=True)  # [B, H, W, 1]
        maps = []
        for band in BANDS[: self.num_bands]:
            filters = zip(band.sizes, band.sigmas, band.wavelengths, strict=True)
            s1 = functools.reduce(jnp.maximum, [simple_units(x, *f) for f in filters])
            maps.append(max_pool(s1, band.window, band.window // 2))
        return tuple(maps)


class PatchBlock(nn.Module):
    """S2: distance of each C1 position to each patch. C2: minimum over all bands.

    Attributes:
        patch_sizes: Sides of the patches, in C1 units.
        num_patches: Number of patches of each size.
        sharpness: beta in exp(-beta * squared distance), for 4x4 patches.
    """

    patch_sizes: tuple[int, ...]
    num_patches: int
    sharpness: float

    @nn.compact
    def __call__(self, maps: Maps, *, train: bool) -> jax.Array:
        """One [B, h, w, 4] per band -> [B, patches of all sizes]."""
        nearest = []
        for size in self.patch_sizes:
            shape = (size, size, len(ANGLES), self.num_patches)
            name = f"patches{size}"
            patches = self.variable("batch_stats", name, jnp.zeros, shape, jnp.float32)
            squares = [
                squared_distances(x, patches.value.astype(x.dtype))
                for x in maps
                if min(x.shape[1:3]) >= size
            ]
            if not squares:
                raise UserError(
                    f"No patch of {size}x{size} fits C1 maps of "
                    f"{[x.shape[1:3] for x in maps]}; this network needs larger images "
                    "or smaller patch_sizes."
                )
            least = [jnp.min(square, axis=(1, 2)) for square in squares]
            least = functools.reduce(jnp.minimum, least)  # [B, num_patches]
            nearest.append(jnp.exp(-self.sharpness * (4 / size) ** 2 * least))
        return jnp.concatenate(nearest, axis=-1)


def squared_distances(x: jax.Array, patches: jax.Array) -> jax.Array:
    """Squared distances between each window of x and each patch.

    [B, H, W, C], [size, size, C, P] -> [B, H - size + 1, W - size + 1, P].
    """
    size = len(patches)
    squares = jnp.sum(jnp.square(x), axis=-1, keepdims=True)  # [B, H, W, 1]
    squares = size**2 * avg_pool(squares, size, 1)
    products = convolve(x, patches, padding=0)
    return jnp.maximum(squares - 2 * products + jnp.sum(patches**2, axis=(0, 1, 2)), 0)


class Hmax(nn.Module):
    """S1 and C1, S2 and C2, linear head.

    Attributes:
        num_classes: Number of classes. 0: no head, the output is the standardised C2
            units.
        num_bands: Number of BANDS to use, starting with the finest details.
        patch_sizes: Sides of the patches, see PatchBlock.
        num_patches: Number of patches of each size, see PatchBlock.
        sharpness: Sharpness of S2, see PatchBlock.
        norm: Normalisation class of the C2 units, called as norm(name=...).
    """

    num_classes: int
    num_bands: int = 8
    patch_sizes: tuple[int, ...] = (4, 8, 12, 16)
    num_patches: int = 250
    sharpness: float = 1.0
    norm: Callable[..., nn.Module] = Standardise

    def __post_init__(self) -> None:
        if not 1 <= self.num_bands <= len(BANDS):
            raise UserError(
                f"There are 1 to {len(BANDS)} bands; num_bands={self.num_bands}."
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, num_classes] for images [B, H, W, C]."""
        maps = Stem(self.num_bands, name="stem")(images, train=train)
        numbers = self.patch_sizes, self.num_patches, self.sharpness
        c2 = PatchBlock(*numbers, name="stage1_block1")(maps, train=train)
        c2 = self.norm(name="stage2_block1")(c2, train=train)
        return head(self.num_classes)(c2)

    @nn.nowrap
    def imprint(
        self, variables: dict[str, Any], images: jax.Array, key: jax.Array
    ) -> dict[str, Any]:
        """Returns variables with patches of C1 from random positions in random images.

        Args:
            variables: Initial variables of the network.
            images: Normalised training images, [B, H, W, C].
            key: Random key for the choice of images and positions.

        Raises:
            UserError: A patch is larger than the map that it is cut from.
        """
        maps = Stem(self.num_bands).apply({}, images, train=False)
        c1 = maps[min(IMPRINTED_BAND, self.num_bands - 1)]

        def cut(key: jax.Array, size: int) -> jax.Array:
            limits = jnp.array([c1.shape[0], *(n - size + 1 for n in c1.shape[1:3])])
            image, row, column = jax.random.randint(key, (3,), 0, limits)
            shape = (1, size, size, len(ANGLES))
            return jax.lax.dynamic_slice(c1, (image, row, column, 0), shape)[0]

        patches = {}
        for i, size in enumerate(self.patch_sizes):
            if size > min(c1.shape[1:3]):
                raise UserError(
                    f"A patch of {size}x{size} cannot be cut from a C1 map of "
                    f"{c1.shape[1:3]}; images must be larger or patch_sizes smaller."
                )
            keys = jax.random.split(jax.random.fold_in(key, i), self.num_patches)
            cut_all = jax.vmap(functools.partial(cut, size=size), out_axes=-1)
            patches[f"patches{size}"] = cut_all(keys)  # [size, size, 4, num_patches]
        old = variables["batch_stats"]
        dtypes = {name: patch.dtype for name, patch in old["stage1_block1"].items()}
        patches = {name: p.astype(dtypes[name]) for name, p in patches.items()}
        return variables | {"batch_stats": old | {"stage1_block1": patches}}


VARIANTS = {
    "hmax": Variant(
        Hmax,
        "Serre et al. 2007, https://doi.org/10.1109/TPAMI.2007.56",
        image_size=140,
        channels=1,
        num_classes=102,
        reference="the paper's Table 1 and formulas; SciPy",
    )
}
