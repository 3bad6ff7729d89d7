"""The benchmark runs, its counts are right, and a contestant with other results is BAD."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from benchmarks import timing
from benchmarks.speed import check, command, contestants, environment, gpu, limits, memory, reference, results
from benchmarks.speed.contestant import Contestant, Setting, Unsupported
from benchmarks.speed.contestants import deepuq_jax, jax_parts, torch_parts
from benchmarks.speed.measure import measure
from benchmarks.speed.workloads import CONV, SMALL, Predict, Train, mlp
from parity_tests import backend

# Together, these tests take too long for `make check`.
pytestmark = pytest.mark.slow

TINY = mlp(3, 4, 1, num_data=100)
TRAIN, PREDICT = Train(TINY, batch=8, steps=30), Predict(TINY, draws=50, inputs=4)
FAMILIES = ("floor_jax", "floor_torch", "deepuq_jax", "deepuq_torch")
FAST = ("deterministic, JAX, scanned", "deterministic, torch, eager", "deepuq_jax", "deepuq_torch, eager")


def quiet(line):
    """Log nothing."""


def test_interleave_runs_each_contestant_in_turn():
    calls, kept = [], []

    def call(name):
        calls.append(name)
        return jnp.zeros(())

    def keep(name, result):
        kept.append((name, float(result)))

    runs = {name: functools.partial(call, name) for name in "ab"}
    timings = timing.interleave(runs, units={"a": 1, "b": 2}, rounds=3, keep=keep)
    assert "".join(calls) == "ababab"
    assert kept == [("a", 0.0), ("b", 0.0)] * 3
    for row in timings.values():
        assert 0 < row.low_s <= row.median_s <= row.high_s


@pytest.mark.parametrize("network", [TINY, CONV], ids=lambda network: network.name)
def test_the_plain_networks_of_all_frameworks_agree(network):
    x = network.data(3)[0]
    expected = reference.forward(network.means(), x)
    assert expected.shape == (3, network.outputs)
    np.testing.assert_allclose(
        jax_parts.forward(jax_parts.means(network), jnp.asarray(x), Setting()), expected, atol=1e-5
    )
    inputs = torch_parts.inputs(Predict(network, inputs=3), Setting())
    for outputs in (
        torch_parts.forward(torch_parts.means(network, Setting()), inputs),
        torch_parts.Net(network, Setting())(inputs).detach(),
    ):
        np.testing.assert_allclose(outputs, expected, atol=1e-5)
    np.testing.assert_allclose(deepuq_jax.model_of(network, Setting())(jnp.asarray(x)), expected, atol=1e-5)


def test_the_reference_has_the_kl_of_deepuq_jax():
    assert reference.kl(TINY) == pytest.approx(float(deepuq_jax.model_of(TINY, Setting()).kl()), rel=1e-5)


def test_contestants_train_predict_and_are_found_right():
    found, absent = contestants.present(FAMILIES)
    assert not absent
    chosen = [
        c for c in found if c.name in (*FAST, "deepuq_jax, weight sampling, one call per step, flat donated state")
    ]
    for work in (TRAIN, PREDICT):
        rows = measure(work, chosen, Setting(), rounds=2, log=quiet)
        assert [row["check"] for row in rows] == ["ok"] * 4, rows


def _losses(values, kl="exact"):
    """A contestant with these losses, in order."""
    values = iter(values)

    def train(work, setting):
        return lambda steps: torch.tensor([next(values) for _ in range(steps)])

    return Contestant("wrong", "", "torch", "eager", train, kl=kl)


def _verdict(contestant, work=TRAIN):
    (row,) = measure(work, [contestant], Setting(), rounds=2, log=quiet)
    return row["check"]


def test_wrong_training_is_bad():
    first = reference.first_loss(TINY, 8)["exact"]
    start = float(first.mean)
    falling = np.linspace(start, start - 1, check.MOST_STEPS + 100)
    assert _verdict(_losses(falling)) == "ok"
    assert "did not fall" in _verdict(_losses(falling[::-1] + 1.0))
    # Noise hides the fall of forty steps, but not the fall of four hundred steps.
    assert _verdict(_losses(falling + np.random.default_rng(0).normal(0, 0.3, len(falling)))) == "ok"
    assert "standard errors" in _verdict(_losses(falling + 10 * np.sqrt(first.var)))
    assert "not finite" in _verdict(_losses(np.where(np.arange(len(falling)) > 5, np.nan, falling)))


def _predicts(change):
    """A contestant whose right mean and variance are changed by a function."""

    def predict(work, setting):
        random = np.random.default_rng(7)

        def moments():
            draws = [reference._draw(work.network.means(), random) for _ in range(work.draws)]
            x = work.network.data(work.inputs)[0]
            outputs = np.stack([reference.forward(weights, x) for weights in draws])
            return change(outputs.mean(axis=0), outputs.var(axis=0))

        return moments

    return Contestant("wrong", "", "torch", "eager", predict=predict)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (lambda mean, var: (mean, var), "ok"),
        (lambda mean, var: (mean + 0.1, var), "BAD: mean"),
        (lambda mean, var: (mean, 2 * var), "BAD: variance"),
        (lambda mean, var: (mean * np.nan, var), "BAD: mean"),
    ],
)
def test_wrong_prediction_is_bad(change, verdict):
    assert _verdict(_predicts(change), PREDICT).startswith(verdict)


def test_a_missing_feature_is_skipped_and_an_exception_is_bad():
    def lacks(work, setting):
        raise Unsupported("it has no convolution")

    def breaks(work, setting):
        raise RuntimeError("an old API\nand a long story")

    made = [Contestant(name, "", "torch", "eager", train) for name, train in (("a", lacks), ("b", breaks))]
    assert measure(TRAIN, made, Setting(), rounds=1, log=quiet) == [
        {"contestant": "a", "skipped": "it has no convolution"},
        {"contestant": "b", "check": "BAD: RuntimeError: an old API"},
    ]


def test_absent_peers_are_named(monkeypatch):
    monkeypatch.setattr(contestants, "is_installed", lambda module: module in ("jax", "torch", "deepuq_jax"))
    found, absent = contestants.present()
    assert {c.package for c in found} == {"deterministic", "deepuq_jax"}
    assert {"uqdeepnn", "bayesian-torch", "numpyro", "blackjax", "ivon-opt"} < set(absent)


def test_every_contestant_has_a_name_and_a_floor_of_its_own():
    found = contestants.present(FAMILIES)[0]
    for task in ("train", "predict"):
        mine = [c for c in found if getattr(c, task) is not None]
        assert len({c.name for c in mine}) == len(mine)
        floors = [(c.framework, c.style) for c in mine if c.package == results.FLOOR]
        assert len(set(floors)) == len(floors)
        assert {(c.framework, c.style) for c in mine} == set(floors)


def test_operations_agree_with_the_count_of_the_compiler():
    work = Predict(SMALL, draws=1, inputs=1000)
    forward = functools.partial(jax_parts.forward, setting=Setting())
    counted = jax.jit(forward).lower(jax_parts.means(SMALL), jax_parts.inputs(work)).compile().cost_analysis()["flops"]
    # The compiler also counts biases and ReLU.
    elementwise = 2 * 1000 * sum(kernel[-1] for kernel in SMALL.kernels)
    operations = limits.work_of(work).operations
    assert operations <= counted <= operations + elementwise


def test_a_limit_is_the_longer_of_bytes_and_operations():
    machine = limits.Machine(bandwidth=10.0, flops=100.0, normal_s=1.0)
    assert limits.limit_s(limits.Work(bytes=20, operations=100, normals=0), machine) == 2.0
    assert limits.limit_s(limits.Work(bytes=20, operations=300, normals=0), machine) == 3.0


def test_the_machine_is_measured():
    machine = limits.measure_machine(elements=2**12, side=32, calls=1)
    assert all(value > 0 for value in dataclasses.astuple(machine))


@pytest.mark.long
def test_peak_memory_is_of_a_process_of_its_own():
    held = np.ones(2**27)  # a gibibyte that only this process holds
    found = memory.peak("train 8-50-1, batch 32, mc 1", "deterministic, torch, eager", Setting())
    del held
    assert 0 < found["imports"] <= found["peak"] < memory.resident()
    assert found["device"] is None


def test_the_gpu_modes_are_the_command_anew():
    calls = []

    def run(words, env, check):
        calls.append((words, env["XLA_FLAGS"]))

    gpu.run_modes(["--quick"], run=run)
    precisions = [words[words.index("--precision") + 1] for words, _ in calls]
    assert precisions == [*environment.PRECISIONS, "float32"]
    assert [gpu.NO_COMMAND_BUFFERS in flags for _, flags in calls] == [False, False, False, True]
    assert len({words[-1] for words, _ in calls}) == len(calls)
    for words, _ in calls:
        args = command._arguments(words[words.index("speed") + 1 :])
        assert args.backend == "gpu"
        assert args.quick


def test_the_backend_is_that_of_jax():
    assert [backend.detect(lambda name=name: name) for name in ("cpu", "gpu", "tpu")] == ["cpu", "gpu", "cpu"]
    assert command._passed_on(["--backend", "gpu", "--quick", "--backend=gpu"]) == ["--quick"]


def test_bfloat16_is_another_arithmetic():
    x, weights = jax_parts.inputs(PREDICT), jax_parts.means(TINY)
    exact, low = (jax_parts.forward(weights, x, Setting(precision=name)) for name in ("float32", "bfloat16"))
    assert low.dtype == jnp.float32
    assert 0 < float(jnp.max(jnp.abs(exact - low))) < 0.1
    assert deepuq_jax.model_of(TINY, Setting(precision="bfloat16"))(x).dtype == jnp.bfloat16
    net = torch_parts.Net(TINY, Setting())
    with torch_parts.arithmetic(Setting(precision="bfloat16")):
        assert net(torch_parts.inputs(PREDICT, Setting())).dtype == torch.bfloat16


@pytest.fixture
def small_command(monkeypatch):
    """Give the command a tiny workload, and let it leave the settings of this process alone."""
    monkeypatch.setattr(command, "QUICK", (PREDICT,))
    monkeypatch.setattr(command, "WORKLOADS", (PREDICT,))
    monkeypatch.setattr(command.environment, "apply", lambda setting: None)
    monkeypatch.setattr(command.environment, "compile_anew", lambda: None)
    machine = functools.partial(limits.measure_machine, elements=2**12, side=32, calls=1)
    monkeypatch.setattr(command.limits, "measure_machine", machine)


def test_the_command_writes_its_output_to_files(small_command, tmp_path, capsys):
    file, picture = tmp_path / "speed.json", tmp_path / "speed.png"
    only = ["--backend", "cpu", "--rounds", "2", "--contestants", "eager"]
    measured = command.main([*only, "--json", str(file), "--plot", str(picture)])
    saved = json.loads(file.read_text())
    assert saved == measured
    (part,) = saved["workloads"].values()
    assert [row["contestant"] for row in part["rows"]] == ["deterministic, torch, eager", "deepuq_torch, eager"]
    assert file.with_suffix(".md").read_text() in capsys.readouterr().out
    assert picture.stat().st_size > 10_000
    ours, floor = part["rows"][1], part["rows"][0]
    assert results.ratio(ours, results.floor_of(ours, part)) == ours["median_s"] / floor["median_s"]


def test_memory_is_put_beside_the_times_of_a_file(small_command, tmp_path, monkeypatch):
    file = tmp_path / "speed.json"
    only = ["--backend", "cpu", "--contestants", "eager", "--json", str(file)]
    timed = command.main([*only, "--rounds", "1"])
    asked, found = [], {"peak": 2**21, "imports": 2**20, "device": None}

    def peak(workload, contestant, setting):
        asked.append((workload, contestant))
        return found

    monkeypatch.setattr(command.memory, "peak", peak)
    filled = command.main([*only, "--fill-memory"])
    rows = filled["workloads"][PREDICT.name]["rows"]
    assert [row.pop("memory") for row in rows] == [found] * 2
    assert filled == timed
    assert file.with_suffix(".md").read_text().count("| 2 (1) |") == 2
    command.main([*only, "--fill-memory"])
    assert asked == [(PREDICT.name, "deterministic, torch, eager"), (PREDICT.name, "deepuq_torch, eager")]


def test_a_table_can_be_measured_in_parts(tmp_path):
    results.merge(tmp_path / "a.json", {"first": {"rows": [1]}, "second": {"rows": [2]}})
    results.merge(tmp_path / "a.json", {"second": {"rows": [3]}})
    assert results.read(tmp_path / "a.json")["workloads"] == {"first": {"rows": [1]}, "second": {"rows": [3]}}


@pytest.mark.parametrize(
    "words", [["--rounds", "0"], ["--readme"], ["--redraw"], ["--fill-memory"], ["--backend", "tpu"]]
)
def test_bad_options_are_refused(words):
    with pytest.raises(SystemExit):
        command.main(words)


def test_a_ratio_to_a_wrong_row_is_none():
    right, wrong = ({"median_s": 2.0, "check": verdict} for verdict in (check.OK, "BAD: mean"))
    assert results.ratio(right, right) == 1.0
    assert results.ratio(right, wrong) is None
    assert results.ratio(wrong, right) is None
