"""The names on docs/migration.md exist in the packages, and its programs run."""

import functools
import re
from pathlib import Path

import pytest

import deepuq_torch

PAGE = Path(__file__).parents[2] / "docs" / "migration.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="an installed package has no docs beside it")


def text():
    return PAGE.read_text(encoding="utf-8")


def names(prefix):
    """Return the dotted names behind a prefix, such as `functional.stack_noise`."""
    return sorted(set(re.findall(rf"\b{prefix}\.([A-Za-z_]+(?:\.[A-Za-z_]+)*)", text())))


def resolve(package, name):
    return functools.reduce(getattr, name.split("."), package)


def test_every_name_of_deepuq_torch_exists():
    found = names("dt")
    assert len(found) > 15
    for name in found:
        assert resolve(deepuq_torch, name) is not None


def test_every_name_of_deepuq_jax_exists():
    pytest.importorskip("jax")
    deepuq_jax = pytest.importorskip("deepuq_jax")
    found = names("dq")
    assert len(found) > 30
    for name in found:
        assert resolve(deepuq_jax, name) is not None


def test_every_documented_class_and_function_is_on_the_page():
    """The table has every public name of deepuq_torch, except those of modules and an alias."""
    public = set(deepuq_torch.__all__) - {"functional", "methods", "BayesByBackpropRegressor"}
    assert public <= set(names("dt"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_programs_run():
    """The models that the page trains fit the curve."""
    pytest.importorskip("jax")
    scope: dict = {}
    for program in re.findall(r"^```python\n(.*?)^```", text(), re.DOTALL | re.MULTILINE):
        exec(compile(program, PAGE.name, "exec"), scope)
    assert scope["torch_result"].total_var.shape == scope["result"].total_var.shape == (64, 1)
    assert abs(scope["result"].mean - scope["y"]).mean() < 0.3
    assert abs(scope["natural_result"].mean - scope["targets"]).mean() < 0.1
    # A model that moved to the other package predicts the same, up to the noise of other draws.
    assert abs(scope["twin_result"].mean - scope["torch_result"].mean.numpy()).mean() < 0.1
    assert abs(scope["back_result"].mean.numpy() - scope["result"].mean).mean() < 0.1
    assert scope["back_result"].aleatoric_var.item() == pytest.approx(0.01)
