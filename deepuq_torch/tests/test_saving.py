"""Saved models come back with their settings, modes and priors."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

import deepuq_torch as dt
from deepuq_torch._pruned import PrunedLinear
from deepuq_torch.methods import vi
from deepuq_torch.tests.refusals import refuses


class OwnNet(nn.Module):
    """An extractor that the format does not know."""

    def __init__(self, features=4):
        super().__init__()
        self.linear, self.norm, self.dropout = nn.Linear(3, features), nn.BatchNorm1d(features), nn.Dropout()

    def forward(self, x):
        return self.dropout(self.norm(self.linear(x)))


def sequential():
    return nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 4, bias=False))


def pruned():
    model = dt.BayesByBackpropMLP(3, (4,), 2)
    model.layers[0] = PrunedLinear(3, 4)
    model.layers[0].prune_mask.weight[1:3] = False
    return model


MODELS = {
    "layer": lambda: dt.BayesianLinear(3, 2, 0.3, -1.5),
    "layer of a short dtype": lambda: dt.BayesianLinear(3, 2, dtype=torch.bfloat16),
    "MLP": lambda: dt.BayesByBackpropMLP(3, (4, 5), 2, 0.7, 0.2, "GELU"),
    "MLP of one layer": lambda: dt.BayesByBackpropMLP(3, (), 2, dtype=torch.float64),
    "pruned": pruned,
    "multi-output": lambda: dt.MultiOutputBayesByBackpropRegressor(3, 2, (4,), 0.1, 0.2, "silu"),
    "heteroscedastic": lambda: dt.HeteroscedasticBayesByBackpropRegressor(3, (4, 4), 2, 0.1, 0.2, "relu"),
    "heteroscedastic multi-output": lambda: dt.HeteroscedasticMultiOutputBayesByBackpropRegressor(3, 2, ()),
    "homoscedastic": lambda: dt.HomoscedasticBayesByBackpropRegressor(3, (4,), 2, dtype=torch.float64),
    "last layer": lambda: dt.LastLayerVariationalInference(sequential(), 4, 2, "classification"),
    "last layer of raw features": lambda: dt.LastLayerVariationalInference(nn.Tanh(), 3, 2, heteroscedastic=True),
}


def randomized(model):
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model


def same_state(one, other):
    left, right = one.state_dict(), other.state_dict()
    return list(left) == list(right) and all(
        left[name].dtype == right[name].dtype and torch.equal(left[name], right[name]) for name in left
    )


@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back_as_it_was(name, tmp_path):
    model = randomized(MODELS[name]()).train(name != "MLP")
    x = torch.randn(5, 3, dtype=next(model.parameters()).dtype)
    dt.save(tmp_path / "model", model)
    again = dt.load(tmp_path / "model")
    assert type(again) is type(model)
    assert same_state(again, model)
    assert repr(again).lower() == repr(model).lower()  # with the priors of all layers
    assert [module.training for module in again.modules()] == [module.training for module in model.modules()]
    noise = model.draw_noise()
    assert torch.equal(again(x, noise=noise), model(x, noise=noise))
    assert torch.equal(again(x, sample=False), model(x, sample=False))
    assert torch.equal(again.kl(), model.kl())
    dt.save(tmp_path / "again", again)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "model").read_bytes()
    assert list(load_file(tmp_path / "model")) != []  # the library of the format reads it, too


def test_every_model_of_the_package_has_a_case():
    public = [getattr(vi, name) for name in vi.__all__]
    models = {kind for kind in public if isinstance(kind, type) and issubclass(kind, nn.Module)}
    assert models - {dt.GaussianPosterior} <= {type(build()) for build in MODELS.values()}


def test_a_loaded_model_continues_to_train(tmp_path):
    model = randomized(dt.BayesByBackpropMLP(3, (4,), 2))
    dt.save(tmp_path / "model", model)
    again = dt.load(tmp_path / "model")
    x, y = torch.randn(8, 3), torch.randint(2, (8,))
    losses = []
    for one in (model, again):
        optimizer, generator = torch.optim.Adam(one.parameters(), lr=0.1), torch.Generator().manual_seed(0)
        for _ in range(2):
            optimizer.zero_grad()
            loss, _, _ = dt.negative_elbo(one, x, y, num_data=8, generator=generator)
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    assert losses[0] == losses[1]
    assert same_state(model, again)


def test_priors_of_single_layers_come_back(tmp_path):
    model = randomized(dt.BayesByBackpropMLP(3, (4,), 2, prior_sigma=0.1))
    model.layers[2].prior = dt.GaussianPrior(-1.0 / 3.0, 0.7)
    dt.save(tmp_path / "model", model)
    again = dt.load(tmp_path / "model")
    assert (again.layers[2].prior.mu, again.layers[2].prior.sigma) == (-1.0 / 3.0, 0.7)
    assert torch.equal(again.kl(), model.kl())


def test_metadata_come_back(tmp_path):
    metadata = {"data": "Boston", "epochs": 3, "rate": 1e-3, "nested": {"list": [1, None, True, "é"]}}
    dt.save(tmp_path / "model", dt.BayesianLinear(1, 1), metadata=metadata)
    assert dt.read_metadata(tmp_path / "model") == metadata
    dt.save(tmp_path / "model", dt.BayesianLinear(1, 1))
    assert dt.read_metadata(tmp_path / "model") == {}


def test_metadata_that_would_not_come_back_are_refused(tmp_path):
    layer = dt.BayesianLinear(1, 1)
    itself = []
    itself.append(itself)
    for error, bad in (
        (TypeError, [1]),
        (TypeError, {"shape": (1, 2)}),
        (TypeError, {1: "one"}),
        (TypeError, {"loss": torch.ones(())}),
        (ValueError, {"loss": float("nan")}),
        (ValueError, {"itself": itself}),
    ):
        refuses(error, "metadata", lambda bad=bad: dt.save(tmp_path / "model", layer, metadata=bad))
    assert not list(tmp_path.iterdir())


def test_the_model_inside_a_wrapper_is_saved(tmp_path):
    model = randomized(dt.BayesByBackpropMLP(3, (4,), 2))
    for wrapped in (AveragedModel(model), nn.DataParallel(model)):
        dt.save(tmp_path / "model", wrapped)
        assert same_state(dt.load(tmp_path / "model"), model)


def test_devices(tmp_path):
    model = randomized(dt.BayesByBackpropMLP(3, (4,), 2))
    dt.save(tmp_path / "model", model)
    assert {p.device.type for p in dt.load(tmp_path / "model", device="meta").parameters()} == {"meta"}
    with torch.device("meta"):
        assert {p.device.type for p in dt.load(tmp_path / "model").parameters()} == {"meta"}
    like = dt.BayesByBackpropMLP(3, (4,), 2)
    assert {p.device.type for p in dt.load(tmp_path / "model", like=like, device="cpu").parameters()} == {"cpu"}


def test_known_noise_is_used(tmp_path):
    """`load` sets `noise_sigma` on models from deepuq_jax with the likelihood `Gaussian`."""
    model = randomized(dt.BayesByBackpropMLP(3, (4,), 1))
    model.task_type, model.noise_sigma = "regression", 0.5
    dt.save(tmp_path / "model", model)
    again = dt.load(tmp_path / "model")
    x, y, noise = torch.randn(6, 3), torch.randn(6, 1), dt.functional.stack_noise([model.draw_noise()] * 2)
    density = dt.functional.gaussian_log_likelihood(0.5)
    nll = -density(again(x, noise=model_noise(noise)), y).mean()
    torch.testing.assert_close(dt.negative_elbo(again, x, y, num_data=6, mc_samples=2, noise=noise)[1], nll)
    torch.testing.assert_close(dt.vi_elbo_step(again, x, y, num_batches=1, mc_samples=2, noise=noise)[1], nll)
    assert dt.predict_vi_uq(again, x, n_samples=3).aleatoric_var.item() == 0.25
    assert dt.predict_vi_uq(again, x, n_samples=3, aleatoric_var=2.0).aleatoric_var.item() == 2.0


def model_noise(stacked):
    """Return the noise of the first draw."""
    return tuple(tuple(eps[0] for eps in pair) for pair in stacked)


def test_pruned_weights_are_zero_and_have_no_gradient(tmp_path):
    model = randomized(pruned())
    dt.save(tmp_path / "model", model)
    again = dt.load(tmp_path / "model")
    x, kept = torch.randn(5, 3), again.layers[0].prune_mask.weight
    again.layers[0](x).sum().backward()
    again.kl().backward()
    for parameter in (again.layers[0].weight_posterior.mu, again.layers[0].weight_posterior.rho):
        assert (parameter.grad[~kept] == 0).all()
        assert (parameter.grad[kept] != 0).all()
    dense = dt.BayesianLinear(3, 4)
    dense.load_state_dict(model.layers[0].state_dict(), strict=False)
    with torch.no_grad():
        dense.weight_posterior.mu[~kept] = 0.0
        dense.weight_posterior.rho[~kept] = -torch.inf
    noise = dense.draw_noise()
    assert torch.equal(again.layers[0](x, noise=noise), dense(x, noise=noise))
    assert torch.equal(again.layers[0](x, sample=False), dense(x, sample=False))
    one, other = (dt.predict_vi_uq(net, x, 4, generator=torch.Generator().manual_seed(0)) for net in (model, again))
    assert torch.equal(one.mean, other.mean)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test_pruned_models_are_not_scripted():
    for model in (pruned(), pruned().layers[0]):
        refuses(TypeError, "no pruned layers", lambda model=model: torch.jit.script(model))


def test_wrong_arguments(tmp_path):
    layer = dt.BayesianLinear(1, 1)
    refuses(TypeError, r"model to be a torch\.nn\.Module", lambda: dt.save(tmp_path / "model", layer.state_dict()))
    dt.save(tmp_path / "model", layer)
    refuses(TypeError, r"like to be a torch\.nn\.Module", lambda: dt.load(tmp_path / "model", like={}))
    with pytest.raises(FileNotFoundError):
        dt.load(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        dt.load(tmp_path)


def test_state_that_is_no_dense_tensor_is_refused(tmp_path):
    class Extra(nn.Linear):
        def get_extra_state(self):
            return "a state of any kind"

    refuses(ValueError, "'_extra_state'.*tensor", lambda: dt.save(tmp_path / "model", Extra(1, 1)))
    meta = dt.BayesianLinear(1, 1, device="meta")
    refuses(ValueError, "with values.*meta", lambda: dt.save(tmp_path / "model", meta))
    complex_valued = nn.Linear(1, 1, dtype=torch.complex64)
    refuses(ValueError, "dtype.*complex64", lambda: dt.save(tmp_path / "model", complex_valued))
    assert not list(tmp_path.iterdir())


def test_transposed_empty_and_scalar_tensors(tmp_path):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("transposed", torch.arange(6.0).reshape(2, 3).T)
            self.register_buffer("empty", torch.empty(0, 3))
            self.register_buffer("scalar", torch.tensor(7))
            self.register_buffer("byte", torch.tensor([True, False, True]))
            self.register_buffer("short", torch.tensor([1.0, torch.inf], dtype=torch.float16))
            self.register_buffer("negative", torch.tensor([1 + 2j]).conj().imag)

    model = Odd()
    dt.save(tmp_path / "model", model)
    again = dt.load(tmp_path / "model", like=Odd())
    assert same_state(again, model)
    assert all(torch.equal(value, load_file(tmp_path / "model")[name]) for name, value in model.state_dict().items())


def test_checkpoints_of_both_layouts_become_files(tmp_path):
    """State dicts of 0.1.10 and 0.2.1 load without unpickling code."""
    source = randomized(dt.BayesByBackpropMLP(3, (4, 5), 2))
    for state in (source.state_dict(), dt.to_later_layout(source.state_dict())):
        torch.save(state, tmp_path / "original.pt")
        model = dt.BayesByBackpropMLP(3, (4, 5), 2)
        model.load_state_dict(torch.load(tmp_path / "original.pt", weights_only=True))
        dt.save(tmp_path / "model", model)
        assert same_state(dt.load(tmp_path / "model"), source)
