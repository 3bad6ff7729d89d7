"""The READMEs' tables of speed, and the full one, are what the committed results say."""

import pytest

from benchmarks.markers import put
from benchmarks.speed import results, summary, table

FILE = results.RESULTS / "speed-cpu.json"
NAMES = {"speed": summary.speed, "limits": summary.limits}


@pytest.mark.skipif(not summary.README.exists(), reason="an installed package has no README beside it")
@pytest.mark.parametrize("name", NAMES)
def test_the_readme_shows_what_the_json_says(name):
    text = {"speed": summary.README, "limits": summary.NOTES}[name].read_text(encoding="utf-8")
    block = NAMES[name](results.read(FILE))
    assert block in text
    assert put(text, name, block) == text


def test_the_full_table_is_what_the_json_says():
    assert FILE.with_suffix(".md").read_text(encoding="utf-8") == table.full(results.read(FILE))


def _row(package, style, median, verdict="ok"):
    framework = "jax" if style in ("scanned", "call") else "torch"
    return {
        "contestant": package,
        "package": package,
        "framework": framework,
        "style": style,
        "median_s": median,
        "low_s": median,
        "high_s": median,
        "first_s": 1.0,
        "check": verdict,
    }


@pytest.fixture
def data():
    rows = [
        _row("deterministic", "scanned", 1e-3),
        _row("deepuq_jax", "scanned", 2e-3),
        _row("deepuq_torch", "eager", 6e-3),
        _row("deepuq_torch", "compiled", 5e-3),
        _row("uqdeepnn", "eager", 10e-3),
        _row("numpyro", "scanned", 1e-3, "BAD: mean"),
        _row("ivon-opt", "eager", 3e-3),
        {"contestant": "blitz", "skipped": "no reason"},
    ]
    numbers = {"bytes": 10, "operations": 20, "normals": 0, "limit_s": 5e-4}
    part = {
        "environment": {
            "device": "a",
            "cores": 2,
            "torch_threads": 2,
            "precision": "float32",
            "xla_flags": "",
            "python": "3",
            "versions": {"jax": "1", "torch": "2"},
            "commit": "abc",
        },
        "machine": {"bandwidth": 1e9, "flops": 1e9, "normal_s": 1e-9},
        "limits": {"bayesian": numbers, "deterministic": numbers},
        "absent": ["blackjax"],
        "rounds": 3,
        "rows": rows,
    }
    return {"workloads": {"train x": part}}


def test_a_row_has_the_ratios_and_the_best_peer_that_is_right(data):
    assert "| train x | 2,000 | 2.00 | 0.20 | 0.50 | ivon-opt: 1.50 |" in summary.speed(data)


def test_ours_is_in_the_style_that_is_faster_and_so_is_its_floor(data):
    rows = data["workloads"]["train x"]["rows"]
    rows += [_row("deterministic", "call", 0.5e-3), _row("deepuq_jax", "call", 1e-3)]
    assert "| train x | 1,000 | 2.00 | 0.10 | 0.50 | ivon-opt: 3.00 |" in summary.speed(data)
    assert "| train x | 10 | 20 | 0 | 500 | 1,000 | 100% | 50% |" in summary.limits(data)


def test_the_share_of_the_limit(data):
    assert "| train x | 10 | 20 | 0 | 500 | 2,000 | 50% | 25% |" in summary.limits(data)


def test_the_full_table_names_what_is_absent_skipped_and_bad(data):
    text = table.full(data)
    assert "Not installed: blackjax." in text
    assert "skipped: no reason |" in text
    assert "| numpyro | 1,000 (1,000-1,000) | - | - | 50.0% | 1.00 | - | BAD: mean |" in text


def test_the_blocks_are_put_between_the_markers(tmp_path, data):
    paths = {name: tmp_path / f"{name}.md" for name in NAMES}
    for name, path in paths.items():
        path.write_text(f"before\n<!-- {name}:begin -->\nold\n<!-- {name}:end -->\nafter\n")
    summary.write(data, paths["speed"], paths["limits"])
    for name, path in paths.items():
        assert path.read_text() == f"before\n{NAMES[name](data)}\nafter\n"


@pytest.mark.parametrize("text", ["none", "<!-- speed:begin -->", "<!-- speed:end --> <!-- speed:begin -->"])
def test_a_text_without_its_markers_is_refused(text):
    with pytest.raises(ValueError, match="Expected"):
        put(text, "speed", "new")
