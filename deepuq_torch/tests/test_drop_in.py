"""At the same seed, the package gives the same numbers as the original package.

The numbers come from a reference in plain torch, and from the original package if it is installed.
"""

import warnings

import pytest
import torch
from torch import nn

import deepuq_torch as dq
from deepuq_torch.tests import reference
from deepuq_torch.tests.tolerances import DROP_IN, max_relative

SEEDS = [0, 1]


def data():
    generator = torch.Generator().manual_seed(9)
    x = torch.randn(16, 5, generator=generator)
    return x, torch.randint(3, (16,), generator=generator), torch.randn(16, 3, generator=generator)


def start(model, scale=0.3):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return model


def at_seed(seed, call):
    """Return the result of a call, and the next random number."""
    torch.manual_seed(seed)
    return call(), torch.rand(())


def agree(ours, theirs):
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine is None) == (other is None)
        if mine is not None:
            assert mine.shape == other.shape
            assert max_relative(mine, other) < DROP_IN


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("hidden", [(), (8,), (8, 4)])
def test_forward_and_steps_against_the_reference(seed, hidden):
    x, labels, targets = data()
    model = start(dq.BayesByBackpropMLP(5, hidden, 3))
    params = model.state_dict()
    ours, mine_after = at_seed(seed, lambda: model(x).detach())
    theirs, other_after = at_seed(seed, lambda: reference.forward(params, x))
    agree([ours, model.kl().detach()], [theirs, reference.kl(params)])
    assert torch.equal(mine_after, other_after)
    for criterion, y in ((None, labels), (nn.MSELoss(), targets)):
        for mc_samples in (1, 5):
            ours, mine_after = at_seed(
                seed,
                lambda c=criterion, y=y, m=mc_samples: dq.vi_elbo_step(
                    model, x, y, 7, criterion=c, kl_weight=0.3, mc_samples=m
                ),
            )
            theirs, other_after = at_seed(
                seed,
                lambda c=criterion, y=y, m=mc_samples: reference.elbo_step(
                    params, x, y, 7, c or nn.functional.cross_entropy, 0.3, m
                ),
            )
            agree([value.detach() for value in ours], theirs)
            assert torch.equal(mine_after, other_after)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("apply_softmax", [False, True])
def test_prediction_against_the_reference(seed, apply_softmax):
    x, _, _ = data()
    model = start(dq.BayesByBackpropMLP(5, (8, 4), 3))
    result, mine_after = at_seed(seed, lambda: dq.predict_vi_uq(model, x, 20, apply_softmax))
    moments, other_after = at_seed(seed, lambda: reference.predictive_moments(model.state_dict(), x, 20, apply_softmax))
    agree([result.mean, result.epistemic_var], moments)
    assert torch.equal(mine_after, other_after)


def test_gradients_against_the_reference():
    x, labels, _ = data()
    model = start(dq.BayesByBackpropMLP(5, (8,), 3))
    params = {key: value.clone().requires_grad_() for key, value in model.state_dict().items()}
    loss, _ = at_seed(0, lambda: dq.vi_elbo_step(model, x, labels, 7)[0])
    loss.backward()
    loss, _ = at_seed(0, lambda: reference.elbo_step(params, x, labels, 7, nn.functional.cross_entropy)[0])
    loss.backward()
    agree([p.grad for p in model.parameters()], [p.grad for p in params.values()])


@pytest.fixture(scope="module")
def original():
    """Return the documented package, which is not a dependency, or skip the test if it is not installed."""
    return pytest.importorskip("deepuq.methods.vi", exc_type=ImportError)


def pairs(original):
    """Yield (original, ours) for every class of the installed release.

    Both have the same random parameters.
    """
    backbone = nn.Sequential(nn.Linear(5, 8), nn.Tanh())
    makers = [
        ("BayesianLinear", (5, 3)),
        ("BayesByBackpropMLP", (5, [], 3)),
        ("BayesByBackpropMLP", (5, (8, 4), 3, 0.5)),
        ("HeteroscedasticBayesByBackpropRegressor", (5, (8,), 3)),
        ("MultiOutputBayesByBackpropRegressor", (5, 3, (8,))),
        ("HeteroscedasticMultiOutputBayesByBackpropRegressor", (5, 3)),
        ("LastLayerVariationalInference", (backbone, 8, 3)),
        ("LastLayerVariationalInference", (backbone, 8, 3, "regression", True)),
        ("LastLayerVariationalInference", (backbone, 8, 3, "classification")),
    ]
    for name, arguments in makers:
        if hasattr(original, name):
            theirs, ours = getattr(original, name)(*arguments), getattr(dq, name)(*arguments)
            for mine, other in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
                assert torch.equal(mine, other), name
            start(theirs)
            ours.load_state_dict(theirs.state_dict())
            yield theirs, ours


@pytest.mark.parametrize("seed", SEEDS)
def test_every_class_against_the_original(original, seed):
    x, labels, targets = data()
    fields = ("mean", "epistemic_var", "aleatoric_var", "total_var", "probs", "probs_var")
    for theirs, ours in pairs(original):
        agree([at_seed(seed, lambda m=ours: m(x))[0]], [at_seed(seed, lambda m=theirs: m(x))[0]])
        agree([ours.kl()], [theirs.kl()])
        regression = getattr(theirs, "task_type", "") == "regression"
        y = targets if regression else labels
        step = [
            at_seed(seed, lambda m=m, f=f, y=y: f.vi_elbo_step(m, x, y, 7, mc_samples=3))[0]
            for f, m in ((dq, ours), (original, theirs))
        ]
        agree(*step)
        for how in ({}, {"apply_softmax": True}, {"aleatoric_var": torch.full((3,), 0.2)}):
            mine, mine_after = at_seed(seed, lambda m=ours, h=how: dq.predict_vi_uq(m, x, 20, **h))
            other, other_after = at_seed(seed, lambda m=theirs, h=how: original.predict_vi_uq(m, x, 20, **h))
            agree([getattr(mine, field) for field in fields], [getattr(other, field) for field in fields])
            assert torch.equal(mine_after, other_after)
            assert mine.metadata.items() >= other.metadata.items()


def test_checkpoints_go_both_ways(original):
    ours = start(dq.BayesByBackpropMLP(5, (8, 4), 3))
    theirs = original.BayesByBackpropMLP(5, (8, 4), 3)
    if hasattr(theirs, "layers"):  # later releases have other keys: theirs load here, but ours do not load there
        theirs.load_state_dict(ours.state_dict())
        assert theirs.state_dict().keys() == ours.state_dict().keys()
    start(theirs, 1.0)
    ours.load_state_dict(theirs.state_dict())
    x, _, _ = data()
    agree([ours(x, sample=False)], [theirs(x, sample=False)])


def test_the_same_bad_calls_are_refused_with_the_same_error(original):
    x, labels, _ = data()
    bad_steps = [{}, {"num_batches": 0}, {"num_batches": 1.5}, {"num_batches": 2, "n_batches": 3}]
    bad_steps += [{"num_batches": 2, "mc_samples": 0}, {"num_batches": "2"}]
    for module in (original, dq):
        model = module.BayesByBackpropMLP(5, [], 3)
        for how in bad_steps:
            with pytest.raises(ValueError):
                module.vi_elbo_step(model, x, labels, **how)
        with pytest.raises(ValueError):
            module.predict_vi_uq(model, x, n_samples=0)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            module.vi_elbo_step(model, x, labels, n_batches=2)
        assert [(w.category, w.filename) for w in caught] == [(DeprecationWarning, __file__)]
