"""Who may import whom, as the table below says."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "jaxcnn"

# Package -> (packages of jaxcnn, other libraries) that it may import, besides itself,
# errors, NumPy and the standard library.
ALLOWED = {
    "errors": ("", ""),
    "config": ("", ""),
    "folders": ("", ""),
    "whole_files": ("", ""),
    "json_files": ("whole_files", ""),
    "npz_files": ("whole_files", ""),
    "config_fields": ("config json_files", ""),
    "names": ("", ""),
    "targets": ("", ""),
    "augment": ("config names targets", "jax"),
    "ops": ("", "jax"),
    "models": ("names ops", "flax jax"),
    "data": (
        "config names targets",
        "absl grain tensorflow_datasets etils sklearn scipy matplotlib PIL",
    ),
    "optim": ("config names", "optax jax"),
    "tasks": ("config names targets", "jax optax"),
    "pretrained": ("json_files models whole_files", "flax safetensors h5py"),
    "training": (
        "config config_fields data augment folders json_files models names npz_files "
        "ops optim pretrained targets tasks whole_files",
        "jax flax optax orbax grain",
    ),
    "analysis": ("models ops tasks adversarial", "jax flax optax sklearn"),
    "report": (
        "names whole_files",
        "matplotlib jinja2 tensorboardX rich wandb mlflow PIL",
    ),
    "serving": (
        "analysis augment config config_fields data models names ops pretrained "
        "targets tasks training",
        "jax PIL",
    ),
    "studies": (
        "adversarial analysis augment config config_fields data json_files models "
        "names npz_files optim pretrained report serving targets tasks training "
        "whole_files",
        "jax sklearn optuna PIL",
    ),
    "cli": (
        "analysis config config_fields data folders models names ops pretrained report "
        "serving studies tasks training",
        "absl ml_collections",
    ),
    "recipes": ("config", ""),
    "experiments": ("config recipes", ""),
}


def statements(node):
    """A node and all below it, without what is there for type checking alone."""
    yield node
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.If(test=ast.Name("TYPE_CHECKING")):
                continue
        yield from statements(child)


def imports(path):
    """(module, names imported from it) of each import statement that runs."""
    for node in statements(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module, [alias.name for alias in node.names]


def imported_packages(path):
    """(packages of jaxcnn, other top-level modules) that a file imports."""
    ours, others = set(), set()
    for module, names in imports(path):
        top, _, rest = module.partition(".")
        if top != "jaxcnn":
            others.add(top)
        elif rest:
            ours.add(rest.partition(".")[0])
        else:
            ours |= set(names)
    return ours, others


# The one file that may import PyTorch, which nothing else needs.
WITH_TORCH = PACKAGE / "studies" / "torch_reference.py"
TORCH = {"torch", "torchvision", "timm"}

FILES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "experiments").glob("*.py")])


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_imports_only_what_its_package_may(path):
    parts = path.relative_to(ROOT).parts
    package = parts[0] if parts[0] == "experiments" else parts[1].removesuffix(".py")
    ours, others = imported_packages(path)
    others -= sys.stdlib_module_names | {"numpy"}
    if path == WITH_TORCH:
        assert TORCH & others == TORCH
        others -= TORCH
    if package.startswith("__"):  # jaxcnn/__init__.py and __main__.py
        assert others <= {"absl", "flax"}
        return
    packages, libraries = ALLOWED[package]
    assert ours - {package, "errors"} <= set(packages.split())
    assert others <= set(libraries.split())


# Words of classification, which tasks alone know, and who else may have them.
CLASSIFICATION = re.compile(
    r"""\b(logits|accuracy|class_names)\b|\.labels?\b|['"]labels?['"]"""
)
KNOW_CLASSES = {
    "tasks": "",
    "models": "they give logits",
    "pretrained": "imported weights are those of classifiers",
    "serving/predictor.py": "it opens imported weights",
    "serving/sliding.py": "it names the class at each place",
    "cli/import_weights.py": "it takes the names of their classes",
    "targets.py": "a label is a kind of target",
    "data": "sources make labels",
    "studies/generated.py": "a source for the benchmark",
    "studies/torch_reference.py": "the same step in PyTorch",
    "report/confusion.py": "a figure of the task's report",
    "config.py": "data.target_kind names the kinds",
}
# What every source shares knows no label.
SHARED_DATA = "bad_images batches duplicates examples files images memory order splits"


def code_of(path):
    """The text of a file without comments and docstrings."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        match node:
            case ast.Module() | ast.ClassDef() | ast.FunctionDef() if (
                ast.get_docstring(node) is not None
            ):
                node.body[0] = ast.Pass()
    return ast.unparse(tree)


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_tasks_alone_know_of_classes(path):
    parts = path.relative_to(PACKAGE).parts
    knows = parts[0] in KNOW_CLASSES or "/".join(parts) in KNOW_CLASSES
    if parts[0] == "data" and path.stem in SHARED_DATA.split():
        knows = False
    if not knows:
        assert CLASSIFICATION.findall(code_of(path)) == []


def test_each_file_that_may_know_of_classes_does():
    for name in KNOW_CLASSES:
        path = PACKAGE / name
        files = path.rglob("*.py") if path.is_dir() else [path]
        assert any(CLASSIFICATION.search(code_of(file)) for file in files), name


def run_python(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_neither_tensorflow_nor_torch_is_ever_imported():
    code = """
import pkgutil, sys, importlib, jaxcnn
for module in pkgutil.walk_packages(jaxcnn.__path__, "jaxcnn."):
    if not module.name.endswith(("__main__", "torch_reference")):
        importlib.import_module(module.name)
import tensorflow_datasets as tfds
tfds.data_source
print(sorted({"tensorflow", "torch"} & set(sys.modules)))
"""
    assert run_python(code).strip() == "[]"
    for path in FILES:
        others = imported_packages(path)[1]
        assert "tensorflow" not in others
        assert path == WITH_TORCH or not others & TORCH


def test_import_jaxcnn_does_not_load_jax():
    code = "import sys, jaxcnn; print('jax' in sys.modules, 'numpy' in sys.modules)"
    assert run_python(code).strip() == "False False"
