"""Checks a data set before training: copies, imbalance, and broken or suspect images.

Every image of every split is read once. Nothing is changed.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
import concurrent.futures
import dataclasses
import hashlib
import itertools
import os
from typing import NamedTuple

import numpy as np

from jaxcnn import tasks
from jaxcnn.config import Config, DataConfig, TaskConfig
from jaxcnn.data import arrays, duplicates
from jaxcnn.data.examples import BadImageError, Dataset, Examples, path_of, paths_of
from jaxcnn.data.folder import other_files
from jaxcnn.data.mask_coding import CLASSES_FILE
from jaxcnn.data.transforms import check_size, height_and_width, size_text
from jaxcnn.errors import UserError, require
from jaxcnn.targets import SPATIAL, Target, Targets
from jaxcnn.tasks import Task

SPLITS = ("train", "validation", "test")
FEW_IMAGES = 10  # a group with fewer training images is reported
RARE_SHARE = 0.001  # a class with a smaller share of the training pixels is reported
VOID_SHARE = 0.5  # a larger share of training pixels without a class is reported
VOID = "(void)"  # stands for pixels without a class among the names of classes
IMBALANCE = 3.0  # ratio of the largest to the smallest group that is reported
EMPTY_SHARE = 0.99  # an image is nearly empty with this share of its pixels...
EMPTY_LEVELS = 16  # ...within so many grey levels
ENLARGED = 4.0  # an image is tiny if the network's input is larger by this factor
ASPECT = 4.0  # ratio of longer to shorter side from which on a shape is extreme


@dataclasses.dataclass(frozen=True)
class Place:
    """The position of an image.

    Attributes:
        split: Name of the split.
        index: Position in the split, data.load(config).splits[split][index].
        path: Path of its file. None: the image is not a separate file.
        caption: Its target in words, such as the name of its class.
    """

    split: str
    index: int
    path: str | None
    caption: str


@dataclasses.dataclass(frozen=True)
class Case:
    """One case of a finding.

    Attributes:
        images: Its image, or several that belong together, such as copies.
        note: Description of the case.
    """

    images: tuple[Place, ...]
    note: str


@dataclasses.dataclass(frozen=True)
class Finding:
    """A possible problem.

    Attributes:
        kind: Name of the problem, for programs.
        text: A sentence with the problem and its consequences.
        cases: Images that have it. Empty: it is a problem of the whole data set.
    """

    kind: str
    text: str
    cases: tuple[Case, ...] = ()


@dataclasses.dataclass(frozen=True)
class Report:
    """The result of a check.

    Attributes:
        name: Name of the data set.
        counts: Split -> number of its images, including unreadable ones.
        groups: Name of a group of images, such as a class -> split -> whether each
            image of the split is in it, bool [N]. Empty: the task has no groups.
        readable: Split -> whether each of its images is readable, bool [N].
        sizes: Height and width of each readable image in pixels, int32 [N, 2].
        network_size: (height, width) of the network's input, in pixels.
        findings: Findings, the most important first.
        pixels: Name of each class of a mask, and "(void)" -> split -> number of its
            pixels. Empty: the task has no mask with named classes. With one, groups
            are the images that show a class.
        mask: Name of that mask. None: there is none.
    """

    name: str
    counts: Mapping[str, int]
    groups: Mapping[str, Mapping[str, np.ndarray]]
    readable: Mapping[str, np.ndarray]
    sizes: np.ndarray
    network_size: tuple[int, int]
    findings: tuple[Finding, ...]
    pixels: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)
    mask: str | None = None

    @property
    def mask_names(self) -> dict[int, str]:
        """Number of a pixel in Sample.mask -> the name of its class."""
        names = [name for name in self.pixels if name != VOID]
        return {**dict(enumerate(names)), -1: VOID} if names else {}

    def group_counts(self, name: str) -> dict[str, int]:
        """Split -> number of images of a group."""
        return {split: int(is_in.sum()) for split, is_in in self.groups[name].items()}


def check(
    dataset: Dataset,
    config: Config,
    similarity: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Reads every image and reports possible problems.

    Args:
        dataset: Data set returned by data.load(config.data).
        config: Config of the run that will use the data.
        similarity: Smallest correlation of two images that makes them near-duplicates.
        progress: Callback, called as progress(images read, images in total).

    Raises:
        UserError: similarity is not in (0, 1], or no image is readable.
    """
    require(0 < similarity <= 1, "similarity", similarity, "over 0 and at most 1")
    check_size("data.image_size", config.data.image_size)
    plain = TaskConfig(name=config.task.name, target=config.task.target)
    task = tasks.create_task(plain, dataset.info.targets, {})
    seen = _read(dataset, task, config.data.num_threads, progress)
    if not seen.readable.any():
        raise UserError(f"No image of {config.data.name} is readable.")
    findings = [
        *_unreadable(seen),
        *_wrong_targets(seen),
        *_duplicates(seen, similarity),
        *_suspicious(seen, height_and_width(config.data.image_size)),
        *_groups(seen),
        *_mask_classes(seen),
        *_ignored_files(seen, config.data),
    ]
    return Report(
        name=config.data.name,
        counts={split: len(examples) for split, examples in seen.splits.items()},
        groups=seen.groups,
        readable={split: seen.readable[seen.within(split)] for split in seen.splits},
        sizes=seen.size[seen.readable],
        network_size=height_and_width(config.data.image_size),
        findings=tuple(findings),
        pixels=_pixels(seen),
        mask=seen.mask,
    )


