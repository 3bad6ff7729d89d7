"""The benchmark runs, counts what it says it counts, and its contestants train."""

import json

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import speed, timing

TINY = speed.Workload((3, 4, 1), batch=4, steps=2)


def test_interleave_runs_each_contestant_in_turn():
    calls = []
    contestants = {name: (lambda name=name: calls.append(name) or jnp.zeros(())) for name in "ab"}
    timings = timing.interleave(contestants, units=2, rounds=3)
    assert "".join(calls) == "ababababab"
    for row in timings.values():
        assert 0 < row.low_s <= row.median_s <= row.high_s


def test_both_trainings_take_the_steps_they_are_timed_for():
    state, history = speed.bayesian_training(TINY)()
    assert int(state.step) == TINY.steps
    assert history.loss.shape == (TINY.steps,)
    (params, _), losses = speed.deterministic_training(TINY)()
    assert losses.shape == (TINY.steps,)
    before = jax.tree.leaves(speed.nnx.state(speed.Mlp(TINY.sizes, speed.nnx.Rngs(0))))
    assert all(not np.allclose(a, b) for a, b in zip(jax.tree.leaves(params), before, strict=True) if a.size > 1)


def test_main_writes_what_it_prints(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(speed, "WORKLOADS", (TINY,))
    rows = speed.main(["--rounds", "2", "--json", str(tmp_path / "speed.json")])
    saved = json.loads((tmp_path / "speed.json").read_text())
    assert saved["rows"] == rows
    assert saved["environment"]["jax"] == jax.__version__
    for row in rows:
        assert row["ratio"] == row["ours"]["median_s"] / row["floor"]["median_s"]
        assert f"{row['ratio']:.2f}" in capsys.readouterr().out or row is not rows[0]
