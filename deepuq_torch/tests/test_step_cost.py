"""Finding 6: a training step of a small network costs its operations, so it must not have more than the original."""

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import deepuq_torch as dq
from deepuq_torch.functional import gaussian_log_likelihood
from deepuq_torch.tests import reference


class Count(TorchDispatchMode):
    """Count the operations inside, in forward and backward."""

    def __init__(self):
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.operations += 1
        return function(*args, **(kwargs or {}))


def operations(call):
    with Count() as count:
        call()[0].backward()
    return count.operations


def test_a_step_has_fewer_operations_than_the_plain_formula():
    """Finding 6: 8-50-1 took 1.18 to 1.24 times the original's time, most of it for the KL of each small tensor."""
    x, y, criterion = torch.randn(32, 8), torch.randn(32, 1), nn.MSELoss()
    model = dq.BayesByBackpropMLP(8, [50], 1)
    params = {key: value.clone().requires_grad_() for key, value in model.state_dict().items()}
    plain = operations(lambda: reference.elbo_step(params, x, y, 10, criterion))
    documented = operations(lambda: dq.vi_elbo_step(model, x, y, 10, criterion=criterion))
    density = gaussian_log_likelihood(0.1)
    exact = operations(lambda: dq.negative_elbo(model, x, y, num_data=100, log_likelihood=density))
    assert documented < 0.75 * plain
    assert exact < 0.85 * plain


def test_the_operations_of_a_kl_do_not_grow_with_the_number_of_small_tensors():
    """Finding 6: small tensors are computed as one; each costs a few views and gradients, not a formula."""
    shallow, deep = dq.BayesByBackpropMLP(8, [8], 1), dq.BayesByBackpropMLP(8, [8] * 9, 1)
    added = operations(lambda: [deep.kl()]) - operations(lambda: [shallow.kl()])
    # Eight layers more, of four parameters each. torch 2.6 takes four operations per parameter, torch 2.13 three.
    assert added <= 8 * 4 * 4
