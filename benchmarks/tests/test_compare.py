"""Two result files are compared with their noise taken into account."""

import copy
import json
import math

import numpy as np
import pytest
from scipy.stats import t as student

from benchmarks import __main__ as commands
from benchmarks.compare import accuracy, speed
from benchmarks.compare.change import Verdict, median_and_spread
from benchmarks.speed import results

COMMITTED = results.RESULTS / "speed-cpu.json"
WORKLOAD = "train x, mc 1"
ROUNDS = 11


def timed(make_row, seed, *, slower=1.0, machine=1.0, peers=8, noise=0.03):
    """Make a result file in which calls take about a second, with noise and slow spells."""
    random = np.random.default_rng(seed)
    names = [("deepuq_jax", slower)] + [(f"peer {i}", 1.0) for i in range(peers)]
    rows = []
    for name, factor in names:
        calls = machine * factor * np.exp(noise * random.standard_normal(ROUNDS))
        calls[random.integers(ROUNDS)] *= 5.0  # a slow spell
        row = make_row(name, "scanned", float(np.median(calls)))
        rows.append({**row, "low_s": float(calls.min()), "high_s": float(calls.max())})
    environment = {"device": "a", "cores": 2, "versions": {"jax": "1"}, "commit": f"{seed}"}
    return {"workloads": {WORKLOAD: {"environment": environment, "rounds": ROUNDS, "rows": rows}}}


def verdict_of(comparison, name="deepuq_jax"):
    (found,) = [change.verdict for change in comparison.changes if change.name == name]
    return found


def every(group, member):
    return True


def test_equal_code_is_within_noise(make_row):
    wrong = 0
    for seed in range(100):
        before, after = timed(make_row, seed), timed(make_row, 1000 + seed)
        comparison = speed.compare(before, after, every)
        wrong += any(change.verdict is not Verdict.SAME for change in comparison.changes)
    assert wrong <= 15  # The expected number is 5; 15 is more than four standard deviations above it.


@pytest.mark.parametrize(("slower", "verdict"), [(1.5, Verdict.WORSE), (1 / 1.5, Verdict.BETTER), (1.0, Verdict.SAME)])
@pytest.mark.parametrize("machine", [1.0, 2.0])
def test_a_change_of_the_code_is_told_from_that_of_the_machine(slower, verdict, machine, make_row):
    for seed in range(5):
        before, after = timed(make_row, seed), timed(make_row, 50 + seed, slower=slower, machine=machine)
        comparison = speed.compare(before, after, every)
        assert verdict_of(comparison) is verdict
        assert comparison.is_worse is (verdict is Verdict.WORSE)
    assert any("measure both in one session" in note for note in comparison.notes) is (machine == 2.0)


def test_another_machine_is_named_and_compared_as_it_is(make_row):
    before, after = timed(make_row, 0), timed(make_row, 1, machine=2.0)
    after["workloads"][WORKLOAD]["environment"]["device"] = "b"
    comparison = speed.compare(before, after, every)
    assert "The runs differ in device: a and b." in comparison.notes
    assert verdict_of(comparison) is Verdict.WORSE


def test_without_other_packages_a_spread_is_assumed(make_row):
    comparison = speed.compare(timed(make_row, 0, peers=2), timed(make_row, 1, peers=2, slower=1.15), every)
    assert "a spread of 10 % between runs is assumed" in comparison.notes[0]
    assert verdict_of(comparison) is Verdict.SAME
    assert verdict_of(speed.compare(timed(make_row, 0, peers=2), timed(make_row, 1, peers=2, slower=2), every)) is (
        Verdict.WORSE
    )


def test_a_row_that_is_bad_now_is_worse_and_a_lost_row_is_named(make_row):
    before = timed(make_row, 0)
    after = copy.deepcopy(before)
    after["workloads"][WORKLOAD]["rows"][0]["check"] = "BAD: mean"
    del after["workloads"][WORKLOAD]["rows"][1]
    comparison = speed.compare(before, after, every)
    assert verdict_of(comparison) is Verdict.WORSE
    assert comparison.notes[-1] == f"Only in the file before: 1 rows, such as {WORKLOAD}: peer 0."
    assert not speed.compare(after, after, every).is_worse  # It was BAD before.


