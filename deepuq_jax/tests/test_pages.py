"""The programs of the pages in docs/ run as they stand, one after the other."""

import re
from pathlib import Path

import numpy as np
import pytest

from deepuq_jax.tests.profiles import small_profile

ROOT = Path(__file__).parents[2]
PAGES = ["docs/training.md", "docs/resuming.md", "docs/trust.md", "docs/saving.md"]
# Each of these trains several models for many epochs, or has quick tests of what it shows.
LONG_PAGES = [
    "docs/likelihoods.md",
    "docs/devices.md",
    "docs/natural-gradients.md",
    "docs/conformal.md",
    "docs/interop.md",
    "docs/plots.md",
    "docs/scikit-learn.md",
]


def programs(page):
    """Return the Python programs on a page, in order."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)


@pytest.fixture
def lenient_rank_promotion():
    import jax

    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / "docs").exists(), reason="an installed package has no docs beside it")
@pytest.mark.usefixtures("lenient_rank_promotion")
@pytest.mark.parametrize("name", small_profile([*PAGES, *LONG_PAGES], PAGES))
def test_every_program_of_a_page_runs(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # Some programs write files.
    names: dict = {}
    for program in programs(ROOT / name):
        exec(compile(program, name, "exec"), names)
    if name == "docs/trust.md":
        assert 0.8 <= float(names["coverage"]) <= 1.0
        assert float(names["nll"]) < 0.0
        assert float(names["auroc"]) > 0.9
        assert "k-hat" in capsys.readouterr().out
    elif name == "docs/resuming.md":
        assert "batch_size was 96 and is 32" in capsys.readouterr().out
        assert int(names["second"].state.step) == 20
    elif name == "docs/likelihoods.md":
        assert float(names["coverage"]) > 0.85
        assert abs(float(names["waiting"]) - 0.9) < 0.1
        assert names["size"].mean.shape == (256, 1)
        assert names["kind"].probs.shape == (256, 3)
    elif name == "docs/natural-gradients.md":
        found = [float(number) for number in capsys.readouterr().out.split()]
        said = re.search(
            r"is (-[\d.]+) after 1,000 .* and (-[\d.]+) after 10,000", (ROOT / name).read_text(encoding="utf-8")
        )
        assert said
        assert found == pytest.approx([float(number) for number in said.groups()], abs=0.1)
        assert float(names["loss"]) < float(names["first_loss"])
    elif name == "docs/conformal.md":
        assert float(capsys.readouterr().out) == pytest.approx(0.6, abs=0.03)
        assert names["found"] == pytest.approx([0.9] * 3, abs=0.04)
        assert names["contained"] == pytest.approx(0.95, abs=0.03)
        assert names["size"] < 2.0
        assert float(names["diabetes_coverage"]) == pytest.approx(0.9, abs=0.08)
        assert float(names["wine_coverage"]) >= 0.85
    elif name == "docs/plots.md":
        drawn = {path.name for path in tmp_path.iterdir()}
        assert drawn == set(re.findall(r"images/(plots-.*?[.]png)", (ROOT / name).read_text(encoding="utf-8")))
        assert all((ROOT / "docs" / "images" / picture).exists() for picture in drawn)
    elif name == "docs/interop.md":
        np.testing.assert_allclose(names["function"](np.asarray(names["x"]))["mean"], names["result"].mean, atol=1e-5)
    elif name == "docs/saving.md":
        assert len(list(names["folder"].iterdir())) == 3
    elif name == "docs/devices.md":
        assert capsys.readouterr().out == "P(None, 'model')\n"
        assert names["mean"].shape == names["epistemic_var"].shape == names["moments"].mean.shape == (256, 1)
    elif name == "docs/scikit-learn.md":
        assert 0.8 <= names["coverage"] <= 1.0
        assert names["classifier"].score(names["table"], names["answer"]) > 0.9
        assert len(names["search"].cv_results_["params"]) == 4
    else:
        assert names["result"].history["loss"].shape == (20,)
        assert names["results"].mean.shape == (3, 96, 1)
