"""Parts of a split, such as validation, which is cut off training.

Examples that have names, and to which others can be added (folders, CSV files, arrays
and sources of your own; the name of an array is its content), are split by name: the
hash of its name and data.split_seed, divided by 2**64, is a position in [0, 1). Those
below the share of the test split are tested, those in the next interval validate, and
the others are trained on. An example that is added therefore moves no other, and copies
of one array, or the examples of one group (data.groups), are in the same split (copies
are told apart by their order where a class has too few images otherwise).

Each class is in every split, so a class that chance leaves out of one is mended:
  * Without a test example, its example with the smallest hash is tested.
  * Without a training example, its example with the largest hash is trained on.
  * Without a validation example, the training example with the smallest hash
    validates; of a single training example, the test example with the largest hash
    does instead.
Where such a class gets more examples, some of these may move back. An example that was
trained on is tested afterwards in one case alone: chance would have tested every
example of its class (for three examples and a test fraction of 0.2, 0.8%). The same can
happen where data.groups has groups with examples of several classes. A run keeps what
it was trained on, and evaluation says when it measures on that.

Data sets that are fixed lists (digits, glyphs, shapes, disc, mnist, fashion_mnist,
cifar10, cifar100 and those of TFDS) have no names. They are split by a permutation of
positions, which gives each class its share exactly.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
import hashlib

import numpy as np

from jaxcnn.config import DataConfig
from jaxcnn.data import groups as groups_lib
from jaxcnn.data.examples import Dataset, Examples, Subset, names_of
from jaxcnn.data.order import generator
from jaxcnn.errors import UserError, require
from jaxcnn.targets import Targets

SPLITS = ("train", "validation", "test")


def complete(
    parts: Mapping[str, Examples],
    targets: Targets,
    config: DataConfig,
    *,
    stratify_by: str | None,
    missing: Sequence[str] = ("validation",),
    numbered: bool = False,
) -> dict[str, Examples]:
    """All splits, of which those that are missing are cut off the training examples.

    Args:
        parts: "train", and other splits where there are such.
        targets: Targets of each example.
        config: Gives the fractions, the seed and the groups.
        stratify_by: Target whose proportions the cuts keep; None: they keep none.
        missing: Splits that are cut off unless they are among the parts, in this order.
        numbered: Whether examples without names are cut by their numbers as names, so
            that examples that are appended move no others.

    Raises:
        UserError: A fraction is not in (0, 1), a class has too few examples, a
            label is out of range, or data.groups does not fit the examples.
    """
    fractions = {"validation": config.validation_fraction, "test": config.test_fraction}
    fractions = {s: fractions[s] for s in missing if s not in parts}
    units = {split: names_of(examples) for split, examples in parts.items()}
    if config.groups is not None:
        units = groups_lib.of_splits(units, config.groups)
    train = parts["train"]
    if numbered and units["train"] is None:
        units["train"] = [str(index) for index in range(len(train))]
    strata = names = None
    if fractions and stratify_by is not None:
        target = targets[stratify_by]
        column, names = train.column(stratify_by), target.names
        target.check(column, "train")
        strata = target.cast(column)
    result = dict(parts)
    if units["train"] is None:
        for split, fraction in fractions.items():
            options = {"strata": strata, "names": names}
            rest, result[split] = cut(
                result["train"], fraction, config.split_seed, split, **options
            )
            result["train"] = rest
            strata = None if strata is None else strata[rest.indices]
    elif fractions:
        if config.groups is None:
            units["train"] = apart(units["train"], strata, len(fractions) + 1)
        keys = hashes(units["train"], config.split_seed)
        cuts = by_hash(keys, fractions, strata=strata, names=names)
        result |= {split: Subset(train, indices) for split, indices in cuts.items()}
    return {split: result[split] for split in SPLITS if split in result}


def hashes(names: Sequence[str], seed: int, purpose: str = "position") -> np.ndarray:
    """uint64 [N]: a hash of each name, which depends on the seed and the purpose."""
    start = hashlib.blake2b(f"{purpose} {seed} ".encode(), digest_size=8)
    found = np.empty(len(names), np.uint64)
    for index, name in enumerate(names):
        digest = start.copy()
        digest.update(name.encode("utf-8", "surrogatepass"))
        found[index] = int.from_bytes(digest.digest(), "big")
    return found


def apart(names: Sequence[str], strata: np.ndarray | None, needed: int) -> list[str]:
    """The names, with a number for copies where a stratum has too few without.

    So a class of equal images can be cut, too. Elsewhere copies stay together.

    Args:
        names: Names of examples, equal for copies.
        strata: int [N], the stratum of each example; None: they are of one.
        needed: Number of different names that each stratum needs.
    """
    result, seen = list(names), Counter()
    strata = np.zeros(len(result), np.int64) if strata is None else strata
    for group in _members(strata):
        if len({result[i] for i in group}) >= needed:
            continue
        for i in group:
            number = seen[names[i]]
            seen[names[i]] += 1
            result[i] = f"{names[i]} {number}" if number else names[i]
    return result


def by_hash(
    keys: np.ndarray,
    fractions: Mapping[str, float],
    *,
    strata: np.ndarray | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, np.ndarray]:
    """Indices of each split, cut off and "train", in order; see the module.

    Args:
        keys: Hash of each example, uint64 [N]. Those with the same stay together.
        fractions: Splits that are cut off -> fraction of what is left by those before.
        strata: int [N], the stratum of each example, such as its class; None: they are
            of one.
        names: Names of the strata, for errors; None: they are numbers.

    Raises:
        UserError: A stratum cannot be in every split.
    """
    for split, fraction in fractions.items():
        _check_fraction(split, fraction)
    whole = strata is None
    strata = np.zeros(len(keys), np.int64) if whole else strata
    units, unit_of = np.unique(keys, return_inverse=True)  # in the order of hashes
    kinds, ends, rest = [*fractions], [], 1.0
    for fraction in fractions.values():
        ends.append((ends[-1] if ends else 0.0) + rest * fraction)
        rest = 1.0 - ends[-1]
    # Number of the split of each unit in kinds; training comes last.
    chosen = np.searchsorted(ends, units / 2.0**64, side="right")
    members = [
        (stratum, len(group), np.unique(unit_of[group]))
        for stratum, group in enumerate(_members(strata))
        if len(group) or whole
    ]
    for stratum, number, group in members:
        who = _who(None if whole else stratum_name(names or (), stratum), number)
        needed = len(kinds) + 1
        if len(group) < needed:
            number = f"{who}{_in_groups(number, len(group))}"
            wanted = " and ".join(kinds)
            raise UserError(
                f"{number}; at least {needed} are needed to split off {wanted}: "
                "add images, or give splits of your own."
            )
        _mend(chosen, group, kinds)
    for stratum, number, group in members:  # of groups in several classes
        for kind, name in enumerate([*kinds, "train"]):
            if not (chosen[group] == kind).any():
                who = _who(
                    None if whole else stratum_name(names or (), stratum), number
                )
                raise UserError(
                    f"{who} in groups that leave none for the {name} split; add "
                    "images, change data.groups, or give splits of your own."
                )
    by_example = chosen[unit_of]
    return {
        name: np.flatnonzero(by_example == kind)
        for kind, name in enumerate([*kinds, "train"])
    }


def _mend(chosen: np.ndarray, group: np.ndarray, kinds: list[str]) -> None:
    """Moves units of one stratum in place, so that it is in every split.

    Args:
        chosen: Number of the split of every unit, int [U]; training comes last.
        group: The units of the stratum, in the order of their hashes.
        kinds: Names of the splits that are cut off.
    """
    train = len(kinds)

    def in_split(kind: int) -> np.ndarray:
        return group[chosen[group] == kind]

    if "test" in kinds and not len(in_split(kinds.index("test"))):
        chosen[group[0]] = kinds.index("test")
    if not len(in_split(train)):
        chosen[group[-1]] = train
    if "validation" in kinds:
        validation = kinds.index("validation")
        if not len(in_split(validation)):
            rest = in_split(train)
            moved = rest[0] if len(rest) > 1 else in_split(kinds.index("test"))[-1]
            chosen[moved] = validation


def _who(name: str | int | None, number: int) -> str:
    whose = "The training split" if name is None else f"Class {name!r}"
    return f"{whose} has {number} example{'' if number == 1 else 's'}"


def _in_groups(number: int, units: int) -> str:
    """A remark where examples are in groups, which cannot be cut."""
    if units == number:
        return ""
    return f" in {units} group{'' if units == 1 else 's'}"


def too_few(
    names: Sequence[str],
    counts: np.ndarray,
    stratum: int,
    num_folds: int,
    num_units: int | None = None,
) -> UserError:
    """The error for a stratum that cannot be in every fold.

    Args:
        names: Names of the strata; those without one are called by their number.
        counts: Number of images of each stratum.
        stratum: The stratum.
        num_folds: Number of folds.
        num_units: Number of groups that they are in; None: each is one.
    """
    number = int(counts[stratum])
    in_groups = _in_groups(number, number if num_units is None else num_units)
    name = stratum_name(names, stratum)
    return UserError(
        f"Stratum {name!r} has {number} images besides those of the test split"
        f"{in_groups}; {num_folds} folds need at least {num_folds}."
    )


def folds(
    keys: np.ndarray,
    num_folds: int,
    *,
    strata: np.ndarray | None = None,
    names: Sequence[str] = (),
) -> np.ndarray:
    """int64 [N]: the fold in which each example is held out.

    The units of a stratum (examples, or groups of them with the same key) are cut, in
    the order of their hashes, into blocks of equal numbers of units. An example that is
    added moves at most one other over each border between two blocks. A unit with
    examples of several strata belongs to the commonest; where fewer units than folds
    belong to a stratum, they are cut together with those of other such strata.

    Args:
        keys: Hash of each example, uint64 [N].
        num_folds: Number of folds.
        strata: int [N], the stratum of each example; None: they are of one.
        names: Names of the strata, for errors.

    Raises:
        UserError: A stratum is in fewer units than there are folds, or all its units
            are held out in the same fold.
    """
    whole = strata is None
    strata = np.zeros(len(keys), np.int64) if whole else strata
    units, unit_of = np.unique(keys, return_inverse=True)
    counts = np.bincount(strata, minlength=len(names))
    pairs, number = np.unique(unit_of * len(counts) + strata, return_counts=True)
    unit, stratum_of = np.divmod(pairs, len(counts))
    for stratum, units_in in enumerate(np.bincount(stratum_of, minlength=len(counts))):
        if units_in < num_folds:
            if whole:
                in_groups = _in_groups(int(counts[0]), units_in)
                rule = f"at most {units_in}; there are {counts[0]} images{in_groups}"
                require(False, "folds", num_folds, rule)
            raise too_few(names, counts, stratum, num_folds, units_in)
    order = np.lexsort((-number, unit))  # of each unit the commonest stratum first
    _, first = np.unique(unit[order], return_index=True)
    pool = stratum_of[order][first]
    small = np.bincount(pool) < num_folds
    pool[small[pool]] = len(counts)
    fold = np.zeros(len(units), np.int64)
    for start, group in enumerate(_members(pool)):
        # Begins with another fold in each pool, so that what is left over is spread.
        blocks = np.arange(len(group)) * num_folds // max(len(group), 1)
        fold[group] = (blocks + start) % num_folds
    for stratum in range(len(counts)):
        if len(set(fold[unit[stratum_of == stratum]])) == 1:
            raise UserError(
                f"All images of {stratum_name(names, stratum)!r} are held out in the "
                "same fold, since data.groups keeps them together with others; change "
                "data.groups or data.split_seed."
            )
    return fold[unit_of]


def cut(
    examples: Examples,
    fraction: float,
    seed: int,
    what: str,
    *,
    strata: np.ndarray | None = None,
    names: Sequence[str] | None = None,
) -> tuple[Subset, Subset]:
    """Cuts a random fraction off, and returns (the rest, what is cut off).

    With strata: of each stratum round(fraction * its size), but at least one example,
    and at least one is left. (scikit-learn's stratified split keeps the total exact
    instead, and leaves small classes out of the smaller part.)

    Args:
        examples: Examples to cut; both parts keep their order.
        fraction: Size of the part that is cut off, in (0, 1).
        seed: Seed of the random choice.
        what: Name of the part that is cut off, for errors.
        strata: int [N], the stratum of each example, such as its class, whose
            proportions are kept; None: they are not.
        names: Names of the strata, for errors; None: they are numbers.

    Raises:
        UserError: The fraction is not in (0, 1), or a stratum has fewer than two
            examples.
    """
    _check_fraction(what, fraction)
    rng = generator(seed)
    groups = [np.arange(len(examples))] if strata is None else _members(strata)
    taken = np.zeros(len(examples), bool)
    for stratum, group in enumerate(groups):
        if len(group) == 0 and strata is not None:
            continue
        if len(group) < 2:
            name = stratum_name(names or (), stratum)
            whose = "The training split" if strata is None else f"Class {name!r}"
            number = "1 example" if len(group) == 1 else f"{len(group)} examples"
            raise UserError(
                f"{whose} has {number}; at least 2 are needed to split off the {what} "
                f"split: add images, or give a {what} split of your own."
            )
        size = min(max(1, round(fraction * len(group))), len(group) - 1)
        taken[rng.permutation(group)[:size]] = True
    return (
        Subset(examples, np.flatnonzero(~taken)),
        Subset(examples, np.flatnonzero(taken)),
    )


def _check_fraction(what: str, fraction: float) -> None:
    if not 0 < fraction < 1:
        raise UserError(
            f"The fraction for the {what} split is {fraction}; it must be over 0 and "
            "under 1."
        )


def few(
    dataset: Dataset,
    strata: np.ndarray | None,
    names: Sequence[str],
    number: int,
    seed: int,
) -> Dataset:
    """The data set with as many random training images of each stratum, in their order.

    With the same seed, those of a smaller number are among those of a larger one. The
    scale of the images stays.

    Args:
        dataset: Data set whose training split is reduced.
        strata: int [N], the stratum of each training example, such as its class.
            None: all are one.
        names: Names of the strata; those without one are called by their number.
        number: Number of examples of each stratum.
        seed: Seed of the random choice.

    Raises:
        UserError: A stratum has fewer, or the number is not positive.
    """
    train = dataset.splits["train"]
    if strata is None:
        strata, names = np.zeros(len(train), int), ()
    indices = few_indices(strata, names, number, seed, names_of(train))
    some = Subset(train, indices)
    return dataset.with_splits({**dataset.splits, "train": some})


def few_indices(
    strata: np.ndarray,
    names: Sequence[str],
    number: int,
    seed: int,
    example_names: Sequence[str] | None = None,
) -> np.ndarray:
    """int64 [M], in order: as many random examples of each stratum, see few.

    Examples with names are those with the smallest hashes of their stratum, so one that
    is added replaces at most one other.
    """
    field = "data.num_per_class"
    require(number >= 1, field, number, "at least 1")
    rng, kept, keys = generator(seed), [], None
    if example_names is not None:
        keys = hashes(example_names, seed, "few")
    for stratum, group in enumerate(_members(strata, len(names))):
        if len(group) == 0 and stratum >= len(names):
            continue  # a number that no example has
        is_one = not names and not strata.any()
        of = "" if is_one else f" of {stratum_name(names, stratum)!r}"
        rule = f"at most {len(group)}, the number of training images{of}"
        require(number <= len(group), field, number, rule)
        if keys is None:
            order = rng.permutation(group)
        else:
            order = group[np.argsort(keys[group], kind="stable")]
        kept.append(order[:number])
    return np.sort(np.concatenate(kept))


def stratum_name(names: Sequence[str], stratum: int) -> str | int:
    """Name of a stratum, for errors; its number where it has none."""
    return names[stratum] if stratum < len(names) else stratum


def _members(strata: np.ndarray, number: int = 0) -> list[np.ndarray]:
    """The indices of the examples of each stratum, from stratum 0 on."""
    order = np.argsort(strata, kind="stable")
    counts = np.bincount(strata, minlength=number)
    return np.split(order, np.cumsum(counts)[:-1])
