"""Requirements and effects of the import, and the public names."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import deepuq_torch
from deepuq_torch import functional, methods, types
from deepuq_torch.methods import vi

SCRIPT = """
import sys, torch

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"jax", "jaxlib", "flax", "optax", "deepuq_jax", "matplotlib", "sklearn"}:
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Blocker())
before = (torch.get_rng_state().tolist(), torch.get_default_dtype(), torch.get_num_threads(),
          torch.is_grad_enabled(), torch.get_float32_matmul_precision(), torch.cuda.is_initialized())
import deepuq_torch, deepuq_torch.methods.vi, deepuq_torch.types, deepuq_torch.functional
after = (torch.get_rng_state().tolist(), torch.get_default_dtype(), torch.get_num_threads(),
         torch.is_grad_enabled(), torch.get_float32_matmul_precision(), torch.cuda.is_initialized())
assert before == after
model = deepuq_torch.BayesByBackpropMLP(3, [4], 2)
deepuq_torch.predict_vi_uq(model, torch.ones(2, 3), n_samples=3)
assert not any(name.split(".")[0] in {"jax", "flax", "optax"} for name in sys.modules)
"""


@pytest.mark.slow
def test_import_needs_torch_alone_and_changes_no_global_state():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", [deepuq_torch, methods, vi, functional])
def test_every_public_name_is_there_and_documented(module):
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert getattr(module, name).__doc__, name


def test_the_documented_paths_hold_the_same_objects():
    for name in ("GaussianPosterior", "GaussianPrior", "BayesianLinear", "BayesByBackpropMLP", "vi_elbo_step"):
        assert getattr(deepuq_torch, name) is getattr(vi, name) is getattr(methods, name)
    assert deepuq_torch.predict_vi_uq is importlib.import_module("deepuq_torch.methods.vi").predict_vi_uq
    assert deepuq_torch.UQResult is types.UQResult is vi.UQResult


def test_uqresult_has_the_documented_fields():
    fields = list(types.UQResult.__dataclass_fields__)
    expected = ["mean", "epistemic_var", "aleatoric_var", "total_var", "probs", "probs_var", "metadata"]
    assert fields == expected
    first, second = types.UQResult(1), types.UQResult(1)
    assert first.metadata == {}
    assert first.metadata is not second.metadata
    assert [getattr(first, field) for field in fields[1:6]] == [None] * 5


def test_the_version_is_that_of_the_distribution():
    """Both packages ship in one distribution, so they have one version."""
    sibling = Path(deepuq_torch.__file__).parents[1] / "deepuq_jax" / "_version.py"
    found = re.search(r'^__version__ = "(.+)"$', sibling.read_text(), re.MULTILINE)
    assert found is not None
    assert found.group(1) == deepuq_torch.__version__


def test_methods_holds_what_its_module_vi_holds():
    """`HomoscedasticBayesByBackpropRegressor` was once missing from `deepuq_torch.methods`."""
    assert set(vi.__all__) - {"UQResult"} == set(methods.__all__) - {"vi"}
