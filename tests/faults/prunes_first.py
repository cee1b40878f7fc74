"""journal.py in a build that deletes the checkpoints before a save, not after it."""

import shutil
import sys
import time

from jaxcnn.studies import journal
from jaxcnn.training import saving

_save = saving.Checkpoints.save


def prune_first(self: saving.Checkpoints, *args: object) -> None:
    while self.records:
        step, _ = self.records.popitem()
        shutil.rmtree(self.directory / str(step))
    time.sleep(1.2)  # in which it is killed
    _save(self, *args)
    self.wait()  # so that there is something to delete before the next save


if __name__ == "__main__":
    saving.Checkpoints.save = prune_first
    sys.exit(journal.main(sys.argv[1:]))
