"""Random access to images and their targets: what every source of data gives.

The pipeline asks an Examples for numbers and indices only, so a source is a class with
three members, and nothing else needs to know of it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import hashlib
from typing import Any, Protocol

import numpy as np

from jaxcnn.config import DataConfig
from jaxcnn.errors import UserError
from jaxcnn.targets import Targets


class BadImageError(Exception):
    """An image that cannot be decoded. Its text is 'where: why', in one line."""


@dataclasses.dataclass(frozen=True)
class Unread:
    """A column of values that are read when they are asked for, and not kept, such as
    masks: all of them need not fit into memory.

    Attributes:
        read: Function from the index of an example to its value.
        indices: int64 [N], the examples of the column, in order.
    """

    read: Callable[[int], np.ndarray]
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> Any:
        """The value of one example, or the column of several.

        Raises:
            UserError: The file of an example cannot be read.
        """
        if np.ndim(self.indices[index]):
            return Unread(self.read, self.indices[index])
        try:
            return self.value(index)
        except BadImageError as error:
            raise UserError(f"Unreadable image: {error}.") from error

    def value(self, position: int) -> np.ndarray:
        """The value at a position; BadImageError where its file cannot be read."""
        return self.read(int(self.indices[position]))

    def readable(self, handle: Callable[[BadImageError], None]) -> Iterator[np.ndarray]:
        """The values that can be read, one after another.

        Args:
            handle: Called with the error of each other one; may raise another.
        """
        for position in range(len(self)):
            try:
                value = self.value(position)
            except BadImageError as error:
                handle(error)
            else:
                yield value


class Examples(Protocol):
    """The examples of one split, in an order of their own that never changes.

    They may have an attribute `example_names`: a text for each example that stays its
    own when others are added. A split then goes by it (data/splits.py), data.groups can
    be used, and a run keeps which examples it was trained on.
    """

    def column(self, target: str) -> np.ndarray | Unread:
        """One target of all examples, [N, ...]; an object array where shapes differ.

        It may read the whole split, and is cached. What is as large as its image and
        not in memory is Unread.
        """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One example: "image", uint8 [H, W, C] of any size, and each target.

        Raises:
            BadImageError: The image cannot be decoded.
        """


@dataclasses.dataclass(frozen=True)
class ArrayExamples:
    """Examples in memory, all of one size.

    Attributes:
        images: uint8 [N, H, W, C].
        targets: Name of each target -> [N, ...].
        example_names: Name of each example, see Examples; None: they have none.
    """

    images: np.ndarray
    targets: Mapping[str, np.ndarray]
    example_names: Sequence[str] | None = dataclasses.field(default=None, kw_only=True)

    def column(self, target: str) -> np.ndarray:
        return self.targets[target]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = {name: column[index] for name, column in self.targets.items()}
        return {"image": self.images[index], **row}


@dataclasses.dataclass(frozen=True)
class Subset:
    """Some examples of another Examples, such as those left for training.

    Attributes:
        examples: The whole.
        indices: int64 [N], which of them, in order.
    """

    examples: Examples
    indices: np.ndarray

    def column(self, target: str) -> np.ndarray | Unread:
        return self.examples.column(target)[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.examples[int(self.indices[index])]


@dataclasses.dataclass(frozen=True)
class Joined:
    """Several Examples, one after another.

    Attributes:
        parts: The Examples.
    """

    parts: Sequence[Examples]

    def column(self, target: str) -> np.ndarray | Unread:
        columns = [part.column(target) for part in self.parts]
        if not all(isinstance(column, Unread) for column in columns):
            return np.concatenate(columns)

        def read(index: int) -> np.ndarray:
            part, index = self._place(index)
            return columns[part].value(index)

        return Unread(read, np.arange(len(self)))

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, index: int) -> dict[str, Any]:
        part, index = self.part(index)
        return part[index]

    def part(self, index: int) -> tuple[Examples, int]:
        """The part that an example is in, and its index there."""
        part, index = self._place(index)
        return self.parts[part], index

    def _place(self, index: int) -> tuple[int, int]:
        """The number of the part that an example is in, and its index there."""
        for number, part in enumerate(self.parts):
            if index < len(part):
                return number, index
            index -= len(part)
        raise IndexError(f"There are {len(self)} examples.")


