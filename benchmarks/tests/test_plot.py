"""The picture of speed has a panel per workload and a bar per library, and fits a screen."""

import struct

import pytest

from benchmarks.speed import plot, results

DATA = results.read(results.RESULTS / "speed-cpu.json")


def _size(path):
    """Width and height of a PNG, pixels."""
    return struct.unpack(">2I", path.read_bytes()[16:24])


@pytest.mark.parametrize("part", DATA["workloads"].values(), ids=DATA["workloads"])
def test_a_panel_has_the_best_row_of_each_library_sorted(part):
    shown = plot.libraries(part)
    medians = [row["median_s"] for row in shown]
    assert medians == sorted(medians)
    keys = [(row["package"], row["framework"]) for row in shown]
    assert len(set(keys)) == len(keys)
    assert set(keys) == {(row["package"], row["framework"]) for row in results.right(part)}
    for row in results.right(part):
        assert medians[keys.index((row["package"], row["framework"]))] <= row["median_s"]


def test_bars_are_multiples_of_the_fastest_floor(data):
    figure_module = pytest.importorskip("matplotlib.figure")
    axis = figure_module.Figure().subplots()
    plot._panel(axis, "train x", plot.libraries(data["workloads"]["train x, mc 1"]))
    assert [text.get_text() for text in axis.texts] == ["1.00", "2.00", "3.00", "5.00", "10.0"]
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert labels == [
        "JAX, scanned",
        "deepuq_jax, scanned",
        "ivon-opt, eager",
        "deepuq_torch, compiled",
        "uqdeepnn, eager",
    ]
    assert [bar.get_width() for bar in axis.patches] == pytest.approx([0, 1, 2, 4, 9])
    assert len({bar.get_facecolor() for bar in axis.patches}) == 5


def test_bad_rows_are_left_out_and_a_panel_may_be_empty(data, tmp_path):
    pytest.importorskip("matplotlib")
    part = data["workloads"]["train x, mc 1"]
    assert "numpyro" not in {row["package"] for row in plot.libraries(part)}
    part["rows"] = []
    plot.draw(data, tmp_path / "empty.png")
    assert (tmp_path / "empty.png").exists()


@pytest.mark.slow
def test_the_picture_fits_a_screen(tmp_path):
    pytest.importorskip("matplotlib")
    plot.draw(DATA, tmp_path / "speed.png")
    for path in (tmp_path / "speed.png", results.RESULTS / "speed-cpu.png"):
        width, height = _size(path)
        assert 1000 < width <= 1920
        assert 500 < height <= 1080
