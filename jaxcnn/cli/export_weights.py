"""Writes trained or imported weights as a state dict of another library.

    jaxcnn export_weights --workdir=runs/resnet50 --output=resnet50.safetensors
    jaxcnn export_weights --weights=weights/resnet50 --output=resnet50.safetensors

In PyTorch: model.load_state_dict(safetensors.torch.load_file(FILE)). How images must be
prepared and what the outputs are is printed, and kept in the file's metadata, which
import_weights reads back.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from jaxcnn import folders
from jaxcnn.cli import _flags
from jaxcnn.errors import UserError

_NAMED = 10  # classes that are named


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    _flags.define_run(values)
    flags.DEFINE_string(
        "weights",
        None,
        "folder of imported weights, instead of a run",
        flag_values=values,
    )
    flags.DEFINE_string("output", None, "the .safetensors file", flag_values=values)
    flags.DEFINE_string(
        "library",
        None,
        "library whose tensor names are written, such as torchvision; default: the one "
        "that the weights were imported from, or the first that has the network",
        flag_values=values,
    )


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    _flags.no_arguments(arguments)
    if bool(values.workdir) == bool(values.weights):
        raise UserError("Give either --workdir=DIR or --weights=DIR.")
    if not values.output:
        raise UserError("--output=FILE.safetensors is missing.")
    folders.check_writable(Path(values.output).parent, "The folder of --output")
    from jaxcnn.pretrained.checks import readable
    from jaxcnn.report import text
    from jaxcnn.serving import export

    library, about = export.export_weights(
        values.workdir or values.weights,
        values.output,
        values.library,
        values.checkpoint,
        raw=values.raw,
    )
    print(f"Written: {values.output}, for {library}")
    names = about.names or ()
    shown = ", ".join(map(readable, names[:_NAMED]))
    shown += ", ..." * (len(names) > _NAMED)
    outputs = f"{len(names)}: {shown}" if names else "not named"
    print("In its metadata, for whoever loads it elsewhere:")
    print(text.pairs({**about.preprocessing.in_words(), "outputs": outputs}))
    return 0
