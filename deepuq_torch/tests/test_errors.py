"""Every documented refusal, in the same wording."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import deepuq_torch as dq
from deepuq_torch import functional as fn
from deepuq_torch.tests.refusals import refuses

X, Y, LABELS = torch.randn(4, 3), torch.randn(4, 2), torch.randint(2, (4,))


def mlp():
    return dq.BayesByBackpropMLP(3, [5], 2)


def regressor():
    return dq.MultiOutputBayesByBackpropRegressor(3, 2, (5,))


def heteroscedastic():
    return dq.HeteroscedasticBayesByBackpropRegressor(3, (5,), 2)


def last_layer(**how):
    return dq.LastLayerVariationalInference(nn.Linear(3, 4), 4, 2, **how)


def step(model, y=LABELS, **how):
    return dq.vi_elbo_step(model, X, y, **({"num_batches": 2} | how))


def elbo(model, y=LABELS, **how):
    return dq.negative_elbo(model, X, y, **({"num_data": 4} | how))


def predict(model, **how):
    return dq.predict_vi_uq(model, X, **({"n_samples": 2} | how))


BAD_COUNTS = [0, -1, 1.0, 2.5, True, False, "3", np.float64(3), np.True_, torch.tensor(3), float("nan")]


@pytest.mark.parametrize("bad", BAD_COUNTS, ids=repr)
def test_counts_that_are_not_positive_ints(bad):
    refuses(ValueError, "num_batches", lambda: step(mlp(), num_batches=bad))
    refuses(ValueError, "mc_samples", lambda: step(mlp(), mc_samples=bad))
    refuses(ValueError, "mc_samples", lambda: elbo(mlp(), mc_samples=bad))
    refuses(ValueError, "n_samples", lambda: predict(mlp(), n_samples=bad))
    with pytest.warns(DeprecationWarning, match="n_batches"):
        refuses(ValueError, "n_batches", lambda: step(mlp(), num_batches=None, n_batches=bad))


def test_counts_may_be_numpy_integers():
    count = np.int64(3)
    torch.manual_seed(0)
    by_numpy = step(mlp(), num_batches=count, mc_samples=count)
    torch.manual_seed(0)
    assert torch.equal(by_numpy[0], step(mlp(), num_batches=3, mc_samples=3)[0])
    assert type(predict(mlp(), n_samples=count).metadata["n_samples"]) is int


def test_batch_counts_missing_or_unequal():
    refuses(ValueError, "num_batches", lambda: step(mlp(), num_batches=None))
    refuses(ValueError, "num_batches and n_batches", lambda: step(mlp(), num_batches=2, n_batches=3))
    refuses(ValueError, "mc_samples", lambda: step(mlp(), mc_samples=None))


def test_a_deprecated_count_warns():
    with pytest.warns(DeprecationWarning, match=r"'n_batches' is deprecated"):
        step(mlp(), num_batches=None, n_batches=3)


SHAPES = [(4, 1), (2,), (1, 2), (), (4, 2, 1), (1,)]


@pytest.mark.parametrize("shape", [*SHAPES, (4,)], ids=str)
def test_targets_that_would_broadcast_in_regression(shape):
    y = torch.zeros(shape)
    refuses(ValueError, "y", lambda: step(regressor(), y))
    refuses(ValueError, "target", lambda: step(heteroscedastic(), y))
    refuses(ValueError, "y", lambda: elbo(heteroscedastic(), y))
    refuses(ValueError, "y", lambda: elbo(regressor(), y, log_likelihood=fn.gaussian_log_likelihood(1.0)))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_targets_of_another_shape_in_classification(shape):
    labels = torch.zeros(shape, dtype=torch.long)
    refuses(ValueError, "y", lambda: step(mlp(), labels))
    refuses(ValueError, "y", lambda: elbo(mlp(), labels))
    refuses(ValueError, "y", lambda: step(mlp(), labels.float()))


def test_targets_without_the_axis_of_outputs_are_refused():
    """In the original, a target [B] broadcasts with outputs [B, 1] to [B, B]."""
    model = dq.MultiOutputBayesByBackpropRegressor(3, 1, (5,))
    refuses(ValueError, r"y .*\(4, 1\); got \(4,\)", lambda: step(model, torch.zeros(4)))


def test_targets_of_the_wrong_dtype():
    for y in (torch.zeros(4), torch.zeros(4, dtype=torch.bool), torch.zeros(4, dtype=torch.complex64)):
        refuses(TypeError, "y", partial(elbo, mlp(), y))
        refuses(TypeError, "y", partial(step, mlp(), y))
    refuses(ValueError, "outputs", lambda: fn.categorical_log_likelihood(torch.zeros(4), LABELS))


def test_negative_elbo_needs_a_likelihood_where_the_model_leaves_it_open():
    refuses(ValueError, "log_likelihood", lambda: elbo(regressor(), Y))
    refuses(ValueError, "log_likelihood", lambda: elbo(last_layer(), Y))


def test_a_log_likelihood_that_is_not_per_example():
    outcomes = [torch.zeros(()), torch.zeros(4, 1), torch.zeros(1), torch.zeros(3), torch.zeros(4, 2)]
    for outcome in outcomes:
        refuses(ValueError, "log_likelihood", partial(elbo, mlp(), log_likelihood=partial(_always, outcome)))
    refuses(TypeError, "log_likelihood", lambda: elbo(mlp(), log_likelihood=partial(_always, 1.0)))


def _always(outcome, outputs, y):
    return outcome


@pytest.mark.parametrize("bad", [0, -3, 0.0, float("nan"), float("inf"), torch.ones(2)], ids=repr)
def test_num_data_of_a_bad_value(bad):
    refuses(ValueError, "num_data", lambda: elbo(mlp(), num_data=bad))


@pytest.mark.parametrize("bad", [True, "100", None, 1j], ids=repr)
def test_numbers_of_a_bad_type(bad):
    refuses(TypeError, "num_data", lambda: elbo(mlp(), num_data=bad))
    refuses(TypeError, "kl_weight", lambda: elbo(mlp(), kl_weight=bad))
    refuses(TypeError, "kl_weight", lambda: step(mlp(), kl_weight=bad))


def test_kl_weight_must_be_one_finite_number():
    for bad in (float("nan"), float("inf"), -float("inf")):
        refuses(ValueError, "kl_weight", partial(step, mlp(), kl_weight=bad))
        refuses(ValueError, "kl_weight", partial(elbo, mlp(), kl_weight=bad))
    refuses(ValueError, "kl_weight", lambda: step(mlp(), kl_weight=torch.ones(2)))


SIZE_CALLS = {
    "in_features": lambda bad: dq.BayesianLinear(bad, 2),
    "out_features": lambda bad: dq.BayesianLinear(2, bad),
    "input_dim": lambda bad: dq.BayesByBackpropMLP(bad, [2], 2),
    "hidden_dims": lambda bad: dq.BayesByBackpropMLP(2, [3, bad], 2),
    "output_dim": lambda bad: dq.BayesByBackpropMLP(2, [2], bad),
    " input_dim": lambda bad: dq.HeteroscedasticBayesByBackpropRegressor(bad),
    " hidden_dims": lambda bad: dq.MultiOutputBayesByBackpropRegressor(3, 2, (bad,)),
    " output_dim": lambda bad: dq.HeteroscedasticMultiOutputBayesByBackpropRegressor(3, bad),
    "feature_dim": lambda bad: dq.LastLayerVariationalInference(nn.Identity(), bad, 2),
    "  output_dim": lambda bad: dq.LastLayerVariationalInference(nn.Identity(), 2, bad),
}


@pytest.mark.parametrize("name", SIZE_CALLS)
def test_sizes(name):
    for bad in (0, -2):
        refuses(ValueError, name.strip(), partial(SIZE_CALLS[name], bad))
    for bad in (True, 2.0, "2", None):
        refuses(TypeError, name.strip(), partial(SIZE_CALLS[name], bad))


def test_sizes_may_be_numpy_integers():
    assert dq.BayesianLinear(np.int64(3), np.int32(2))(X).shape == (4, 2)


PRIOR_CALLS = [
    lambda **how: dq.GaussianPrior(**{key.removeprefix("prior_"): value for key, value in how.items()}),
    partial(dq.BayesianLinear, 3, 2),
    partial(dq.BayesByBackpropMLP, 3, [2], 2),
    partial(dq.HeteroscedasticBayesByBackpropRegressor, 3),
    last_layer,
]


@pytest.mark.parametrize("call", PRIOR_CALLS)
def test_priors(call):
    for bad in (0, -0.1, float("nan"), float("inf"), torch.ones(2)):
        refuses(ValueError, "sigma", partial(call, prior_sigma=bad))
    for bad in (float("nan"), float("-inf")):
        refuses(ValueError, "mu", partial(call, prior_mu=bad))
    for bad in (True, "0.1", None, 1j):
        refuses(TypeError, "sigma", partial(call, prior_sigma=bad))
        refuses(TypeError, "mu", partial(call, prior_mu=bad))


def test_activations_and_tasks():
    for make in (lambda name: dq.BayesByBackpropMLP(3, [2], 2, activation=name), _with_activation):
        refuses(ValueError, "activation", partial(make, "swish"))
        refuses(TypeError, "activation", partial(make, torch.relu))
    assert _with_activation("silu").activation_name == "silu"
    refuses(ValueError, "task", lambda: last_layer(task="ranking"))
    refuses(TypeError, "feature_extractor", lambda: dq.LastLayerVariationalInference("resnet", 4, 2))


def _with_activation(name):
    return dq.MultiOutputBayesByBackpropRegressor(3, 2, activation=name)


def test_posterior_arguments():
    refuses(ValueError, "rho", lambda: dq.GaussianPosterior(torch.zeros(3), torch.zeros(1)))
    refuses(TypeError, "mu", lambda: dq.GaussianPosterior([0.0], torch.zeros(1)))
    refuses(TypeError, "mu", lambda: dq.GaussianPosterior(torch.zeros(1, dtype=torch.long), torch.zeros(1)))
    refuses(TypeError, "rho", lambda: dq.GaussianPosterior(torch.zeros(1), torch.zeros(1, dtype=torch.complex64)))
    refuses(TypeError, "prior", lambda: dq.GaussianPosterior(torch.zeros(1), torch.zeros(1)).kl(0.1))


@pytest.mark.parametrize("shape", [(4, 2), (4, 1), (), (3, 4)], ids=str)
def test_wrong_feature_sizes(shape):
    x = torch.zeros(shape)
    for model in (dq.BayesianLinear(3, 2), mlp(), regressor(), heteroscedastic()):
        for sample in (True, False):
            refuses(ValueError, "x", partial(model, x, sample=sample))


def test_wrong_features_from_the_backbone():
    model = dq.LastLayerVariationalInference(nn.Linear(3, 5), 4, 2)
    refuses(ValueError, "feature_extractor", lambda: model(X))
    refuses(ValueError, "feature_extractor", lambda: predict(model))


def test_an_input_that_is_no_tensor():
    refuses(TypeError, "x", lambda: mlp()(np.zeros((4, 3))))


def test_noise_of_the_wrong_structure():
    model = mlp()
    noise = model.draw_noise()
    layer, posterior = model.layers[0], model.layers[0].weight_posterior
    refuses(ValueError, "noise", lambda: model(X, noise=noise[:1]))
    refuses(TypeError, "noise", lambda: model(X, noise=noise[0][0]))
    refuses(ValueError, "noise", lambda: layer(X, noise=noise[0][:1]))
    refuses(ValueError, "noise", lambda: layer(X, noise=noise[0][::-1]))
    refuses(ValueError, "noise", lambda: posterior.sample(noise=torch.zeros(1)))
    refuses(TypeError, "noise", lambda: posterior.sample(noise=np.zeros((5, 3))))
    refuses(TypeError, "noise", lambda: posterior.sample(noise=torch.zeros(5, 3, dtype=torch.long)))
    refuses(ValueError, "draws", lambda: fn.stack_noise([]))


def test_noise_of_the_wrong_number_of_draws():
    model = mlp()
    noise = fn.stack_noise([model.draw_noise() for _ in range(3)])
    refuses(ValueError, "mc_samples = 2", lambda: step(model, mc_samples=2, noise=noise))
    refuses(ValueError, "mc_samples = 2", lambda: elbo(model, mc_samples=2, noise=noise))
    refuses(ValueError, "n_samples = 2", lambda: predict(model, noise=noise))
    refuses(ValueError, "n_samples = 2", lambda: predict(model, noise=torch.zeros(())))
    refuses(TypeError, "noise", lambda: predict(model, noise="noise"))


def test_noise_that_would_be_ignored():
    model, generator = mlp(), torch.Generator()
    noise = model.draw_noise()
    stacked = fn.stack_noise([noise, noise])
    refuses(ValueError, "noise", lambda: model(X, sample=False, noise=noise))
    refuses(ValueError, "noise", lambda: model.layers[0](X, sample=False, noise=noise[0]))
    refuses(ValueError, "noise and generator", lambda: model(X, noise=noise, generator=generator))
    refuses(ValueError, "noise and generator", lambda: step(model, mc_samples=2, noise=stacked, generator=generator))
    refuses(ValueError, "noise and generator", lambda: elbo(model, mc_samples=2, noise=stacked, generator=generator))
    refuses(ValueError, "noise and generator", lambda: predict(model, noise=stacked, generator=generator))


def test_aleatoric_var_that_does_not_fit():
    for bad in (torch.ones(3), torch.ones(2, 4, 2), torch.ones(1, 4, 2), torch.ones(4, 3)):
        refuses(ValueError, "aleatoric_var", partial(predict, mlp(), aleatoric_var=bad))
    # A variance [4] would broadcast with a mean [4, 1] to [4, 4].
    model = dq.BayesByBackpropMLP(3, [5], 1)
    refuses(ValueError, "aleatoric_var", lambda: predict(model, aleatoric_var=torch.ones(4)))
    for bad in (-1.0, float("nan")):
        refuses(ValueError, "aleatoric_var", partial(predict, mlp(), aleatoric_var=bad))
    refuses(TypeError, "aleatoric_var", lambda: predict(mlp(), aleatoric_var="1"))


def test_heteroscedastic_methods():
    for method in ("nll", "split_prediction"):
        arguments = (torch.zeros(4, 2), torch.zeros(4, 2))[: 2 if method == "nll" else 1]
        for task in ("regression", "classification"):
            refuses(RuntimeError, "heteroscedastic", partial(getattr(last_layer(task=task), method), *arguments))
    refuses(ValueError, "prediction", lambda: heteroscedastic().split_prediction(torch.zeros(4, 3)))
    refuses(ValueError, "prediction", lambda: heteroscedastic().nll(torch.zeros(4, 6), torch.zeros(4, 3)))
    refuses(ValueError, "prediction", lambda: fn.heteroscedastic_gaussian_log_likelihood(torch.zeros(4, 3), Y))

    class Silent(nn.Module):
        heteroscedastic = True

    refuses(ValueError, "model", lambda: predict(Silent()))
    refuses(ValueError, "model", lambda: elbo(Silent()))
