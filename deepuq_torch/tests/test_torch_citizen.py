"""Dtypes, devices, torch.compile, torch.func, copies and pickles."""

import copy
import io
import pickle
import warnings
from functools import partial

import pytest
import torch
from torch import nn

import deepuq_torch as dq
from deepuq_torch.functional import gaussian_log_likelihood, stack_noise
from deepuq_torch.tests.tolerances import BFLOAT16, SUMS, max_relative

# Together, these tests take too long for `make check`.
pytestmark = pytest.mark.slow

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
DTYPES = [torch.float32, torch.float64, torch.bfloat16]


def models(**how):
    return [
        dq.BayesianLinear(3, 2, **how),
        dq.BayesByBackpropMLP(3, [5], 2, **how),
        dq.MultiOutputBayesByBackpropRegressor(3, 2, (5,), **how),
        dq.HeteroscedasticBayesByBackpropRegressor(3, (5,), 2, **how),
        dq.LastLayerVariationalInference(nn.Linear(3, 4, **how), 4, 2, **how),
    ]


def randomized(model):
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_everything_runs_in_every_dtype_and_on_every_device(device, dtype):
    x, y = torch.randn(4, 3, device=device, dtype=dtype), torch.randn(4, 2, device=device, dtype=dtype)
    kl_dtype = torch.promote_types(dtype, torch.float32)
    for model in models(device=device, dtype=dtype):
        out = model(x)
        assert (out.dtype, out.device.type) == (dtype, device)
        assert model.kl().dtype == kl_dtype
        likelihood = None if getattr(model, "heteroscedastic", False) else gaussian_log_likelihood(0.5)
        for loss, nll, kl in (
            dq.vi_elbo_step(model, x, y, 3, criterion=nn.MSELoss(), mc_samples=2),
            dq.negative_elbo(model, x, y, num_data=4, log_likelihood=likelihood, mc_samples=2),
        ):
            model.zero_grad()
            loss.backward()
            assert torch.isfinite(loss)
            assert torch.isfinite(nll)
            assert kl.dtype == kl_dtype
            assert all(p.grad.dtype == dtype for p in model.parameters() if p.grad is not None)
        generator = torch.Generator(device).manual_seed(0)
        for how in ({}, {"apply_softmax": True}, {"aleatoric_var": 0.1}, {"generator": generator}):
            result = dq.predict_vi_uq(model, x, 5, **how)
            assert (result.mean.dtype, result.total_var.dtype) == (dtype, dtype)
            assert result.mean.device.type == device


def test_bfloat16_is_as_near_to_float32_as_its_digits_allow():
    torch.manual_seed(0)
    model = randomized(dq.BayesByBackpropMLP(3, [5], 2)).bfloat16()
    exact = copy.deepcopy(model).float()
    x, noise = torch.randn(4, 3).bfloat16(), model.draw_noise()
    expected = exact(x.float(), noise=[tuple(eps.float() for eps in pair) for pair in noise])
    assert max_relative(model(x, noise=noise), expected) < BFLOAT16
    assert torch.equal(model.kl(), exact.kl())


def test_half_of_the_model_may_run_under_autocast():
    model, x = randomized(dq.BayesByBackpropMLP(3, [5], 2)), torch.randn(4, 3)
    noise = model.draw_noise()
    with torch.autocast("cpu", torch.bfloat16):
        out, kl = model(x, noise=noise), model.kl()
    assert out.dtype == torch.bfloat16
    assert kl.dtype == torch.float32
    assert max_relative(out, model(x, noise=noise)) < BFLOAT16


def compiled(function, backend="aot_eager"):
    """Compile without graph breaks. The backend "aot_eager" also compiles the gradients, and "eager" does not."""
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend=backend)


@pytest.fixture(autouse=True)
def quiet_compiler():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside torch's compiler
        yield


def test_layers_and_models_compile_without_a_graph_break():
    x = torch.randn(4, 3)
    for model in models():
        randomized(model)
        noise = model.draw_noise()
        # A single program, because compiling takes most of the time.
        run = compiled(partial(_three_passes, model))
        given, drawn, means = run(x, noise)
        torch.testing.assert_close(given, model(x, noise=noise))
        torch.testing.assert_close(means, model(x, sample=False))
        assert not torch.equal(drawn, run(x, noise)[1])  # the noise is not frozen into the graph


def _three_passes(model, x, noise):
    return model(x, noise=noise), model(x), model(x, sample=False)


