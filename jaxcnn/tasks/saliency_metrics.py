"""How well a density of fixations is predicted.

Bylinskii, Judd, Oliva, Torralba and Durand, "What Do Different Evaluation Metrics Tell
Us About Saliency Models?", TPAMI 2019, https://arxiv.org/abs/1604.03605, section 4.

Each takes the logarithm of the predicted density, log_p [B, H, W], which sums to 1 over
the pixels of an image, and the density of the fixations, [B, H, W], which does, too, or
their counts, integers [B, H, W]. Each gives a number for each image, [B]; where there
is no fixation, it is 0.

Where code of the field differs, these follow Kuemmerer, Wallis and Bethge, "Saliency
Benchmarking Made Easy", ECCV 2018: each fixation counts, also several at one pixel
(older code of the MIT benchmark counts such a pixel once), and no epsilon is added to
densities.
"""

import math

import jax
import jax.numpy as jnp

PIXELS = (1, 2)  # axes of an image


def kl(log_p: jax.Array, density: jax.Array) -> jax.Array:
    """Kullback-Leibler divergence of the prediction from the fixations, nats.

    The sum of q log(q / p), for q the density of the fixations and p the prediction
    (section 4.2.4).
    """
    return jnp.sum(jax.scipy.special.xlogy(density, density) - density * log_p, PIXELS)


def log_likelihood(log_p: jax.Array, counts: jax.Array) -> jax.Array:
    """The mean of log p over the fixations, nats."""
    return _mean_over(counts, log_p)


def information_gain(
    log_p: jax.Array, log_baseline: jax.Array, counts: jax.Array
) -> jax.Array:
    """Bits by which a fixation is more likely than by a baseline, on average
    (section 4.1.5).

    Args:
        log_p: The prediction.
        log_baseline: Logarithm of another density, [H, W].
        counts: The fixations.
    """
    return _mean_over(counts, log_p - log_baseline) / math.log(2)


def cc(log_p: jax.Array, density: jax.Array) -> jax.Array:
    """Pearson's correlation coefficient of the two densities (section 4.2.2).

    It is 0 where one of them is the same everywhere.
    """
    p, q = _centred(jnp.exp(log_p)), _centred(density)
    squares = jnp.sum(p * p, PIXELS) * jnp.sum(q * q, PIXELS)
    return jnp.sum(p * q, PIXELS) * _inverse_root(squares)


def similarity(log_p: jax.Array, density: jax.Array) -> jax.Array:
    """SIM: the sum of the smaller one of both densities (section 4.2.1)."""
    return jnp.sum(jnp.minimum(jnp.exp(log_p), density), PIXELS)


def nss(log_p: jax.Array, counts: jax.Array) -> jax.Array:
    """Normalized scanpath saliency: the mean over the fixations of the prediction, with
    mean 0 and standard deviation 1 over the pixels (section 4.1.4).

    It is 0 where the prediction is the same everywhere.
    """
    p = _centred(jnp.exp(log_p))
    inverse = _inverse_root(jnp.mean(p * p, PIXELS))
    return _mean_over(counts, p) * inverse


def auc_judd(log_p: jax.Array, counts: jax.Array) -> jax.Array:
    """AUC-Judd: how often a fixated pixel is predicted to be likelier than one that is
    not fixated; half where both are equal (section 4.1.1).

    That is the area under the ROC curve whose thresholds are all values, computed
    without random numbers. (Code of the MIT benchmark has thresholds at the fixated
    pixels only, draws straight lines between them, and comes out higher by up to half
    of 1 / the number of fixations.) It is 0 where all pixels are fixated.
    """
    return jax.vmap(_auc)(
        log_p.reshape(len(log_p), -1), counts.reshape(len(counts), -1)
    )


def _auc(score: jax.Array, counts: jax.Array) -> jax.Array:
    """That of one image, [N] and [N] -> []."""
    order = jnp.argsort(score)
    score, counts = score[order], counts[order].astype(score.dtype)
    negatives = jnp.cumsum(counts == 0, dtype=score.dtype)
    up_to = jnp.concatenate([jnp.zeros(1, score.dtype), negatives])
    below, not_above = (
        up_to[jnp.searchsorted(score, score, side=side)] for side in ("left", "right")
    )
    right = jnp.sum(counts * (below + not_above) / 2)
    return right / jnp.maximum(jnp.sum(counts) * negatives[-1], 1)


def _mean_over(counts: jax.Array, x: jax.Array) -> jax.Array:
    """The mean of x over the fixations of each image, 0 where there are none."""
    number = jnp.sum(counts, PIXELS, dtype=x.dtype)
    return jnp.sum(counts * x, PIXELS) / jnp.maximum(number, 1)


def _centred(x: jax.Array) -> jax.Array:
    """x without its mean over the pixels; 0 where it is the same everywhere."""
    mean, low, high = (
        f(x, PIXELS, keepdims=True) for f in (jnp.mean, jnp.min, jnp.max)
    )
    return jnp.where(low == high, 0, x - mean)  # the mean may be rounded


def _inverse_root(x: jax.Array) -> jax.Array:
    """1 / sqrt(x), 0 where x is."""
    return jnp.where(x > 0, jax.lax.rsqrt(jnp.where(x > 0, x, 1)), 0)
