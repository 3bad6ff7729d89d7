"""A model trained in either package works in the other."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from safetensors.numpy import load_file

import deepuq_jax as dj
import deepuq_torch as dt
from deepuq_jax.tests.profiles import small_profile
from deepuq_torch.tests.golden import write
from parity_tests import saved
from parity_tests.harness import error_of, precisely
from parity_tests.tolerances import SAVED
from parity_tests.transfer import noise_to_jax

_RUNS = {f"{kind} {dtype}": (kind, dtype) for kind in saved.KINDS for dtype in ("float32", "float64")}
# Every class once, alternately in float32 and in float64.
_EACH_ONCE = [f"{kind} {('float32', 'float64')[i % 2]}" for i, kind in enumerate(saved.KINDS)]


def same_arrays(one, other):
    """Whether two files hold the same arrays."""
    left, right = load_file(one), load_file(other)
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype and left[name].tobytes() == right[name].tobytes() for name in left
    )


@pytest.mark.slow
@pytest.mark.parametrize("run", small_profile(_RUNS, _EACH_ONCE))
def test_a_model_trained_in_torch_predicts_in_jax_and_comes_back(run, tmp_path):
    kind, dtype = _RUNS[run]
    with precisely(dtype):
        model = saved.trained_in_torch(kind, len(run), dtype)
        twin = saved.through_jax(tmp_path, model)
        assert type(twin).__name__ == type(model).__name__
        saved.agree(twin, model, saved.data(model, dtype)[0], dtype)
        back = saved.through_torch(tmp_path, twin)
    assert all(torch.equal(value, back.state_dict()[name]) for name, value in model.state_dict().items())
    assert same_arrays(tmp_path / "torch.safetensors", tmp_path / "jax.safetensors")
    assert repr(back) == repr(model)  # priors and activations included


@pytest.mark.slow
@pytest.mark.parametrize("run", small_profile(_RUNS, ["MLP float32", "homoscedastic float64"]))
def test_a_model_trained_further_in_jax_predicts_in_torch(run, tmp_path):
    kind, dtype = _RUNS[run]
    with precisely(dtype):
        first = saved.trained_in_torch(kind, len(run), dtype)
        x, y = saved.data(first, dtype)
        trained = saved.trained_in_jax(saved.through_jax(tmp_path, first), x, y)
        twin = saved.through_torch(tmp_path, trained)
        moved = [not torch.equal(value, twin.state_dict()[name]) for name, value in first.state_dict().items()]
        assert all(moved)
        saved.agree(trained, twin, x, dtype)


@pytest.mark.slow
def test_known_noise_passes_to_torch_and_back(tmp_path):
    """A JAX model with known noise has the same scores and predictions in torch."""
    model = dj.BayesByBackpropMLP(2, (3,), 1, likelihood=dj.Gaussian(0.3), rngs=nnx.Rngs(0))
    twin = saved.through_torch(tmp_path, model)
    x, y = np.array([[0.5, -1.0], [2.0, 0.1]], np.float32), np.array([[1.0], [-0.5]], np.float32)
    noise = dt.functional.stack_noise([twin.draw_noise() for _ in range(4)])
    one = dj.predict_vi_uq(model, jnp.asarray(x), n_samples=4, noise=noise_to_jax(noise))
    other = dt.predict_vi_uq(twin, torch.tensor(x), n_samples=4, noise=noise)
    found = {"mean": one.mean, "total variance": one.total_var}
    expected = {"mean": other.mean, "total variance": other.total_var}
    loss, terms = dj.ELBO(2, mc_samples=4)(model, x, y, noise=noise_to_jax(noise))
    exact = dt.negative_elbo(twin, torch.tensor(x), torch.tensor(y), num_data=2, mc_samples=4, noise=noise)
    found |= {"loss": loss, "nll": terms.nll}
    expected |= {"loss": exact[0], "nll": exact[1]}
    documented = dt.vi_elbo_step(twin, torch.tensor(x), torch.tensor(y), num_batches=1, mc_samples=4, noise=noise)
    found["documented nll"] = dj.DocumentedELBO(1, mc_samples=4)(model, x, y, noise=noise_to_jax(noise))[1].nll
    expected["documented nll"] = documented[1]
    for name, value in found.items():
        assert error_of(np.asarray(value), expected[name].detach().numpy(), "float32", SAVED).share <= 1.0, name
    assert saved.through_jax(tmp_path, twin).likelihood == dj.Gaussian(0.3)


def test_classifiers_and_unknown_noise_pass_to_torch_and_back(tmp_path):
    known = {dj.Categorical(): "classification", dj.UnknownNoise(): "regression", None: "generic"}
    for likelihood, task in known.items():
        model = dj.BayesByBackpropMLP(2, (), 2, likelihood=likelihood, rngs=nnx.Rngs(0))
        twin = saved.through_torch(tmp_path, model)
        assert twin.task_type == task
        assert saved.through_jax(tmp_path, twin).likelihood == likelihood


@pytest.mark.slow
def test_pruned_models_stay_pruned(tmp_path):
    model = dj.prune(dj.BayesByBackpropMLP(3, (4,), 2, rngs=nnx.Rngs(0)), 0.5)
    twin = saved.through_torch(tmp_path, model)
    saved.agree(model, twin, np.array([[0.5, -1.0, 2.0]], np.float32), "float32")
    twin.kl().backward()
    assert (twin.layers[0].weight_posterior.mu.grad == 0).sum() == (~twin.layers[0].prune_mask.weight).sum() > 0
    back = saved.through_jax(tmp_path, twin)
    assert jax.tree.structure(back) == jax.tree.structure(model)
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(model), strict=True))


def test_a_frozen_extractor_stays_frozen(tmp_path):
    model = dt.LastLayerVariationalInference(torch.nn.Linear(3, 2), 2, 1)
    model.feature_extractor.requires_grad_(False)
    twin = saved.through_jax(tmp_path, model)
    assert not jax.tree.leaves(nnx.state(twin.feature_extractor, nnx.Param))
    back = saved.through_torch(tmp_path, twin)
    flags = {name: parameter.requires_grad for name, parameter in back.named_parameters()}
    assert [name for name, flag in flags.items() if not flag] == ["feature_extractor.weight", "feature_extractor.bias"]


@pytest.mark.slow
@pytest.mark.parametrize("name", small_profile(write.MODELS, ["pruned", "last-layer"]))
def test_golden_files_of_torch_compute_the_same_in_jax(name):
    path = write.path_of(name, version=1)
    expected, model = json.loads(path.with_suffix(".json").read_text()), dt.load(path)
    dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    x, noise = write.inputs(model)
    with precisely(dtype):
        twin = dj.load(path)
        found = saved.quantities(twin, jnp.asarray(x.numpy()), noise_to_jax(noise))
        for quantity, value in zip(("draw", "means", "kl"), found, strict=True):
            error = error_of(np.asarray(value), np.array(expected[quantity], dtype), dtype, SAVED)
            assert error.share <= 1.0, f"{quantity}: {error}"
    assert dj.saving.read_metadata(path) == dt.read_metadata(path) == write.METADATA


def test_torch_reads_a_regressor_with_local_reparameterization(tmp_path):
    """It is the default in JAX; torch draws weights, as predictions in JAX do."""
    model = dj.HeteroscedasticBayesByBackpropRegressor(3, (4,), rngs=nnx.Rngs(0))
    assert model.layers[0].estimator is dj.local_reparameterization
    dj.save(tmp_path / "model.safetensors", model)
    twin = dt.load(tmp_path / "model.safetensors")
    x = np.linspace(-1, 1, 15, dtype=np.float32).reshape(5, 3)
    found = twin(torch.as_tensor(x), sample=False).detach().numpy()
    np.testing.assert_allclose(found, model(x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(twin.kl().item(), model.kl(), rtol=1e-5)


def _jax_layer(**options):
    return dj.BayesianLinear(2, 2, rngs=nnx.Rngs(0), **options)


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: _jax_layer(use_bias=False), "use_bias"),
        (lambda: _jax_layer(prior=dj.LaplacePrior()), "LaplacePrior"),
        (lambda: _jax_layer(prior=dj.GaussianPrior(sigma=jnp.ones(2))), r"sigma.*array"),
        (lambda: _jax_layer(estimator=dj.flipout), "flipout"),
        (lambda: _jax_layer(dtype=jnp.bfloat16), "bfloat16"),
        (lambda: dj.BayesianConv(1, 2, (3,), rngs=nnx.Rngs(0)), "BayesianConv"),
        (lambda: dj.Sequential(_jax_layer()), "Sequential"),
        (lambda: dj.BayesByBackpropMLP(2, (), 1, likelihood=dj.Poisson(), rngs=nnx.Rngs(0)), "Poisson"),
        (lambda: dj.BayesByBackpropMLP(2, (3,), 1, activation=nnx.elu, rngs=nnx.Rngs(0)), "activation"),
    ],
)
def test_torch_refuses_by_name_what_it_does_not_have(build, named, tmp_path):
    path = tmp_path / "model.safetensors"
    dj.save(path, build())
    with pytest.raises(ValueError, match=f"Expected .*{named}.*model.safetensors"):
        dt.load(path)


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (dt.BayesianLinear(2, 2, dtype=torch.bfloat16), "bfloat16"),
        (dt.LastLayerVariationalInference(torch.nn.Conv1d(1, 1, 1), 2, 2), "Conv1d"),
    ],
)
def test_jax_refuses_by_name_what_it_does_not_have(model, named, tmp_path):
    path = tmp_path / "model.safetensors"
    dt.save(path, model)
    with pytest.raises(ValueError, match=f"model.safetensors.*{named}"):
        dj.load(path)


@pytest.mark.parametrize("is_later", [False, True])
def test_checkpoints_of_the_original_reach_jax(is_later, tmp_path):
    """A state dict reaches JAX through a torch model and a file."""
    original = dt.BayesByBackpropMLP(3, (4, 5), 2)
    for parameter in original.parameters():
        torch.nn.init.normal_(parameter)
    state = dict(original.state_dict())
    torch.save(dt.to_later_layout(state) if is_later else state, tmp_path / "original.pt")

    model = dt.BayesByBackpropMLP(3, (4, 5), 2, prior_sigma=0.5)
    model.load_state_dict(torch.load(tmp_path / "original.pt", weights_only=True))
    twin = saved.through_jax(tmp_path, model)
    assert twin.layers[2].prior == dj.GaussianPrior(sigma=0.5)
    for i in (0, 2, 4):
        kernel = twin.layers[i].kernel_posterior
        assert np.array_equal(kernel.mu, state[f"layers.{i}.weight_posterior.mu"].numpy().T)
        assert np.array_equal(kernel.rho, state[f"layers.{i}.weight_posterior.rho"].numpy().T)