@pytest.mark.parametrize("mc_samples", [pytest.param(1, marks=pytest.mark.long), 3])
def test_the_objectives_compile_without_a_graph_break(mc_samples):
    torch.manual_seed(0)
    model = randomized(dq.BayesByBackpropMLP(3, [5], 2))
    x, y = torch.randn(4, 3), torch.randint(2, (4,))
    noise = stack_noise([model.draw_noise() for _ in range(mc_samples)])
    objectives = [
        lambda **how: dq.vi_elbo_step(model, x, y, num_batches=3, mc_samples=mc_samples, kl_weight=0.5, **how),
        lambda **how: dq.negative_elbo(model, x, y, num_data=12, mc_samples=mc_samples, **how),
    ]
    for objective in objectives:
        gradients = []
        for run in (objective, compiled(objective)):
            model.zero_grad()
            loss, nll, kl = run(noise=noise)
            loss.backward()
            gradients.append([loss.detach(), nll, kl, *(p.grad.clone() for p in model.parameters())])
        for got, expected in zip(*gradients, strict=True):
            torch.testing.assert_close(got, expected)
        assert torch.isfinite(compiled(objective, "eager")()[0])


@pytest.mark.parametrize("criterion", [nn.MSELoss(), nn.functional.mse_loss])
def test_a_criterion_of_torch_compiles_without_a_graph_break(criterion):
    model, x, y = dq.BayesByBackpropMLP(3, [5], 1), torch.randn(4, 3), torch.randn(4, 1)
    noise = stack_noise([model.draw_noise()])

    def loss():
        return dq.vi_elbo_step(model, x, y, num_batches=3, criterion=criterion, noise=noise)[0]

    torch.testing.assert_close(compiled(loss, "eager")(), loss())


def test_compiled_draws_are_those_of_the_seed():
    """Compilers merge equal calls, but every sample and every tensor must have a draw of its own."""
    model = randomized(dq.BayesByBackpropMLP(3, [5, 5], 2))
    x, y = torch.randn(4, 3), torch.randint(2, (4,))

    def losses():
        step = dq.vi_elbo_step(model, x, y, num_batches=3, mc_samples=3)
        return step[0], dq.negative_elbo(model, x, y, num_data=12, mc_samples=3)[0]

    found = []
    with torch.no_grad():
        for run in (losses, compiled(losses, "aot_eager_decomp_partition")):  # as inductor, without its C++
            torch.manual_seed(0)
            found.append(run())
    torch.testing.assert_close(*found)


@pytest.mark.parametrize(("number", "compilations"), [(torch.tensor, 1), (float, 2)])
def test_a_schedule_compiles_a_few_times_and_not_every_step(number, compilations):
    """The compiler first takes a float for a constant, and for an argument once it changes."""
    from torch._dynamo.testing import CompileCounter

    model, x, y = dq.BayesByBackpropMLP(3, [5], 2), torch.randn(4, 3), torch.randint(2, (4,))
    for objective in (
        lambda value: dq.vi_elbo_step(model, x, y, num_batches=3, kl_weight=value)[0],
        lambda value: dq.negative_elbo(model, x, y, num_data=100 * value, kl_weight=value)[0],
    ):
        torch._dynamo.reset()
        counter = CompileCounter()
        step = torch.compile(objective, fullgraph=True, backend=counter)
        for epoch in range(1, 8):
            step(number(epoch / 7.3))
        assert counter.frame_count == compilations


@pytest.mark.long
def test_the_heteroscedastic_objectives_compile():
    model = dq.HeteroscedasticBayesByBackpropRegressor(3, (5,), 2)
    x, y = torch.randn(4, 3), torch.randn(4, 2)
    noise = stack_noise([model.draw_noise()])

    def losses():
        step = dq.vi_elbo_step(model, x, y, num_batches=3, noise=noise)
        return step[0], dq.negative_elbo(model, x, y, num_data=12, noise=noise)[0]

    torch.testing.assert_close(compiled(losses)(), losses())


def test_functional_call_and_vmap_over_draws():
    model, x = randomized(dq.BayesByBackpropMLP(3, [5], 2)), torch.randn(4, 3)
    params = dict(model.named_parameters())
    noise = model.draw_noise()
    out = torch.func.functional_call(model, params, (x,), {"noise": noise})
    assert torch.equal(out, model(x, noise=noise))
    many = stack_noise([model.draw_noise() for _ in range(6)])
    batched = torch.func.vmap(lambda one: model(x, noise=one))(many)
    loop = torch.stack([model(x, noise=[(w[i], b[i]) for w, b in many]) for i in range(6)])
    torch.testing.assert_close(batched, loop)
    drawn = torch.func.vmap(lambda _: model(x), randomness="different")(torch.zeros(6))
    assert drawn.shape == (6, 4, 2)
    assert len({tuple(draw.flatten().tolist()) for draw in drawn}) == 6


