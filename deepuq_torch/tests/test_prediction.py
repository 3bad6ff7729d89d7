"""Moments, streaming, modes and metadata of ``predict_vi_uq``."""

import weakref

import pytest
import torch
from torch import nn

from deepuq_torch import (
    BayesByBackpropMLP,
    HeteroscedasticBayesByBackpropRegressor,
    LastLayerVariationalInference,
    predict_vi_uq,
)
from deepuq_torch import _draws as draws_module
from deepuq_torch._moments import StreamingMoments
from deepuq_torch.functional import stack_noise

X = torch.linspace(-1, 1, 12).reshape(4, 3)


def mlp(outputs=2):
    torch.manual_seed(0)
    model = BayesByBackpropMLP(3, [5], outputs)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


class Scripted(nn.Module):
    """A model that returns given outputs in turn.

    It accepts only the documented arguments.
    """

    def __init__(self, outputs):
        super().__init__()
        self.outputs = list(outputs)
        self.modes = []

    def forward(self, x, sample=True):
        self.modes.append(self.training)
        return self.outputs[len(self.modes) - 1]


def test_moments_are_those_of_the_draws_with_biased_variance():
    outputs = torch.randn(7, 4, 2)
    result = predict_vi_uq(Scripted(outputs), X, n_samples=7)
    torch.testing.assert_close(result.mean, outputs.mean(0))
    torch.testing.assert_close(result.epistemic_var, outputs.var(0, unbiased=False))
    assert torch.equal(result.total_var, result.epistemic_var)
    assert result.aleatoric_var is None
    assert result.probs is None
    assert result.probs_var is None
    expected = {"method": "vi", "n_samples": 7, "task": "regression", "heteroscedastic": False}
    assert result.metadata == expected


def test_softmax_moments():
    outputs = torch.randn(7, 4, 2)
    result = predict_vi_uq(Scripted(outputs), X, 7, True)
    probs = outputs.softmax(-1)
    torch.testing.assert_close(result.mean, probs.mean(0))
    torch.testing.assert_close(result.probs_var, probs.var(0, unbiased=False))
    assert torch.equal(result.mean, result.probs)
    assert torch.equal(result.epistemic_var, result.probs_var)
    assert torch.equal(result.total_var, result.probs_var)
    assert result.aleatoric_var is None
    assert result.metadata == {"method": "vi", "n_samples": 7, "task": "classification"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_softmax_moments_of_short_dtypes_are_rounded_at_the_end(dtype):
    """Each probability would lose digits if the softmax were computed in the short dtype."""
    outputs = torch.linspace(-3, 3, 7 * 4 * 2).reshape(2, 4, 7).permute(2, 1, 0).to(dtype)
    result = predict_vi_uq(Scripted(outputs), X, 7, True)
    exact = outputs.float().softmax(-1)
    assert torch.equal(result.mean, exact.mean(0).to(dtype))
    assert torch.equal(result.probs_var, exact.var(0, unbiased=False).to(dtype))
    rounded = outputs.softmax(-1).float()
    assert not torch.equal(rounded.mean(0).to(dtype), result.mean)


@pytest.mark.parametrize(
    "given", [0.5, torch.tensor(0.5), torch.full((2,), 0.5), torch.full((4, 1), 0.5), torch.full((4, 2), 0.5)]
)
def test_aleatoric_var_adds_to_the_variance_in_regression(given):
    outputs = torch.randn(7, 4, 2)
    result = predict_vi_uq(Scripted(outputs), X, 7, aleatoric_var=given)
    torch.testing.assert_close(result.total_var, outputs.var(0, unbiased=False) + 0.5)
    assert result.total_var.shape == result.mean.shape
    assert torch.equal(result.aleatoric_var, torch.as_tensor(given))
    assert predict_vi_uq(Scripted(outputs), X, 7, True, given).aleatoric_var is None


def test_a_number_for_aleatoric_var_keeps_float64_digits():
    result = predict_vi_uq(Scripted(torch.randn(2, 4, 2).double()), X, 2, aleatoric_var=0.1)
    assert result.aleatoric_var.item() == 0.1


def test_metadata_is_fresh_for_each_result():
    first, second = (predict_vi_uq(mlp(), X, n_samples=2) for _ in range(2))
    first.metadata["mine"] = 1
    assert "mine" not in second.metadata


@pytest.mark.parametrize("training", [True, False])
def test_every_submodule_keeps_its_mode_and_prediction_runs_in_eval_mode(training):
    backbone = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
    model = LastLayerVariationalInference(backbone, 8, 2)
    model.train(training)
    backbone[1].train(not training)  # a frozen norm, or the opposite
    found = [module.training for module in model.modules()]
    statistics = backbone[1].running_mean.clone()
    predict_vi_uq(model, X, n_samples=3)
    assert [module.training for module in model.modules()] == found
    assert torch.equal(backbone[1].running_mean, statistics)
    scripted = Scripted(torch.randn(2, 4, 2)).train(training)
    predict_vi_uq(scripted, X, n_samples=2)
    assert scripted.modes == [False, False]
    assert scripted.training is training


def test_modes_are_restored_after_an_error():
    model = mlp()
    with pytest.raises(ValueError, match="features"):
        predict_vi_uq(model, torch.ones(4, 2), n_samples=2)
    assert model.training


def test_outputs_are_ordinary_tensors_without_a_graph():
    result = predict_vi_uq(mlp(), X, n_samples=3, aleatoric_var=torch.ones(1, requires_grad=True))
    for value in (result.mean, result.epistemic_var, result.aleatoric_var, result.total_var):
        assert not value.is_inference()
        assert not value.requires_grad
    weight = torch.ones(2, requires_grad=True)
    (result.mean * weight).sum().backward()  # would refuse an inference tensor
    assert weight.grad is not None


def plain_loop(model, x, n_samples, noise=None):
    """Run the passes one by one, for comparison with passes in batches."""
    model.eval()
    with torch.no_grad():
        if noise is None:
            return torch.stack([model(x) for _ in range(n_samples)])
        return torch.stack([model(x, noise=one) for one in noise])


@pytest.mark.parametrize("numbers", [1, 200, 2**20])
def test_batching_over_draws_changes_neither_numbers_nor_the_order_of_draws(numbers, monkeypatch):
    monkeypatch.setitem(draws_module._CHUNK_NUMBERS, "cpu", numbers)
    backbone = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.5))
    for model in (
        mlp(),
        HeteroscedasticBayesByBackpropRegressor(3),
        LastLayerVariationalInference(backbone, 4, 2),
    ):
        torch.manual_seed(1)
        expected = plain_loop(model, X, 9)
        after = torch.rand(())
        torch.manual_seed(1)
        result = predict_vi_uq(model, X, n_samples=9)
        assert torch.equal(torch.rand(()), after)
        if model.heteroscedastic:
            expected = expected[..., :1]
        torch.testing.assert_close(result.mean, expected.mean(0))
        torch.testing.assert_close(result.epistemic_var, expected.var(0, unbiased=False))


