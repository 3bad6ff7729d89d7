"""`NaturalGradient` as an optimizer of torch: states, schedulers, other parameters, refusals."""

import copy
import io
import pickle
import re

import pytest
import torch
from torch import nn

from deepuq_torch import (
    BayesByBackpropMLP,
    HomoscedasticBayesByBackpropRegressor,
    LastLayerVariationalInference,
    NaturalGradient,
    negative_elbo,
)
from deepuq_torch.tests import tolerances
from deepuq_torch.tests.refusals import refuses

N = 60


def regressor(dtype=None):
    """Return a model with a parameter outside of its posteriors, and a function that computes its gradients."""
    torch.manual_seed(0)
    model = HomoscedasticBayesByBackpropRegressor(3, (5,), dtype=dtype)
    x, y = torch.randn(8, 3, dtype=dtype), torch.randn(8, 1, dtype=dtype)

    def backward(seed, of=model):
        generator = torch.Generator().manual_seed(seed)
        loss = negative_elbo(of, x, y, num_data=8, generator=generator)[0]
        loss.backward()
        return loss

    return model, backward


def train(model, optimizer, backward, seeds):
    for seed in seeds:
        optimizer.zero_grad()
        backward(seed, model)
        optimizer.step()


def same(one, other):
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_training_continues_from_a_state_dict_bit_for_bit():
    model, backward = regressor()
    optimizer = NaturalGradient(model, num_data=8)
    train(model, optimizer, backward, range(5))
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    twin, _ = regressor()
    fresh = NaturalGradient(twin, 0.5, num_data=99)
    twin.load_state_dict(saved["model"])
    fresh.load_state_dict(saved["optimizer"])
    assert fresh.rest.param_groups[0] is fresh.param_groups[1]
    assert list(fresh.rest.state_dict()["state"]) == [0]
    for one, of in ((model, optimizer), (twin, fresh)):
        train(one, of, backward, range(5, 10))
    assert same(model, twin)


def reloaded(saved, **how):
    """Return an optimizer of a fresh model that has loaded a state."""
    optimizer = NaturalGradient(BayesByBackpropMLP(3, [5], 2), num_data=N, **how)
    optimizer.load_state_dict(saved)
    return optimizer


def one_step(optimizer):
    """Return a rho after a step, which depends on beta2."""
    for parameter in optimizer.param_groups[0]["params"]:
        parameter.grad = torch.full_like(parameter, 1e-4)
    optimizer.step()
    return optimizer.param_groups[0]["params"][1][0, 0].item()


def test_a_beta2_that_is_a_number_is_saved_and_loaded():
    """Without it in `state_dict`, training would continue with the beta2 of the constructor."""
    optimizer = NaturalGradient(BayesByBackpropMLP(3, [5], 2), num_data=N, beta2=0.8)
    saved = optimizer.state_dict()
    assert saved["param_groups"][0]["beta2"] == 0.8
    loaded, expected, otherwise = reloaded(saved), one_step(optimizer), reloaded(saved, beta2=lambda step: 0.5)
    assert one_step(loaded) == expected
    assert one_step(otherwise) != expected


def test_loading_keeps_a_beta2_that_is_a_function():
    def halved(step):
        return 0.5

    optimizer = NaturalGradient(BayesByBackpropMLP(3, [5], 2), num_data=N, beta2=halved)
    saved = optimizer.state_dict()
    assert "beta2" not in saved["param_groups"][0]
    file = io.BytesIO()
    torch.save(saved, file)
    file.seek(0)
    assert torch.load(file, weights_only=True)["param_groups"] == saved["param_groups"]
    by_number = NaturalGradient(BayesByBackpropMLP(3, [5], 2), num_data=N).state_dict()
    expected = one_step(optimizer)
    for state in (saved, by_number):
        one = reloaded(state, beta2=halved)
        assert "beta2" not in one.param_groups[0]
        assert one_step(one) == expected
    assert one_step(reloaded(saved, beta2=0.5)) == expected  # the state holds no number