def check_example(
    example: Mapping[str, Any], targets: Targets, channels: int, split: str, index: int
) -> None:
    """Raises UserError unless an example is as Examples.__getitem__ says.

    Args:
        example: The example; its image may be an images.Encoded.
        targets: Targets that it must have.
        channels: Number of channels that its image must have.
        split: Name of its split, for errors.
        index: Its index in the split.
    """
    if not isinstance(example, Mapping):
        raise UserError(
            f"Example {index} of the {split} split must be a dict with 'image' and "
            f"{', '.join(map(repr, targets))}, not a {type(example).__name__}."
        )
    image = example.get("image")
    dtype, shape = (getattr(image, name, None) for name in ("dtype", "shape"))
    wrong = dtype != np.uint8 or len(shape) != 3 or shape[2] != channels
    if wrong or 0 in shape:
        what = type(image).__name__ if shape is None else f"{dtype} {[*shape]}"
        raise UserError(
            f"Example {index} of the {split} split: its image must be uint8 "
            f"[H, W, {channels}], not {what}."
        )
    for name, target in targets.items():
        if name not in example:
            raise UserError(
                f"Example {index} of the {split} split: it has no target {name!r}; it "
                f"has {', '.join(example)}."
            )
        try:
            value = np.asarray(example[name])
        except ValueError as error:  # of lists that differ in length
            raise UserError(
                f"Example {index} of the {split} split: its target {name!r} is no "
                f"array: {error}"
            ) from error
        target.check(value[None], split, index)


def _source(examples: Examples, index: int) -> tuple[Examples, int]:
    """What a Subset or Joined has an example from, and its index there."""
    while True:
        if isinstance(examples, Subset):
            examples, index = examples.examples, int(examples.indices[index])
        elif isinstance(examples, Joined):
            examples, index = examples.part(index)
        else:
            return examples, index


def path_of(examples: Examples, index: int) -> str | None:
    """The file of an example; None where the examples are not files of their own."""
    source, index = _source(examples, index)
    paths = getattr(source, "paths", None)
    return None if paths is None else paths[index]


def paths_of(examples: Examples, index: int) -> list[str]:
    """All files of an example: that of its image, and of its mask if it has one.

    A source of files with others beside the images has an attribute other_paths.
    """
    source, index = _source(examples, index)
    columns = [getattr(source, name, None) for name in ("paths", "other_paths")]
    return [paths[index] for paths in columns if paths]


_NAMES = "example_names"  # attribute of Examples


def names_of(examples: Examples) -> list[str] | None:
    """Name of each example, see Examples; None where they have none."""
    return _gathered(examples, lambda source: getattr(source, _NAMES, None), list)


def identities(examples: Examples) -> np.ndarray | None:
    """uint64 [N]: hash of the name of each example and, of files, of its size in bytes.

    With the size, another data set whose files happen to have the same names is told
    apart. None where the examples have no names.
    """

    def of_source(source: Examples) -> np.ndarray | None:
        names = getattr(source, _NAMES, None)
        if names is None:
            return None
        sizes = getattr(source, "file_sizes", None)
        if sizes is None:
            sizes = [0] * len(names)
        found = np.empty(len(names), np.uint64)
        for index, (name, size) in enumerate(zip(names, sizes, strict=True)):
            text = f"{size} {name}".encode("utf-8", "surrogatepass")
            digest = hashlib.blake2b(text, digest_size=8).digest()
            found[index] = int.from_bytes(digest, "big")
        return found

    return _gathered(examples, of_source, np.array)


