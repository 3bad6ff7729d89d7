"""Files of earlier releases load and compute as before."""

import json

import pytest
import torch

import deepuq_torch as dt
from deepuq_torch.tests.golden import write
from deepuq_torch.tests.tolerances import SUMS


@pytest.mark.parametrize("name", write.MODELS)
def test_a_golden_file_loads_and_computes_as_before(name):
    path = write.path_of(name, version=1)
    model = dt.load(path)
    expected = json.loads(path.with_suffix(".json").read_text())
    dtype = next(model.parameters()).dtype
    for quantity, found in write.outcome(model).items():
        near = {"rtol": SUMS[dtype], "atol": SUMS[dtype]}
        torch.testing.assert_close(torch.tensor(found), torch.tensor(expected[quantity]), **near)
    built = write.MODELS[name]()
    assert repr(model) == repr(built)
    assert model.training == built.training
    assert (model.task_type, model.noise_sigma) == (built.task_type, built.noise_sigma)
    assert [p.requires_grad for p in model.parameters()] == [p.requires_grad for p in built.parameters()]
    assert dt.read_metadata(path) == write.METADATA
