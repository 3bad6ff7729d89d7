"""Write the golden files of a format.

Run it once per format, from the root of the repository:

    python -m deepuq_torch.tests.golden.write

The program leaves existing files as they are, since they stand for the files that users have.
"""

import json
from pathlib import Path

import torch
from torch import nn

import deepuq_torch as dt
from deepuq_torch._pruned import PrunedLinear

FOLDER = Path(__file__).parent
VERSION = 1
METADATA = {"data": "none", "epochs": 3, "rate": 0.1}


def numbers(*shape, dtype=torch.float32):
    """Return numbers that every release of torch computes alike."""
    count = torch.Size(shape).numel()
    return torch.cos(torch.arange(1.0, count + 1.0, dtype=torch.float64)).reshape(shape).to(dtype)


def filled(model):
    """Fill the parameters with fixed numbers, with rho near its usual values."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = numbers(*parameter.shape, dtype=parameter.dtype)
            parameter.copy_(values - 2.0 if name.endswith("rho") else values)
    return model


def mlp():
    model = dt.BayesByBackpropMLP(3, (4,), 2, 0.5, 0.1, "silu")
    model.layers[2].prior = dt.GaussianPrior(0.0, 0.3)
    model.task_type = "classification"
    return filled(model)


def pruned():
    model = dt.BayesByBackpropMLP(3, (4,), 1, 0.7, activation="gelu")
    model.layers[0] = PrunedLinear(3, 4, 0.7)
    model.layers[0].prune_mask.weight[1:3] = False
    model.layers[0].prune_mask.bias[0] = False
    model.task_type, model.noise_sigma = "regression", 0.25
    return filled(model)


def homoscedastic():
    return filled(dt.HomoscedasticBayesByBackpropRegressor(3, (4,), 2, dtype=torch.float64)).eval()


def heteroscedastic():
    return filled(dt.HeteroscedasticMultiOutputBayesByBackpropRegressor(3, 2, (4,), 0.1, 0.4))


def last_layer():
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2, bias=False))
    return filled(dt.LastLayerVariationalInference(net.requires_grad_(False), 2, 3, "classification"))


MODELS = {
    "mlp": mlp,
    "pruned": pruned,
    "homoscedastic": homoscedastic,
    "heteroscedastic": heteroscedastic,
    "last-layer": last_layer,
}


def inputs(model):
    """Return x, and the noise of a pass."""
    dtype = next(model.parameters()).dtype
    layers = [module for module in model.modules() if isinstance(module, dt.BayesianLinear)]
    pairs = [(layer.weight_posterior, layer.bias_posterior) for layer in layers]
    noise = tuple(tuple(numbers(*q.mu.shape, dtype=dtype) for q in pair) for pair in pairs)
    is_last_layer = isinstance(model, dt.LastLayerVariationalInference)
    return numbers(2, 3, dtype=dtype), noise[0] if is_last_layer else noise


def outcome(model):
    """Compute the outputs of a draw, the outputs at the posterior means, and the KL."""
    x, noise = inputs(model)
    with torch.no_grad():
        found = {"draw": model(x, noise=noise), "means": model(x, sample=False), "kl": model.kl()}
    return {name: value.tolist() for name, value in found.items()}


def path_of(name, version=VERSION):
    """Return the path of a golden file."""
    return FOLDER / f"format-{version}-{name}.safetensors"


def main():
    for name, build in MODELS.items():
        path, model = path_of(name), build()
        if not path.exists():
            dt.save(path, model, metadata=METADATA)
            path.with_suffix(".json").write_text(json.dumps(outcome(model), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
