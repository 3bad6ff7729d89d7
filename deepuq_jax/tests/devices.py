"""Measurements in a process of eight devices, for `test_devices.py`.

Run as a program, it takes names of measurements as arguments and prints the results as JSON.
"""

import json
import sys

import jax
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import deepuq_jax as dq
from deepuq_jax.noise import normal_like
from deepuq_jax.tests.over_devices import (
    ADAM,
    BATCH,
    EPOCHS,
    KEY,
    ROWS,
    SGD,
    classifier,
    collectives,
    copies,
    data,
    distance,
    mesh_of,
    split,
)
from deepuq_jax.training.state import TrainState


def _results(count):
    """Train, predict and score over a number of devices."""
    x, y = jax.device_put(data(), split(mesh_of(count)))
    model = jax.device_put(classifier(), copies(mesh_of(count)))
    objective = dq.ELBO(num_data=ROWS)
    params, rest = dq.partition(model)

    @jax.jit
    def of_the_start(params, x, y):
        model = dq.combine(params, rest)
        result = dq.predict_vi_uq(model, x, key=KEY, n_samples=4, batch_size=BATCH)
        return {
            "loss and gradient": jax.value_and_grad(lambda p: objective(dq.combine(p, rest), x, y, key=KEY)[0])(params),
            "moments": [result.mean, result.total_var, result.mutual_information],
            "log densities": dq.log_predictive_density(model, x, y, key=KEY, n_samples=4),
        }

    fitted = dq.fit(model, x, y, key=KEY, objective=objective, optimizer=ADAM, epochs=EPOCHS, batch_size=BATCH)
    noise = jax.jit(lambda key: normal_like(key, x), out_shardings=split(mesh_of(count)))(KEY)
    return {
        **of_the_start(params, x, y),
        "parameters after 52 steps": fitted.state.params,
        "history": fitted.history,
        "noise": noise,
    }


def _layouts(counts):
    """Return by how much the results of several devices differ from those of one."""
    one = _results(1)
    found = {}
    for count in counts:
        many = _results(count)
        assert len(many["noise"].devices()) == count
        found[count] = {name: distance(many[name], one[name]) for name in one}
    return found


def layouts():
    return _layouts([4])


def layouts_in_float64():
    jax.config.update("jax_enable_x64", True)
    found = _layouts([4])
    jax.config.update("jax_enable_x64", False)
    return found


def more_layouts():
    found = {"float32": _layouts([2, 8])}
    jax.config.update("jax_enable_x64", True)
    found["float64"] = _layouts([2, 8])
    jax.config.update("jax_enable_x64", False)
    return found


def _shares(lower, names):
    """Return, per case, the share of the operations that each of four devices runs, and the collectives."""
    alone = lower(names[0], mesh_of(1)).compile().cost_analysis()["flops"]
    found = {name: lower(name, mesh_of(4)).compile() for name in names}
    return {
        name: {"share": four.cost_analysis()["flops"] / alone, "collectives": collectives(four)}
        for name, four in found.items()
    }


def _large(mesh):
    x, y = jax.device_put(data(2048, 256, 8), split(mesh))
    return jax.device_put(classifier(256, (512, 512), 8), copies(mesh)), x, y


def epochs_divide_the_work():
    def lower(name, mesh):
        model, x, y = _large(mesh)
        sharding = None if name == "data that are split" else split(mesh)

        def epoch(state, x, y):
            return dq.train_epoch(state, x, y, key=KEY, optimizer=ADAM, batch_size=1024, sharding=sharding)

        if sharding is not None:
            x, y = jax.device_put((x, y), copies(mesh))
        return jax.jit(epoch).lower(TrainState.create(model, ADAM), x, y)

    return _shares(lower, ["data that are split", "data that are copied"])


def _share_of_prediction(batch_size):
    def lower(_, mesh):
        model, x, _ = _large(mesh)

        def moments(model, x):
            return dq.predict_vi_uq(model, x, key=KEY, n_samples=10, batch_size=batch_size).mean

        return jax.jit(moments).lower(model, x)

    return _shares(lower, ["prediction"])["prediction"]


def batched_predictions():
    # XLA counts the body of a loop once, so these are the operations of one batch.
    return _share_of_prediction(1024)


def other_predictions():
    return {"all at once": _share_of_prediction(None), "with a remainder": _share_of_prediction(768)}


