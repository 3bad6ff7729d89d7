"""First, second and forward-mode derivatives of the KL.

For Parameters they are written out, and for other tensors autograd computes them.
"""

import mpmath as mp
import pytest
import torch
from torch.autograd import forward_ad

from deepuq_torch import BayesByBackpropMLP, BayesianLinear, GaussianPosterior, GaussianPrior
from deepuq_torch._kl import _SMALL, _KLWithGradient, total_kl
from deepuq_torch.functional import rho_from_sigma
from deepuq_torch.tests.exact import RATIOS, RHOS, exact_kl, near
from deepuq_torch.tests.tolerances import CLOSED_FORM, CONDITIONING_ULPS, SUMS

DTYPES = [torch.float32, torch.float64]
PRIOR = (0.1, 0.3)


def _leaf(value):
    return value.clone().requires_grad_()


def kl_of(*point):
    """Sum the KL of (mu, rho, mu, rho, ...)."""
    return total_kl([(mu, rho, *PRIOR) for mu, rho in zip(point[::2], point[1::2], strict=True)])


def point(*shapes):
    """Make (mu, rho, mu, rho, ...) of these shapes, with rho in the tail, in the body, and near the prior."""
    parameters = []
    for index, shape in enumerate(shapes):
        count = torch.Size(shape).numel()
        rho = torch.tensor([-50.0, -3.0, -1.1, 0.0, 2.0], dtype=torch.float64).roll(index).repeat(count)[:count]
        parameters += [torch.linspace(-1, 1, count, dtype=torch.float64).reshape(shape), rho.reshape(shape)]
    return tuple(torch.nn.Parameter(value) for value in parameters)


