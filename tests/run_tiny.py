"""The command line, with the network of tiny.py, and a signal after a given step.

python tests/run_tiny.py [--signal=NAME:STEP] train --config=... --workdir=...
"""

import os
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from jaxcnn import __main__, models
from jaxcnn.training import loop
from tests import tiny


def interrupt(number: signal.Signals, at_step: int) -> None:
    """Makes the loop send this process a signal after a step, before it saves."""
    train = loop.train

    def interrupted(*args, after_step, **kwargs):
        def after(step, state, metrics):
            if step == at_step:
                os.kill(os.getpid(), number)
            return after_step(step, state, metrics)

        return train(*args, after_step=after, **kwargs)

    loop.train = interrupted


if __name__ == "__main__":
    models.MODELS["tiny"] = tiny.VARIANT
    arguments = sys.argv[1:]
    if arguments[0].startswith("--signal="):
        name, _, step = arguments.pop(0).removeprefix("--signal=").partition(":")
        interrupt(signal.Signals[name], int(step))
    sys.exit(__main__.main(arguments))
