"""Mixes pairs of examples: mixup and cutmix."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxcnn.augment.geometry import rectangle


def mix(
    batch: Mapping[str, jax.Array], keys: jax.Array, *, mixup: float, cutmix: float
) -> dict[str, jax.Array]:
    """Mixes each example with the one half a batch away.

    Mixup: Zhang, Cisse, Dauphin and Lopez-Paz, ICLR 2018,
    https://arxiv.org/abs/1710.09412. Cutmix: Yun et al., ICCV 2019,
    https://arxiv.org/abs/1905.04899, with the rectangle of its Algorithm 1. The weight
    of an example is drawn from Beta(alpha, alpha), separately for each example; the
    papers' code draws one weight per batch.

    Args:
        batch: The global batch, with "image" [B, H, W, C] and targets, each [B, ...].
        keys: Key of each example.
        mixup: Alpha of mixup. 0: off.
        cutmix: Alpha of cutmix. 0: off. If neither is 0, each has probability 1/2.

    Returns:
        The batch with mixed images, float [B, H, W, C], and the targets of the example
        that has the larger share; "other" is a dict with the targets of the other
        example, under the same names; "other_share" is its share of the image, float
        [B], at most 1/2.
    """
    images = batch["image"]
    targets = {name: x for name, x in batch.items() if name != "image"}
    size = images.shape[1:3]
    probability = (mixup > 0) / ((mixup > 0) + (cutmix > 0))  # of mixup

    def weights(key):
        """Weight of the example itself at each pixel: [H, W]."""
        choice_key, weight_key, centre_key = jax.random.split(key, 3)
        by_mixup = jax.random.bernoulli(choice_key, probability)
        alpha = jnp.where(by_mixup, mixup, cutmix)
        weight = jax.random.beta(weight_key, alpha, alpha, dtype=float)
        half = (0.5 * jnp.sqrt(1.0 - weight) * jnp.array(size)).astype(int)
        centre = jax.random.randint(centre_key, (2,), 0, jnp.array(size))
        cut = rectangle(size, centre - half, centre + half)
        return jnp.where(by_mixup, weight, 1.0 - cut)

    def other(x):
        return jnp.roll(x, len(x) // 2, axis=0)

    own = jax.vmap(weights)(keys)[..., None]  # [B, H, W, 1]
    share = jnp.mean(own, axis=(1, 2, 3))  # [B]
    larger = share >= 0.5

    def choose(x, y):
        """x where the example itself is the larger part, y elsewhere."""
        return jnp.where(larger.reshape(-1, *[1] * (x.ndim - 1)), x, y)

    return {
        "image": own * images + (1.0 - own) * other(images),
        **{name: choose(x, other(x)) for name, x in targets.items()},
        "other": {name: choose(other(x), x) for name, x in targets.items()},
        "other_share": jnp.minimum(share, 1.0 - share),
    }
