"""Handles images that cannot be decoded."""

import dataclasses
import fcntl
import os

from jaxcnn.data.examples import BadImageError
from jaxcnn.errors import UserError, unknown

POLICIES = ("error", "skip")


@dataclasses.dataclass(frozen=True)
class BadImages:
    """Stops at the first bad image of a split, or lists bad images and continues.

    Threads and worker processes share the list through its file, which a resumed run
    continues. Each image is listed once.

    Attributes:
        policy: "error" or "skip".
        split: Name of the split.
        path: File of the list, with lines 'split<TAB>path: reason'. None: each process
            keeps its own list in memory.
        limit: Fraction of the split above which skipping is an error.
        seen: Lines that this process has handled.
    """

    policy: str
    split: str
    path: str | os.PathLike | None = None
    limit: float = 0.01
    seen: set[str] = dataclasses.field(default_factory=set)

    def __post_init__(self):
        if self.policy not in POLICIES:
            raise unknown("bad_images", self.policy, POLICIES)

    def handle(self, error: BadImageError, num_examples: int) -> None:
        """Returns normally if the image may be skipped.

        Raises:
            UserError: The policy is "error", or the fraction of bad images in the
                split exceeds the limit.
        """
        if self.policy == "error":
            raise UserError(
                f"Unreadable image in the {self.split} split: {error} "
                "(data.bad_images=skip goes on without it)."
            ) from error
        line = f"{self.split}\t{error}\n"
        if line not in self.seen:
            self.seen.update(self._list(line))
        count = len(self.seen)
        if count > self.limit * num_examples:
            where = f"; {self.path} lists them" if self.path else f", such as {error}"
            raise UserError(
                f"Unreadable images in the {self.split} split: {count} of "
                f"{num_examples}; data.bad_images=skip allows {self.limit:.0%}{where}."
            ) from error

    def _list(self, line: str) -> set[str]:
        """Adds a line to the file, and returns all its lines about this split."""
        if self.path is None:
            return {line}
        with open(self.path, "a+", encoding="utf-8", errors="surrogateescape") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # also excludes other threads
            file.seek(0)
            lines = {old for old in file if old.startswith(f"{self.split}\t")}
            if line not in lines:
                file.write(line)  # at the end, regardless of the position: O_APPEND
            return lines | {line}
