"""Writes docs/config.md, all fields of a config: python docs/generate_fields.py.

To be run after a field of jaxcnn/config.py has changed.
"""

import dataclasses
from pathlib import Path

from jaxcnn import config_fields, json_files
from jaxcnn.config import Config

PAGE = Path(__file__).parent / "config.md"

INTRODUCTION = """\
# The fields of a config

Generated from `jaxcnn/config.py` by `python docs/generate_fields.py`.

A run is one `jaxcnn.config.Config`. It comes from an experiment file, whose
`get_config()` returns it; on the command line any field can be changed by its dotted
name, and without a file the fields keep the defaults below:

```
jaxcnn train --config=experiments/lenet5_digits.py --workdir=runs/a \\
    --config.optim.peak_lr=0.05
jaxcnn train --config.model=resnet18 --config.data.name=folder:photos --workdir=runs/b
```

On the command line a tuple is written as Python writes it, in quotes:
`--config.optim.lr_factors='(("stem", 0.1), (".*", 1.0))'`. In Python a field is an
attribute: `Config(model="resnet18", data=DataConfig(name="folder:photos"))`.

Patterns of layer groups are regular expressions for the whole name of a group, such as
`stage1_block2`; the first that matches counts. A field of type `object` takes any of
the values that its meaning lists.

The column "resume" says whether the field may change when a run is resumed: "yes" where
the value does not change the numbers of a run, "no" where it would make it another run.
"""


def section(title: str, cls: type, prefix: str) -> list[str]:
    """The lines of a dataclass: its docstring and a row for each of its fields."""
    default = cls()
    lines = ["", f"## {title}", "", cls.__doc__, ""]
    lines += ["| field | type | default | resume | meaning |", "|---|---|---|---|---|"]
    for field in dataclasses.fields(cls):
        name, value = prefix + field.name, getattr(default, field.name)
        if dataclasses.is_dataclass(value):
            continue
        meaning = field.metadata["meaning"].replace("*", r"\*")  # no emphasis
        if allowed := field.metadata["allowed"]:
            meaning += f"; allowed: {allowed}"
        cells = (
            f"`{name}`",
            f"`{json_files.type_text(config_fields.declared_type(name))}`",
            f"`{value!r}`",
            "no" if field.metadata["changes_numbers"] else "yes",
            meaning,
        )
        cells = (cell.replace("|", r"\|") for cell in cells)  # a bar would end a cell
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def page() -> str:
    """The text of docs/config.md."""
    lines = section("The run: `Config`", Config, "")
    for field in dataclasses.fields(Config):
        value = getattr(Config(), field.name)
        if dataclasses.is_dataclass(value):
            cls = type(value)
            title = f"`{field.name}`: `{cls.__name__}`"
            lines += section(title, cls, f"{field.name}.")
    return INTRODUCTION + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
