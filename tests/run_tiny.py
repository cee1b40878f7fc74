"""The command line, with the network of tiny.py, and a signal after a given step.

python tests/run_tiny.py [--signal=NAME:STEP] train --config=... --workdir=...
"""

import contextlib
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from jaxcnn import __main__, models
from tests import interrupted, tiny

if __name__ == "__main__":
    models.MODELS["tiny"] = tiny.VARIANT
    arguments, interruption = sys.argv[1:], contextlib.nullcontext()
    if arguments[0].startswith("--signal="):
        name, _, step = arguments.pop(0).removeprefix("--signal=").partition(":")
        interruption = interrupted.signalled(int(step), signal.Signals[name])
    with interruption:
        sys.exit(__main__.main(arguments))
