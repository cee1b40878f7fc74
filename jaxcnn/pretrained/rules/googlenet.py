"""GoogLeNet in torchvision, whose weights also have auxiliary heads."""

from jaxcnn.models import googlenet
from jaxcnn.pretrained.names import Rule, Source
from jaxcnn.pretrained.rules.branches import BN, sequential

MODULES = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")


def torchvision(model: googlenet.GoogLeNet) -> tuple[Rule, ...]:
    """Returns the rules for GoogLeNet."""
    blocks = [
        (f"stage{i + 1}_block{j + 1}", googlenet.inception(filters, model.largest))
        for i, rows in enumerate(googlenet.TABLE_1)
        for j, filters in enumerate(rows)
    ]
    modules = [
        rule
        for (path, branches), name in zip(blocks, MODULES, strict=True)
        for rule in sequential(path, f"inception{name}", branches, start=1)
    ]
    return (
        Rule(r"stem/conv(\d)/(conv|norm)", lambda k, part: f"conv{k}.{BN[part]}"),
        *modules,
        Rule(r"aux(\d)/conv/(conv|norm)", lambda i, part: f"aux{i}.conv.{BN[part]}"),
        Rule(r"aux(\d)/dense1", lambda i: f"aux{i}.fc1", channels=128),
        Rule(r"aux(\d)/dense2", lambda i: f"aux{i}.fc2"),
        Rule(r"head", lambda: "fc"),
    )


SOURCES = (Source("torchvision", r"googlenet", torchvision, ignored=r"aux[12]\..*"),)
