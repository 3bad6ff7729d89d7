"""The benchmark of Monte Carlo errors runs on a small problem, and the committed record has every problem."""

import json

import numpy as np
import pytest
from flax import nnx

import deepuq_jax as dq
from benchmarks.accuracy import draws, summary


def test_the_committed_record_has_every_problem():
    record = json.loads(summary.OF_DRAWS.read_text(encoding="utf-8"))
    assert not record["quick"]
    assert len(record["problems"]) == len(draws.PROBLEMS)
    for found in record["problems"].values():
        assert [row["draws"] for row in found["rows"]] == list(draws.DRAWS)


@pytest.mark.long
def test_a_small_problem_is_measured():
    x = np.linspace(-1, 1, 20, dtype=np.float32)[:, None]
    model = dq.HomoscedasticBayesByBackpropRegressor(1, (4,), rngs=nnx.Rngs(0))
    found = draws.measure(draws.Problem("small", model, (x, x), (x, x)), epochs=2, seed=0)
    few, *_, many = found["rows"]
    assert many["error"] < few["error"]
    assert "| small | 10 |" in draws.as_markdown({"problems": {"small": found}})
