"""Docstring arguments, flags and fields are described by phrases that stand alone."""

import ast
import importlib
import inspect
import pathlib
import pkgutil
import re

from absl import flags
import pytest

from jaxcnn import cli, config_fields
from jaxcnn.config import Config

ROOT = pathlib.Path(__file__).parent.parent
FILES = sorted([*(ROOT / "jaxcnn").rglob("*.py"), *(ROOT / "experiments").glob("*.py")])

# First words of a description that lacks a noun.
FIRST = re.compile(
    r"(as|between|by|from|how|in|of|what|where|which)\b", flags=re.IGNORECASE
)
SECTION = re.compile(r"(\w+):")
ENTRY = re.compile(r" {4}(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: \(.*?\))?: *(.*)")


def entries(docstring):
    """Yields (name, description) of each entry below "Args:" and "Attributes:"."""
    section = name = None
    description = []
    for line in [*inspect.cleandoc(docstring).splitlines(), "End:"]:
        entry = ENTRY.fullmatch(line) if section in ("Args", "Attributes") else None
        if name and (entry or line and not line.startswith(" ")):
            yield name, " ".join(description)
            name = None
        if match := SECTION.fullmatch(line):
            section = match[1]
        elif line and not line.startswith(" "):
            section = None
        if entry:
            name, description = entry[1], [entry[2]]
        elif name:
            description.append(line.strip())


def without_noun(source):
    """Lists the entries of a file's docstrings that start in the middle of a phrase."""
    nodes = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        f"{getattr(node, 'name', 'module')}: {name}: {description}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, nodes)
        for name, description in entries(ast.get_docstring(node, clean=False) or "")
        if FIRST.match(description)
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_docstring_argument_begins_with_a_noun(path):
    assert without_noun(path.read_text()) == []


def test_the_check_reads_continued_and_starred_entries_of_both_sections():
    source = '''
class Plan:
    """A plan.

    Attributes:
        rate: Learning rate.
            Of each step: this line continues the entry.
        starts: Of each parameter.
    """

    def apply(self, *leaves, **fields):
        """Applies it.

        Args:
            *leaves: As in
                train_step.
            **fields: Fields of the network.

        Returns:
            name: Of the network.
        """
'''
    assert without_noun(source) == [
        "Plan: starts: Of each parameter.",
        "apply: *leaves: As in train_step.",
    ]


def test_the_check_knows_words_from_their_beginnings():
    assert FIRST.match("How many trials there are.")
    assert FIRST.match("as compute_dtype of a config")
    assert not FIRST.match("Asynchronous saves.")
    assert not FIRST.match("Inputs of a layer.")


@pytest.mark.parametrize("name", config_fields.fields(Config()))
def test_the_meaning_of_a_field_begins_with_a_noun_or_a_verb(name):
    field, _ = config_fields.fields(Config())[name]
    assert not FIRST.match(field.metadata["meaning"])


@pytest.mark.parametrize(
    "verb",
    [m.name for m in pkgutil.iter_modules(cli.__path__) if not m.name.startswith("_")],
)
def test_the_help_of_a_flag_begins_with_a_noun_or_a_verb(verb):
    values = flags.FlagValues()
    importlib.import_module(f"jaxcnn.cli.{verb}").define_flags(values, ["jaxcnn"])
    # absl puts the values of an enum first: "<table|json>: output format".
    helps = {name: re.sub(r"^<.*?>: ", "", values[name].help) for name in values}
    assert {name: text for name, text in helps.items() if FIRST.match(text)} == {}
