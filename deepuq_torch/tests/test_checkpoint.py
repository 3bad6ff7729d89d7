"""Checkpoints with the documented keys, and with later releases' keys."""

import pytest
import torch

from deepuq_torch import BayesByBackpropMLP, MultiOutputBayesByBackpropRegressor, to_later_layout
from deepuq_torch.tests.refusals import refuses


def randomized(model):
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


def later_keys(state, hidden):
    """Rename a state dict as later releases write it."""
    names = {f"layers.{2 * i}.": f"hidden_layers.{i}." for i in range(hidden)}
    names[f"layers.{2 * hidden}."] = "output_layer."
    renamed = {}
    for key, value in state.items():
        old = ".".join(key.split(".")[:2]) + "."
        renamed[names[old] + key[len(old) :]] = value
    return renamed


@pytest.mark.parametrize("hidden", [(), (4,), (4, 5, 6)])
@pytest.mark.parametrize("assign", [False, True])
def test_later_keys_load(hidden, assign):
    source, target = randomized(BayesByBackpropMLP(3, hidden, 2)), BayesByBackpropMLP(3, hidden, 2)
    state = later_keys(source.state_dict(), len(hidden))
    keys = list(state)
    assert any(key.startswith("output_layer.") for key in keys)
    result = target.load_state_dict(state, assign=assign)
    assert not result.missing_keys
    assert not result.unexpected_keys
    assert list(state) == keys  # the caller's dict does not change
    x = torch.randn(4, 3)
    assert torch.equal(source(x, sample=False), target(x, sample=False))
    assert torch.equal(source.kl(), target.kl())


def test_later_keys_load_inside_another_module():
    source = torch.nn.Sequential(torch.nn.Linear(3, 3), randomized(BayesByBackpropMLP(3, [4], 2)))
    target = torch.nn.Sequential(torch.nn.Linear(3, 3), BayesByBackpropMLP(3, [4], 2))
    state = {f"1.{key}": value for key, value in later_keys(source[1].state_dict(), 1).items()}
    state |= {f"0.{key}": value for key, value in source[0].state_dict().items()}
    target.load_state_dict(state)
    for key, value in source.state_dict().items():
        assert torch.equal(value, target.state_dict()[key])


def test_later_keys_of_a_deeper_network_are_reported_as_unexpected():
    state = later_keys(BayesByBackpropMLP(3, [4, 4], 4).state_dict(), 2)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*hidden_layers\.1"):
        BayesByBackpropMLP(3, [4], 4).load_state_dict(state)


def test_the_later_regressor_writes_keys_that_the_mlp_reads():
    regressor = randomized(MultiOutputBayesByBackpropRegressor(3, 2, (4, 5), activation="relu"))
    mlp = BayesByBackpropMLP(3, (4, 5), 2)
    mlp.load_state_dict(regressor.state_dict())
    x = torch.randn(4, 3)
    assert torch.equal(mlp(x, sample=False), regressor(x, sample=False))


def test_layers_have_their_later_names_too():
    mlp = BayesByBackpropMLP(3, (4, 5), 2)
    assert mlp.hidden_layers == [mlp.layers[0], mlp.layers[2]]
    assert mlp.output_layer is mlp.layers[4]


def test_a_round_trip_through_a_file(tmp_path):
    source, target = randomized(BayesByBackpropMLP(3, [4], 2)), BayesByBackpropMLP(3, [4], 2)
    torch.save(source.state_dict(), tmp_path / "model.pt")
    target.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    x = torch.randn(4, 3)
    assert torch.equal(source(x, sample=False), target(x, sample=False))


@pytest.mark.parametrize("hidden", [(), (4,), (4, 5, 6)])
def test_state_dicts_for_later_releases(hidden):
    """Without `to_later_layout`, an MLP's state dict does not load into 0.2.1."""
    source, target = randomized(BayesByBackpropMLP(3, hidden, 2)), BayesByBackpropMLP(3, hidden, 2)
    state = source.state_dict()
    renamed = to_later_layout(state)
    assert {key: id(value) for key, value in renamed.items()} == {
        key: id(value) for key, value in later_keys(state, len(hidden)).items()
    }
    target.load_state_dict(renamed)
    assert all(torch.equal(value, state[key]) for key, value in target.state_dict().items())


def test_state_dicts_load_into_the_installed_later_release():
    """The test needs the documented library itself, in a release from 0.1.12 on."""
    original = pytest.importorskip("deepuq.methods.vi", exc_type=ImportError)
    theirs, ours = original.BayesByBackpropMLP(3, (4, 5), 2), randomized(BayesByBackpropMLP(3, (4, 5), 2))
    if not hasattr(theirs, "output_layer"):
        pytest.skip("a release before 0.1.12, whose layout is the documented one")
    theirs.load_state_dict(to_later_layout(ours.state_dict()))
    x = torch.randn(4, 3)
    torch.testing.assert_close(theirs(x, sample=False), ours(x, sample=False))


def test_state_dicts_of_other_models_are_refused():
    message = r"state_dict to hold the keys layers\.\{0,2,4,\.\.\.\}"
    state = BayesByBackpropMLP(3, [4], 2).state_dict()
    wrapped = {f"module.{key}": value for key, value in state.items()}
    missing = {key: value for key, value in state.items() if not key.startswith("layers.0.")}
    for bad in (wrapped, missing, {}, MultiOutputBayesByBackpropRegressor(3, 2).state_dict()):
        refuses(ValueError, message, lambda bad=bad: to_later_layout(bad))