@pytest.mark.parametrize("how", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copy_trains_like_the_original(how):
    model, backward = regressor()
    optimizer = NaturalGradient(model, num_data=8)
    train(model, optimizer, backward, range(3))
    twin, its_optimizer = how((model, optimizer))
    train(model, optimizer, backward, range(3, 6))
    train(twin, its_optimizer, backward, range(3, 6))
    assert same(model, twin)


def test_all_other_parameters_are_trained_and_scheduled():
    model, backward = regressor()
    before = model.raw_var.detach().clone()
    optimizer = NaturalGradient(model, num_data=8)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0 if step else 1.0)
    train(model, optimizer, backward, [0])
    torch.testing.assert_close((model.raw_var - before).abs(), torch.full((1,), 1e-3))  # the first step of Adam
    schedule.step()
    still = {name: value.clone() for name, value in model.state_dict().items()}
    train(model, optimizer, backward, [1])
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, still[name])}
    assert moved == {name for name in still if name.endswith("rho")}  # the rate is that of the means
    given = torch.optim.SGD([model.raw_var], lr=0.5)
    optimizer = NaturalGradient(model, num_data=8, rest=given)
    train(model, optimizer, backward, [2])
    torch.testing.assert_close(model.raw_var.detach(), still["raw_var"] - 0.5 * model.raw_var.grad)
    optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_parameters_without_a_gradient_stay():
    model = BayesByBackpropMLP(3, [5], 2)
    frozen = model.layers[0].weight_posterior.requires_grad_(False)
    half = model.layers[0].bias_posterior.rho.requires_grad_(False)
    mean = model.layers[2].bias_posterior.mu.requires_grad_(False)
    before = copy.deepcopy(model)
    optimizer = NaturalGradient(model, num_data=4)
    optimizer.step()
    assert same(model, before)
    negative_elbo(model, torch.randn(4, 3), torch.tensor([0, 1, 0, 1]), num_data=4)[0].backward()
    optimizer.step()
    still = {id(parameter) for parameter in (frozen.mu, frozen.rho, half, mean)}
    for one, other in zip(model.parameters(), before.parameters(), strict=True):
        assert torch.equal(one, other) == (id(one) in still)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_gradients_that_are_not_finite_show(bad):
    model, backward = regressor()
    optimizer = NaturalGradient(model, num_data=8)
    backward(0)
    for parameter in model.parameters():
        parameter.grad.fill_(bad)
    optimizer.step()
    assert all(parameter.isnan().all() for parameter in model.parameters())


def test_a_gradient_scaler_scales_back_all_gradients_and_skips_bad_steps():
    model, backward = regressor()
    twin = copy.deepcopy(model)
    optimizer, plain = NaturalGradient(model, num_data=8), NaturalGradient(twin, num_data=8)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for seed in range(3):
        optimizer.zero_grad()
        backward(seed)
        for parameter in model.parameters():
            parameter.grad.mul_(scaler.scale(torch.ones(())))
        scaler.step(optimizer, kl_weight=1.0)
        scaler.update()
    train(twin, plain, backward, range(3))
    assert same(model, twin)
    model.raw_var.grad.fill_(float("inf"))
    scaler.step(optimizer)
    assert same(model, twin)


@pytest.mark.parametrize("frozen", [False, True])
def test_posteriors_computed_together_and_by_rows_train_alike(frozen, monkeypatch):
    model, backward = regressor(torch.float64)
    model.hidden_layers[0].weight_posterior.rho.requires_grad_(not frozen)
    twin = copy.deepcopy(model)
    train(model, NaturalGradient(model, num_data=8), backward, range(3))
    monkeypatch.setattr("deepuq_torch._natural_gradient._SMALL", 0)
    monkeypatch.setattr("deepuq_torch._natural_step._IN_CACHE", 6)
    train(twin, NaturalGradient(twin, num_data=8), backward, range(3))
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=tolerances.CLOSED_FORM[torch.float64], atol=0)