@pytest.mark.parametrize("numbers", [200, 2**20])
def test_noise_and_generator(numbers, monkeypatch):
    monkeypatch.setitem(draws_module._CHUNK_NUMBERS, "cpu", numbers)
    torch.manual_seed(4)
    backbone = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
    for model in (mlp(), LastLayerVariationalInference(backbone, 4, 2), nn.ModuleList([mlp()])[0]):
        generator = torch.Generator().manual_seed(4)
        noise = [model.draw_noise(generator=generator) for _ in range(9)]
        expected = plain_loop(model, X, 9, noise)
        before = torch.get_rng_state()
        given = predict_vi_uq(model, X, 9, noise=stack_noise(noise))
        drawn = predict_vi_uq(model, X, 9, generator=torch.Generator().manual_seed(4))
        assert torch.equal(torch.get_rng_state(), before)
        torch.testing.assert_close(given.mean, expected.mean(0))
        assert torch.equal(given.mean, drawn.mean)
        assert torch.equal(given.total_var, drawn.total_var)


def test_a_hook_sees_every_draw():
    model, seen = mlp(), []
    model.layers[0].register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    predict_vi_uq(model, X, n_samples=10)
    assert seen == [(4, 5)] * 10


def test_a_forward_assigned_to_an_instance_runs_once_per_draw():
    model, seen = mlp(), []
    model.layers[1].forward = lambda x: seen.append(x.shape) or x
    predict_vi_uq(model, X, n_samples=10)
    assert seen == [(4, 5)] * 10


def test_a_member_that_the_user_replaced_runs_once_per_draw():
    class Counter(nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return x + torch.rand(1)

    model = mlp()
    model.layers[1] = Counter()
    torch.manual_seed(2)
    expected = plain_loop(model, X, 10)
    torch.manual_seed(2)
    result = predict_vi_uq(model, X, n_samples=10)
    assert model.layers[1].calls == 20
    torch.testing.assert_close(result.epistemic_var, expected.var(0, unbiased=False))


def test_a_last_layer_model_computes_deterministic_features_once_and_random_ones_every_time():
    calls = []

    class Backbone(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            calls.append(1)
            return self.inner(x)

    predict_vi_uq(LastLayerVariationalInference(Backbone(nn.Linear(3, 4)), 4, 2), X, n_samples=10)
    assert len(calls) == 1
    calls.clear()
    model = LastLayerVariationalInference(Backbone(mlp(4)), 4, 2)  # Bayesian throughout
    torch.manual_seed(3)
    expected = plain_loop(model, X, 10)
    calls.clear()
    torch.manual_seed(3)
    result = predict_vi_uq(model, X, n_samples=10)
    assert len(calls) == 10
    torch.testing.assert_close(result.epistemic_var, expected.var(0, unbiased=False))


def test_a_large_mean_keeps_a_small_variance_in_float32():
    torch.manual_seed(0)
    outputs = (100 + 0.01 * torch.randn(500, 4, 2, dtype=torch.float64)).float()
    result = predict_vi_uq(Scripted(outputs), X, n_samples=500)
    exact = outputs.double().var(0, unbiased=False)
    torch.testing.assert_close(result.epistemic_var.double(), exact, rtol=1e-3, atol=0)


def test_draws_are_freed_as_they_come():
    alive, most = [0], [0]

    def dropped():
        alive[0] -= 1

    class Tracked(nn.Module):
        def forward(self, x, sample=True):
            output = torch.randn(4, 2)
            weakref.finalize(output, dropped)
            alive[0] += 1
            most[0] = max(most[0], alive[0])
            return output

    predict_vi_uq(Tracked(), X, n_samples=200)
    assert most[0] <= 3


@pytest.mark.parametrize("sizes", [[1] * 9, [4, 5], [9], [2, 3, 4]])
def test_streaming_moments_do_not_depend_on_the_chunks(sizes):
    values = torch.randn(9, 3, dtype=torch.float64) + 10
    moments = StreamingMoments()
    for chunk in values.split(sizes):
        moments.add(chunk)
    torch.testing.assert_close(moments.mean, values.mean(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(moments.var, values.var(0, unbiased=False), rtol=1e-12, atol=0)


def test_one_draw_has_no_spread():
    result = predict_vi_uq(mlp(), X, n_samples=1)
    assert torch.equal(result.epistemic_var, torch.zeros(4, 2))