class Sample(NamedTuple):
    """An image for a contact sheet.

    Attributes:
        place: Its position.
        image: uint8 [H, W, C].
        finding: Kind of a finding that it is a case of; empty: of none.
        mask: Class of each pixel, int32 [H, W]; -1 for none. None: the task has no
            mask with named classes.
    """

    place: Place
    image: np.ndarray
    finding: str
    mask: np.ndarray | None


def samples(
    dataset: Dataset, report: Report, group: str | None, count: int
) -> Iterator[Sample]:
    """Yields images for a contact sheet.

    Images with findings come first, in at most half of the places, then others, spread
    evenly over the splits.

    Args:
        dataset: The data set.
        report: Report returned by check.
        group: Name of the group of images. None: all images.
        count: Maximum number of images.
    """
    notes: dict[tuple[str, int], str] = {}
    for finding in report.findings:
        for image in (image for case in finding.cases for image in case.images):
            notes.setdefault((image.split, image.index), finding.kind)
    places = [
        (split, int(index))
        for split, readable in report.readable.items()
        for index in np.flatnonzero(
            readable if group is None else readable & report.groups[group][split]
        )
    ]
    chosen = [place for place in places if place in notes][: count // 2]
    others = [place for place in places if place not in notes]
    number = min(len(others), count - len(chosen))
    chosen += [others[i] for i in np.linspace(0, len(others) - 1, number).astype(int)]
    for split, index in chosen:
        examples = dataset.splits[split]
        place = Place(split, index, path_of(examples, index), group or "")
        example, mask = examples[index], None
        if report.mask is not None:
            mask = np.asarray(example[report.mask]).astype(np.int32)
            mask = np.where(mask < len(report.mask_names) - 1, mask, -1)
        yield Sample(place, example["image"], notes.get((split, index), ""), mask)


# Reading.


@dataclasses.dataclass
class _Seen:
    """What has been read of all images, which are numbered split after split.

    Attributes:
        task: The task, which gives the targets their meaning.
        targets: Targets of the data set.
        splits: Split -> its examples, in the order of SPLITS.
        start: Split -> number of its first image.
        split: Position in `splits` of the split of each image, int8 [N].
        readable: Whether each image is readable, bool [N].
        why: Number of an unreadable image -> its error.
        wrong: Number of an image whose mask, or other target that is as large as it,
            training does not accept -> the error.
        columns: Name of each target that is not as large as its image -> values,
            [N, ...].
        large: Name of each other target -> hash of each, uint64 [N].
        mask: Name of the mask with named classes that the task has; None: it has none.
        class_pixels: Number of pixels of each class of that mask and of the void label
            in each image, int64 [N, K + 1].
        groups: Name of each group of images -> split -> whether each image of the split
            is in it, bool [N].
        size: Height and width in pixels, int32 [N, 2].
        constant: Whether all pixels are equal, bool [N].
        dominant_share: Largest share of pixels within EMPTY_LEVELS grey levels, float32
            [N].
        digest: Hash of the pixels, uint64 [N].
        reduced: Reduced images, uint8 [N, 32, 32], see duplicates.reduce.
    """

    task: Task
    targets: Targets
    splits: Mapping[str, Examples]
    start: Mapping[str, int]
    split: np.ndarray
    readable: np.ndarray
    why: dict[int, str]
    wrong: dict[int, str]
    columns: Mapping[str, np.ndarray]
    large: Mapping[str, np.ndarray]
    mask: str | None
    class_pixels: np.ndarray
    groups: dict[str, Mapping[str, np.ndarray]]
    size: np.ndarray
    constant: np.ndarray
    dominant_share: np.ndarray
    digest: np.ndarray
    reduced: np.ndarray

    def within(self, split: str) -> slice:
        """The numbers of a split's images."""
        return slice(self.start[split], self.start[split] + len(self.splits[split]))

    def counts(self, split: str) -> np.ndarray:
        """Number of images of each group, int64 [K]."""
        groups = self.groups.values()
        return np.array([is_in[split].sum() for is_in in groups], np.int64)

    def target(self, number: int) -> tuple[bytes, ...]:
        """The targets of an image, for comparison."""
        columns = [*self.columns.values(), *self.large.values()]
        return tuple(np.asarray(column[number]).tobytes() for column in columns)

    def place(self, number: int) -> Place:
        """The position of an image."""
        split = list(self.splits)[self.split[number]]
        index = int(number) - self.start[split]
        if self.large:
            present = np.flatnonzero(self.class_pixels[number])
            caption = ", ".join(self.mask_names[k] for k in present)
        else:
            example = {name: column[number] for name, column in self.columns.items()}
            caption = self.task.caption(example)
        return Place(split, index, path_of(self.splits[split], index), caption)

    @property
    def mask_names(self) -> tuple[str, ...]:
        """Names of the classes of the mask, and of the void label."""
        return (*self.targets[self.mask].names, VOID) if self.mask else ()

    def cases(self, numbers: Sequence[int], note: Callable[[int], str]) -> list[Case]:
        """One case for each image."""
        return [Case((self.place(i),), note(i)) for i in numbers]


def _read(
    dataset: Dataset,
    task: Task,
    num_threads: int,
    progress: Callable[[int, int], None],
) -> _Seen:
    splits = {
        split: dataset.splits[split] for split in SPLITS if split in dataset.splits
    }
    lengths = [len(examples) for examples in splits.values()]
    starts = np.cumsum([0, *lengths]).tolist()
    total = starts[-1]
    targets = dataset.info.targets
    large = [name for name in task.targets if targets[name].kind in SPATIAL]
    masks = [n for n in large if targets[n].kind == "mask" and targets[n].names]
    mask = masks[0] if len(masks) == 1 else None
    num_classes = len(targets[mask].names) + 1 if mask else 0
    by_split = {}
    if mask is None:  # those of a mask are found as it is read
        by_split = {
            split: task.groups(examples.column) for split, examples in splits.items()
        }
    seen = _Seen(
        task=task,
        targets=targets,
        splits=splits,
        start=dict(zip(splits, starts, strict=False)),
        split=np.repeat(np.arange(len(splits), dtype=np.int8), lengths),
        readable=np.ones(total, bool),
        why={},
        wrong={},
        columns={
            name: np.concatenate([part.column(name) for part in splits.values()])
            for name in task.targets
            if name not in large
        },
        large={name: np.zeros(total, np.uint64) for name in large},
        mask=mask,
        class_pixels=np.zeros((total, num_classes), np.int64),
        groups={
            name: {split: groups[name] for split, groups in by_split.items()}
            for name in next(iter(by_split.values()), ())
        },
        size=np.zeros((total, 2), np.int32),
        constant=np.zeros(total, bool),
        dominant_share=np.zeros(total, np.float32),
        digest=np.zeros(total, np.uint64),
        reduced=np.zeros((total, duplicates.SIDE, duplicates.SIDE), np.uint8),
    )
    blocks = [
        (split, range(length)[i : i + 64])  # a task per image would cost more
        for split, length in zip(splits, lengths, strict=True)
        for i in range(0, length, 64)
    ]

    def look(block: tuple[str, range]) -> int:
        split, indices = block
        for index in indices:
            _look(seen, split, index)
        return len(indices)

    done = 0
    with concurrent.futures.ThreadPoolExecutor(max(1, num_threads)) as threads:
        for number in threads.map(look, blocks):
            done += number
            progress(done, total)
    seen.groups |= {
        name: {split: seen.class_pixels[seen.within(split), k] > 0 for split in splits}
        for k, name in enumerate(seen.mask_names[:-1])
    }
    return seen


def _look(seen: _Seen, split: str, index: int) -> None:
    """Reads one image and stores the results."""
    number = seen.start[split] + index
    try:
        example = seen.splits[split][index]
    except BadImageError as error:
        seen.readable[number] = False
        path = path_of(seen.splits[split], index)
        seen.why[number] = str(error).removeprefix(f"{path}: ")
        return
    except UserError as error:  # of a mask file that does not fit
        if not seen.large:
            raise
        seen.readable[number] = False
        seen.wrong[number] = str(error)
        return
    image = example["image"]
    grey = arrays.with_channels(image[None], 1)[0]  # [H, W, 1]
    for name, digests in seen.large.items():
        value = np.asarray(example[name])
        for _, problem in seen.targets[name].problems(value[None]):
            seen.wrong.setdefault(number, problem)
        digests[number] = _digest(value)
    if seen.mask is not None and number not in seen.wrong:
        seen.class_pixels[number] = _counts(example[seen.mask], seen.targets[seen.mask])
    seen.size[number] = image.shape[:2]
    seen.constant[number] = bool((image == image[0, 0]).all())
    seen.dominant_share[number] = _dominant_share(grey)
    seen.digest[number] = _digest(image)
    seen.reduced[number] = duplicates.reduce(grey)


def _digest(array: np.ndarray) -> int:
    """A hash of 64 bits of an array's shape and content."""
    digest = hashlib.blake2b(repr(array.shape).encode(), digest_size=8)
    digest.update(np.ascontiguousarray(array))
    return int.from_bytes(digest.digest(), "big")


def _counts(mask: np.ndarray, target: Target) -> np.ndarray:
    """Pixels of each class and of the void label, int64 [K + 1]."""
    number = len(target.names)
    counts = np.bincount(np.asarray(mask).ravel(), minlength=int(target.fill) + 1)
    return np.append(counts[:number], counts[int(target.fill)])


def _pixels(seen: _Seen) -> dict[str, dict[str, int]]:
    """Name of each class of the mask, and of void -> split -> number of its pixels."""
    found = {s: seen.class_pixels[seen.within(s)].sum(axis=0) for s in seen.splits}
    return {
        name: {split: int(numbers[k]) for split, numbers in found.items()}
        for k, name in enumerate(seen.mask_names)
    }


def _dominant_share(grey: np.ndarray) -> float:
    """The largest share of pixels within EMPTY_LEVELS grey levels."""
    below = np.cumsum(np.bincount(grey.reshape(-1), minlength=256 + EMPTY_LEVELS))
    within = below - np.concatenate([np.zeros(EMPTY_LEVELS), below[:-EMPTY_LEVELS]])
    return float(within.max() / grey.size)


# Findings.


def _number(count: int, what: str) -> str:
    """'1 image', '2 images'."""
    if count == 1:
        return f"1 {what}"
    return f"{count:,} {what}es" if what.endswith("s") else f"{count:,} {what}s"


def _unreadable(seen: _Seen) -> Iterator[Finding]:
    if seen.why:
        yield Finding(
            "unreadable",
            f"{_number(len(seen.why), 'image')} cannot be read; training stops at the "
            "first, or skips one image or up to 1% with data.bad_images=skip.",
            tuple(seen.cases(sorted(seen.why), lambda i: seen.why[i])),
        )


def _wrong_targets(seen: _Seen) -> Iterator[Finding]:
    if seen.wrong:
        yield Finding(
            f"wrong_{'_'.join(seen.large)}",
            f"{_number(len(seen.wrong), 'image')} whose {', '.join(seen.large)} "
            "training does not accept.",
            tuple(seen.cases(sorted(seen.wrong), seen.wrong.__getitem__)),
        )
    for name, column in seen.columns.items():
        wrong = dict(seen.targets[name].problems(column))
        if wrong:
            yield Finding(
                f"wrong_{name}",
                f"{_number(len(wrong), name)} that training does not accept.",
                tuple(seen.cases(sorted(wrong), wrong.__getitem__)),
            )


def _duplicates(seen: _Seen, similarity: float) -> Iterator[Finding]:
    readable = np.flatnonzero(seen.readable)
    groups = [
        readable[group]
        for group in duplicates.find_groups(
            seen.digest[readable], seen.reduced[readable], similarity
        )
    ]
    for (i, trained), (j, held) in itertools.combinations(enumerate(seen.splits), 2):
        across = [g for g in groups if {i, j} <= set(seen.split[g])]
        count = sum(int((seen.split[g] == j).sum()) for g in across)
        if count:
            yield Finding(
                f"{held}_in_{trained}",
                f"{_number(count, 'image')} of {len(seen.splits[held]):,} in {held} "
                f"{'has' if count == 1 else 'have'} a copy or near-duplicate in "
                f"{trained}; metrics on them do not hold for unseen images.",
                tuple(
                    _group_case(seen, g[(seen.split[g] == i) | (seen.split[g] == j)])
                    for g in across
                ),
            )
    alike = [len({seen.target(i) for i in g}) == 1 for g in groups]
    mixed = [g for g, same in zip(groups, alike, strict=True) if not same]
    if mixed:
        yield Finding(
            "targets_differ",
            f"{_number(len(mixed), 'group')} of copies or near-duplicates with "
            "different targets; they cannot all be right, unless such images really "
            "look alike.",
            tuple(_group_case(seen, g) for g in mixed),
        )
    alone = [
        g
        for g, same in zip(groups, alike, strict=True)
        if same and len(set(seen.split[g])) == 1
    ]
    if alone:
        count = sum(map(len, alone)) - len(alone)
        yield Finding(
            "duplicates",
            f"{_number(count, 'image')} more than needed: "
            f"{_number(len(alone), 'group')} of copies or near-duplicates with the "
            "same split and targets.",
            tuple(_group_case(seen, g) for g in alone),
        )


def _group_case(seen: _Seen, group: np.ndarray) -> Case:
    same = len(set(seen.digest[group].tolist())) == 1
    note = "the same pixels" if same else "near-duplicates"
    return Case(tuple(seen.place(i) for i in group), note)


def _suspicious(seen: _Seen, network_size: tuple[int, int]) -> Iterator[Finding]:
    shorter, longer = seen.size.min(axis=1), seen.size.max(axis=1)
    aspect = longer / np.maximum(shorter, 1)
    enlarged = (np.array(network_size) / np.maximum(seen.size, 1)).max(axis=1)

    def pixels(i: int) -> str:
        return f"{seen.size[i, 1]}x{seen.size[i, 0]} pixels"

    empty = (seen.dominant_share >= EMPTY_SHARE) & ~seen.constant
    for kind, found, text, note in (
        (
            "constant",
            seen.constant,
            "A single colour",
            lambda i: f"{pixels(i)}, all equal",
        ),
        (
            "nearly_empty",
            empty,
            f"Nearly empty, with {EMPTY_SHARE:.0%} of the pixels within {EMPTY_LEVELS} "
            "grey levels",
            lambda i: f"{seen.dominant_share[i]:.2%} of the pixels alike",
        ),
        (
            "extreme_aspect",
            aspect >= ASPECT,
            f"Extreme shape, one side at least {ASPECT:g} times the other",
            pixels,
        ),
        (
            "tiny",
            enlarged > ENLARGED,
            f"Tiny: data.image_size={size_text(network_size)} enlarges them by a "
            f"factor of more than {ENLARGED:g}",
            pixels,
        ),
    ):
        numbers = np.flatnonzero(found & seen.readable)
        if len(numbers):
            yield Finding(
                kind,
                f"{text}: {_number(len(numbers), 'image')}.",
                tuple(seen.cases(numbers, note)),
            )


def _groups(seen: _Seen) -> Iterator[Finding]:
    if not seen.groups:
        return
    names = np.array([*seen.groups], object)
    for split in seen.splits:
        missing = names[seen.counts(split) == 0]
        if len(missing):
            yield Finding(
                "missing_class",
                f"{_number(len(missing), 'group')} without an image in {split}: "
                f"{_listed(missing)}.",
            )
    counts = seen.counts("train")
    few = names[(counts > 0) & (counts < FEW_IMAGES)]
    if len(few):
        yield Finding(
            "few_images",
            f"{_number(len(few), 'group')} with fewer than {FEW_IMAGES} training "
            f"images: {_listed(few)}.",
        )
    least, most = int(counts.argmin()), int(counts.argmax())
    advice = seen.task.IMBALANCE_ADVICE and f"; {seen.task.IMBALANCE_ADVICE}"
    # Most images show the background of a mask: there, pixels count, see below.
    if seen.mask is None and 0 < counts[least] * IMBALANCE < counts[most]:
        yield Finding(
            "imbalance",
            f"The largest group, {names[most]!r}, has "
            f"{counts[most] / counts[least]:.1f} times the training images of the "
            f"smallest, {names[least]!r}{advice}.",
        )
    plain = Counter("".join(filter(str.isalnum, name)).casefold() for name in names)
    alike = [
        name
        for name in names
        if plain["".join(filter(str.isalnum, name)).casefold()] > 1
    ]
    if alike:
        yield Finding(
            "class_names_alike",
            f"Groups whose names differ only in case and punctuation: "
            f"{_listed(alike)}.",
        )


def _mask_classes(seen: _Seen) -> Iterator[Finding]:
    """Classes of a mask with few pixels, and masks that are mostly void."""
    if seen.mask is None:
        return
    counts = seen.class_pixels[seen.within("train")].sum(axis=0)  # [K + 1]
    shares = counts / max(counts.sum(), 1)
    names = np.array(seen.mask_names[:-1], object)
    rare = names[(shares[:-1] > 0) & (shares[:-1] < RARE_SHARE)]
    if len(rare):
        yield Finding(
            "rare_class",
            f"{_number(len(rare), 'class')} with less than {RARE_SHARE:.1%} of the "
            f"training pixels: {_listed(rare)}.",
        )
    if shares[-1] > VOID_SHARE:
        yield Finding(
            "mostly_void",
            f"{shares[-1]:.0%} of the training pixels have no class, and nothing is "
            "learned from them.",
        )


def _listed(names: Sequence[str], most: int = 10) -> str:
    shown = ", ".join(map(repr, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _ignored_files(seen: _Seen, config: DataConfig) -> Iterator[Finding]:
    """Files in a folder of images that belong to no example."""
    kind, _, folder = config.name.partition(":")
    if kind != "folder":
        return
    read = {
        path
        for examples in seen.splits.values()
        for index in range(len(examples))
        for path in paths_of(examples, index)
    }
    if seen.mask is not None:
        read.add(os.path.join(folder, CLASSES_FILE))
    suffixes = Counter(
        os.path.splitext(path)[1].lower() or "without suffix"
        for path in other_files(folder, read)
    )
    if suffixes:
        commonest = sorted(suffixes.items(), key=lambda item: (-item[1], item[0]))[:5]
        listed = ", ".join(f"{count} {suffix}" for suffix, count in commonest)
        yield Finding(
            "ignored_files",
            f"{_number(suffixes.total(), 'file')} in the folder that are not used "
            f"({listed}): they have another type, or are in no class folder.",
        )
