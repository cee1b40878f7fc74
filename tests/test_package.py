"""What is packaged, and the pages that scripts write."""

import ast
import pathlib
import tomllib

from docs import generate_fields
import jaxcnn
from jaxcnn import config_fields
from jaxcnn.config import Config

ROOT = pathlib.Path(__file__).parents[1]


def test_every_file_of_the_package_is_packaged():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["jaxcnn"]
    packaged = {path for pattern in patterns for path in ROOT.glob(f"jaxcnn/{pattern}")}
    files = {path for path in ROOT.glob("jaxcnn/**/*.*") if path.is_file()}
    others = {path for path in files if path.suffix not in (".py", ".pyc")}
    assert others == packaged
    assert ROOT / "jaxcnn" / "py.typed" in packaged  # PEP 561


def test_type_checkers_see_each_public_name():
    # PEP 484, "Stub files", which PEP 561 applies to typed packages: an imported name
    # is public where it is imported `as` itself.
    tree = ast.parse(pathlib.Path(jaxcnn.__file__).read_text())
    public = {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    }
    assert public == {*jaxcnn._LAZY, "pretrained"}
    assert {"Callback", "Dataset", "Task", "layers", "fit", "load"} <= set(dir(jaxcnn))
    for name in jaxcnn._LAZY:
        assert getattr(jaxcnn, name).__name__.rpartition(".")[2] == name


def test_the_page_of_fields_is_what_its_script_writes():
    hint = "run `python docs/generate_fields.py`, which writes docs/config.md"
    assert generate_fields.PAGE.read_text() == generate_fields.page(), hint


def test_the_page_has_a_row_for_every_field():
    rows = {}
    for line in generate_fields.PAGE.read_text().splitlines():
        if line.startswith("| `"):
            cells = line.replace(r"\|", "/").strip("|").split("|")
            name, *others = (cell.strip() for cell in cells)
            rows[name.strip("`")] = others
    assert list(rows) == _by_section(config_fields.fields(Config()))
    assert rows["optim.peak_lr"] == [
        "`float`",
        "`0.1`",
        "no",
        "highest learning rate, for the stated batch size; allowed: (0, 1e38]",
    ]
    assert rows["num_devices"][:3] == ["`int / None`", "`None`", "yes"]
    assert rows["optim.freeze"][0] == "`tuple[str, ...]`"


def _by_section(names):
    """Dotted names, those without a dot first."""
    return sorted(names, key=lambda name: "." in name)


def test_the_changelog_has_the_version_of_the_package():
    # https://keepachangelog.com/en/1.1.0: Unreleased first, then each version's date.
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    text = (ROOT / "CHANGELOG.md").read_text()
    heads = [line for line in text.splitlines() if line.startswith("## ")]
    assert heads[0] == "## [Unreleased]"
    assert heads[1].startswith(f"## [{settings['project']['version']}] - ")
