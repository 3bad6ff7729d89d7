"""Models that load into the architecture of ``like``."""

import copy

import torch
from torch import nn

import deepuq_torch as dt
from deepuq_torch.tests.refusals import refuses
from deepuq_torch.tests.test_saving import OwnNet, randomized, same_state, sequential


def test_own_parts_come_back_with_like(tmp_path):
    model = randomized(dt.LastLayerVariationalInference(OwnNet(), 4, 2))
    model.feature_extractor.norm.eval()  # frozen statistics in a model that trains
    model.feature_extractor(torch.randn(8, 3))
    like = dt.LastLayerVariationalInference(OwnNet(), 4, 2)
    before = copy.deepcopy(like)
    dt.save(tmp_path / "model", model)
    again = dt.load(tmp_path / "model", like=like)
    assert same_state(again, model)
    assert same_state(like, before)
    assert [module.training for module in again.modules()] == [module.training for module in model.modules()]
    refuses(ValueError, r"like=.*'feature_extractor'.*'OwnNet'.*model", lambda: dt.load(tmp_path / "model"))


def test_any_module_comes_back_with_like(tmp_path):
    """The module here is a stack of layers that draw."""

    def network():
        return nn.Sequential(dt.BayesianLinear(3, 4), nn.ReLU(), dt.BayesianLinear(4, 2))

    model = randomized(network())
    dt.save(tmp_path / "model", model.eval())
    again = dt.load(tmp_path / "model", like=network())
    assert same_state(again, model)
    assert not again.training


def test_a_model_that_was_changed_by_hand_needs_like(tmp_path):
    """The settings in a file cannot describe such changes."""

    def changed(change):
        model = dt.BayesByBackpropMLP(3, (4,), 2)
        change(model)
        return model

    class OwnPrior(dt.GaussianPrior):
        pass

    def activation(model):
        model.layers[1] = nn.ELU()

    def approximation(model):
        model.activation_name, model.layers[1] = "gelu", nn.GELU(approximate="tanh")

    def buffer(model):
        model.register_buffer("scale", torch.ones(2))

    def layer(model):
        model.layers[0] = dt.BayesianLinear(3, 5)

    def prior(model):
        model.layers[0].prior = OwnPrior()

    def mixed(model):
        model.layers[0].double()
        model.layers[0].bias_posterior.float()

    for change in (activation, approximation, buffer, layer, prior, mixed):
        dt.save(tmp_path / "model", changed(change))
        refuses(ValueError, "like= .*'BayesByBackpropMLP'", lambda: dt.load(tmp_path / "model"))
        assert same_state(dt.load(tmp_path / "model", like=changed(change)), changed(change))


def test_like_of_another_architecture_is_refused_with_every_difference(tmp_path):
    dt.save(tmp_path / "model", dt.BayesByBackpropMLP(3, (4,), 2, activation="tanh"))
    like = dt.BayesByBackpropMLP(3, (5,), 2, prior_sigma=0.2)
    named = r"hidden_dims\.0.*activation.*layers\.0\.out_features.*layers\.0\.prior\.sigma.*layers\.1\.in_features"
    refuses(ValueError, named, lambda: dt.load(tmp_path / "model", like=like))
    dt.save(tmp_path / "model", dt.LastLayerVariationalInference(OwnNet(5), 5, 2))
    like = dt.LastLayerVariationalInference(OwnNet(5), 5, 2)
    like.feature_extractor.linear, like.feature_extractor.extra = nn.Linear(3, 5, bias=False), nn.Linear(1, 1)
    named = r"no 'feature_extractor\.extra\.weight'.*'feature_extractor\.linear\.bias' that the model does not have"
    refuses(ValueError, named, lambda: dt.load(tmp_path / "model", like=like))
    like = dt.LastLayerVariationalInference(OwnNet(5), 5, 2, device="meta")
    refuses(ValueError, "like to have tensors with values", lambda: dt.load(tmp_path / "model", like=like))


def test_like_decides_which_parameters_are_tied_and_which_are_trained(tmp_path):
    def tied():
        model = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
        model[1].weight = model[0].weight
        model[0].bias.requires_grad_(False)
        return model

    model = tied()
    dt.save(tmp_path / "model", model)
    again = dt.load(tmp_path / "model", like=tied())
    assert same_state(again, model)
    assert again[1].weight is again[0].weight
    assert not again[0].bias.requires_grad


def test_a_frozen_extractor_stays_frozen(tmp_path):
    net = sequential().requires_grad_(False)
    dt.save(tmp_path / "model", dt.LastLayerVariationalInference(net, 4, 2))
    again = dt.load(tmp_path / "model")
    trained = [name for name, parameter in again.named_parameters() if parameter.requires_grad]
    assert [name.split(".")[0] for name in trained] == ["head"] * 4