def sharded_parameters():
    """Train networks whose kernels carry shardings: the first is split over columns, the second over rows."""
    mesh = jax.make_mesh((2, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2, devices=jax.devices()[:4])
    x, y = data(32, 16, 3)

    def kernel_init(*axes):
        return nnx.with_partitioning(nnx.initializers.lecun_normal(), axes)

    def network(columns, rows):
        layers = (16, 64, (None, "model")), (64, 64, ("model", None)), (64, 3, ())
        inits = columns, rows, nnx.initializers.lecun_normal()
        return [(a, b, init, nnx.Rngs(i)) for i, ((a, b, _), init) in enumerate(zip(layers, inits, strict=True))]

    def of_layers(columns, rows):
        first, *others = [dq.BayesianLinear(a, b, kernel_init=i, rngs=r) for a, b, i, r in network(columns, rows)]
        return dq.Sequential(first, nnx.relu, *others, likelihood=dq.Categorical())

    def of_a_network(columns, rows):
        first, *others = [nnx.Linear(a, b, kernel_init=i, rngs=r) for a, b, i, r in network(columns, rows)]
        return dq.bayesianize(nnx.Sequential(first, nnx.relu, *others), likelihood=dq.Categorical())

    def step(state, x, y):
        return dq.train_step(state, x, y, key=KEY, objective=dq.ELBO(num_data=32), optimizer=SGD)

    found = {}
    for build in (of_layers, of_a_network):
        plain = build(*[nnx.initializers.lecun_normal()] * 2)
        with jax.set_mesh(mesh):
            model = build(kernel_init(None, "model"), kernel_init("model", None))
        state = TrainState.create(model, ADAM)
        parts = {leaf.shape: leaf.addressable_shards[0].data.shape for leaf in jax.tree.leaves(state)}
        state = TrainState.create(model, SGD)
        there = jax.device_put((x, y), split(mesh))
        compiled = jax.jit(step).lower(state, *there).compile()
        after, expected = compiled(state, *there)[0], jax.jit(step)(TrainState.create(plain, SGD), x, y)[0]
        found[build.__name__] = {
            "parts": [parts[16, 64], parts[64, 64]],
            "annotations": sorted({str(one) for one in _annotations(model)}),
            "distance": distance(after.params, expected.params),
            "collectives": collectives(compiled),
        }
    return found


def _annotations(model):
    variables = [variable for _, variable in nnx.to_flat_state(nnx.state(model, nnx.Param))]
    return [tuple(variable.get_metadata().get("out_sharding") or ()) for variable in variables]


def draws_and_seeds():
    """Spread draws over one axis of a mesh; then spread seeds over it, and rows over the other axis."""
    mesh = jax.make_mesh((2, 4), ("seed", "data"), axis_types=(AxisType.Auto,) * 2)
    (x, y), model, adam = data(), classifier(), ADAM

    def moments(keys, x):
        result = jax.vmap(lambda key: dq.predict_vi_uq(model, x, key=key, n_samples=2))(keys)
        return result.mean, result.epistemic_var

    def train(keys, x, y):
        def of_seed(key):
            state = TrainState.create(model, adam)
            return dq.train_epoch(state, x, y, key=key, optimizer=adam, batch_size=BATCH)[0].params

        return jax.vmap(of_seed)(keys)

    keys = jax.random.split(KEY, 4)
    by_seed = jax.device_put(keys, NamedSharding(mesh, PartitionSpec("seed")))
    x_split, y_split = jax.device_put((x, y), split(mesh))
    predict = jax.jit(moments).lower(by_seed, jax.device_put(x, copies(mesh))).compile()
    train_split = jax.jit(train).lower(by_seed, x_split, y_split).compile()
    return {
        "collectives of draws": collectives(predict),
        "draws": distance(predict(by_seed, jax.device_put(x, copies(mesh))), jax.jit(moments)(keys, x)),
        "seeds": distance(train_split(by_seed, x_split, y_split), jax.jit(train)(keys, x, y)),
    }


def explicit_sharding():
    mesh = mesh_of(4, explicit=True)
    (x, y), model = data(), classifier()
    options = {"key": KEY, "objective": dq.ELBO(), "optimizer": SGD, "epochs": 1, "batch_size": BATCH}
    expected = dq.fit(model, x, y, **options)
    there = jax.device_put((x, y), split(mesh))
    counts = dq.BayesByBackpropMLP(4, (), 1, likelihood=dq.Poisson(), rngs=nnx.Rngs(0))

    def mixture(x):
        return dq.predict_vi_uq(counts, x, key=KEY, n_samples=4, batch_size=BATCH).mixture.outputs

    found = {"data that are split": distance(dq.fit(model, *there, **options).state.params, expected.state.params)}
    with jax.set_mesh(mesh):
        inside = dq.fit(model, x, y, **options, sharding=split(mesh))
        found["a sharding"] = distance(inside.state.params, expected.state.params)
        moments = dq.predict_vi_uq(model, there[0], key=KEY, n_samples=4, batch_size=BATCH)
        density = dq.log_predictive_density(model, *there, key=KEY, n_samples=4, draws_at_once=2)
        estimate = dq.log_density_with_error(model, *there, key=KEY, n_samples=4)
        outputs = mixture(there[0])
    found["layout"] = str(jax.typeof(moments.mean).sharding.spec)
    plain = dq.predict_vi_uq(model, x, key=KEY, n_samples=4)
    found["moments"] = distance(moments.mean, plain.mean)
    found["log densities"] = distance(density, dq.log_predictive_density(model, x, y, key=KEY, n_samples=4))
    found["errors of draws"] = distance(
        estimate.error, dq.log_density_with_error(model, x, y, key=KEY, n_samples=4).error
    )
    found["outputs"] = distance(outputs, mixture(x))
    found["columns"] = _split_columns_in_explicit_sharding()
    return found


def _split_columns_in_explicit_sharding():
    """Compare a layer that is trained with its kernel split over columns with the same layer on one device."""
    mesh = jax.make_mesh((2, 2), ("data", "model"), axis_types=(AxisType.Explicit,) * 2, devices=jax.devices()[:4])
    x, y = data(32, 16, 4)
    options = {"key": KEY, "objective": dq.ELBO(), "optimizer": SGD, "epochs": 2, "batch_size": BATCH}

    def fitted(kernel_init, **more):
        layer = dq.BayesianLinear(16, 4, kernel_init=kernel_init, rngs=nnx.Rngs(0))
        return dq.fit(dq.Sequential(layer, likelihood=dq.Categorical()), x, y, **options, **more).state.params

    init = nnx.initializers.lecun_normal()
    with jax.set_mesh(mesh):
        split_up = fitted(nnx.with_partitioning(init, (None, "model")), sharding=split(mesh))
    assert PartitionSpec(None, "model") in [leaf.sharding.spec for leaf in jax.tree.leaves(split_up)]
    return distance(split_up, fitted(init))


def shard_map():
    (x, y), model, objective = data(), classifier(), dq.ELBO(num_data=ROWS)
    params, rest = dq.partition(model)

    def moments(x):
        return dq.predict_vi_uq(model, x, key=KEY, n_samples=4, batch_size=8).mean

    def density(x, y):
        return dq.log_predictive_density(model, x, y, key=KEY, n_samples=4)

    def gradient(params, x, y):
        def loss(params):
            return jax.lax.pmean(objective(dq.combine(params, rest), x, y, key=KEY)[0], "data")

        return jax.grad(loss)(params)

    whole, part = PartitionSpec(), PartitionSpec("data")

    def over_devices(function, in_specs, out_specs):
        return jax.jit(jax.shard_map(function, mesh=mesh_of(4), in_specs=in_specs, out_specs=out_specs))

    mean = jax.jit(jax.grad(lambda params: objective(dq.combine(params, rest), x, y, key=KEY)[0]))(params)
    return {
        "moments": distance(over_devices(moments, part, part)(x), moments(x)),
        "log densities": distance(over_devices(density, part, part)(x, y), density(x, y)),
        "gradient": distance(over_devices(gradient, (whole, part, part), whole)(params, x, y), mean),
    }


class _Batches:
    """Batches that start anew each epoch."""

    def __init__(self, sharding):
        x, y = data()
        starts = range(0, ROWS, BATCH)
        batches = [(x[i : i + BATCH], y[i : i + BATCH]) for i in starts]
        self.batches = batches if sharding is None else [jax.device_put(batch, sharding) for batch in batches]

    def __iter__(self):
        return iter(self.batches)


def iterators():
    from deepuq_jax.training import _batches

    options = {"key": KEY, "objective": dq.ELBO(num_data=ROWS), "optimizer": SGD, "epochs": 2}
    sharding, seen, original = split(mesh_of(4)), [], _batches._step

    def step(state, x, y, *arguments, **named):
        seen.append(len(x.devices()) if isinstance(x, jax.Array) else 0)
        return original(state, x, y, *arguments, **named)

    _batches._step = step
    results = [
        dq.fit(classifier(), _Batches(own), **options, sharding=given)
        for own, given in ((None, None), (sharding, None), (None, sharding))
    ]
    _batches._step = original
    return {
        "devices": [seen[0], seen[8], seen[16]],
        "batches that are split": distance(results[1].state.params, results[0].state.params),
        "a sharding": distance(results[2].state.params, results[0].state.params),
    }


def a_sharding():
    """Pass arrays of the host, a sharding and validation data to `fit`."""
    x, y = data()
    sharding = split(mesh_of(4))
    options = {"key": KEY, "objective": dq.ELBO(), "optimizer": SGD, "epochs": 2}
    options |= {"batch_size": BATCH, "validation_data": (x, y)}
    one, four = (dq.fit(classifier(), x, y, **options, sharding=s) for s in (None, sharding))
    try:
        dq.fit(classifier(), x, y, key=KEY, batch_size=18, sharding=sharding)
    except ValueError as error:
        message = str(error)
    devices = {len(leaf.devices()) for leaf in jax.tree.leaves(four.state)}
    return {"history": distance(four.history, one.history), "message": message, "devices": sorted(devices)}


if __name__ == "__main__":
    print(json.dumps({name: globals()[name]() for name in sys.argv[1:]}))
