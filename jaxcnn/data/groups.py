"""Groups of examples that stay together, such as the images of one subject.

data.groups is a regular expression with one group, which is searched for in the name
of each example ("(subject[0-9]+)_"), or the path of a CSV file with a line `name,group`
for each example. The name of an example is its path relative to the folder, or the path
that the CSV file of images lists.
"""

from collections.abc import Mapping, Sequence
import csv
import hashlib
import os
import re

from jaxcnn.errors import UserError, require

_HEADER = ["name", "group"]  # an optional first line of the CSV file


def of_splits(
    names: Mapping[str, Sequence[str] | None], groups: str
) -> dict[str, list[str]]:
    """The group of each example of each split.

    Args:
        names: Names of the examples of each split; None: they have none.
        groups: Value of data.groups.

    Raises:
        UserError: The examples have no names, one has no group, a group is in two of
            the splits, or a name in the CSV file is unknown.
    """
    if any(found is None for found in names.values()):
        raise UserError(
            f"data.groups is {groups!r}, but the examples have no names; it must be "
            "None for data that are not files."
        )
    found = {split: of_names(part, groups) for split, part in names.items()}
    if is_file(groups):
        known = set().union(*names.values())
        for name in _read(groups):
            if name not in known:
                raise UserError(
                    f"{groups} names {name!r}, which is no example of the data set; "
                    "names are like " + repr(next(iter(known))) + "."
                )
    split_of: dict[str, str] = {}
    for split, part in found.items():
        for group in dict.fromkeys(part):
            other = split_of.setdefault(group, split)
            if other != split:
                raise UserError(
                    f"Group {group!r} of data.groups has examples in the {other} and "
                    f"the {split} split of the data; they must be in one of them."
                )
    return found


def of_names(names: Sequence[str], groups: str) -> list[str]:
    """The group of each example; UserError for one that has none."""
    if is_file(groups):
        group_of = _read(groups)
        for name in names:
            if name not in group_of:
                raise UserError(f"{groups} has no line for the example {name!r}.")
        return [group_of[name] for name in names]
    pattern = _pattern(groups)
    found = []
    for name in names:
        match = pattern.search(name)
        if match is None or not match[1]:
            raise UserError(
                f"data.groups is {groups!r}, which gives no group for the example "
                f"{name!r}; it must match every example's name."
            )
        found.append(match[1])
    return found


def is_file(groups: str) -> bool:
    """Whether groups are listed in a CSV file."""
    return groups.lower().endswith(".csv")


def digest(groups: str | None) -> str:
    """Changes where the groups do but data.groups does not; for fingerprints."""
    if groups is None or not is_file(groups):
        return ""
    return hashlib.sha256(repr(sorted(_read(groups).items())).encode()).hexdigest()


def _pattern(groups: str) -> re.Pattern[str]:
    rule = "a regular expression with one group, such as '(subject[0-9]+)_', or a .csv"
    try:
        pattern = re.compile(groups)
    except re.error as error:
        raise UserError(
            f"data.groups must be {rule}, not {groups!r}: {error}."
        ) from error
    require(pattern.groups == 1, "data.groups", groups, rule)
    return pattern


def _read(path: str) -> dict[str, str]:
    """Name of each example -> its group, of a CSV file."""
    if not os.path.isfile(path):
        raise UserError(f"There is no file {path!r} of data.groups.")
    group_of: dict[str, str] = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                header = [cell.strip().lower() for cell in row] == _HEADER
                if not row or (reader.line_num == 1 and header):
                    continue
                where = f"{path}, line {reader.line_num}"
                if len(row) != 2 or not row[1].strip():
                    raise UserError(f"{where}: it must be name,group, not {row!r}.")
                name, group = row[0], row[1].strip()
                if group_of.setdefault(name, group) != group:
                    raise UserError(
                        f"{where}: {name!r} is in the groups {group_of[name]!r} and "
                        f"{group!r}."
                    )
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path} cannot be read as CSV in UTF-8: {error}.") from error
    if not group_of:
        raise UserError(f"{path} of data.groups names no example.")
    return group_of
