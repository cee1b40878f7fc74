"""A run that is interrupted and resumed, and what it has left in its folder."""

import contextlib
import json
import os
import signal

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp
import pytest

from jaxcnn.training import loop


@contextlib.contextmanager
def signalled(at_step, number=signal.SIGTERM, when=lambda: True):
    """A run within it sends its process a signal after a step, before that is saved.

    Args:
        at_step: Updates so far; None: no signal is sent.
        number: The signal.
        when: Asked at that step; the signal is sent where it gives true.
    """
    train = loop.train

    def interrupted(*args, after_step, **kwargs):
        def after(step, state, metrics):
            if step == at_step and when():
                os.kill(os.getpid(), number)
            return after_step(step, state, metrics)

        return train(*args, after_step=after, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train", interrupted)
        yield


def last_state(folder, step, newest=True):
    """Path -> array of a run's checkpoint after a step, which must be the newest.

    It may have been written on other devices than these.
    """
    with ocp.training.Checkpointer(folder / "checkpoints") as checkpointer:
        assert checkpointer.latest.step == step or not newest
        saved = checkpointer.metadata(step).metadata
        target = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), saved)
        leaves = jax.tree_util.tree_leaves_with_path(checkpointer.load(step, target))
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def assert_same_bits(found, expected):
    """Of two states as last_state gives them."""
    assert found.keys() == expected.keys()
    for path, array in expected.items():
        assert found[path].dtype == array.dtype
        np.testing.assert_array_equal(found[path], array, err_msg=path)


_TIMES = {"images_per_second", "data_wait", "seconds_left"}


def records(folder):
    """Lines of metrics.jsonl, without times and compilations, which differ."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [
        {name: value for name, value in line.items() if name not in _TIMES}
        for line in lines
        if line["split"] != "compile"
    ]


class NoWriter:
    """A writer of a run that writes nothing."""

    def begin(self, run, first_step):
        pass

    def say(self, line):
        pass

    def write(self, split, step, values):
        pass

    def close(self):
        pass
