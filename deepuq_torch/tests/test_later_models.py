"""The documented classes of later releases."""

import inspect
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import deepuq_torch as dq
from deepuq_torch.functional import stack_noise

SIZES = st.integers(1, 4)
REGRESSORS = [
    dq.HeteroscedasticBayesByBackpropRegressor,
    dq.MultiOutputBayesByBackpropRegressor,
    dq.HeteroscedasticMultiOutputBayesByBackpropRegressor,
]
# The documented library does not have this class, which is of the same kind.
HOMOSCEDASTIC = dq.HomoscedasticBayesByBackpropRegressor


def documented_arguments(function):
    """List (name, default) of the arguments that may be positional."""
    parameters = inspect.signature(function).parameters.values()
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    return [(p.name, None if p.default is p.empty else p.default) for p in positional]


def test_signatures_are_the_documented_ones():
    prior_first = [("prior_mu", 0.0), ("prior_sigma", 0.1), ("activation", "tanh")]
    hidden = ("hidden_dims", (64, 64))
    inputs = ("input_dim", None)
    expected = {
        dq.GaussianPosterior: [("mu", None), ("rho", None)],
        dq.GaussianPrior: [("mu", 0.0), ("sigma", 0.1)],
        dq.BayesianLinear: [("in_features", None), ("out_features", None), ("prior_sigma", 0.1), ("prior_mu", 0.0)],
        dq.BayesByBackpropMLP: [
            inputs,
            ("hidden_dims", None),
            ("output_dim", None),
            ("prior_sigma", 0.1),
            ("prior_mu", 0.0),
            ("activation", "relu"),
        ],
        REGRESSORS[0]: [inputs, hidden, ("output_dim", 1), *prior_first],
        REGRESSORS[1]: [inputs, ("output_dim", None), hidden, *prior_first],
        REGRESSORS[2]: [inputs, ("output_dim", None), hidden, *prior_first],
        dq.LastLayerVariationalInference: [
            ("feature_extractor", None),
            ("feature_dim", None),
            ("output_dim", None),
            ("task", "regression"),
            ("heteroscedastic", False),
            ("prior_mu", 0.0),
            ("prior_sigma", 0.1),
        ],
        dq.vi_elbo_step: [
            ("model", None),
            ("x", None),
            ("y", None),
            ("num_batches", None),
            ("n_batches", None),
            ("criterion", None),
            ("kl_weight", 1.0),
            ("mc_samples", 1),
        ],
        dq.predict_vi_uq: [
            ("model", None),
            ("x", None),
            ("n_samples", 50),
            ("apply_softmax", False),
            ("aleatoric_var", None),
        ],
    }
    for function, arguments in expected.items():
        assert documented_arguments(function) == arguments, function
    assert dq.BayesByBackpropRegressor is dq.BayesByBackpropMLP


def test_state_dict_keys_are_those_of_the_later_release():
    kinds = ["weight_posterior.mu", "weight_posterior.rho", "bias_posterior.mu", "bias_posterior.rho"]
    for cls in REGRESSORS:
        keys = list(cls(3, output_dim=2, hidden_dims=(5, 4)).state_dict())
        assert keys == [f"{name}.{k}" for name in ("hidden_layers.0", "hidden_layers.1", "output_layer") for k in kinds]
    model = dq.LastLayerVariationalInference(nn.Linear(3, 4), 4, 2)
    expected = ["feature_extractor.weight", "feature_extractor.bias"] + [f"head.{k}" for k in kinds]
    assert list(model.state_dict()) == expected


@pytest.mark.slow
@given(SIZES, st.lists(SIZES, max_size=2), SIZES, st.sampled_from([*REGRESSORS, HOMOSCEDASTIC]))
@settings(max_examples=25, deadline=None)
def test_any_sizes_work_from_draw_to_prediction(inputs, hidden, outputs, cls):
    model = cls(inputs, output_dim=outputs, hidden_dims=hidden)
    x, y = torch.randn(3, inputs), torch.randn(3, outputs)
    torch.manual_seed(0)
    noise = model.draw_noise()
    torch.manual_seed(0)
    assert torch.equal(model(x), model(x, noise=noise))
    assert model(x).shape == (3, model.raw_output_dim)
    assert model.raw_output_dim == (outputs if cls is dq.MultiOutputBayesByBackpropRegressor else 2 * outputs)
    loss, _, _ = dq.vi_elbo_step(model, x, y, num_batches=2)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    result = dq.predict_vi_uq(model, x, n_samples=4)
    assert result.mean.shape == result.total_var.shape == (3, outputs)
    assert result.metadata["heteroscedastic"] is model.heteroscedastic


def test_the_predicted_variance_and_the_nll_are_the_documented_ones():
    model = dq.HeteroscedasticMultiOutputBayesByBackpropRegressor(3, 2)
    prediction = torch.tensor([[1.0, 2.0, 0.5, -100.0]], dtype=torch.float64)
    target = torch.tensor([[0.5, 2.001]], dtype=torch.float64)
    mean, raw_var = model.split_prediction(prediction)
    assert torch.equal(mean, prediction[:, :2])
    variance = [math.log1p(math.exp(0.5)) + 1e-6, 1e-6]
    torch.testing.assert_close(model.predictive_variance(raw_var), torch.tensor([variance]).double())
    expected = 0.5 * (0.25 / variance[0] + math.log(variance[0]) + 0.001**2 / 1e-6 + math.log(1e-6))
    assert model.nll(prediction, target).item() == pytest.approx(expected, rel=1e-9)
    doubled = model.nll(prediction.repeat(2, 1), target.repeat(2, 1))
    assert doubled.item() == pytest.approx(expected, rel=1e-9)  # a mean over the batch


