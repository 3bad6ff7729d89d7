"""A refusal says what to do instead."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import deepuq_torch as dq
from deepuq_torch.functional import categorical_log_likelihood, gaussian_log_likelihood
from deepuq_torch.tests.refusals import refuses

X, LABELS = torch.randn(4, 3), torch.randint(2, (4,))
MAKERS = [
    partial(dq.BayesianLinear, 3, 2),
    partial(dq.BayesByBackpropMLP, 3, [5], 2),
    partial(dq.MultiOutputBayesByBackpropRegressor, 3, 2, (5,)),
    partial(dq.LastLayerVariationalInference, nn.Identity(), 3, 2),
]


def mlp(outputs=2):
    return dq.BayesByBackpropMLP(3, [5], outputs)


def step(model, y=LABELS, x=X, **how):
    return dq.vi_elbo_step(model, x, y, num_batches=2, **how)


def elbo(model, y=LABELS, x=X, **how):
    return dq.negative_elbo(model, x, y, num_data=4, **how)


@pytest.mark.parametrize("make", MAKERS)
def test_a_prior_is_named_as_its_argument(make):
    """The message once said "sigma", which is not an argument of `BayesianLinear`."""
    refuses(ValueError, "^Expected prior_sigma to be positive; got 0.0", lambda: make(prior_sigma=0.0))
    refuses(TypeError, "^Expected prior_mu to be a real number", lambda: make(prior_mu="0"))


def test_float_targets_of_a_classifier():
    """The message names `criterion=`, since float targets are usually those of a regression."""
    for y in (torch.zeros(4), torch.zeros(4, dtype=torch.float64)):
        refuses(TypeError, r"y .*integer.*For regression, pass criterion=", partial(step, mlp(), y))
        refuses(TypeError, r"y .*For regression, use gaussian_log_likelihood", partial(elbo, mlp(), y))
    refuses(ValueError, "criterion .*single output.*pass criterion=", lambda: step(mlp(1), torch.zeros(4, 1)))
    assert step(mlp(1), torch.zeros(4, 1), criterion=nn.MSELoss())[0] > 0


ELEMENTWISE = [
    nn.MSELoss(),
    nn.L1Loss(),
    nn.SmoothL1Loss(),
    nn.HuberLoss(reduction="sum"),
    nn.PoissonNLLLoss(),
    F.mse_loss,
    F.l1_loss,
    F.smooth_l1_loss,
    F.huber_loss,
    F.poisson_nll_loss,
    partial(F.huber_loss, delta=2.0),
]


@pytest.mark.parametrize("criterion", ELEMENTWISE)
def test_targets_that_a_loss_of_torch_would_broadcast(criterion):
    """`MSELoss` broadcasts outputs [B, 1] and targets [B] to [B, B], with only a warning."""
    model = mlp(1)
    wrong = r"y .*\(4, 1\); got \(4,\)\. Use y\[:, None\]\."
    refuses(ValueError, wrong, lambda: step(model, torch.zeros(4), criterion=criterion))
    refuses(ValueError, "y .*shape", lambda: step(model, torch.zeros(()), criterion=criterion))
    assert torch.isfinite(step(model, torch.zeros(4, 1), criterion=criterion)[0])


def test_a_users_criterion_may_reshape_the_targets():
    class Column(nn.MSELoss):
        def forward(self, input, target):
            return super().forward(input, target[:, None])

    for criterion in (Column(), lambda outputs, y: F.mse_loss(outputs, y[:, None])):
        assert torch.isfinite(step(mlp(1), torch.zeros(4), criterion=criterion)[0])


def test_an_axis_of_the_targets_too_few_or_too_many():
    model = dq.HeteroscedasticBayesByBackpropRegressor(3, (5,))
    density = gaussian_log_likelihood(1.0)
    refuses(ValueError, r"got \(4,\)\. Use y\[:, None\]\.", lambda: elbo(model, torch.zeros(4)))
    refuses(ValueError, r"Use y\[:, None\]\.", lambda: elbo(mlp(1), torch.zeros(4), log_likelihood=density))
    refuses(ValueError, r"Use target\[:, None\]\.", lambda: step(model, torch.zeros(4)))
    refuses(ValueError, r"Use y\[:, 0\]\.", lambda: elbo(mlp(), LABELS[:, None]))
    wrong = r"Use y\[\.\.\., None\]\."
    refuses(ValueError, wrong, lambda: density(torch.zeros(4, 2, 1), torch.zeros(4, 2)))
    refuses(ValueError, r"got \(2,\)\.$", lambda: elbo(mlp(1), torch.zeros(2), log_likelihood=density))


def test_models_that_are_not_bayesian():
    """The error of torch, "unexpected keyword argument 'sample'", does not say what the model lacks."""
    for plain in (nn.Sequential(nn.Linear(3, 2)), nn.Linear(3, 2), nn.Module()):
        for call in (step, elbo):
            refuses(TypeError, r"model to have kl\(\) .*LastLayerVariationalInference", partial(call, plain))
        predict = partial(dq.predict_vi_uq, plain, X)
        refuses(TypeError, r"model to take calls such as model\(x, sample=True\); got \w+\. .*Bayesian", predict)
    refuses(TypeError, "model", lambda: dq.predict_vi_uq("model", X))
    refuses(TypeError, "model", lambda: dq.predict_vi_uq(lambda x: x, X))


def test_users_models_are_accepted():
    class Passes(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()

        def forward(self, *args, **kwargs):
            return self.net(*args, **kwargs)

        def kl(self):
            return self.net.kl()

    for model in (Passes(), lambda x, sample: x):
        assert dq.predict_vi_uq(model, X, 2).mean.shape[0] == 4
    assert torch.isfinite(step(Passes())[0])


@pytest.mark.parametrize("make", MAKERS)
def test_inputs_of_another_dtype(make):
    """Without this check, float64 and integer inputs end in torch's error about a matrix product."""
    model = make()
    for x in (X.double(), X.long(), X.bool()):
        for call in (model, partial(model, sample=False), partial(dq.predict_vi_uq, model)):
            refuses(TypeError, r"x .*torch\.float32; got .*Cast it, with x\.to\(torch\.float32\)", partial(call, x))
    refuses(TypeError, r"or the model, with model\.to\(torch\.float64\)\.", lambda: model(X.double()))
    with torch.autocast("cpu", torch.bfloat16):
        assert model(X.bfloat16()).dtype == torch.bfloat16
        refuses(TypeError, "Cast it", lambda: model(X.long()))


