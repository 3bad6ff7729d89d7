"""A made-up result file for the tests of tables and pictures."""

import pytest


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
def make_row():
    """The function that makes a row."""
    return _row


@pytest.fixture
def data():
    """A result file with one workload, which has rows of most kinds."""
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
    return {"workloads": {"train x, mc 1": part}}