def test_gradients_through_torch_func_for_a_stack_of_models():
    torch.manual_seed(0)
    members = [randomized(dq.BayesByBackpropMLP(3, [5], 2, dtype=torch.float64)) for _ in range(3)]
    params, _ = torch.func.stack_module_state(members)
    x, y = torch.randn(4, 3).double(), torch.randint(2, (4,))
    noise = stack_noise([members[0].draw_noise()])

    class Loss(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self):
            return dq.vi_elbo_step(self.model, x, y, num_batches=3, noise=noise)[0]

    shell = Loss(dq.BayesByBackpropMLP(3, [5], 2, dtype=torch.float64))

    def loss(params):
        return torch.func.functional_call(shell, {f"model.{key}": value for key, value in params.items()}, ())

    stacked = torch.func.vmap(torch.func.grad(loss))(params)
    for index, member in enumerate(members):
        dq.vi_elbo_step(member, x, y, num_batches=3, noise=noise)[0].backward()
        for key, parameter in member.named_parameters():
            torch.testing.assert_close(stacked[key][index], parameter.grad, rtol=SUMS[torch.float64], atol=1e-12)


def test_second_derivatives_of_the_objective():
    layer = randomized(dq.BayesianLinear(2, 1, dtype=torch.float64))
    x, y = torch.randn(4, 2).double(), torch.randn(4, 1).double()
    noise = stack_noise([layer.draw_noise()])
    loss = dq.vi_elbo_step(layer, x, y, num_batches=3, criterion=nn.MSELoss(), noise=noise)[0]
    parameters = list(layer.parameters())
    first = torch.autograd.grad(loss, parameters, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), parameters)
    assert all(torch.isfinite(value).all() for value in second)


def test_copies_pickles_and_state_dicts_give_the_same_numbers():
    x = torch.randn(4, 3)
    for model in models():
        randomized(model)
        noise = model.draw_noise()
        expected = model(x, noise=noise)
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        for other in (
            copy.deepcopy(model),
            pickle.loads(pickle.dumps(model)),
            torch.load(file, weights_only=False),
        ):
            assert torch.equal(other(x, noise=noise), expected)
            assert torch.equal(other.kl(), model.kl())
            next(other.parameters()).data.add_(1.0)
            assert torch.equal(model(x, noise=noise), expected)  # nothing is shared
    assert pickle.loads(pickle.dumps(gaussian_log_likelihood(0.5)))(x, x).shape == (4,)


def test_models_can_be_built_on_the_device_meta():
    model = dq.BayesByBackpropMLP(3, [5], 2, device="meta")
    assert all(parameter.is_meta for parameter in model.parameters())


def test_repr_tells_sizes_and_prior():
    text = repr(dq.BayesByBackpropMLP(3, [5], 2, 0.5))
    assert "in_features=3, out_features=5, prior=GaussianPrior(mu=0.0, sigma=0.5)" in text


@pytest.mark.parametrize("name", ["prior_mu", "prior_sigma"])
@pytest.mark.parametrize("make", [lambda: dq.BayesianLinear(2, 1), lambda: dq.BayesByBackpropMLP(2, [3], 1)])
def test_a_prior_is_not_changed_by_an_attribute_that_nothing_reads(make, name):
    """Otherwise `model.prior_sigma = 1.0` would silently change nothing."""
    wanted = rf"Expected {name} to be set in the constructor only; got an assignment of 1\.0\."
    with pytest.raises(AttributeError, match=wanted):
        setattr(make(), name, 1.0)


@pytest.mark.parametrize(
    "model",
    [
        dq.BayesByBackpropMLP(2, [3], 1),
        dq.MultiOutputBayesByBackpropRegressor(2, 1, (3,)),
        dq.HomoscedasticBayesByBackpropRegressor(2, (3,)),
        dq.LastLayerVariationalInference(nn.Identity(), 2, 1),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_model_has_no_prior_to_replace(model):
    """Otherwise `model.prior = GaussianPrior(...)` would silently change nothing."""
    message = (
        rf"^Expected prior to be assigned to layers only; got an assignment to a {type(model).__name__}\. To change"
    )
    with pytest.raises(AttributeError, match=message):
        model.prior = dq.GaussianPrior(0.5, 1.0)


def test_a_subclass_may_define_a_prior():
    class Shared(dq.BayesByBackpropMLP):
        @property
        def prior(self):
            return self.layers[0].prior

        @prior.setter
        def prior(self, value):
            for layer in self.bayesian_layers():
                layer.prior = value

    model = Shared(2, [3], 1)
    model.prior = dq.GaussianPrior(0.5, 1.0)
    assert torch.equal(model.kl(), dq.BayesByBackpropMLP(2, [3], 1, 1.0, 0.5).kl())


def test_the_prior_of_a_layer_can_be_replaced():
    layer = dq.BayesianLinear(2, 1, prior_sigma=0.1)
    layer.prior = dq.GaussianPrior(0.5, 1.0)
    assert torch.equal(layer.kl(), dq.BayesianLinear(2, 1, prior_sigma=1.0, prior_mu=0.5).kl())
