"""One run that notes what each of its steps was made of.

`python -m jaxcnn.studies.journal CONFIG WORKDIR JOURNAL STEPS` takes, or resumes, the
first steps of the run of a config.json in a folder, and appends a line to the journal
after each. verify_resume starts and kills it; it ends where verify_resume is killed.
"""

from collections.abc import Mapping
import hashlib
import json
import os
from pathlib import Path
import sys
import threading
import time
from typing import Any

import jax
import numpy as np

import jaxcnn
from jaxcnn import config_fields, json_files
from jaxcnn.config import Config
from jaxcnn.training import digests, feed, fit

STATE_EVERY = 10  # steps


class Journal(fit.Callback):
    """Writes a line of JSON for each step, on disk at once, and stops the run.

    A line has the step, hashes of the examples' indices and of the batch's bytes, the
    learning rate, the key and the loss, exactly, and every STATE_EVERY steps and at
    the end the hash of the whole state.

    Args:
        path: The file, to which lines are appended.
        num_steps: Number of steps after which the run is stopped.
    """

    def __init__(self, path: Path, num_steps: int) -> None:
        self._file = path.open("a", buffering=1)
        self._num_steps = num_steps

    def on_step(self, session: fit.Session, metrics: Mapping[str, Any]) -> None:
        step, run = session.step, session.run
        key = jax.random.fold_in(run.run_key, step)
        line = {
            "step": step,
            "examples": _hash(feed.train_indices(run, step - 1)),
            "batch": _hash_tree(session.batch),
            "rate": float(run.schedule(step - 1)).hex(),
            "key": np.asarray(jax.random.key_data(key)).tolist(),
            "loss": float(metrics["loss"]).hex(),
        }
        if step % STATE_EVERY == 0 or step == self._num_steps:
            line["state"] = _hash_tree(session.state)
        self._file.write(json.dumps(line) + "\n")
        if step == self._num_steps:
            session.stop(f"{step} steps were asked for")

    def on_end(self, session: fit.Session, result: fit.Result) -> None:
        self._file.close()


def _hash(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()[:16]


def _hash_tree(tree: Any) -> str:
    text = json.dumps(digests.of_leaves(tree), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def train(config: Config, folder: Path, journal: Path, num_steps: int) -> int:
    """Trains, or resumes, with a journal; returns the exit code of `jaxcnn train`."""
    result = jaxcnn.fit(
        config,
        folder,
        callbacks=[Journal(journal, num_steps)],
        writers=("jsonl", "tensorboard"),
    )
    return 0 if result.stopped_by is None else 128 + result.stopped_by


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def main(arguments: list[str]) -> int:
    threading.Thread(target=_end_with, args=[os.getppid()], daemon=True).start()
    *paths, num_steps = arguments
    config, folder, journal = map(Path, paths)
    read = json_files.read(config, config_fields.from_values)
    return train(read, folder, journal, int(num_steps))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