def test_the_error_of_a_median_is_that_of_normal_calls():
    random = np.random.default_rng(0)
    calls = np.exp(0.02 * random.standard_normal((2000, ROUNDS)))
    medians = np.median(calls, axis=1)
    estimates = [
        speed._error({"median_s": m, "low_s": low}, ROUNDS) for m, low in zip(medians, calls.min(1), strict=True)
    ]
    assert np.mean(estimates) == pytest.approx(np.log(medians).std(), rel=0.1)
    values = random.standard_normal(4000)
    assert median_and_spread(values.tolist()) == pytest.approx((0, 1), abs=0.1)


def record(scores, error=0.1, name="nll"):
    splits = [{name: score} for score in scores]
    row = {name: float(np.mean(scores)), f"{name}_se": error, "per_split": splits}
    return {"seed": 0, "sets": {"yacht": {"methods": {"ours": row}}}}


def test_splits_are_compared_in_pairs():
    base, step = np.array([1.0, 5.0, 9.0, 3.0, 7.0]), np.array([0.1, 0.12, 0.09, 0.1, 0.11])
    worse = accuracy.compare(record(base), record(base + step), every)
    assert [change.verdict for change in worse.changes] == [Verdict.WORSE]
    better = accuracy.compare(record(base, name="accuracy"), record(base + step, name="accuracy"), every)
    assert [change.verdict for change in better.changes] == [Verdict.BETTER]
    noise = float(worse.changes[0].noise)
    assert noise == pytest.approx(student.ppf(0.975, 4) * step.std(ddof=1) / math.sqrt(5), rel=0.05)
    fewer = accuracy.compare(record(base), record((base + step)[:4], error=0.2), every)
    assert float(fewer.changes[0].noise) == pytest.approx(1.96 * math.hypot(0.1, 0.2), rel=0.05)
    assert accuracy.compare({**record(base), "seed": 1}, record(base), every).notes == [
        "The records differ in seed: 1 and 0."
    ]


def run(argv, capsys):
    """Run the command; return its exit code and the printed text."""
    try:
        code = commands.main(["compare", *map(str, argv)])
    except SystemExit as ended:
        code = ended.code
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def test_the_command_ends_with_a_code_that_means_something(make_row, tmp_path, capsys):
    paths = [tmp_path / name for name in ("before.json", "after.json", "broken.json")]
    paths[0].write_text(json.dumps(timed(make_row, 0)))
    paths[1].write_text(json.dumps(timed(make_row, 1, slower=1.5)))
    paths[2].write_text("{")
    code, printed = run(paths[:2], capsys)
    assert code == 1
    assert "WORSE" in printed
    assert "9 rows in both files: 1 WORSE, 0 better, 8 within noise" in printed
    code, _ = run([*paths[:2], "--json", tmp_path / "changes.json"], capsys)
    saved = json.loads((tmp_path / "changes.json").read_text())
    assert code == 1
    assert saved["is_worse"]
    assert [row["name"] for row in saved["changes"] if row["verdict"] == Verdict.WORSE.value] == ["deepuq_jax"]
    assert len(saved["changes"]) == 9
    code, printed = run([*paths[:2], "--methods", "peer", "--all"], capsys)
    assert code == 0
    assert printed.count("within noise") == 9
    for argv, message in (
        ([*paths[:2], "--methods", "deepuq_jaxx"], "The nearest: deepuq_jax"),
        ([*paths[:2], "--only", "train y"], "The nearest: train x"),
        ([paths[0], paths[2]], "in JSON"),
        ([paths[0], tmp_path / "none.json"], "which is no file"),
        ([paths[0], results.RESULTS / "accuracy-uci.json"], "of the same benchmark"),
        ([paths[0], results.RESULTS / "accuracy-mnist.json"], "of a benchmark with errors"),
        ([paths[0], COMMITTED], "none that both have"),
    ):
        code, printed = run(argv, capsys)
        assert code == 2
        assert message in printed


@pytest.mark.parametrize("name", ["speed-cpu", "accuracy-uci", "accuracy-tabular"])
def test_a_committed_file_equals_itself(name, capsys):
    path = results.RESULTS / f"{name}.json"
    code, printed = run([path, path], capsys)
    assert code == 0
    assert "0 WORSE, 0 better" in printed
