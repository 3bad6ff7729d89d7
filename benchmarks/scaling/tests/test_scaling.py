"""Memory against the size of a problem, as promised, and as in the committed record."""

import json
from pathlib import Path

import pytest

from benchmarks.scaling import cases, command, measure, plot

RECORD = Path(command.__file__).parents[1] / "results" / "scaling-cpu.json"
# The bytes of a compiled program in units of the trained parameters. A step holds the parameters, the moments of Adam
# (two) and temporary arrays: gradients, drawn weights and noise.
MOST_ARRAYS = 6.0


@pytest.mark.slow
def test_memory_of_training_is_at_most_six_arrays():
    small = cases.Training(parameters=3e4, batch=1)
    assert measure.memory(small)["arrays"] <= MOST_ARRAYS


@pytest.mark.slow
def test_memory_of_a_prediction_does_not_grow_with_the_draws():
    case = cases.Prediction(parameters=3e4, batch=4)
    few, many = (measure.memory(case.at("draws", draws))["peak"] for draws in (2, 2000))
    assert many - few <= 4 * 2000  # Four bytes per draw, for its number, and nothing else.


def test_a_network_has_about_the_parameters_that_were_asked_for():
    for parameters in measure.Plan().parameters:
        width = cases.width_of(parameters)
        count = 2 * width**2 + 2 * width + cases.OUTPUTS * (width + 1)
        assert count == pytest.approx(parameters, rel=0.05)


def test_the_committed_record_has_every_value():
    record, plan = json.loads(RECORD.read_text(encoding="utf-8")), measure.Plan()
    assert not record["quick"]
    for axis in command.AXES:
        for kind, rows in record["axes"][axis].items():
            assert [row["value"] for row in rows] == list(plan.values(axis, kind))
            timed = [row["value"] for row in rows if "seconds" in row]
            assert timed == [row["value"] for row in rows if axis != "devices" and row["count"] <= 1.1 * plan.timed]


def test_the_committed_record_keeps_the_promises():
    axes = json.loads(RECORD.read_text(encoding="utf-8"))["axes"]
    # Activations of the batch are added to this; beside a million parameters or more, they are small.
    assert all(row["arrays"] <= MOST_ARRAYS for row in axes["parameters"]["training"] if row["count"] > 5e5)
    # A single draw needs no loop, and takes less memory.
    peaks = [row["peak"] for row in axes["draws"]["prediction"] if row["value"] > 1]
    assert max(peaks) <= 1.01 * min(peaks)


def test_the_table_is_that_of_the_record():
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    assert RECORD.with_suffix(".md").read_text(encoding="utf-8") == command.as_markdown(record) + "\n"


def test_the_picture_has_a_panel_per_axis_and_measure():
    pytest.importorskip("matplotlib.figure")
    figure = plot.picture(json.loads(RECORD.read_text(encoding="utf-8")))
    assert len(figure.axes) == 2 * len(command.AXES)


@pytest.mark.long
def test_the_command_writes_what_it_prints(tmp_path, capsys):
    file = tmp_path / "scaling.json"
    record = command.main(["--quick", "--json", str(file)])
    assert json.loads(file.read_text())["axes"] == json.loads(json.dumps(record["axes"]))
    assert file.with_suffix(".md").read_text() in capsys.readouterr().out
    assert file.with_suffix(".png").exists()
    shares = [row["operations"] for row in record["axes"]["devices"]["training"]]
    assert shares[1] < 0.7 * shares[0]
