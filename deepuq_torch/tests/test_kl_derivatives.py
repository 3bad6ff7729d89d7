"""First, second and forward derivatives of the KL, in both of its paths."""

import mpmath as mp
import pytest
import torch
from torch.autograd import forward_ad

from deepuq_torch import BayesianLinear
from deepuq_torch._kl import _KLWithGradient
from deepuq_torch.functional import gaussian_kl, rho_from_sigma
from deepuq_torch.tests.exact import RATIOS, RHOS, exact_kl, near
from deepuq_torch.tests.tolerances import CLOSED_FORM, CONDITIONING_ULPS, SUMS

DTYPES = [torch.float32, torch.float64]


def _leaf(value):
    return value.clone().requires_grad_()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("prior_sigma", [0.1, 1.0, 30.0])
def test_the_gradient_written_out_is_that_of_the_formula(dtype, prior_sigma):
    """Parameters take the former, other tensors the latter."""
    near_prior = rho_from_sigma(prior_sigma * torch.tensor(RATIOS, dtype=dtype))
    rho = torch.cat([torch.tensor(RHOS, dtype=dtype), near_prior])
    mu = torch.linspace(-2, 2, len(rho), dtype=dtype)
    results = []
    for kind in (torch.nn.Parameter, _leaf):
        point = kind(mu.clone()), kind(rho.clone())
        kl = gaussian_kl(*point, 0.1, prior_sigma)
        results.append([kl.detach(), *torch.autograd.grad(kl.sum(), point)])
    slack = CONDITIONING_ULPS * torch.finfo(dtype).eps
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=CLOSED_FORM[dtype], atol=slack)


