"""The pages' tables of speed, and the full table, show the committed results."""

import copy

import pytest

from benchmarks.speed import results, summary, table
from parity_tests.markers import put

FILE = results.RESULTS / "speed-cpu.json"
BLOCKS = {
    "readme": (summary.README, "speed", summary.speed_in_short),
    "page": (summary.PAGE, "speed", summary.speed),
    "notes": (summary.NOTES, "limits", summary.limits),
}


@pytest.mark.skipif(not summary.README.exists(), reason="an installed package has no README beside it")
@pytest.mark.parametrize("page", BLOCKS)
def test_the_pages_show_the_committed_results(page):
    path, name, make = BLOCKS[page]
    text, block = path.read_text(encoding="utf-8"), make(results.read(FILE))
    assert block in text
    assert put(text, name, block) == text


def test_the_full_table_shows_the_committed_results():
    assert FILE.with_suffix(".md").read_text(encoding="utf-8") == table.full(results.read(FILE))


def test_a_row_has_the_ratios_and_the_best_peer_that_is_right(data):
    for make in (summary.speed, summary.speed_in_short):
        assert "| train x, mc 1 | - | 2,000 (2.00) | 0.20 | 0.60 | 0.50 | ivon-opt: 1.50 |" in make(data)


def test_both_styles_are_shown_each_with_its_floor_and_the_faster_has_the_ratios(data, make_row):
    rows = data["workloads"]["train x, mc 1"]["rows"]
    rows += [make_row("deterministic", "call", 0.5e-3), make_row("deepuq_jax", "call", 1e-3)]
    line = "| train x, mc 1 | 1,000 (2.00) | 2,000 (2.00) | 0.10 | 0.60 | 0.50 | ivon-opt: 3.00 |"
    assert line in summary.speed(data)
    assert "| train x, mc 1 | 10 | 20 | 0 | 500 | 1,000 | 100% | 50% |" in summary.limits(data)


def test_torch_has_a_dash_without_an_original(data):
    part = data["workloads"]["train x, mc 1"]
    part["rows"] = [row for row in part["rows"] if row.get("package") != "uqdeepnn"]
    assert "| train x, mc 1 | - | 2,000 (2.00) | - | - | - | ivon-opt: 1.50 |" in summary.speed(data)


def test_predictions_have_a_table_of_their_own_and_the_readme_has_single_draws(data):
    part = data["workloads"]["train x, mc 1"]
    data["workloads"] |= {"train x, mc 4": copy.deepcopy(part), "predict x": copy.deepcopy(part)}
    line = "| predict x | 2,000 (2.00) | 0.20 | 0.60 | 0.50 | ivon-opt: 1.50 |"
    long, short = summary.speed(data), summary.speed_in_short(data)
    for text in (long, short):
        assert text.index("| train x, mc 1 |") < text.index("| prediction, µs (x floor) |") < text.index(line)
    assert "| train x, mc 4 |" in long
    assert "| train x, mc 4 |" not in short


def test_the_share_of_the_limit(data):
    assert "| train x, mc 1 | 10 | 20 | 0 | 500 | 2,000 | 50% | 25% |" in summary.limits(data)


def test_the_limits_name_the_rates_of_all_runs(data):
    part = data["workloads"]["train x, mc 1"]
    assert "the machine reached 1.0 GB/s and 1 GFLOP/s in a float32 product" in summary.limits(data)
    data["workloads"]["predict x"] = {**part, "machine": {**part["machine"], "bandwidth": 3e9}}
    assert "the machine reached 1.0 to 3.0 GB/s and 1 GFLOP/s in a float32 product" in summary.limits(data)


def test_the_full_table_names_absent_skipped_and_bad_contestants(data):
    text = table.full(data)
    assert "Not installed: blackjax." in text
    assert "skipped: no reason |" in text
    assert "| numpyro | 1,000 (1,000-1,000) | - | - | 50.0% | 1.00 | - | BAD: mean |" in text


def test_the_blocks_are_put_between_the_markers(tmp_path, data):
    paths = {page: tmp_path / f"{page}.md" for page in BLOCKS}
    for page, (_, name, _) in BLOCKS.items():
        paths[page].write_text(f"before\n<!-- {name}:begin -->\nold\n<!-- {name}:end -->\nafter\n")
    summary.write(data, **paths)
    for page, (_, _, make) in BLOCKS.items():
        assert paths[page].read_text() == f"before\n{make(data)}\nafter\n"


@pytest.mark.parametrize("text", ["none", "<!-- speed:begin -->", "<!-- speed:end --> <!-- speed:begin -->"])
def test_a_text_without_its_markers_is_refused(text):
    with pytest.raises(ValueError, match="Expected"):
        put(text, "speed", "new")
