"""Handles images that cannot be decoded."""

import dataclasses
import fcntl
import os

from jaxcnn.data.examples import BadImageError
from jaxcnn.errors import UserError, printable, unknown

POLICIES = ("error", "skip")


@dataclasses.dataclass(frozen=True)
class BadImages:
    """Stops at the first bad image of a split, or lists bad images and continues.

    Threads and worker processes share the list through its file, which a resumed run
    continues. Each image is listed once.

    Attributes:
        policy: "error" or "skip".
        split: Name of the split.
        num_examples: Number of examples of the whole data set.
        path: File of the list, with lines 'split<TAB>path: reason', which is that of
            all splits. None: each split of each process keeps its own list in memory.
        limit: Fraction of the whole data set above which skipping is an error; one
            image may be skipped in any case.
        seen: Bad images of the whole data set that this process knows of, as 'path:
            reason'.
    """

    policy: str
    split: str
    num_examples: int
    path: str | os.PathLike | None = None
    limit: float = 0.01
    seen: set[str] = dataclasses.field(default_factory=set)

    def __post_init__(self):
        check_policy(self.policy)

    def handle(self, error: BadImageError) -> None:
        """Returns normally if the image may be skipped.

        Raises:
            UserError: The policy is "error", or the fraction of bad images in the
                data set exceeds the limit.
        """
        if self.policy == "error":
            raise UserError(
                f"Unreadable image in the {self.split} split: {error} "
                "(data.bad_images=skip goes on without it)."
            ) from error
        image = printable(str(error))  # one line of the list
        if image not in self.seen:
            self.seen.update(self._list(image))
        count = len(self.seen)
        if count > max(1, self.limit * self.num_examples):
            where = f"; {self.path} lists them" if self.path else f", such as {error}"
            raise UserError(
                f"Unreadable images: {count} of {self.num_examples} in the data set; "
                f"data.bad_images=skip allows {self.limit:.0%}, or one{where}."
            ) from error

    def _list(self, image: str) -> set[str]:
        """Adds an image to the file, and returns all images in it."""
        if self.path is None:
            return {image}
        with open(self.path, "a+", encoding="utf-8", errors="surrogateescape") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # also excludes other threads
            file.seek(0)
            lines = {line.rstrip("\n") for line in file}
            line = f"{self.split}\t{image}"
            if line not in lines:
                file.write(line + "\n")  # at the end whatever the position: O_APPEND
        return {line.partition("\t")[2] for line in lines | {line}}


def check_policy(policy: str) -> None:
    """Raises UserError for an unknown policy."""
    if policy not in POLICIES:
        raise unknown("bad_images", policy, POLICIES)
