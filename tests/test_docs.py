"""The README and the pages of docs/ say what works: their code is run as it stands."""

import ast
import dataclasses
import pathlib
import pkgutil
import re
import subprocess
import sys

from flax import linen as nn
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest

from jaxcnn.config import Config, DataConfig

ROOT = pathlib.Path(__file__).parent.parent
PAGES = ["README.md", *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/*.md"))]


def blocks(page, language):
    """The blocks of code of a page, in order."""
    text = (ROOT / page).read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A function that writes the files of a page, such as my_package/nets.py, where
    they can be imported."""

    def write(page):
        for block in blocks(page, "python"):
            if match := re.match(r"# (my_package/\w+\.py)\n", block):
                file = tmp_path / match[1]
                file.parent.mkdir(exist_ok=True)
                file.write_text(block)
        return tmp_path

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith("my_package")]:
        monkeypatch.delitem(sys.modules, name)
    return write


def attributes_of_predictors(text):
    """Attributes that a page uses of jaxcnn.load(...), or of a variable `predictor`."""
    calls = re.findall(r"jaxcnn\.load(\([^()]*\))\.(\w+)", text)
    return {name for _, name in calls} | {*re.findall(r"\bpredictor\.(\w+)", text)}


@pytest.mark.parametrize("page", PAGES)
def test_the_names_on_a_page_exist(page):
    from jaxcnn.serving.predictor import Predictor

    text = (ROOT / page).read_text()
    for name in {*re.findall(r"(?<![\w./-])jaxcnn(?:\.[A-Za-z_]\w*)+", text)}:
        assert pkgutil.resolve_name(name) is not None
    known = {*dir(Predictor), *(field.name for field in dataclasses.fields(Predictor))}
    assert attributes_of_predictors(text) <= known


def test_the_check_of_names_finds_attributes_of_predictors():
    text = 'jaxcnn.load("a", model=net).top_k([x]); predictor.answers([x], limit=1)'
    assert attributes_of_predictors(text) == {"top_k", "answers"}


@pytest.mark.slow
def test_the_ten_lines_of_the_readme_run_as_a_script(tmp_path):
    (block,) = blocks("README.md", "python")
    statements = ast.parse(block).body
    imports = [s for s in statements if isinstance(s, ast.Import | ast.ImportFrom)]
    assert len(statements) - len(imports) <= 10
    (tmp_path / "own.py").write_text(block)
    done = subprocess.run(
        [sys.executable, "own.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    accuracy, answer = done.stdout.splitlines()[-2:]
    assert float(accuracy) > 0.8  # a linear model on the pixels has 0.9
    assert answer.startswith("[{'classes': [{'class': '")


def test_the_network_of_the_docs_is_built_by_its_name(package):
    from jaxcnn import models

    package("docs/own_network.md")
    fields = {"num_classes": 10, "width": 4}
    model = models.build("my_package.nets:MyNet", fields)
    groups = models.layer_groups(model, (8, 8, 1))
    assert groups == ("Conv_0", "BatchNorm_0", "Dense_0")


def test_the_task_of_the_docs_trains_evaluates_and_predicts(package):
    import jaxcnn
    from jaxcnn import layers, names

    package("docs/own_task.md")
    task = names.load("my_package.tasks:Counting", "task")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 8, 8), np.uint8)
    counts = rng.poisson(3.0, 40).astype(np.float32)
    data = jaxcnn.Dataset.from_arrays(images, counts, test=(images, counts))
    net = nn.Sequential([layers.Conv(2, 3), layers.global_avg_pool, layers.Dense(1)])
    config = Config(data=DataConfig(image_size=8, batch_size=32), num_epochs=2.0)
    result = jaxcnn.fit(config, "run", model=net, dataset=data, task=task)
    predictor = jaxcnn.load("run", model=net, task=task)
    predicted = predictor(images)["count"]
    expected = np.abs(predicted - counts).mean()
    np.testing.assert_allclose(result.test["mean_error"], expected, rtol=1e-5)


def test_the_loss_of_the_docs_is_that_of_its_paper(package):
    from jaxcnn import names

    package("docs/own_loss.md")
    cls = names.load("my_package.losses:Focal", "task")
    task = cls(("a", "b", "c"))
    logits, label = np.array([[2.0, 1.0, 0.0], [0.0, 0.0, 3.0]]), np.array([0, 1])
    p = np.exp(logits[[0, 1], label]) / np.exp(logits).sum(axis=1)
    loss = task.loss(jnp.asarray(logits), {"label": jnp.asarray(label)})
    np.testing.assert_allclose(loss, -((1 - p) ** 2) * np.log(p), rtol=1e-5)
    sums = {"confusion": np.array([[3, 1, 0], [0, 2, 2], [0, 0, 5]]), "loss": 1.0}
    metrics = task.metrics({**sums, "top5": 13.0}, {})
    assert metrics["worst_recall"] == 0.5
    assert task.metric("worst_recall").greater_is_better


def test_the_csv_file_of_the_docs_is_read(package, tmp_path):
    from jaxcnn import data

    (listed,) = re.findall(
        r"```\n(image,x,y\n.*?)```", (ROOT / "docs/own_data.md").read_text(), re.DOTALL
    )
    lines = listed.splitlines() + [f"photos/{i}.jpg,{i},0" for i in range(3, 11)]
    (tmp_path / "targets.csv").write_text("\n".join(lines))
    (tmp_path / "photos").mkdir()
    for i in range(1, 11):
        Image.new("RGB", (4, 4)).save(tmp_path / f"photos/{i}.jpg")
    config = DataConfig(name="csv:targets.csv", target_kind="value")
    dataset = data.load(config)
    assert dataset.info.targets["value"].names == ("x", "y")
    assert set(dataset.splits) == {"train", "validation", "test"}
    assert sum(map(len, dataset.splits.values())) == 10


def test_the_targets_of_the_docs_are_those_of_a_data_set():
    import jaxcnn
    from jaxcnn.targets import Target

    arrays, examples = (
        block for block in blocks("docs/own_data.md", "python") if "Target(" in block
    )
    images, counts = np.zeros((10, 4, 4), np.uint8), np.arange(10.0)
    given = {"images": images, "masks": images, "counts": counts}
    result = {"jaxcnn": jaxcnn, "Target": Target, **given}
    exec(arrays, result)
    columns = result["data"].splits["train"].targets
    number = result["data"].info.num_examples["train"]
    assert {name: x.shape for name, x in columns.items()} == {
        "mask": (number, 4, 4),
        "count": (number,),
    }
    example = {"image": np.zeros((5, 7, 3), np.uint8)}
    given["Pictures"] = lambda: [{**example, "label": i % 2} for i in range(20)]
    result = {"jaxcnn": jaxcnn, "Target": Target, **given}
    exec(examples, result)
    assert sum(result["data"].info.num_examples.values()) == 20


def test_the_writer_of_the_docs_is_a_writer(package, tmp_path, capsys):
    from jaxcnn.report import writers

    package("docs/hooks.md")
    writer = writers.make(["my_package.notes:LowestLoss"], tmp_path, 0, 10, False)
    writer.write("validation", 5, {"loss": 0.25})
    writer.close()
    assert capsys.readouterr().out == "Step 5: the lowest loss so far, 0.2500\n"
