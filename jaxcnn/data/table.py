"""Images listed in a CSV file, with their targets beside them: `csv:PATH`.

    image,x,y                      data.target_kind=value: one number a column
    photos/1.jpg,0.2,0.7

    image,labels,split             data.target_kind=labels: names, ";" between them
    photos/1.jpg,cat;outdoors,train

    image,cat,outdoors             data.target_kind=labels: 0 or 1 for each class
    photos/1.jpg,1,1

    image,label                    data.target_kind=label: the name of its class
    photos/1.jpg,cat

    image,mask                     data.target_kind=mask: a file with a class a pixel
    photos/1.jpg,masks/1.png
    image,text                     data.target_kind=text: the text in the image
    lines/1.png,the cat sat

The first line names the columns. The first column is the path of an image, relative to
the folder of the CSV file; an image that is listed twice is called the same. A column
`split` says train, validation or test. All other columns are targets, unless
data.target_columns names some of them. The path of a mask is relative to the same
folder, where a file classes.txt may say what its pixels mean, see mask_coding.py.

Where `split` says train alone, or is missing, the test split (data.test_fraction) and
then the validation split (data.validation_fraction) are cut off by data.split_seed.
Where it names test but not validation, validation is cut off train. Where it names
validation but not test, there is no test split.
"""

from collections.abc import Mapping, Sequence
import csv
import hashlib
import os
import unicodedata

import numpy as np

from jaxcnn.config import DataConfig
from jaxcnn.data import groups, images, mask_coding, masks, splits
from jaxcnn.data.examples import Dataset, Examples, Subset, fields_used, make_dataset
from jaxcnn.data.files import FileExamples
from jaxcnn.errors import UserError, unknown
from jaxcnn.targets import Target, Targets, classes, only_label

SEPARATOR = ";"  # between the labels of an image
_LARGEST = float(np.finfo(np.float32).max)

Rows = Mapping[int, Mapping[str, str]]  # number of its line -> column -> value


def load(path: str, config: DataConfig) -> Dataset:
    """The images that a CSV file lists, split.

    Raises:
        UserError: There is no such file, it is not laid out as the module says, or an
            image that it lists is missing.
    """
    rows = _read(path)
    image_column, *others = next(iter(rows.values()))
    others = [name for name in others if name != "split"]
    columns = [*config.target_columns] or others
    for name in columns:
        if name not in others:
            raise unknown("column in data.target_columns", name, others)
    if not columns:
        raise UserError(f"{path}: there is no column of targets beside the images.")
    kinds = {"label": _label, "labels": _labels, "value": _value, "text": _text}
    if config.target_kind == "mask":
        return _with_masks(path, rows, image_column, columns, config)
    if config.target_kind not in kinds:
        raise unknown("data.target_kind", config.target_kind, [*kinds, "mask"])
    targets, values = kinds[config.target_kind](path, rows, columns)
    channels = masks.channels_of(config)
    folder = os.path.dirname(path)
    paths = [os.path.join(folder, row[image_column]) for row in rows.values()]
    names = [row[image_column] for row in rows.values()]
    _check_images(path, rows, names, paths)
    sizes = np.array([os.path.getsize(file) for file in paths], np.int64)
    listed = FileExamples(paths, values, channels, names, sizes, config.max_pixels)
    parts = _parts(path, rows, listed)
    if config.target_kind == "label":
        _check_trained(path, parts, targets["label"].names)
    missing = _missing(parts)
    by = only_label(targets)
    mean, std = images.STATISTICS[channels]
    whole = splits.complete(parts, targets, config, stratify_by=by, missing=missing)
    return make_dataset(
        whole,
        targets=targets,
        channels=channels,
        mean=mean,
        std=std,
        fingerprint=_fingerprint(rows, sizes, config),
        made_with=fields_used(
            config,
            *("target_kind", "target_columns", "max_pixels"),
            validation="validation" not in parts,
            test="test" in missing,
        ),
        decoder=images.decoder(),
        remarks=_unseen(targets, whole) if config.target_kind == "text" else (),
    )


def _missing(parts: Mapping[str, Examples]) -> tuple[str, ...]:
    """Splits that are cut off train, unless they are among the parts."""
    return ("test", "validation") if parts.keys() == {"train"} else ("validation",)