def _gathered(examples: Examples, of_source: Any, as_column: Any) -> Any:
    """What sources say of each example, for those that a Subset or Joined has."""
    if isinstance(examples, Subset):
        whole = _gathered(examples.examples, of_source, as_column)
        return (
            None if whole is None else as_column([whole[i] for i in examples.indices])
        )
    if isinstance(examples, Joined):
        parts = [_gathered(part, of_source, as_column) for part in examples.parts]
        if any(part is None for part in parts):
            return None
        return as_column([value for part in parts for value in part])
    found = of_source(examples)
    return None if found is None else as_column(found)


def encoded(examples: Examples, index: int) -> dict[str, Any]:
    """examples[index], but the image is an images.Encoded where it is a file.

    A source of image files has a method encoded(index) that gives this.

    Raises:
        BadImageError: The header of the file cannot be decoded.
    """
    source, index = _source(examples, index)
    read = getattr(source, "encoded", source.__getitem__)
    return read(index)


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """A data set without its examples: what a run's folder keeps of it.

    Attributes:
        targets: Targets that each example holds besides its image.
        num_examples: Split -> number of its examples.
        channels: Number of channels of every image: 1 grey, 3 RGB.
        mean: Mean of each channel over training images, in [0, 1]; of a run, that by
            which images are normalised, as its network may want another scale.
        std: Standard deviation of each channel, likewise.
        fingerprint: Changes when the examples do, for runs that are resumed.
        decoder: Name and version of what turns files into pixels; None for arrays.
        value_range: Black and white in the float images that the data set was
            made of; None: they were uint8 or files.
        statistics: Statistics of the training targets, from the task's measure;
            {} before a task has looked at them.
    """

    targets: Targets
    num_examples: Mapping[str, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str
    decoder: str | None = None
    value_range: tuple[float, float] | None = None
    statistics: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, repr=False)
