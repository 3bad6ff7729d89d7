"""Write the golden files of a format: models, with the outputs that they compute.

Run it once per format, from the root of the repository:

    python -m deepuq_jax.tests.golden.write

The program leaves existing files as they are, since they stand for the files that users have.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import deepuq_jax as dq

FOLDER = Path(__file__).parent
VERSION = 1


def _trained(model, x):
    """Move every parameter and statistic off its initial value, as training does, but without an optimizer."""
    rng = np.random.default_rng(0)

    def moved(path, variable):
        value = variable.get_value()
        shift = rng.normal(scale=0.1, size=value.shape).astype(value.dtype)
        return variable.replace(value + jnp.abs(shift) if path[-1] == "var" else value + shift)

    graphdef, arrays, others = nnx.split(model, nnx.Any(nnx.Param, nnx.BatchStat), ...)
    return nnx.merge(graphdef, nnx.map_state(moved, arrays), others), x


def _rows(features):
    return np.linspace(-1.0, 1.0, 3 * features, dtype=np.float32).reshape(3, features)


def mlp():
    rule = dq.by_path(
        {
            "layers.0.*": dq.GaussianPrior(mu=0.1, sigma=0.3),
            "*.bias": dq.LaplacePrior(),
            "*": dq.EmpiricalGaussianPrior(),
        }
    )
    likelihood = dq.Categorical((1.0, 2.0), 0.1)
    options = {"activation": "gelu", "prior": rule, "estimator": dq.flipout, "likelihood": likelihood}
    return _trained(dq.BayesByBackpropMLP(3, (4,), 2, rngs=nnx.Rngs(0), **options), _rows(3))


def regressor():
    model = dq.HomoscedasticBayesByBackpropRegressor(3, (4,), 1, activation="silu", rngs=nnx.Rngs(0))
    model = dq.Standardized(model, 5.0 + _rows(3), 2.0 * _rows(1))
    model, x = _trained(model, 5.0 + _rows(3))
    return dq.prune(model, 0.3), x


def last_layer():
    rngs = nnx.Rngs(0)
    net = nnx.Sequential(
        nnx.Linear(3, 4, rngs=rngs), nnx.BatchNorm(4, rngs=rngs), nnx.relu, nnx.Dropout(0.5, rngs=rngs)
    )
    model = dq.LastLayerVariationalInference(net, 4, 2, heteroscedastic=True, prior=dq.LearnedPrior(), rngs=rngs)
    model.eval()
    return _trained(model, _rows(3))


def convolution():
    rngs = nnx.Rngs(0)
    sigma = jnp.arange(1.0, 3.0).reshape(1, 1, 2)
    rule = dq.by_path({"kernel": dq.GaussianPrior(sigma=sigma), "*": dq.GaussianPrior()})
    members = (dq.BayesianConv(1, 2, (2,), prior=rule, rngs=rngs), nnx.tanh)
    head = dq.BayesianLinear(2, 1, use_bias=False, prior=dq.LaplacePrior(scale=0.5), rngs=rngs)
    return _trained(dq.Sequential(*members, head, likelihood=dq.Masked(dq.Poisson())), _rows(4)[..., None])


MODELS = {"mlp": mlp, "regressor": regressor, "last-layer": last_layer, "convolution": convolution}


@jax.jit
def computed(model, x):
    """Return the outputs at the posterior means, and the KL."""
    return {"outputs": model(x), "kl": model.kl()}


def write():
    """Write the files that do not exist."""
    for name, build in MODELS.items():
        path = FOLDER / f"format-{VERSION}-{name}.safetensors"
        if path.exists():
            continue
        model, x = build()
        dq.save(path, model, metadata={"golden": name})
        found = {name: np.asarray(value).tolist() for name, value in computed(model, x).items()}
        text = json.dumps({"x": x.tolist(), **found})
        path.with_suffix(".json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    write()
