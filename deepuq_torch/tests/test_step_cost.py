"""The time of a small network's step is that of its number of operations, so the package must not add operations."""

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import deepuq_torch as dq
from deepuq_torch.functional import gaussian_log_likelihood
from deepuq_torch.tests import reference


class Count(TorchDispatchMode):
    """Count the operations of the forward and the backward pass inside the context."""

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
    """With a KL per tensor, the network 8-50-1 took 1.18 to 1.24 times the original's time."""
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
    """The KL of all small tensors is computed at once, so each adds only a few views and their gradients."""
    shallow, deep = dq.BayesByBackpropMLP(8, [8], 1), dq.BayesByBackpropMLP(8, [8] * 9, 1)
    added = operations(lambda: [deep.kl()]) - operations(lambda: [shallow.kl()])
    # The deep network has eight more layers, of four parameters each. torch 2.6 takes four operations per parameter,
    # and torch 2.13 three.
    assert added <= 8 * 4 * 4