class Dataset:
    """A data set, split.

    Attributes:
        info: Description of the data set.
        splits: "train" and "validation", and "test" where there is one.
        made_with: The fields of the DataConfig on which its making depended, and their
            values. A run whose config says another value is refused.
        remarks: Messages for the log of a run, such as how long listing took.
    """

    info: DatasetInfo
    splits: Mapping[str, Examples]
    made_with: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def __repr__(self) -> str:
        lengths = [f"{len(part)} {split}" for split, part in self.splits.items()]
        targets = [f"{name} ({t.kind})" for name, t in self.info.targets.items()]
        return f"<Dataset: {', '.join(lengths)}; {', '.join(targets) or 'no targets'}>"

    @classmethod
    def from_arrays(
        cls,
        images: Any,
        values: Any,
        *,
        targets: Targets | None = None,
        validation: tuple[Any, Any] | None = None,
        test: tuple[Any, Any] | None = None,
        names: Sequence[str] | None = None,
        value_range: tuple[float, float] | None = None,
        config: DataConfig | None = None,
    ) -> "Dataset":
        """A data set of arrays in memory.

        Args:
            images: Training images, [N, H, W] or [N, H, W, C]: uint8, bool, uint16
                (0 to 65535), other integers from 0 to 255, or floats with a
                value_range.
            values: Their targets: integers, strings or bools [N] for one class each;
                0 and 1 [N, K] for several classes; floats [N] or [N, D] for numbers.
                With targets, a dict with an array for each of them.
            targets: Kind of each array, such as {"mask": Target("mask", "uint8")}.
                None: values is one array, whose shape and dtype tell the kind.
            validation: (images, values) of the validation split; None: it is cut off
                the training images.
            test: (images, values) of the test split; None: there is none.
            names: Names of the classes or numbers; None: they are numbered.
            value_range: (black, white) of float images, which are kept as 256 levels
                of grey; None for others.
            config: Gives the number of channels and the cut, and is to be the run's;
                None: DataConfig().

        Raises:
            UserError: Arrays of another shape or dtype, or a target that is not
                allowed.
        """
        from jaxcnn.data import own

        return own.from_arrays(
            images,
            values,
            targets=targets,
            validation=validation,
            test=test,
            names=names,
            value_range=value_range,
            config=config or DataConfig(),
        )

    @classmethod
    def from_folder(cls, path: str, config: DataConfig | None = None) -> "Dataset":
        """The images below a folder, one sub-folder a class, see data/folder.py.

        With images/ and masks/ in it, see data/mask_folder.py.

        Args:
            path: The folder.
            config: Gives the number of channels and the cuts, and is to be the run's;
                None: DataConfig().
        """
        from jaxcnn.data import folder

        return folder.load(path, config or DataConfig())

    @classmethod
    def from_csv(cls, path: str, config: DataConfig | None = None) -> "Dataset":
        """The images that a CSV file lists with their targets, see data/table.py.

        Args:
            path: The file.
            config: Gives the number of channels, the targets and the cuts, and is to be
                the run's; None: DataConfig().
        """
        from jaxcnn.data import table

        return table.load(path, config or DataConfig())

    @classmethod
    def from_examples(
        cls,
        examples: Any,
        targets: Targets,
        *,
        validation: Any = None,
        test: Any = None,
        mean: Sequence[float],
        std: Sequence[float],
        name: str,
        config: DataConfig | None = None,
    ) -> "Dataset":
        """A data set of anything with a length and an index.

        Args:
            examples: Training examples: len(examples), and examples[i], a dict with
                "image", uint8 [H, W, C], and each target.
            targets: Targets that each example holds besides its image.
            validation: Examples of the validation split; None: they are cut off the
                training examples.
            test: Examples of the test split; None: there is none.
            mean: Mean of each channel of the training images, in [0, 1].
            std: Standard deviation of each channel, in [0, 1].
            name: Changes when the examples do: a run is resumed with the same alone.
            config: Gives the cut, and is to be the run's; None: DataConfig().

        Raises:
            UserError: What is given can only be iterated, its first example is not as
                it must be, or a class is too small to be cut.
        """
        from jaxcnn.data import own

        return own.from_examples(
            examples,
            targets,
            validation=validation,
            test=test,
            mean=mean,
            std=std,
            name=name,
            config=config or DataConfig(),
        )

    def with_info(self, **fields: Any) -> "Dataset":
        """The same with other fields of its info."""
        info = dataclasses.replace(self.info, **fields)
        return dataclasses.replace(self, info=info)

    def with_splits(self, splits: Mapping[str, Examples]) -> "Dataset":
        """The same with other examples, whose numbers info then has."""
        info = dataclasses.replace(self.info, num_examples=_lengths(splits))
        return dataclasses.replace(self, info=info, splits=splits)


def make_dataset(
    splits: Mapping[str, Examples],
    *,
    made_with: Mapping[str, Any] | None = None,
    remarks: Sequence[str] = (),
    **info: Any,
) -> Dataset:
    """A Dataset of splits, and of the fields of DatasetInfo but num_examples."""
    full_info = DatasetInfo(num_examples=_lengths(splits), **info)
    return Dataset(full_info, splits, made_with or {}, tuple(remarks))


def fields_used(
    config: DataConfig, *fields: str, validation: bool = False, test: bool = False
) -> dict[str, Any]:
    """Dataset.made_with of a source.

    Args:
        config: Config with which the data set was made.
        *fields: Fields that it depends on in any case, besides groups.
        validation: Whether the validation split was cut off by config.
        test: Whether the test split was cut off by config.
    """
    cuts = {"validation_fraction": validation, "test_fraction": test}
    cuts["split_seed"] = validation or test
    names = ["groups", *fields, *(name for name, was_cut in cuts.items() if was_cut)]
    values = {name: getattr(config, name) for name in names}
    # As config_fields.check has it.
    return {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}


def _lengths(splits: Mapping[str, Examples]) -> dict[str, int]:
    return {name: len(examples) for name, examples in splits.items()}
