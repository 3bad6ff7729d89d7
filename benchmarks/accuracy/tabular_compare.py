"""Comparisons of methods over the sets of a record: ranks, wins and excess over the references."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata

from benchmarks.accuracy.tabular_methods import FIT, FIT_DEFAULT_DRAWS, FIT_OWN_NOISE, TUNED
from benchmarks.accuracy.tabular_peers import (
    ENSEMBLE,
    FOREST,
    LOGISTIC,
    MLP_CLASSIFIER,
    MLP_REGRESSOR,
    PROCESS,
    RIDGE,
)

# The methods of a set, and the scores of each.
Methods = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Task:
    """How the methods on a kind of sets are compared.

    Attributes:
        order: methods in the order of the tables.
        references: two methods; the better of them is the reference for all methods.
        second: the metric that is ranked besides the NLL; lower is better.
    """

    order: tuple[str, ...]
    references: tuple[str, str]
    second: str


CLASSIFICATION = Task(
    (FIT, FIT_DEFAULT_DRAWS, TUNED, MLP_CLASSIFIER, LOGISTIC, PROCESS, FOREST, ENSEMBLE),
    (MLP_CLASSIFIER, LOGISTIC),
    "ece",
)
REGRESSION = Task(
    (FIT, FIT_OWN_NOISE, TUNED, MLP_REGRESSOR, RIDGE, PROCESS, FOREST, ENSEMBLE), (MLP_REGRESSOR, RIDGE), "rmse"
)
TASKS = {"classification": CLASSIFICATION, "regression": REGRESSION}


class Comparison(NamedTuple):
    """A method over all sets that it ran on.

    Attributes:
        sets: number of these sets.
        wins: number of sets on which the method's mean NLL is at or below that of both references.
        mean_excess: mean over sets of the method's NLL minus that of the better reference, nats.
        worst_excess, worst_set: the largest such difference and its set.
        ranks: mean rank for each metric, where 1 is best; None for a method that is not ranked.
        near_process: number of sets on which the method's NLL is at most `MARGIN` above that of the Gaussian process,
            and number of sets on which both ran.
    """

    sets: int
    wins: int
    mean_excess: float
    worst_excess: float
    worst_set: str
    ranks: dict[str, float] | None
    near_process: tuple[int, int]


# The same model with another number of draws would be a second contestant, so it is not ranked.
UNRANKED = (FIT_DEFAULT_DRAWS,)
MARGIN = 0.05


def excess(methods: Methods, task: Task) -> dict[str, float]:
    """NLL of each method minus that of the better reference, in nats."""
    best = min(methods[name]["nll"] for name in task.references)
    return {name: scores["nll"] - best for name, scores in methods.items()}


def ranks(methods: Methods, metric: str) -> dict[str, float]:
    """Rank the methods that ran on a set; equal scores share the mean of their ranks.

    >>> ranks({"a": {"nll": 0.2}, "b": {"nll": 0.1}, "c": {"nll": 0.2}}, "nll")
    {'a': 2.5, 'b': 1.0, 'c': 2.5}
    """
    names = [name for name in methods if name not in UNRANKED]
    return dict(zip(names, rankdata([methods[name][metric] for name in names]).tolist(), strict=True))


def compare(sets: dict[str, Methods], task: Task) -> dict[str, Comparison]:
    """Compare each method over the sets that it ran on.

    Args:
        sets: the methods of each set, keyed by the name of the set.
        task: how the methods on these sets are compared.
    """
    excesses = {name: excess(methods, task) for name, methods in sets.items()}
    ranked = {
        metric: {name: ranks(methods, metric) for name, methods in sets.items()} for metric in ("nll", task.second)
    }
    found = {}
    for method in task.order:
        own = {name: values[method] for name, values in excesses.items() if method in values}
        if not own:
            continue
        worst = max(own, key=lambda name: own[name])
        both = [name for name in own if PROCESS in sets[name]]
        near = sum(own[name] <= excesses[name][PROCESS] + MARGIN for name in both)
        mean_ranks = None
        if method not in UNRANKED:
            mean_ranks = {m: float(np.mean([by_set[name][method] for name in own])) for m, by_set in ranked.items()}
        found[method] = Comparison(
            sets=len(own),
            wins=sum(value <= 0 for value in own.values()),
            mean_excess=float(np.mean(list(own.values()))),
            worst_excess=own[worst],
            worst_set=worst,
            ranks=mean_ranks,
            near_process=(near, len(both)),
        )
    return found
