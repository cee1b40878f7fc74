"""Converts a weight file of another library to a folder that predict can use.

    jaxcnn import_weights --model=resnet50 --weights=resnet50-0676ba61.pth \\
        --output=weights/resnet50
    jaxcnn predict --workdir=weights/resnet50 IMAGE ...

Fields of the network are given as for summarize:

    jaxcnn import_weights --model=mobilenet_v2 --field=width=0.5 --weights=half.pth \\
        --output=weights/half

Reads files of PyTorch (.pth), safetensors and Keras (.h5). The format, and whether the
names are those of torchvision, timm, Keras, pytorchcv or facenet-pytorch, is detected.
No code in a file is executed. The folder holds variables.safetensors and model.json,
with the number and names of the classes and the preprocessing that the weights expect.
"""

from collections.abc import Sequence
import os
from pathlib import Path

from absl import flags

from jaxcnn import folders
from jaxcnn.cli import _flags
from jaxcnn.errors import UserError


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    flags.DEFINE_string("model", None, "jaxcnn model name", flag_values=values)
    flags.DEFINE_string("weights", None, "the weight file", flag_values=values)
    flags.DEFINE_string("output", None, "the new folder", flag_values=values)
    flags.DEFINE_string(
        "class_names",
        None,
        "text file with one class name per line; without it, the names in the file; if "
        "it has none, 1000 classes are assumed to be those of ImageNet",
        flag_values=values,
    )
    _flags.define_fields(values)


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    _flags.no_arguments(arguments)
    for name in "model", "weights", "output":
        if not values[name].value:
            raise UserError(f"--{name} is missing.")
    folders.check_writable(Path(values.output), "--output")
    from jaxcnn import models
    from jaxcnn.pretrained import weights
    from jaxcnn.report import text
    from jaxcnn.serving import predictor

    class_names = _lines(values.class_names) if values.class_names else None
    fields = _flags.fields(values)
    if "num_classes" in fields:
        raise UserError("--field must not name num_classes, which the file says.")
    models.build(values.model, fields, {"num_classes": 1})  # refuses an unknown field
    loaded = weights.load(values.model, values.weights, class_names, **fields)
    predictor.check_imported(loaded)
    weights.save(loaded, values.output)
    print(
        text.pairs(
            {
                "model": loaded.model,
                "weights of": loaded.library,
                "classes": str(loaded.num_classes or "none, no classifier"),
                **loaded.preprocessing.in_words(),
                "written": values.output,
            }
        )
    )
    return 0


def _lines(path: str) -> list[str]:
    """The lines of --class_names."""
    if not os.path.isfile(path):
        raise UserError(f"--class_names must be a text file, not {path!r}.")
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--class_names cannot be read: {error}.") from error
    return text.removesuffix("\n").split("\n")