def test_a_criterion_that_is_no_average():
    """Without this check, a criterion with `reduction="none"` gives a loss that is not a scalar."""
    each = nn.CrossEntropyLoss(reduction="none")
    refuses(
        ValueError, r"criterion to return a scalar; got shape \(4,\)\. Average", lambda: step(mlp(), criterion=each)
    )
    refuses(TypeError, "criterion to return a torch.Tensor", lambda: step(mlp(), criterion=lambda *_: 1.0))


@pytest.mark.parametrize("wrong", [7, 3, -1])
def test_labels_out_of_range(wrong):
    """Without this check, the label 7 of 3 classes ends in an error of `gather`."""
    y = torch.tensor([0, 2, wrong, 1])
    message = f"y to hold class indices from 0 to 2; got {wrong}"
    refuses(ValueError, message, lambda: step(mlp(3), y))
    refuses(ValueError, message, lambda: elbo(mlp(3), y))
    refuses(ValueError, message, lambda: categorical_log_likelihood(torch.zeros(4, 3), y))


def test_labels_that_cross_entropy_ignores():
    """The documented default is torch's, which leaves out examples with the label -100."""
    ignored, outputs = torch.tensor([0, -100, 1, 1]), mlp()
    torch.manual_seed(0)
    nll = step(outputs, ignored)[1]
    torch.manual_seed(0)
    torch.testing.assert_close(nll, step(outputs, ignored[[0, 2, 3]], x=X[[0, 2, 3]])[1])
    refuses(ValueError, "got -100", lambda: elbo(outputs, ignored))


@pytest.mark.parametrize("bad", [-0.5, float("nan")])
def test_a_tensor_that_is_no_variance(bad):
    """Without this check, a negative `aleatoric_var` tensor gives a total variance that is too small."""
    var = torch.full((4, 2), 0.1)
    var[1, 1] = bad
    refuses(ValueError, f"aleatoric_var to be a variance.*{bad}", lambda: dq.predict_vi_uq(mlp(), X, 2, False, var))
