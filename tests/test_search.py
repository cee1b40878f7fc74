"""Which values a sweep tries."""

import itertools
import math
import sys

import numpy as np
import pytest
from scipy import stats

from jaxcnn.errors import UserError
from jaxcnn.studies import search


def test_values_are_of_the_type_of_their_field():
    space = search.parse(
        [
            "optim.peak_lr=0.01,1",
            "optim.name=sgd,adamw",
            "optim.decay_epochs=(30,60.0),()",
            "optim.clip_norm=None,1",
            "early_stopping_metric=None,loss",
            "seed=3",
            "model_fields=(('width',2),)",
        ]
    )
    assert {field: choices.values for field, choices in space.items()} == {
        "optim.peak_lr": (0.01, 1.0),
        "optim.name": ("sgd", "adamw"),
        "optim.decay_epochs": ((30.0, 60.0), ()),
        "optim.clip_norm": (None, 1.0),
        "early_stopping_metric": (None, "loss"),
        "seed": (3,),
        "model_fields": ((("width", 2),),),
    }
    assert type(space["optim.peak_lr"].values[1]) is float


def test_a_grid_is_every_combination():
    space = search.parse(["seed=0,1,2", "optim.name=sgd,adam"])
    found = [tuple(values.values()) for values in search.grid(space).known]
    assert found == list(itertools.product([0, 1, 2], ["sgd", "adam"]))
    with pytest.raises(UserError, match="peak_lr is a range, which has no grid"):
        search.grid(search.parse(["optim.peak_lr=log(1e-4,1e-1)"]))


RANGES = [
    "optim.peak_lr=log(1e-4,1e-1)",
    "augment.flip=uniform(0,0.5)",
    "data.batch_size=int(16,19)",
    "optim.name=sgd,adam,adamw",
]


def test_draws_have_the_distribution_that_is_asked_for():
    drawn = search.random(search.parse(RANGES), 2000, seed=0).known
    columns = {field: [values[field] for values in drawn] for field in drawn[0]}
    # Kolmogorov-Smirnov and chi-squared tests of SciPy.
    logarithms = np.log10(columns["optim.peak_lr"])
    assert stats.kstest(logarithms, stats.uniform(-4, 3).cdf).pvalue > 0.01
    flips = columns["augment.flip"]
    assert stats.kstest(flips, stats.uniform(0, 0.5).cdf).pvalue > 0.01
    for field, expected in (
        ("data.batch_size", [16, 17, 18, 19]),
        ("optim.name", ["adam", "adamw", "sgd"]),
    ):
        values, counts = np.unique(columns[field], return_counts=True)
        assert values.tolist() == expected
        assert stats.chisquare(counts).pvalue > 0.01
    # One field tells nothing of another.
    assert abs(stats.spearmanr(logarithms, flips).statistic) < 0.06
    assert type(columns["data.batch_size"][0]) is int


def test_more_draws_begin_with_the_same_and_none_comes_twice():
    space = search.parse(RANGES)
    assert search.random(space, 9, 1).known == search.random(space, 20, 1).known[:9]
    assert search.random(space, 9, 1).known != search.random(space, 9, 2).known
    small = search.parse(["seed=0,1,2", "optim.name=sgd,adam"])
    found = search.random(small, 6, seed=0).known
    assert sorted(map(str, found)) == sorted(map(str, search.grid(small).known))
    with pytest.raises(UserError, match="--random=7 is more than .* about 6;"):
        search.random(small, 7, seed=0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("optim.peak_lr", "--vary=optim.peak_lr must be FIELD=VALUES"),
        ("optim.peak_lr=", "must be FIELD=VALUES"),
        ("optim.peak=0.1", "Unknown config field 'optim.peak'; nearest: .*peak_lr"),
        ("optim=0.1", "Unknown config field 'optim'"),
        ("optim.peak_lr=fast", "peak_lr=fast: no values of Python between commas, nor"),
        ("optim.peak_lr='a'", "optim.peak_lr is 'a'; it must be of type float"),
        ("seed=0.5", "seed is 0.5; it must be of type int"),
        ("seed=uniform(0,1)", "seed is 0.0; it must be of type int"),
        ("optim.name=log(1,2)", "optim.name is 1.0; it must be of type str"),
        ("optim.peak_lr=log(0,1)", r"must be log\(low,high\), 0 < low < high, both"),
        ("optim.peak_lr=uniform(2,1)", r"must be uniform\(low,high\), low < high"),
        ("optim.peak_lr=uniform(0,inf)", "both finite"),
        ("data.batch_size=int(1.5,3)", "invalid literal for int"),
    ],
)
def test_values_that_are_none_are_refused(text, expected):
    with pytest.raises(UserError, match=expected):
        search.parse([text])
    with pytest.raises(UserError, match="seed is varied twice"):
        search.parse(["seed=0", "seed=1"])


def hill(values):
    """Highest at a rate of 0.01 with adam."""
    bonus = {"sgd": 0.0, "adam": 0.3, "adamw": 0.1}[values["optim.name"]]
    return 1 - abs(math.log10(values["optim.peak_lr"]) + 2) / 3 + bonus


def follow(plan, tried, until):
    """The trials that a plan suggests after those that were tried."""
    tried = list(tried)
    while len(tried) < until:
        values = plan.suggest(len(tried), tried)
        tried.append((values, hill(values)))
    return tried


def test_optuna_searches_where_it_was_good_and_goes_on_as_it_would_have():
    pytest.importorskip("optuna")
    plan = search.Optuna(search.parse([RANGES[0], RANGES[3], RANGES[2]]), 40, seed=0)
    assert len(plan) == 40
    assert plan.known == ()
    tried = follow(plan, [], 40)
    # Ten random trials, then those that follow them.
    early = np.mean([result for _, result in tried[:10]])
    late = np.mean([result for _, result in tried[20:]])
    assert late > early + 0.1
    assert all(1e-4 <= values["optim.peak_lr"] <= 1e-1 for values, _ in tried)
    assert {values["data.batch_size"] for values, _ in tried} <= {16, 17, 18, 19}
    # As JSON has them, from a sweep that was stopped after 15.
    assert follow(plan, tried[:15], 18) == tried[:18]
    lost = [(values, -math.inf) for values, _ in tried[:3]]
    assert set(plan.suggest(3, lost)) == set(plan.space)


def test_without_optuna_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r'pip install "jaxcnn\[search\]"'):
        search.Optuna({}, 3, 0)
