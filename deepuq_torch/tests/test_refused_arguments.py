"""Arguments of a wrong kind are refused before anything is computed."""

from functools import partial

import pytest
import torch

import deepuq_torch as dq
from deepuq_torch import functional as fn
from deepuq_torch.tests.refusals import refuses

X, LABELS = torch.zeros(4, 3), torch.zeros(4, dtype=torch.long)
_CLASSIFIER = dq.BayesByBackpropMLP(3, [5], 2)
_REGRESSORS = [
    dq.MultiOutputBayesByBackpropRegressor(3, 2, (5,)),
    dq.HeteroscedasticMultiOutputBayesByBackpropRegressor(3, 2, (5,)),
]


@pytest.mark.parametrize("bad", [4, None, "12"])
def test_sizes_that_are_no_sequence(bad):
    with pytest.raises(TypeError, match=r"^Expected hidden_dims to be a sequence of integers; got .+\.$"):
        dq.BayesByBackpropMLP(2, bad, 2)
    with pytest.raises(TypeError, match=r"^Expected hidden_dims to be a sequence of integers; got .+\.$"):
        dq.MultiOutputBayesByBackpropRegressor(2, 2, bad)


def test_sizes_of_any_iterable():
    assert dq.BayesByBackpropMLP(2, (size for size in (3, 4)), 2).hidden_dims == (3, 4)


def test_what_cannot_be_called():
    with pytest.raises(TypeError, match=r"^Expected log_likelihood to be callable; got 'gaussian'\.$"):
        dq.negative_elbo(_CLASSIFIER, X, LABELS, num_data=4, log_likelihood="gaussian")
    with pytest.raises(TypeError, match=r"^Expected criterion to be callable; got 0.1\.$"):
        dq.vi_elbo_step(_CLASSIFIER, X, LABELS, num_batches=2, criterion=0.1)


def test_a_class_in_the_place_of_its_instance():
    """Without this check, `criterion=torch.nn.GaussianNLLLoss` ends in an error about the arguments of `__init__`."""
    wanted = "to be a function or a module; got the class GaussianNLLLoss. Pass an instance"
    loss = torch.nn.GaussianNLLLoss
    refuses(
        TypeError,
        f"criterion {wanted}",
        lambda: dq.vi_elbo_step(_CLASSIFIER, X, LABELS, num_batches=2, criterion=loss),
    )
    refuses(
        TypeError,
        f"log_likelihood {wanted}",
        lambda: dq.negative_elbo(_CLASSIFIER, X, LABELS, num_data=4, log_likelihood=loss),
    )


@pytest.mark.parametrize("bad", [1, 3, 3.5])
def test_a_data_set_smaller_than_its_batch(bad):
    wanted = rf"num_data to be the size .*at least that of the batch, 4; got {bad}\."
    refuses(ValueError, wanted, lambda: dq.negative_elbo(_CLASSIFIER, X, LABELS, num_data=bad))
    for good in (4, 4.0, torch.tensor(3.0)):  # the value of a tensor is not read
        assert torch.isfinite(dq.negative_elbo(_CLASSIFIER, X, LABELS, num_data=good)[0])


def test_a_batch_of_no_examples_has_no_mean():
    def refused():
        return pytest.raises(ValueError, match=r"^Expected x to hold at least one example; got shape \(0, 3\)\.$")

    with refused():
        dq.negative_elbo(_CLASSIFIER, X[:0], LABELS[:0], num_data=4)
    for model, y in [(_CLASSIFIER, LABELS[:0]), *[(model, torch.zeros(0, 2)) for model in _REGRESSORS]]:
        with refused():
            dq.vi_elbo_step(model, X[:0], y, num_batches=2)


def test_a_callers_own_criterion_may_accept_an_empty_batch():
    def total(outputs, y):
        return outputs.sum()

    assert dq.vi_elbo_step(_CLASSIFIER, X[:0], LABELS[:0], num_batches=2, criterion=total)[1] == 0.0


def test_class_probabilities_are_accepted_as_targets():
    """Class probabilities are floats of the outputs' shape. Labels that are floats have another shape."""
    soft = torch.full((4, 2), 0.5)
    assert dq.vi_elbo_step(_CLASSIFIER, X, soft, num_batches=2)[1] > 0
    with pytest.raises(TypeError, match="class indices"):
        dq.vi_elbo_step(_CLASSIFIER, X, LABELS.float(), num_batches=2)


def test_known_noise():
    for bad in (0.0, -1.0, float("nan")):
        refuses(ValueError, "sigma", partial(fn.gaussian_log_likelihood, bad))
    for bad in ("1", True, torch.ones(1, dtype=torch.long)):
        refuses(TypeError, "sigma", partial(fn.gaussian_log_likelihood, bad))
    refuses(
        ValueError, "sigma", lambda: fn.gaussian_log_likelihood(torch.ones(4))(torch.zeros(4, 2), torch.zeros(4, 2))
    )
