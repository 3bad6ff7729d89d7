"""Types that a checker sees in a user's program."""

import subprocess
import sys

import pytest

PROGRAM = """
from typing import assert_type

import torch
from torch import Tensor

import deepuq_torch as dq

x = torch.ones(4, 3)
for model in (dq.BayesianLinear(3, 2), dq.BayesByBackpropMLP(3, [5], 2)):
    assert_type(model(x), Tensor)
    assert_type(model(x, sample=False), Tensor)
assert_type(dq.HeteroscedasticBayesByBackpropRegressor(3)(x), Tensor)
assert_type(dq.LastLayerVariationalInference(torch.nn.Linear(3, 4), 4, 2)(x), Tensor)

result = dq.predict_vi_uq(dq.BayesByBackpropMLP(3, [5], 2), x)
assert_type(result.total_var.sqrt(), Tensor)
assert_type(result.mean - 2 * result.epistemic_var.sqrt(), Tensor)
if result.probs is not None and result.aleatoric_var is not None:
    result.probs.argmax(-1) + result.aleatoric_var.sqrt()

loss, nll, kl = dq.vi_elbo_step(dq.BayesByBackpropMLP(3, [5], 2), x, torch.zeros(4).long(), num_batches=2)
assert_type(loss, Tensor)
"""


@pytest.mark.slow
def test_a_users_program_passes_a_type_checker(tmp_path):
    """The checker must know the type of a model's call, and must accept `result.total_var.sqrt()`."""
    pytest.importorskip("pyright")
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_program_runs():
    exec(compile(PROGRAM, "program.py", "exec"), {})