def test_the_gradient_written_out_has_every_derivative():
    rho = torch.nn.Parameter(torch.tensor([-50.0, -3.0, -1.0, 0.0, 2.0], dtype=torch.float64))
    mu = torch.nn.Parameter(torch.linspace(-1, 1, 5, dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda *point: gaussian_kl(*point, 0.1, 0.3), (mu, rho))
    assert torch.autograd.gradgradcheck(lambda *point: gaussian_kl(*point, 0.1, 0.3), (mu, rho))
    batched = torch.func.vmap(lambda factor: factor * gaussian_kl(mu, rho, 0.1, 0.3))(torch.ones(3))
    torch.testing.assert_close(batched[2], gaussian_kl(mu, rho, 0.1, 0.3))


def _curvatures(rho, prior_sigma):
    """Return the second derivatives of the KL in mu and rho, in 60 digits."""
    return 1 / mp.mpf(prior_sigma) ** 2, mp.diff(lambda moved: exact_kl(0.0, moved, 0.0, prior_sigma)[2], mp.mpf(rho))


@pytest.mark.parametrize("kind", [torch.nn.Parameter, _leaf], ids=["written out", "by autograd"])
def test_second_derivatives_of_the_kl_are_right(kind):
    rho = kind(torch.tensor([-6.0, -3.0, -1.1, 0.0, 2.0], dtype=torch.float64))
    mu = kind(torch.linspace(-1, 1, 5, dtype=torch.float64))
    first = torch.autograd.grad(gaussian_kl(mu, rho, 0.1, 0.3).sum(), (mu, rho), create_graph=True)
    (by_mu,) = torch.autograd.grad(first[0].sum(), mu, retain_graph=True)
    (by_rho,) = torch.autograd.grad(first[1].sum(), rho)
    for index, at in enumerate(rho.tolist()):
        for got, expected in zip((by_mu, by_rho), _curvatures(at, 0.3), strict=True):
            assert near(got[index].item(), expected, SUMS[torch.float64]), at


def test_second_derivatives_of_a_models_kl():
    """The mixed derivatives are zero, and the others those of `gaussian_kl`."""
    layer = BayesianLinear(2, 1, 0.3, dtype=torch.float64)
    torch.nn.init.uniform_(layer.weight_posterior.rho, -4.0, 1.0)
    parameters = list(layer.parameters())
    first = torch.autograd.grad(layer.kl(), parameters, create_graph=True)
    second = torch.autograd.grad(sum(slope.sum() for slope in first), parameters)
    for mu, rho in ((0, 1), (2, 3)):
        for index, at in enumerate(parameters[rho].flatten().tolist()):
            for got, expected in zip((second[mu], second[rho]), _curvatures(at, 0.3), strict=True):
                assert near(got.flatten()[index].item(), expected, SUMS[torch.float64]), at


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # from inside torch
def test_forward_derivatives_of_a_parameter():
    """A tangent that is written into a Parameter counts."""
    rho = torch.nn.Parameter(torch.tensor([-50.0, -3.0, -1.0, 0.0, 2.0], dtype=torch.float64))
    mu = torch.nn.Parameter(torch.linspace(-1, 1, 5, dtype=torch.float64))
    slopes = torch.autograd.grad(gaussian_kl(mu, rho, 0.1, 0.3).sum(), (mu, rho))
    tangents = torch.linspace(1, 2, 5).double(), torch.linspace(-3, -1, 5).double()
    with forward_ad.dual_level(), torch.no_grad():
        for parameter, tangent in zip((mu, rho), tangents, strict=True):
            parameter.copy_(forward_ad.make_dual(parameter.detach().clone(), tangent))
        got = forward_ad.unpack_dual(gaussian_kl(mu, rho, 0.1, 0.3)).tangent
    expected = sum(slope * tangent for slope, tangent in zip(slopes, tangents, strict=True))
    torch.testing.assert_close(got, expected, rtol=SUMS[torch.float64], atol=0)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_the_written_out_kl_is_batched_over_any_axis(axis):
    rho = torch.tensor([-3.0, -1.0, 0.5], dtype=torch.float64)
    mu = torch.randn(2, 3, 4, dtype=torch.float64).movedim(2, axis)  # four members [2, 3]
    batched = torch.func.vmap(lambda mu, rho: _KLWithGradient.apply(mu, rho, 0.1, 0.3)[0], in_dims=(axis, None))
    expected = torch.stack([gaussian_kl(member, rho, 0.1, 0.3) for member in mu.unbind(axis)])
    torch.testing.assert_close(batched(mu, rho.expand(2, 3)), expected, rtol=CLOSED_FORM[mu.dtype], atol=1e-12)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # from inside torch
def test_every_mode_of_the_written_out_derivatives():
    """Finding 3: forward mode, reverse over reverse, forward over reverse, and batches of each."""
    rho = torch.nn.Parameter(torch.tensor([-50.0, -3.0, -1.0, 0.0, 2.0], dtype=torch.float64))
    mu = torch.nn.Parameter(torch.linspace(-1, 1, 5, dtype=torch.float64))

    def kl(mu, rho):
        return _KLWithGradient.apply(mu, rho, 0.1, 0.3)[0]

    modes = {"check_forward_ad": True, "check_batched_grad": True, "check_batched_forward_grad": True}
    assert torch.autograd.gradcheck(kl, (mu, rho), **modes)
    assert torch.autograd.gradgradcheck(kl, (mu, rho), check_fwd_over_rev=True, check_batched_grad=True)


@pytest.mark.parametrize("compute", [gaussian_kl, BayesianLinear.kl], ids=["function", "layer"])
def test_parameters_take_the_written_out_derivatives(compute):
    """Finding 3: a test of derivatives that takes the other path tests nothing of this one."""
    layer = BayesianLinear(2, 1, 0.3)
    weight = layer.weight_posterior
    kl = layer.kl() if compute is BayesianLinear.kl else gaussian_kl(weight.mu, weight.rho, 0.0, 0.3)
    assert "_KLWithGradient" in _names(kl.grad_fn)


def _names(node):
    """Return the names of the functions in a graph."""
    return node.name() + "".join(_names(parent) for parent, _ in node.next_functions if parent is not None)
