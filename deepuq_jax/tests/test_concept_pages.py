"""The programs of the first pages and of the concepts run as they stand, and give the numbers in the text."""

import re

import jax
import pytest

from deepuq_jax.tests.test_pages import ROOT, programs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "docs").exists(), reason="an installed package has no docs beside it"),
]


def run(name):
    """Run the programs of a page, and return the names that they define."""
    names: dict = {}
    with jax.numpy_rank_promotion("allow"):
        for program in programs(ROOT / "docs" / name):
            exec(compile(program, name, "exec"), names)
    return names


def said(name, pattern):
    """Return the numbers in the sentence of a page that matches a pattern."""
    found = re.search(pattern, " ".join((ROOT / "docs" / name).read_text(encoding="utf-8").split()))
    assert found, pattern
    return [float(number) for number in found.groups()]


def test_extending():
    run("extending.md")


@pytest.mark.long
def test_model(capsys):
    run("concepts/model.md")
    assert capsys.readouterr().out == "['layers.0.bias_posterior.mu', 'layers.0.bias_posterior.rho']\n"


@pytest.mark.long
def test_quick_start():
    names = run("quickstart.md")
    perfect, reached = said("quickstart.md", r"would score (-[\d.]+) nats; the network reaches (-[\d.]+)\.")
    assert perfect == pytest.approx(-0.8836, abs=0.01)  # log(0.1 sqrt(2 pi)) + 1/2
    assert float(names["nll"]) == pytest.approx(reached, abs=0.05)
    assert float(names["coverage"]) > 0.93
    ratio = names["far"].epistemic_var / names["near"].epistemic_var
    assert float(ratio[0, 0]) > 10**2  # The ratio is that of variances.


@pytest.mark.long
def test_three_ways(capsys):
    names = run("three-ways.md")
    (bound,) = said("three-ways.md", r"log density above (-[\d.]+) nats")
    assert all(names["score"](names[way]) > bound for way in ("ready", "own", "looped"))
    assert "['body.bias', 'body.kernel', 'head.bias', 'head.kernel']" in capsys.readouterr().out


def test_objectives():
    names = run("concepts/objectives.md")
    exact = names["exact_sigma"](1.0), names["exact_sigma"](1 / 64)
    assert exact == pytest.approx(said("concepts/objectives.md", r"exact values are ([\d.]+) and ([\d.]+),"), abs=0.006)
    trained = names["trained_sigma"](names["exact"]), names["trained_sigma"](names["off"])
    assert trained == pytest.approx(exact, rel=0.06)


@pytest.mark.long
def test_noise():
    run("concepts/noise.md")


@pytest.mark.long
def test_estimators():
    sampling, flipout, local = run("concepts/estimators.md")["variances"]
    assert [sampling / flipout, sampling / local] == pytest.approx([7, 10], rel=0.15)


def test_priors(capsys):
    run("concepts/priors.md")
    ratios = [float(line) for line in capsys.readouterr().out.split()]
    assert ratios == pytest.approx([10, 1], rel=0.1)
