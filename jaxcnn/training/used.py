"""Which examples a run was made with: examples.npz in its folder.

It holds the sorted hashes of examples.identities for each split that is trained or
validated on, so that an evaluation can say when it measures on one of them. There is no
file where the examples have no names.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxcnn import npz_files
from jaxcnn.data.examples import Examples, identities
from jaxcnn.errors import UserError

FILE = "examples.npz"
SPLITS = ("train", "validation")


def write(workdir: Path, splits: Mapping[str, Examples]) -> None:
    """Writes the file of a run."""
    hashes = {split: identities(splits[split]) for split in SPLITS}
    if any(found is None for found in hashes.values()):
        (workdir / FILE).unlink(missing_ok=True)
        return
    arrays = {split: np.unique(found) for split, found in hashes.items()}
    npz_files.write(workdir / FILE, arrays)


def count(workdir: Path, examples: Examples) -> dict[str, int]:
    """Split -> number of the given examples that a run was trained or validated on.

    Returns {} where the run keeps none, or the examples have no names.

    Raises:
        UserError: The file of the run is damaged.
    """
    hashes, path = identities(examples), workdir / FILE
    if hashes is None or not path.is_file():
        return {}
    try:
        used = npz_files.read(path)
        return {split: int(np.isin(hashes, used[split]).sum()) for split in SPLITS}
    except (UserError, KeyError) as error:
        raise UserError(
            f"{path}, which says what the run was trained on, cannot be used; without "
            f"the file this is not checked: {error}"
        ) from error
