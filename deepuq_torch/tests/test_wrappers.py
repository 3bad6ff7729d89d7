"""Models inside DistributedDataParallel, DataParallel and AveragedModel."""

import pytest
import torch
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

import deepuq_torch as dq
from deepuq_torch.functional import stack_noise
from deepuq_torch.tests.refusals import refuses
from deepuq_torch.tests.tolerances import SUMS

# Together, these tests take too long for `make check`.
pytestmark = pytest.mark.slow

MODELS = [
    lambda: dq.BayesByBackpropMLP(3, [5], 2),
    lambda: dq.HeteroscedasticBayesByBackpropRegressor(3, (5,), 1),
    lambda: dq.LastLayerVariationalInference(nn.Linear(3, 4), 4, 2, "classification"),
]
DRAWS, NUM_DATA = 2, 100


def data(model):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(8, 3, generator=generator)
    labels = torch.randint(2, (8,), generator=generator)
    return x, torch.sin(x[:, :1]) if dq._criteria.is_heteroscedastic(model) else labels


def made(index):
    generator = torch.Generator().manual_seed(4)
    model = MODELS[index]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    noise = stack_noise([model.draw_noise(generator=generator) for _ in range(DRAWS)])
    return model, noise


def losses(model, x, y, noise):
    """Return the losses of both objectives. Each adds the KL once."""
    return [
        dq.negative_elbo(model, x, y, num_data=NUM_DATA, mc_samples=DRAWS, noise=noise)[0],
        dq.vi_elbo_step(model, x, y, num_batches=7, mc_samples=DRAWS, noise=noise)[0],
    ]


def gradients(model, objective, x, y, noise):
    model.zero_grad()
    losses(model, x, y, noise)[objective].backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.parametrize("wrap", [DataParallel, AveragedModel])
@pytest.mark.parametrize("index", range(len(MODELS)))
def test_wrapped_models_give_the_numbers_of_the_model(wrap, index):
    """The wrappers do not have the attribute `kl`."""
    model, noise = made(index)
    x, y = data(model)
    wrapped = wrap(wrap(model))
    for got, expected in zip(losses(wrapped, x, y, noise), losses(model, x, y, noise), strict=True):
        assert torch.equal(got, expected)
    torch.manual_seed(0)
    got = dq.predict_vi_uq(wrapped, x, 5)
    torch.manual_seed(0)
    expected = dq.predict_vi_uq(model, x, 5)
    assert got.metadata == expected.metadata
    assert torch.equal(got.total_var, expected.total_var)
    torch.testing.assert_close(dq.predict_vi_uq(wrapped, x, DRAWS, noise=noise).mean.shape, got.mean.shape)


def test_passes_go_through_the_wrapper():
    """A call of the model inside would skip what the wrapper does."""
    model, noise = made(0)
    wrapped = DataParallel(model)
    seen = []
    wrapped.register_forward_hook(lambda *_: seen.append(1))
    x, y = data(model)
    losses(wrapped, x, y, noise)
    assert len(seen) == 2 * DRAWS
    dq.predict_vi_uq(wrapped, x, 3)
    assert len(seen) == 2 * DRAWS + 3


def test_noise_that_data_parallel_would_split():
    model, noise = made(0)
    wrapped = DataParallel(model)
    wrapped.device_ids = [0, 1]
    x, y = data(model)
    message = "noise to be None with a DataParallel of several devices"
    refuses(ValueError, message, lambda: losses(wrapped, x, y, noise))
    refuses(ValueError, message, lambda: dq.predict_vi_uq(wrapped, x, DRAWS, noise=noise))


def test_a_plain_network_in_a_wrapper_is_refused_like_one_outside():
    plain = DataParallel(nn.Sequential(nn.Linear(3, 2)))
    x = torch.randn(8, 3)
    refuses(TypeError, "model to have kl.*got Sequential", lambda: dq.vi_elbo_step(plain, x, x, 2))
    refuses(TypeError, "model to take calls.*got Sequential", lambda: dq.predict_vi_uq(plain, x))


def _compare(rank, address):
    """Compare the gradients of two processes with half of a batch each with those of one process with all of it."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{address}", rank=rank, world_size=2)
    for index in range(len(MODELS)):
        model, noise = made(index)
        x, y = data(model)
        half = slice(4 * rank, 4 * rank + 4)
        wrapped = DistributedDataParallel(made(index)[0])
        for objective in range(2):
            expected = gradients(model, objective, x, y, noise)
            got = gradients(wrapped, objective, x[half], y[half], noise)
            torch.testing.assert_close(got, expected, rtol=SUMS[torch.float32], atol=1e-6)
        if rank == 0:  # a process may predict alone
            assert torch.isfinite(dq.predict_vi_uq(wrapped, x, 3).total_var).all()
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.skipif(not distributed.is_available(), reason="torch was built without distributed")
def test_two_processes_have_the_gradients_of_one(tmp_path, monkeypatch):
    """The processes average their gradients. Each has the whole KL, so it counts once."""
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    multiprocessing.spawn(_compare, args=(str(tmp_path / "store"),), nprocs=2)
