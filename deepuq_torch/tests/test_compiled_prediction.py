"""Calls of `predict_vi_uq` inside compiled functions."""

import warnings

import pytest
import torch
from torch import nn

import deepuq_torch as dq

# Together, these tests take too long for `make check`.
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def quiet_compiler():
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside torch's compiler
        yield


def randomized(model):
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model


MODELS = {
    "stacked": lambda: dq.BayesByBackpropMLP(3, [5], 2),
    "one by one": lambda: Own(dq.BayesByBackpropMLP(3, [5], 2)),
    "last layer": lambda: dq.LastLayerVariationalInference(nn.Linear(3, 4), 4, 2),
}


class Own(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x, sample=True):
        return self.net(x, sample=sample).sin()


@pytest.mark.parametrize("kind", MODELS)
def test_the_draws_are_those_of_the_seed_and_are_not_unrolled(kind):
    """Means once differed by up to 10.9, and 30 draws did not compile in 200 s."""
    from torch._dynamo.testing import CompileCounter

    model, x, counter = randomized(MODELS[kind]()), torch.randn(4, 3), CompileCounter()

    def moments(x, n_samples):
        result = dq.predict_vi_uq(model, 2.0 * x, n_samples)
        return result.mean, result.total_var.sqrt()

    compiled = torch.compile(moments, backend=counter)
    for n_samples in (4, 30, 400):
        torch.manual_seed(0)
        expected, after = moments(x, n_samples), torch.rand(())
        torch.manual_seed(0)
        got, after_compiled = compiled(x, n_samples), torch.rand(())
        torch.testing.assert_close(got, expected, rtol=0, atol=0)
        assert torch.equal(after, after_compiled)
    assert counter.op_count < 20  # those of this test: the scaling of x and the square root


def test_arguments_pass_through_a_compiled_function():
    model, x = randomized(dq.BayesByBackpropMLP(3, [5], 2)), torch.randn(4, 3)
    noise = dq.functional.stack_noise([model.draw_noise() for _ in range(3)])

    def predict(x, noise):
        return dq.predict_vi_uq(model, x, n_samples=3, aleatoric_var=0.5, noise=noise)

    got, expected = torch.compile(predict, backend="eager")(x, noise), predict(x, noise)
    assert torch.equal(got.total_var, expected.total_var)
    assert got.metadata == expected.metadata


def test_a_compiled_model_predicts_one_draw_after_the_other():
    model, x = randomized(dq.HeteroscedasticBayesByBackpropRegressor(3, (5,))), torch.randn(4, 3)
    torch.manual_seed(0)
    expected = dq.predict_vi_uq(model, x, 5)
    torch.manual_seed(0)
    got = dq.predict_vi_uq(torch.compile(model, backend="aot_eager"), x, 5)
    torch.testing.assert_close(got.total_var, expected.total_var)
    assert got.metadata == expected.metadata
