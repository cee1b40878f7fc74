"""Two examples in one: mixup and cutmix."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxcnn.augment.geometry import rectangle


def mix(
    batch: Mapping[str, jax.Array], keys: jax.Array, *, mixup: float, cutmix: float
) -> dict[str, jax.Array]:
    """Mixes each example with the one that is half a batch away.

    Mixup: Zhang, Cisse, Dauphin and Lopez-Paz, ICLR 2018,
    https://arxiv.org/abs/1710.09412. Cutmix: Yun et al., ICCV 2019,
    https://arxiv.org/abs/1905.04899, with the rectangle of its Algorithm 1. The weight
    of an example is drawn from Beta(alpha, alpha), for each example on its own, where
    the papers' code draws one for a batch.

    Args:
        batch: The global batch, with "image" [B, H, W, C] and "label" int32 [B].
        keys: Key of each example.
        mixup: Its alpha; 0 leaves it out.
        cutmix: Its alpha; 0 leaves it out. If neither is 0, each has probability 1/2.

    Returns:
        The batch with mixed images, float [B, H, W, C]; in "label" the class of the
        larger part, in "other_label" int32 [B] that of the other, in "other_share"
        float [B] its part of the image, up to 1/2.
    """
    images, label = batch["image"], batch["label"]
    height, width = images.shape[1:3]

    def mixup_weights(key):
        weight = jax.random.beta(key, mixup, mixup, dtype=float)
        return jnp.broadcast_to(weight, (height, width))

    def cutmix_weights(key):
        weight_key, centre_key = jax.random.split(key)
        weight = jax.random.beta(weight_key, cutmix, cutmix, dtype=float)
        size = jnp.array([height, width])
        half = (0.5 * jnp.sqrt(1.0 - weight) * size).astype(int)
        centre = jax.random.randint(centre_key, (2,), 0, size)
        cut = rectangle((height, width), centre - half, centre + half)
        return 1.0 - cut.astype(float)

    def weights(key):
        """Of the example itself, at each of its pixels: [H, W]."""
        mixup_key, cutmix_key, choice_key = jax.random.split(key, 3)
        if not cutmix:
            return mixup_weights(mixup_key)
        if not mixup:
            return cutmix_weights(cutmix_key)
        return jnp.where(
            jax.random.bernoulli(choice_key),
            mixup_weights(mixup_key),
            cutmix_weights(cutmix_key),
        )

    def other(x):
        return jnp.roll(x, len(x) // 2, axis=0)

    own = jax.vmap(weights)(keys)[..., None]  # [B, H, W, 1]
    share = jnp.mean(own, axis=(1, 2, 3))  # [B]
    larger = share >= 0.5
    return {
        **batch,
        "image": own * images + (1.0 - own) * other(images),
        "label": jnp.where(larger, label, other(label)),
        "other_label": jnp.where(larger, other(label), label),
        "other_share": jnp.minimum(share, 1.0 - share),
    }
