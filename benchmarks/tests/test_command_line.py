"""Commands describe themselves, and unknown names are refused with the nearest known ones."""

import shutil
import subprocess
import sys

import pytest

from benchmarks import __main__ as commands
from benchmarks.accuracy import command as accuracy
from benchmarks.command_line import unknown
from benchmarks.speed import command, contestants, results
from benchmarks.speed.workloads import WORKLOADS
from parity_tests import backend
from parity_tests import report as parity_report

PROGRAMS = {"benchmarks": (commands.main, commands.COMMANDS), "accuracy": (accuracy.main, accuracy.COMMANDS)}


def refusal(main, argv, capsys):
    """Run a program that must end with exit code 2, and return its message."""
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_describes_every_command(program, capsys):
    main, known = PROGRAMS[program]
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert not ended.value.code
    printed = " ".join(capsys.readouterr().out.split())
    for name, described in known.items():
        assert f"{name} {described.help}" in printed


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("argv", [[], ["speeed"]])
def test_an_unknown_or_a_missing_command_is_refused(program, argv, capsys):
    main, known = PROGRAMS[program]
    printed = refusal(main, argv, capsys)
    assert ("The nearest: " in printed and any(name in printed for name in known)) or not argv


def test_parity_runs_the_parity_tests_and_passes_their_failure_on(monkeypatch, capsys):
    monkeypatch.setattr(parity_report, "collect", lambda: {"rows": []})
    monkeypatch.setattr(parity_report, "write", lambda data, file: None)
    monkeypatch.setattr(parity_report, "markdown", lambda data: "a report")
    monkeypatch.setattr(parity_report, "worst_rows", lambda data: [])
    for passes in (True, False):
        monkeypatch.setattr(parity_report, "passes", lambda data, passes=passes: passes)
        code = 0
        try:
            commands.main(["parity", "--out", "elsewhere"])
        except SystemExit as ended:
            code = ended.code
        assert code == (0 if passes else 1)
        assert "a report" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [["speed"], ["accuracy", "uci"], ["accuracy", "mnist"], ["profile"], ["mutants"]])
def test_a_command_explains_its_options(argv, capsys):
    with pytest.raises(SystemExit) as ended:
        commands.main([*argv, "--help"])
    assert not ended.value.code
    assert "--redraw" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [["accuracy", "uci"], ["scaling"], ["parity"]])
def test_a_gpu_that_is_not_there_is_refused_before_anything_runs(argv, monkeypatch, capsys):
    monkeypatch.setattr(backend, "detect", lambda: "cpu")
    printed = refusal(commands.main, [*argv, "--backend", "gpu"], capsys)
    assert "Expected --backend gpu where JAX can use a GPU" in printed


@pytest.mark.slow
def test_the_cpu_is_chosen_for_jax_and_torch_before_either_computes():
    """A library that has chosen its device keeps it, so the choice must come before the first array."""
    program = (
        "import argparse, jax, torch; from jax._src import xla_bridge; from parity_tests import backend;"
        "import parity_tests.__main__, benchmarks.accuracy.uci, benchmarks.scaling.command;"
        "assert not xla_bridge.backends_are_initialized(); parser = argparse.ArgumentParser();"
        "backend.add_option(parser); backend.parse(parser, ['--backend', 'cpu']);"
        "print(jax.default_backend(), torch.cuda.is_available())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["cpu", "False"]


def test_the_nearest_names_are_listed():
    assert unknown("--only", "thing", "numpiro", ["torchbnn", "numpyro, SVI"]).endswith(
        "The nearest: numpyro; numpyro, SVI."
    )
    # If no name is close, the message still shows names.
    assert "torchbnn" in unknown("--only", "thing", "xyz", ["torchbnn"])


@pytest.mark.parametrize(
    ("options", "nearest"),
    [
        (["--only", "train 784-300"], "train 784-400-400-10"),
        (["--only", "nosuch"], "The nearest: "),
        (["--contestants", "deepuq_jacks"], "deepuq_jax"),
        (["--contestants", "eager,nosuch"], "got nosuch. The nearest: "),
    ],
)
def test_an_unknown_workload_or_contestant_is_refused(options, nearest, monkeypatch, capsys):
    monkeypatch.setattr(command.environment, "apply", lambda setting: None)
    monkeypatch.setattr(command.environment, "compile_anew", lambda: None)
    printed = refusal(commands.main, ["speed", "--backend", "cpu", *options], capsys)
    assert "Expected --" in printed
    assert nearest in printed


def test_contestants_that_are_all_absent_leave_nothing_to_time(monkeypatch, capsys):
    monkeypatch.setattr(command.environment, "apply", lambda setting: None)
    monkeypatch.setattr(command.environment, "compile_anew", lambda: None)
    monkeypatch.setattr(contestants, "is_installed", lambda module: module in ("jax", "torch", "deepuq_jax"))
    printed = refusal(command.main, ["--backend", "cpu", "--contestants", "numpyro"], capsys)
    assert "got numpyro: not installed" in printed


def test_a_redrawn_file_must_exist(tmp_path, capsys):
    assert "that exists" in refusal(command.main, ["--redraw", "--json", str(tmp_path / "none.json")], capsys)


@pytest.mark.slow
def test_a_file_is_redrawn_without_a_measurement(monkeypatch, tmp_path, capsys):
    file, picture = tmp_path / "speed.json", tmp_path / "speed.png"
    shutil.copy(results.RESULTS / "speed-cpu.json", file)
    monkeypatch.setattr(command, "measure", None)
    data = command.main(["--redraw", "--json", str(file), "--plot", str(picture)])
    assert data == results.read(results.RESULTS / "speed-cpu.json")
    assert file.with_suffix(".md").read_text() in capsys.readouterr().out
    assert picture.exists()


def test_names_in_the_committed_file_are_known():
    """The committed file has the workloads that the command can time."""
    assert set(results.read(results.RESULTS / "speed-cpu.json")["workloads"]) == {work.name for work in WORKLOADS}
