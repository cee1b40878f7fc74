"""Names in a config: keys of a table, and attributes of a user's own modules."""

import sys
import textwrap

import pytest

from jaxcnn import names
from jaxcnn.errors import UserError

TABLE = {"cosine": 1, "constant": 2, "linear": 3, "collections:Counter": 4}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """write(file, text): a Python file in a folder that is on the path."""
    monkeypatch.syspath_prepend(tmp_path)

    def written(file, text=""):
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    return written


def refusal(name):
    with pytest.raises(UserError) as caught:
        names.resolve(name, TABLE, "schedule")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nets:Net", True),
        ("my_package.nets:Net", True),
        ("nets:Net.small", True),
        ("cosine", False),
        ("my_package.nets.Net", False),
        ("nets:", False),
        (":Net", False),
        (":", False),
        ("", False),
        ("nets:Net:small", False),
        ("nets: Net", False),
        ("my-package.nets:Net", False),
        ("folder/nets.py:Net", False),
        (".nets:Net", False),
        ("folder:photos", True),  # data.load has looked for its prefixes before
        ("folder:C:/photos", False),
        (r"C:\photos", False),
        ("C:/photos", False),
    ],
)
def test_what_is_the_name_of_an_import(name, expected):
    assert names.is_import(name) == expected


def test_a_key_of_the_table_comes_before_an_import():
    assert names.resolve("cosine", TABLE, "schedule") == 1
    assert names.resolve("collections:Counter", TABLE, "schedule") == 4


def test_an_attribute_is_imported_by_its_module_and_path(write):
    import collections

    found = names.resolve("collections:Counter.most_common", TABLE, "schedule")
    assert found is collections.Counter.most_common
    write("names_package/__init__.py")
    write("names_package/rates.py", "def mine():\n    return 5\n")
    assert names.resolve("names_package.rates:mine", TABLE, "schedule")() == 5


@pytest.mark.parametrize("module", ["folder", "glyphs", "tfds"])
def test_a_module_may_be_called_as_a_prefix_of_data(write, module, monkeypatch):
    monkeypatch.delitem(sys.modules, module, raising=False)
    write(f"{module}.py", "def mine():\n    return 5\n")
    assert names.resolve(f"{module}:mine", TABLE, "schedule")() == 5
    del sys.modules[module]


def test_an_unknown_key_is_refused_with_the_nearest():
    assert "Unknown schedule 'cosin'; nearest: cosine; known: " in refusal("cosin")


@pytest.mark.parametrize("name", ["folder/rates.py:mine", "rates:"])
def test_what_is_not_of_the_form_is_refused_with_an_example(name):
    line = refusal(name)
    assert f"Unknown schedule {name!r}" in line
    assert "'my_package.my_file:my_schedule'" in line


def test_a_module_that_is_missing_is_refused_with_the_current_directory(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    line = refusal("no_such.rates:mine")
    assert "The schedule 'no_such.rates:mine' cannot be imported: " in line
    assert "No module named 'no_such'" in line
    assert str(tmp_path) in line
    # The name of a file in place of a module's; the words are Python's.
    (tmp_path / "names_file.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert "'names_file' is not a package" in refusal("names_file.py:mine")


def test_an_attribute_that_is_missing_is_refused_with_the_file_and_the_nearest(write):
    path = write("names_missing.py", "def cosine(): ...\nclass Rates:\n    slow = 1\n")
    line = refusal("names_missing:cosin")
    assert f"module 'names_missing' ({path}) has no 'cosin'; nearest: cosine." in line
    line = refusal("names_missing:Rates.slo")
    assert "has no 'Rates.slo'; nearest: slow." in line
    assert refusal("names_missing:xyz").endswith("has no 'xyz'.")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1\nx.y = 2\n", "AttributeError in {path}, line 2: 'int' object has no"),
        ("\nraise ValueError('two\\nlines')\n", "ValueError in {path}, line 2: two l"),
        ("\n\nimport no_such_module\n", "ModuleNotFoundError in {path}, line 3: No mo"),
        ("import sys\nsys.exit(3)\n", "SystemExit in {path}, line 2: 3"),
        ("def mine(:\n", "SyntaxError in {path}, line 1: "),
    ],
)
def test_a_module_that_fails_is_refused_with_the_line(write, text, expected):
    path = write("names_failing.py", text)
    assert expected.format(path=path) in refusal("names_failing:mine")