SHAPES = [[(2, 3)], [(2, 3), (4,), ()], [(_SMALL + 1,), (3,), (2,)]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("prior_sigma", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("length", [1, _SMALL])
def test_the_gradient_written_out_is_that_of_the_formula(dtype, prior_sigma, length):
    """Parameters take the written-out gradient, other tensors that of autograd. Large tensors take a separate path."""
    near_prior = rho_from_sigma(prior_sigma * torch.tensor(RATIOS, dtype=dtype))
    rho = torch.cat([torch.tensor(RHOS, dtype=dtype), near_prior])
    rho = rho.repeat(length // len(rho) + 1)
    mu = torch.linspace(-2, 2, len(rho), dtype=dtype)
    results = []
    for kind in (torch.nn.Parameter, _leaf):
        where = kind(mu.clone()), kind(rho.clone())
        kl = total_kl([(*where, 0.1, prior_sigma)])
        results.append([kl.detach(), *torch.autograd.grad(kl, where)])
    slack = CONDITIONING_ULPS * torch.finfo(dtype).eps
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=CLOSED_FORM[dtype], atol=slack)


@pytest.mark.filterwarnings("ignore:.*torch.vmap:FutureWarning")  # from inside torch 2.6
@pytest.mark.filterwarnings("ignore:.*torch.jit.script")  # from inside torch
@pytest.mark.parametrize("shapes", SHAPES[:2], ids=str)
def test_every_mode_of_the_written_out_derivatives(shapes):
    """The modes are forward, reverse over reverse, forward over reverse, and batches of each."""

    def kl(*where):
        return _KLWithGradient.apply(*PRIOR, *where)

    modes = {"check_forward_ad": True, "check_batched_grad": True}
    assert torch.autograd.gradcheck(kl, point(*shapes), **modes)
    assert torch.autograd.gradgradcheck(kl, point(*shapes), check_fwd_over_rev=True, check_batched_grad=True)


@pytest.mark.parametrize("shapes", SHAPES, ids=["one", "several", "large and small"])
def test_parameters_take_the_written_out_derivatives(shapes):
    """A test with other tensors takes the path of autograd, so it does not test the written-out derivatives."""
    where = point(*shapes)
    kl = kl_of(*where)
    assert "_KLWithGradient" in _names(kl.grad_fn)
    leaves = [_leaf(value.detach()) for value in where]
    expected = kl_of(*leaves)
    assert "_KLWithGradient" not in _names(expected.grad_fn)
    torch.testing.assert_close(kl, expected, rtol=SUMS[torch.float64], atol=0)
    slopes = torch.autograd.grad(kl, where), torch.autograd.grad(expected, leaves)
    for got, wanted in zip(*slopes, strict=True):
        torch.testing.assert_close(got, wanted, rtol=SUMS[torch.float64], atol=1e-12)


def _names(node):
    """Return the names of the functions in a graph."""
    return node.name() + "".join(_names(parent) for parent, _ in node.next_functions if parent is not None)


def _curvatures(rho):
    """Return the second derivatives of the KL in mu and rho, to 60 digits."""
    prior_sigma = PRIOR[1]
    return 1 / mp.mpf(prior_sigma) ** 2, mp.diff(lambda moved: exact_kl(0.0, moved, 0.0, prior_sigma)[2], mp.mpf(rho))


@pytest.mark.parametrize("kind", [torch.nn.Parameter, _leaf], ids=["written out", "by autograd"])
def test_second_derivatives_of_the_kl_are_right(kind):
    rho = kind(torch.tensor([-6.0, -3.0, -1.1, 0.0, 2.0], dtype=torch.float64))
    mu = kind(torch.linspace(-1, 1, 5, dtype=torch.float64))
    first = torch.autograd.grad(kl_of(mu, rho), (mu, rho), create_graph=True)
    (by_mu,) = torch.autograd.grad(first[0].sum(), mu, retain_graph=True)
    (by_rho,) = torch.autograd.grad(first[1].sum(), rho)
    for index, at in enumerate(rho.tolist()):
        for got, expected in zip((by_mu, by_rho), _curvatures(at), strict=True):
            assert near(got[index].item(), expected, SUMS[torch.float64]), at


def test_second_derivatives_of_a_models_kl():
    """The mixed derivatives are zero, and the others are those of the Gaussian KL."""
    layer = BayesianLinear(2, 1, PRIOR[1], dtype=torch.float64)
    torch.nn.init.uniform_(layer.weight_posterior.rho, -4.0, 1.0)
    parameters = list(layer.parameters())
    first = torch.autograd.grad(layer.kl(), parameters, create_graph=True)
    second = torch.autograd.grad(sum(slope.sum() for slope in first), parameters)
    for mu, rho in ((0, 1), (2, 3)):
        for index, at in enumerate(parameters[rho].flatten().tolist()):
            for got, expected in zip((second[mu], second[rho]), _curvatures(at), strict=True):
                assert near(got.flatten()[index].item(), expected, SUMS[torch.float64]), at


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")  # from inside torch
@pytest.mark.parametrize("moved", [slice(None), slice(1)], ids=["all", "one"])
def test_forward_derivatives_of_parameters(moved):
    """A tangent that is written into a Parameter counts, even if the other Parameters have none."""
    where = point((2, 3), (4,))
    slopes = torch.autograd.grad(kl_of(*where), where)
    tangents = [torch.linspace(1, 2, p.numel()).double().reshape(p.shape) for p in where]
    with forward_ad.dual_level(), torch.no_grad():
        for parameter, tangent in zip(where[moved], tangents[moved], strict=True):
            parameter.copy_(forward_ad.make_dual(parameter.detach().clone(), tangent))
        got = forward_ad.unpack_dual(kl_of(*where)).tangent
    expected = sum((slope * tangent).sum() for slope, tangent in zip(slopes[moved], tangents[moved], strict=True))
    torch.testing.assert_close(got, expected, rtol=SUMS[torch.float64], atol=0)


def test_a_models_kl_under_function_transforms():
    model = BayesByBackpropMLP(3, [4], 2, PRIOR[1], dtype=torch.float64)
    params = dict(model.named_parameters())
    batched = torch.func.vmap(lambda factor: factor * model.kl())(torch.ones(3))
    torch.testing.assert_close(batched[2], model.kl(), check_dtype=False)

    class Kl(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self):
            return self.model.kl()

    def kl(params):
        return torch.func.functional_call(Kl(), {f"model.{key}": value for key, value in params.items()}, ())

    tangents = {key: torch.randn_like(value) for key, value in params.items()}
    slopes, (_, along) = torch.func.grad(kl)(params), torch.func.jvp(kl, (params,), (tangents,))
    expected = dict(zip(params, torch.autograd.grad(model.kl(), list(params.values())), strict=True))
    for key, slope in slopes.items():
        torch.testing.assert_close(slope, expected[key])
    torch.testing.assert_close(along, sum((slope * tangents[key]).sum() for key, slope in expected.items()))


def test_the_kl_of_a_subclass_counts():
    """A subclass of a posterior or a layer may define another KL."""

    class Posterior(GaussianPosterior):
        def kl(self, prior):
            return 2.0 * super().kl(prior)

    class Layer(BayesianLinear):
        def kl(self):
            return 3.0 * super().kl()

    model = BayesByBackpropMLP(3, [4], 2)
    first, last = model.layers[0].kl(), model.layers[2]
    weight, bias = (posterior.kl(last.prior) for posterior in (last.weight_posterior, last.bias_posterior))
    last.weight_posterior = Posterior(last.weight_posterior.mu.detach(), last.weight_posterior.rho.detach())
    torch.testing.assert_close(model.kl(), first + 2.0 * weight + bias)
    model.layers[2] = Layer(4, 2)
    torch.testing.assert_close(model.kl(), first + 3.0 * (weight + bias))
    model.layers[0].prior = GaussianPrior(0.5, 2.0)
    torch.testing.assert_close(model.kl(), model.layers[0].kl() + 3.0 * (weight + bias))