def test_short_dtypes_keep_their_dtype():
    model, backward = regressor(torch.bfloat16)
    before = copy.deepcopy(model)
    train(model, NaturalGradient(model, num_data=8), backward, range(3))
    assert all(parameter.dtype == torch.bfloat16 and parameter.isfinite().all() for parameter in model.parameters())
    assert not torch.equal(model.hidden_layers[0].weight_posterior.mu, before.hidden_layers[0].weight_posterior.mu)


def test_a_closure_is_evaluated_once():
    model, backward = regressor()
    losses = []
    optimizer = NaturalGradient(model, num_data=8)
    loss = optimizer.step(lambda: losses.append(backward(0)) or losses[-1])
    assert losses == [loss]
    assert optimizer.state[model.hidden_layers[0].weight_posterior.mu]["step"] == 1


@pytest.mark.parametrize(
    ("error", "name", "how"),
    [
        (ValueError, "lr to be positive", {"lr": 0.0}),
        (ValueError, "lr to be positive", {"lr": -0.1}),
        (TypeError, "lr to be a real number", {"lr": "0.1"}),
        (ValueError, "num_data to be positive", {"num_data": 0}),
        (TypeError, "num_data", {"num_data": None}),
        (ValueError, "beta1 to be at least 0 and below 1", {"beta1": 1.0}),
        (ValueError, "beta1 to be at least 0 and below 1", {"beta1": -0.1}),
        (ValueError, "beta2 to be at least 0 and below 1", {"beta2": 1.0}),
        (ValueError, "mean_limit to be above zero", {"mean_limit": 0.0}),
        (ValueError, "precision_limit to be above zero", {"precision_limit": float("nan")}),
        (TypeError, "precision_limit to be a real number", {"precision_limit": None}),
        (TypeError, "rest to be a torch.optim.Optimizer", {"rest": 1e-3}),
        (ValueError, "model to hold a posterior", {"model": nn.Linear(3, 2)}),
        (TypeError, r"model to be a torch.nn.Module", {"model": [nn.Parameter(torch.zeros(2))]}),
    ],
)
def test_refusals(error, name, how):
    refuses(
        error,
        f"^Expected {name}",
        lambda: NaturalGradient(**{"model": BayesByBackpropMLP(3, [5], 2), "num_data": N, **how}),
    )


def test_the_refusal_of_a_posteriors_parameters_lists_the_others():
    model = LastLayerVariationalInference(nn.Linear(3, 4), 4, 2)
    with pytest.raises(ValueError, match=r"^Expected rest .*; got 4 of them\. List them with") as caught:
        NaturalGradient(model, num_data=N, rest=torch.optim.Adam(model.parameters()))
    others = eval(re.search("`(.+)`", str(caught.value))[1], {"model": model})
    NaturalGradient(model, num_data=N, rest=torch.optim.Adam(others))
    model = BayesByBackpropMLP(3, [5], 2)
    wanted = r"got 8 of them\. The model has no other parameters, so leave rest out"
    refuses(ValueError, wanted, lambda: NaturalGradient(model, num_data=N, rest=torch.optim.Adam(model.parameters())))


def test_no_parameter_is_left_untrained():
    model = LastLayerVariationalInference(nn.Linear(3, 4), 4, 2)
    extractor, head = list(model.feature_extractor.parameters()), list(model.head.parameters())
    missing = r"rest to hold all parameters .*; got none of \['feature_extractor.bias'\]"
    partly, doubly = torch.optim.SGD(extractor[:1]), torch.optim.SGD([*extractor, *head])
    refuses(ValueError, missing, lambda: NaturalGradient(model, num_data=N, rest=partly))
    refuses(ValueError, "rest to hold no parameter", lambda: NaturalGradient(model, num_data=N, rest=doubly))
    optimizer = NaturalGradient(model, num_data=N)
    refuses(ValueError, "at construction", lambda: optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))]}))
    refuses(TypeError, "kl_weight", lambda: optimizer.step(kl_weight="1"))
    extractor[1].requires_grad_(False)
    outside = nn.Parameter(torch.zeros(()))  # such as a learned noise
    NaturalGradient(model, num_data=N, rest=torch.optim.SGD([extractor[0], outside]))
