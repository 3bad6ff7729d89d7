"""Scripting by torch.jit.script and meta tensors, both of which work in the original."""

import io

import pytest
import torch
from torch import nn

import deepuq_torch as dq
from deepuq_torch.tests.tolerances import DROP_IN, max_relative

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")


def models(**how):
    return [
        dq.BayesianLinear(4, 2, **how),
        dq.BayesByBackpropMLP(4, [8], 1, **how),
        dq.BayesByBackpropMLP(4, [8, 5], 2, activation="tanh", **how),
        dq.MultiOutputBayesByBackpropRegressor(4, 2, (8,), **how),
        dq.HeteroscedasticBayesByBackpropRegressor(4, (8, 5), **how),
        dq.HomoscedasticBayesByBackpropRegressor(4, (8,), 2, **how),
        dq.LastLayerVariationalInference(nn.Linear(4, 3, **how), 3, 2, **how),
    ]


def randomized(model):
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


@pytest.mark.parametrize("index", range(7))
def test_scripted_models_compute_the_documented_call(index):
    """The original's `BayesByBackpropMLP` can be scripted, too."""
    model, x = randomized(models()[index]), torch.randn(3, 4)
    scripted = torch.jit.script(model)
    assert scripted.state_dict().keys() == model.state_dict().keys()
    assert max_relative(scripted(x, sample=False), model(x, sample=False)) < DROP_IN
    torch.manual_seed(0)
    drawn = scripted(x)
    torch.manual_seed(0)
    assert max_relative(drawn, model(x)) < DROP_IN
    file = io.BytesIO()
    torch.jit.save(scripted, file)
    file.seek(0)
    torch.manual_seed(0)
    assert torch.equal(torch.jit.load(file)(x), drawn)
    assert dq.predict_vi_uq(scripted, x, 3).mean.shape[0] == 3


def test_scripting_leaves_the_model_as_it_was():
    """While torch scripts a module, it replaces members in place."""
    model, x = randomized(dq.BayesByBackpropMLP(4, [8], 1)), torch.randn(3, 4)
    members, noise = list(model.modules()), model.draw_noise()
    expected = model(x, noise=noise)
    torch.jit.script(model)
    assert [id(member) for member in model.modules()] == [id(member) for member in members]
    assert torch.equal(model(x, noise=noise), expected)


def test_a_model_inside_another_module():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = randomized(dq.BayesByBackpropMLP(4, [8], 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2.0 * self.net(x, sample=False)

    outer, x = Outer(), torch.randn(3, 4)
    expected, kl = outer(x), outer.net.kl()
    torch.testing.assert_close(torch.jit.script(outer)(x), expected)
    torch.testing.assert_close(outer(x), expected)
    assert torch.equal(outer.net.kl(), kl)


def test_a_subclass_is_scripted_with_its_own_pass():
    class Doubled(dq.BayesByBackpropMLP):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer in self.layers:
                x = layer(x)
            return 2.0 * x

    model, x = Doubled(4, [], 2), torch.ones(3, 4)
    torch.manual_seed(0)
    expected = model(x)
    torch.manual_seed(0)
    torch.testing.assert_close(torch.jit.script(model)(x), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_scripted_draws_in_other_dtypes(dtype):
    model, x = randomized(dq.BayesByBackpropMLP(4, [8], 2, dtype=dtype)), torch.randn(3, 4, dtype=dtype)
    scripted = torch.jit.script(model)
    torch.manual_seed(0)
    drawn = scripted(x)
    torch.manual_seed(0)
    torch.testing.assert_close(drawn, model(x))


@pytest.mark.parametrize("default", [False, True], ids=["named", "default"])
def test_prediction_on_meta_tensors(default):
    """The tensors are on the device meta by name, or because it is the default device."""
    if default:
        with torch.device("meta"):
            results = [dq.predict_vi_uq(model, torch.ones(3, 4), 4, aleatoric_var=0.5) for model in models()]
    else:
        x = torch.ones(3, 4, device="meta")
        results = [dq.predict_vi_uq(model, x, 4, aleatoric_var=0.5) for model in models(device="meta")]
    for result in results:
        assert result.mean.is_meta
        assert result.total_var.shape == result.mean.shape == (3, result.mean.shape[1])


def test_prediction_of_an_ordinary_model_while_the_default_device_is_meta():
    model, x = dq.BayesByBackpropMLP(4, [8], 1), torch.ones(3, 4)
    torch.manual_seed(0)
    expected = dq.predict_vi_uq(model, x, 4).mean
    torch.manual_seed(0)
    with torch.device("meta"):
        found = dq.predict_vi_uq(model, x, 4, aleatoric_var=torch.full((3, 1), 0.5, device="cpu")).mean
    assert torch.equal(found, expected)