def _with_masks(
    path: str,
    rows: Rows,
    image_column: str,
    columns: Sequence[str],
    config: DataConfig,
) -> Dataset:
    """The images with the masks that one column lists."""
    if len(columns) != 1:
        raise UserError(
            f"{path}: data.target_kind='mask' needs one column of mask files, not "
            f"{', '.join(columns)}; data.target_columns chooses one."
        )
    folder = os.path.dirname(path)
    names = [row[image_column] for row in rows.values()]
    files = [os.path.join(folder, name) for name in names]
    _check_images(path, rows, names, files)
    found = [os.path.join(folder, row[columns[0]].strip()) for row in rows.values()]
    for line, file in zip(rows, found, strict=True):
        if not os.path.isfile(file):
            raise UserError(f"{path}, line {line}: there is no mask {file!r}.")
    coding, remarks = mask_coding.coding_in(folder, found, config)
    whole = masks.listed(
        files, names, masks.MaskFiles(found, coding, config.max_pixels), config
    )
    parts = _parts(path, rows, whole)
    return masks.dataset(
        parts,
        coding.names,
        config,
        missing=_missing(parts),
        about=_fingerprint(rows, whole.file_sizes, config)
        + masks.about(coding, {"all": whole}),
        made_with=("target_kind", "target_columns"),
        remarks=remarks,
    )


def _check_images(
    path: str, rows: Rows, names: Sequence[str], paths: Sequence[str]
) -> None:
    """Raises UserError unless each name is that of an image, which has no other.

    Splits go by names, so an image with two of them could be in two splits.
    """
    first: dict[str, tuple[int, str]] = {}
    for line, name, file in zip(rows, names, paths, strict=True):
        if not os.path.isfile(file):
            raise UserError(f"{path}, line {line}: there is no image {file!r}.")
        other, known = first.setdefault(os.path.realpath(file), (line, name))
        if name != known:
            raise UserError(
                f"{path}, line {line}: {name!r} is the image {known!r} of line {other} "
                "by another name; call it the same."
            )


def _read(path: str) -> dict[int, dict[str, str]]:
    """The rows of a CSV file by their line, each with a value for every column."""
    if not os.path.isfile(path):
        raise UserError(f"There is no CSV file {path!r}.")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            header = list(reader.fieldnames or ())
            rows = {}
            for row in reader:
                rows[reader.line_num] = row
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as CSV in UTF-8: {error}.") from error
    if header and _is_image(path, header[0]):
        raise UserError(
            f"{path} has no header: its first line must name the columns, such as "
            f"image,label, not the image {header[0]!r}."
        )
    for name in header:
        if header.count(name) > 1:
            raise UserError(f"{path} has {header.count(name)} columns {name!r}.")
    if not rows:
        raise UserError(f"{path} has no row below its header.")
    for line, row in rows.items():
        if None in row or None in row.values():
            raise UserError(f"{path}, line {line}: not as many values as the header.")
    return rows


def _is_image(path: str, name: str) -> bool:
    """Whether the first cell of a CSV file is an image, and no name of a column."""
    file = os.path.join(os.path.dirname(path), name)
    return name.lower().endswith(images.EXTENSIONS) or os.path.isfile(file)


def _label(
    path: str, rows: Rows, columns: Sequence[str]
) -> tuple[dict[str, Target], dict[str, np.ndarray]]:
    """One class for each image, by its name."""
    if len(columns) != 1:
        raise UserError(
            f"{path}: data.target_kind='label' needs one column of class names, not "
            f"{', '.join(columns)}; data.target_columns chooses one."
        )
    column = [row[columns[0]].strip() for row in rows.values()]
    for line, name in zip(rows, column, strict=True):
        if not name:
            raise UserError(f"{path}, line {line}: column {columns[0]!r} is empty.")
    names = sorted(set(column))
    if len(names) < 2:
        raise UserError(
            f"{path}: there is one class, {names[0]!r}; at least two are needed."
        )
    number = {name: i for i, name in enumerate(names)}
    labels = np.array([number[name] for name in column], np.int32)
    return classes(names), {"label": labels}


def _labels(
    path: str, rows: Rows, columns: Sequence[str]
) -> tuple[dict[str, Target], dict[str, np.ndarray]]:
    """Any number of classes for each image: names in one column, or 0 and 1 in many."""
    if len(columns) == 1:
        found = [
            {name.strip() for name in row[columns[0]].split(SEPARATOR)} - {""}
            for row in rows.values()
        ]
        names = sorted(set().union(*found))
        labels = np.array([[name in has for name in names] for has in found], np.uint8)
    else:
        names = list(columns)
        numbers = _numbers(path, rows, columns)
        wrong = np.argwhere((numbers != 0) & (numbers != 1))
        if len(wrong):
            index, column = wrong[0]
            line, name = list(rows)[index], columns[column]
            raise UserError(
                f"{path}, line {line}: {name} must be 0 or 1, not {rows[line][name]!r}."
            )
        labels = numbers.astype(np.uint8)
    if not names:
        raise UserError(f"{path}: no image has a label in column {columns[0]!r}.")
    target = Target("labels", "uint8", (len(names),), names=tuple(names))
    return {"labels": target}, {"labels": labels}