def test_homoscedastic_noise_is_a_parameter_outside_the_kl():
    model = HOMOSCEDASTIC(3, (4,), 2)
    assert next(iter(model.state_dict())) == "raw_var"
    assert documented_arguments(HOMOSCEDASTIC) == documented_arguments(REGRESSORS[0])
    x, y = torch.randn(5, 3), torch.randn(5, 2)
    mean, raw_var = model.split_prediction(model(x))
    torch.testing.assert_close(model.predictive_variance(raw_var), torch.ones(5, 2))
    kl = model.kl()
    kl.backward()
    assert model.raw_var.grad is None
    noise = model.draw_noise()
    mean = model(x, noise=noise)[:, :2]
    one = tuple(tuple(eps[None] for eps in layer) for layer in noise)
    nll = dq.negative_elbo(model, x, y, num_data=5, noise=one)[1]
    torch.testing.assert_close(nll, -torch.distributions.Normal(mean, 1.0).log_prob(y).sum(-1).mean())
    result = dq.predict_vi_uq(model, x, aleatoric_var=9.0)
    torch.testing.assert_close(result.aleatoric_var, torch.ones(5, 2))  # the model's, not the caller's
    assert result.metadata["heteroscedastic"] is False


def test_prediction_averages_the_predicted_variance_over_draws():
    model = dq.HeteroscedasticBayesByBackpropRegressor(3, (4,))
    x = torch.randn(5, 3)
    noise = [model.draw_noise() for _ in range(6)]
    with torch.no_grad():
        outputs = torch.stack([model(x, noise=one) for one in noise])
    result = dq.predict_vi_uq(model, x, 6, aleatoric_var=torch.tensor(9.0), noise=stack_noise(noise))
    torch.testing.assert_close(result.mean, outputs[..., :1].mean(0))
    torch.testing.assert_close(result.aleatoric_var, (nn.functional.softplus(outputs[..., 1:]) + 1e-6).mean(0))
    torch.testing.assert_close(result.total_var, result.epistemic_var + result.aleatoric_var)
    assert result.metadata == {"method": "vi", "n_samples": 6, "task": "regression", "heteroscedastic": True}


@pytest.mark.parametrize("heteroscedastic", [True, False])
def test_last_layer_classification_applies_softmax_by_itself(heteroscedastic):
    model = dq.LastLayerVariationalInference(nn.Linear(3, 4), 4, 2, "classification", heteroscedastic)
    assert model.heteroscedastic is False  # classification has no noise variance
    result = dq.predict_vi_uq(model, torch.randn(5, 3), n_samples=4)
    torch.testing.assert_close(result.probs.sum(-1), torch.ones(5))
    assert result.metadata == {"method": "vi", "n_samples": 4, "task": "classification"}


def test_last_layer_trains_head_and_backbone_and_counts_the_heads_kl_alone():
    model = dq.LastLayerVariationalInference(nn.Linear(3, 4), 4, 2, heteroscedastic=True)
    assert torch.equal(model.kl(), model.head.kl())
    x, y = torch.randn(5, 3), torch.randn(5, 2)
    model.head.weight_posterior.mu.data.normal_()
    dq.negative_elbo(model, x, y, num_data=5)[0].backward()
    assert model.feature_extractor.weight.grad.abs().sum() > 0
    assert model.head.weight_posterior.rho.grad.abs().sum() > 0


@pytest.mark.parametrize("leading", [(), (5,), (5, 2)])
def test_last_layer_keeps_leading_axes(leading):
    model = dq.LastLayerVariationalInference(nn.Linear(3, 4), 4, 2)
    assert model(torch.randn(*leading, 3)).shape == (*leading, 2)


def test_a_foreign_heteroscedastic_model_is_read_by_its_own_methods():
    class Foreign(nn.Module):
        heteroscedastic = True
        task_type = "regression"

        def forward(self, x, sample=True):
            return torch.cat([x[:, :1] + torch.randn(1), x[:, 1:2]], -1)

        def kl(self):
            return torch.zeros(())

        def split_prediction(self, prediction):
            return prediction[:, :1], prediction[:, 1:]

        def predictive_variance(self, raw_var):
            return raw_var.exp()

    x, y = torch.randn(4, 2), torch.randn(4, 1)
    result = dq.predict_vi_uq(Foreign(), x, n_samples=3)
    torch.testing.assert_close(result.aleatoric_var, x[:, 1:2].exp())
    torch.manual_seed(1)
    nll = dq.negative_elbo(Foreign(), x, y, num_data=4)[1]
    torch.manual_seed(1)
    mean = x[:, :1] + torch.randn(1)
    expected = -torch.distributions.Normal(mean, x[:, 1:2].exp().sqrt()).log_prob(y).mean()
    torch.testing.assert_close(nll, expected)
