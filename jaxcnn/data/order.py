"""Which example stands at each position of the endless stream of training.

Epoch follows epoch, each in an order of its own, which is a function of the seed and
the number of the epoch alone.
"""

from collections.abc import Callable, Mapping
import dataclasses

import numpy as np


def generator(seed: int, *keys: int) -> np.random.Generator:
    """The random numbers of a seed and of what else they depend on."""
    sequence = np.random.SeedSequence(seed, spawn_key=keys)
    return np.random.Generator(np.random.Philox(sequence))


def order(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """int64 [num_examples], a permutation: the examples of an epoch, in order."""
    return generator(seed, epoch).permutation(num_examples)


def balanced_order(seed: int, epoch: int, strata: np.ndarray) -> np.ndarray:
    """int64 [N], drawn with replacement so that all strata are equally often.

    What N / strata leaves over goes to random strata, one each.

    Args:
        seed: Seed of the run.
        epoch: Number of the epoch, from 0.
        strata: int [N], the stratum of each example, such as its class.
    """
    rng = generator(seed, epoch)
    kinds = rng.permutation(np.unique(strata))
    share, rest = divmod(len(strata), len(kinds))
    drawn = [
        rng.choice(np.flatnonzero(strata == kind), share + (i < rest))
        for i, kind in enumerate(kinds)
    ]
    return rng.permutation(np.concatenate(drawn))


@dataclasses.dataclass(frozen=True)
class Sampling:
    """A row of SAMPLING.

    Attributes:
        order: Called as order(seed, epoch, number of examples, strata).
        needs_strata: Whether each example must belong to a stratum.
    """

    order: Callable[[int, int, int, np.ndarray | None], np.ndarray]
    needs_strata: bool = False


SAMPLING: Mapping[str, Sampling] = {
    "uniform": Sampling(lambda seed, epoch, number, strata: order(seed, epoch, number)),
    "balanced": Sampling(
        lambda seed, epoch, number, strata: balanced_order(seed, epoch, strata),
        needs_strata=True,
    ),
}


@dataclasses.dataclass
class Stream:
    """Which example stands at each position of the endless stream of training.

    Attributes:
        num_examples: Length of an epoch.
        sampling: A name in SAMPLING.
        seed: Seed of the order.
        repeats: Times that an example stands there in a row, to be augmented anew
            (Hoffer et al., "Augment Your Batch", CVPR 2020,
            https://arxiv.org/abs/1901.09335). As in torchvision's RASampler an epoch
            is no longer for that: it ends before the last examples of its order.
        strata: int [N], the stratum of each example; None where sampling needs none.
        orders: Orders of the last two epochs that were asked for; threads share them.
    """

    num_examples: int
    sampling: str
    seed: int
    repeats: int = 1
    strata: np.ndarray | None = None
    orders: dict[int, np.ndarray] = dataclasses.field(default_factory=dict)

    def __getitem__(self, position: int) -> int:
        epoch, offset = divmod(position, self.num_examples)
        return int(self._order(epoch)[offset])

    def slice(self, start: int, stop: int) -> np.ndarray:
        """int64 [stop - start]; at most one epoch long."""
        epoch, offset = divmod(start, self.num_examples)
        end = offset + stop - start
        first = self._order(epoch)[offset:end]
        if end <= self.num_examples:
            return first
        return np.append(first, self._order(epoch + 1)[: end - self.num_examples])

    def _order(self, epoch: int) -> np.ndarray:
        known = self.orders.get(epoch)
        if known is None:
            draw = SAMPLING[self.sampling].order
            known = draw(self.seed, epoch, self.num_examples, self.strata)
            known = np.repeat(known, self.repeats)[: self.num_examples]
            kept = {e: o for e, o in list(self.orders.items()) if abs(e - epoch) == 1}
            self.orders = kept | {epoch: known}
        return known