def _value(
    path: str, rows: Rows, columns: Sequence[str]
) -> tuple[dict[str, Target], dict[str, np.ndarray]]:
    """Numbers for each image."""
    values = _numbers(path, rows, columns).astype(np.float32)
    target = Target("value", "float32", (len(columns),), names=tuple(columns))
    return {"value": target}, {"value": values}


def _text(
    path: str, rows: Rows, columns: Sequence[str]
) -> tuple[dict[str, Target], dict[str, np.ndarray]]:
    """A text for each image, of characters that are numbered in order of their code.

    A letter and its accent are one character where Unicode has one (NFC).
    """
    if len(columns) != 1:
        raise UserError(
            f"{path}: data.target_kind='text' needs one column of texts, not "
            f"{', '.join(columns)}; data.target_columns chooses one."
        )
    texts = [
        unicodedata.normalize("NFC", row[columns[0]].strip()) for row in rows.values()
    ]
    for line, text in zip(rows, texts, strict=True):
        if not text:
            raise UserError(f"{path}, line {line}: column {columns[0]!r} is empty.")
    names = tuple(sorted(set("".join(texts))))
    number = {name: i for i, name in enumerate(names)}
    column = np.empty(len(texts), object)
    for index, text in enumerate(texts):
        column[index] = np.array([number[character] for character in text], np.int32)
    longest = max(map(len, texts))
    target = Target("text", "int32", (longest,), ragged=True, names=names)
    return {"text": target}, {"text": column}


def _unseen(targets: Targets, parts: Mapping[str, Examples]) -> tuple[str, ...]:
    """A remark on characters that no training text has, where there are such."""
    trained = set(np.concatenate(parts["train"].column("text")).tolist())
    names = targets["text"].names
    unseen = [name for code, name in enumerate(names) if code not in trained]
    if not unseen:
        return ()
    listed = ", ".join(map(repr, unseen))
    return (f"Warning: no text of the train split has {listed}.",)


def _numbers(path: str, rows: Rows, columns: Sequence[str]) -> np.ndarray:
    """float64 [N, D], all of them finite in float32."""
    numbers = np.zeros((len(rows), len(columns)))
    for index, (line, row) in enumerate(rows.items()):
        for i, column in enumerate(columns):
            try:
                numbers[index, i] = float(row[column])
            except ValueError:
                numbers[index, i] = np.nan
            # "_" is for Python's own numbers, as in 1_000.
            if not abs(numbers[index, i]) <= _LARGEST or "_" in row[column]:
                raise UserError(
                    f"{path}, line {line}: {column} must be a number, not "
                    f"{row[column]!r} (float32 holds up to {_LARGEST:.2g})."
                )
    return numbers


def _parts(path: str, rows: Rows, whole: FileExamples) -> dict[str, Examples]:
    """Split -> its examples; all are "train" where no column says it."""
    wanted = [row.get("split", "train").strip() for row in rows.values()]
    for line, split in zip(rows, wanted, strict=True):
        if split not in splits.SPLITS:
            raise UserError(
                f"{path}, line {line}: split must be one of "
                f"{', '.join(splits.SPLITS)}, not {split!r}."
            )
    if "train" not in wanted:
        raise UserError(f"{path}: no image is in the train split.")
    wanted = np.array(wanted)
    return {
        split: Subset(whole, np.flatnonzero(wanted == split))
        for split in dict.fromkeys(wanted.tolist())
    }


def _check_trained(
    path: str, parts: Mapping[str, Examples], names: Sequence[str]
) -> None:
    """Raises UserError for a class that only other splits than train have."""
    missing = set(range(len(names))) - set(parts["train"].column("label").tolist())
    if missing:
        raise UserError(
            f"{path}: class {names[min(missing)]!r} has no image in the train split."
        )


def _fingerprint(rows: Rows, sizes: np.ndarray, config: DataConfig) -> str:
    """SHA-256 of every row and of the size in bytes of its image, and of the groups."""
    digest = hashlib.sha256(f"by name {groups.digest(config.groups)}".encode())
    for row, size in zip(rows.values(), sizes.tolist(), strict=True):
        line = "\t".join([*row, *row.values(), str(size)])
        digest.update(os.fsencode(line + "\n"))
    return digest.hexdigest()
