"""The diagrams show the numbers of the metrics, and refuse bad input."""

import jax
import matplotlib
import numpy as np
import pytest
from flax import nnx
from matplotlib.figure import Figure

import deepuq_jax as dq
from deepuq_jax import metrics, plots
from deepuq_jax.diagnostics.weights import kl_per_weight, weight_tensors
from deepuq_jax.plots.entropy import _name
from deepuq_jax.plots.reliability import _wilson

RANDOM = np.random.default_rng(0)
PROBS = RANDOM.dirichlet(np.ones(3), 40).astype(np.float32)
LABELS = RANDOM.integers(0, 3, 40)
SCORES, LOSSES = RANDOM.random(40).astype(np.float32), RANDOM.random(40).astype(np.float32)
MEAN, VAR, Y = (RANDOM.standard_normal((30, 1)).astype(np.float32) ** power for power in (1, 2, 1))
RESULT = dq.UQResult(mean=PROBS, probs=PROBS, predictive_entropy=-(PROBS * np.log(PROBS)).sum(1))
MODEL = dq.BayesByBackpropMLP(1, (4,), 1, likelihood=dq.Gaussian(0.1), rngs=nnx.Rngs(0))
KEY = jax.random.key(0)
HISTORY = {
    "loss": np.array([90.0, *np.linspace(5, 3, 29)]),
    "nll": np.linspace(4, 2, 30),
    "val_nll": np.linspace(4, 1, 30),
    "kl": np.linspace(10, 20, 30),
    "kl_weight": np.linspace(0, 1, 30),
    "elbo": np.linspace(-5, -3, 30),
}


def lines(ax):
    """Return the points [n, 2] of each line by its label."""
    return {line.get_label(): np.asarray(line.get_xydata()) for line in ax.get_lines()}


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_reliability_is_the_metric():
    ax = plots.plot_reliability(RESULT, LABELS, bins=5)
    data = metrics.reliability(RESULT, LABELS, bins=5)
    held = np.asarray(data.count) > 0
    (points,) = ax.containers[1:]
    np.testing.assert_allclose(points.lines[0].get_xdata(), np.asarray(data.confidence)[held])
    np.testing.assert_allclose(points.lines[0].get_ydata(), np.asarray(data.accuracy)[held])
    np.testing.assert_allclose([bar.get_height() for bar in ax.containers[0]], np.asarray(data.count) / 40)
    assert labels(ax)[-1] == f"Accuracy, ECE {float(data.error):.3f}"


def test_reliability_has_wilson_intervals():
    low, high = _wilson(np.array([0.0, 0.5]), np.array([10.0, 10.0]))
    # statsmodels.stats.proportion.proportion_confint(count, 10, method="wilson")
    np.testing.assert_allclose(low, [0.0, 0.2365931], atol=1e-6)
    np.testing.assert_allclose(high, [0.2775328, 0.7634069], atol=1e-6)


def test_coverage_is_the_metric_at_each_level():
    levels = np.array([0.2, 0.5, 0.9])
    ax = plots.plot_coverage((MEAN, VAR), Y, levels=levels)
    expected = [float(metrics.interval_coverage((MEAN, VAR), Y, level=level)) for level in levels]
    np.testing.assert_allclose(lines(ax)["Observed"], np.stack([levels, expected], 1), rtol=1e-6)
    band = ax.collections[0].get_paths()[0].vertices
    assert band[np.isclose(band[:, 0], 0.5), 1].max() == pytest.approx(0.5 + 1.959964 * 0.5 / 30**0.5)
    # A second curve adds no second reference.
    narrow = (MEAN, VAR / 4)
    assert plots.plot_coverage(narrow, Y, levels=levels, label="Narrow", color=plots.VERMILION, ax=ax) is ax
    assert labels(ax) == ["Chance, 95 %, 30 targets", "Calibrated", "Observed", "Narrow"]


def test_risk_coverage_is_the_metric():
    ax = plots.plot_risk_coverage(SCORES, LOSSES, label="Mine")
    curve = metrics.risk_coverage(SCORES, LOSSES)
    drawn = lines(ax)
    np.testing.assert_allclose(drawn[f"Mine, area {float(curve.area):.3g}"], np.stack([curve.coverage, curve.risk], 1))
    assert (drawn["Smallest losses first"][:, 1] <= np.asarray(curve.risk) + 1e-6).all()
    assert drawn["All examples, or a choice at random"][0, 1] == pytest.approx(LOSSES.mean())


def test_entropies_are_shares_of_the_examples():
    other = dq.UQResult(mean=PROBS, probs=PROBS, predictive_entropy=np.full(40, np.log(3), np.float32))
    ax = plots.plot_entropy(RESULT, other, bins=4)
    for patch in ax.patches:
        assert patch.get_data().values.sum() == pytest.approx(1.0)
        np.testing.assert_allclose(patch.get_data().edges, np.linspace(0, np.log(3), 5))
    assert ax.patches[2].get_data().values[-1] == 1.0
    auroc = metrics.ood_auroc(RESULT, other)
    expected = ["Like the training data", f"Unlike the training data, AUROC {float(auroc):.3f}", "Equal probabilities"]
    assert labels(ax) == expected
    assert ax.get_xlabel() == "Predictive entropy, nats"
    assert _name(dq.UQResult(mean=MEAN, epistemic_var=VAR)) == "Epistemic variance"


def test_signal_to_noise_is_the_share_of_weights_below():
    drawn = lines(plots.plot_signal_to_noise(MODEL))
    ratios = np.concatenate([np.ravel(tensor.signal_to_noise) for tensor in weight_tensors(MODEL)])
    zeros = (ratios == 0).sum()
    decibels = 20 * np.log10(np.sort(ratios)[zeros:])
    np.testing.assert_allclose(drawn["All weights"][:, 0], decibels, rtol=1e-5)
    np.testing.assert_allclose(drawn["All weights"][:, 1], np.arange(zeros + 1, ratios.size + 1) / ratios.size)
    _, quantiles = dq.signal_to_noise_curve(MODEL, points=2)
    assert drawn["All weights"][-1, 0] == pytest.approx(20 * np.log10(quantiles[-1]), rel=1e-5)


@pytest.mark.long
def test_many_layers_are_grey():
    deep = dq.BayesByBackpropMLP(1, (1,) * 8, 1, rngs=nnx.Rngs(0))
    assert labels(plots.plot_signal_to_noise(deep)) == ["A layer", "All weights"]
    single = dq.BayesByBackpropMLP(1, (), 1, rngs=nnx.Rngs(0))
    assert labels(plots.plot_signal_to_noise(single)) == ["All weights"]


def test_bars_are_the_kl_of_the_layers():
    ax = plots.plot_layer_kl(MODEL)
    first, second = (bar.get_width() for bar in ax.patches)
    assert first + second == pytest.approx(float(MODEL.kl()), rel=1e-5)
    expected = sum(float(kl_per_weight(tensor).sum()) for tensor in weight_tensors(MODEL)[:2])
    assert first == pytest.approx(expected, rel=1e-5)
    assert ax.texts[0].get_text() == f"{first / 8:.2g} per weight"


def test_pruning_scores_the_pruned_models():
    def weights_left(model):
        return sum(int((tensor.signal_to_noise > 0).sum()) for tensor in weight_tensors(model))

    ax = plots.plot_pruning(MODEL, weights_left, fractions=[0.5, 0.75])
    np.testing.assert_array_equal(lines(ax)["Pruned by signal-to-noise ratio"], [[0.5, 7], [0.75, 4]])
    assert lines(ax)["Nothing pruned"][0, 1] == weights_left(MODEL)


def test_history_has_a_panel_per_unit():
    figure = plots.plot_history(HISTORY)
    scores, kl, weight = figure.axes
    drawn = lines(scores)
    assert set(drawn) == {"Objective", "NLL, training", "NLL, validation"}
    np.testing.assert_array_equal(drawn["NLL, validation"][:, 1], HISTORY["val_nll"])
    assert scores.get_ylim()[1] < 6  # The first value, 90, lies above the panel.
    np.testing.assert_array_equal(kl.get_lines()[0].get_ydata(), HISTORY["kl"])
    np.testing.assert_array_equal(weight.get_lines()[0].get_xydata()[:, 0], np.arange(1, 31))
    assert len(plots.plot_history({"nll": [1.0]}).axes) == 1
    assert len(plots.plot_history({"nll": [np.nan, np.nan], "kl": [0.0, 0.0]}).axes) == 2


def test_the_history_of_a_fit_is_drawn():
    state = dq.TrainState.create(MODEL, dq.natural_gradient())
    figure = plots.plot_history(dq.FitResult(MODEL, HISTORY, state))
    assert [ax.get_ylabel() for ax in figure.axes] == ["Nats per example", "KL, nats", "KL weight"]


@pytest.mark.long
def test_draws_are_functions_of_the_posterior():
    x = np.array([1.0, -1.0, 0.0], np.float32)
    ax = plots.plot_draws(MODEL, x, key=KEY, n_samples=2, data=([0.5], [1.0]), truth=x**2)
    *draws, truth, average = (np.asarray(line.get_xydata()) for line in ax.get_lines())
    for key, line in zip(jax.random.split(KEY, 2), draws, strict=True):
        expected = dq.predict_vi_uq(MODEL, np.sort(x)[:, None], key=key, n_samples=1).mean[:, 0]
        np.testing.assert_allclose(line, np.stack([np.sort(x), expected], 1), atol=1e-6)
    np.testing.assert_allclose(average[:, 1], np.mean([line[:, 1] for line in draws], axis=0), atol=1e-6)
    np.testing.assert_allclose(truth[:, 1], np.sort(x) ** 2)
    assert labels(ax) == ["Draw", "Data", "Truth, no noise", "Average of the draws"]


def test_methods_have_means_with_errors():
    repeats = np.array([1.0, 2.0, 4.0])
    ax = plots.plot_methods({"a": repeats, "b": 3.0, "c": 1.0}, errors={"b": 0.5}, reference=("Published", 2.5))
    means = [container.lines[0].get_xdata()[0] for container in ax.containers]
    assert means == pytest.approx([repeats.mean(), 3.0, 1.0])
    ends = [container.lines[2][0].get_segments()[0][:, 0] for container in ax.containers[:2]]
    reach = repeats.std(ddof=1) / 3**0.5
    np.testing.assert_allclose(ends, [[means[0] - reach, means[0] + reach], [2.5, 3.5]])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c"]
    assert lines(ax)["Published"][0, 0] == 2.5
    assert labels(ax) == [
        "Each repeat",
        "Published",
        "Mean and its standard error",
        "Score and its standard error",
    ]


def test_every_picture_takes_axes_and_changes_nothing_global():
    before = dict(matplotlib.rcParams)
    calls = [
        lambda ax: plots.plot_reliability(RESULT, LABELS, bins=5, ax=ax),
        lambda ax: plots.plot_risk_coverage(SCORES, LOSSES, ax=ax),
        lambda ax: plots.plot_entropy(SCORES, LOSSES, ax=ax),
        lambda ax: plots.plot_signal_to_noise(MODEL, ax=ax),
        lambda ax: plots.plot_layer_kl(MODEL, ax=ax),
        lambda ax: plots.plot_pruning(MODEL, lambda model: 1.0, fractions=[0.5], ax=ax),
        lambda ax: plots.plot_methods({"a": 1.0}, ax=ax),
    ]
    for call in calls:
        ax = Figure().add_subplot()
        assert call(ax) is ax
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    "call",
    [
        lambda: plots.plot_reliability(RESULT, LABELS[:3]),
        lambda: plots.plot_reliability(RESULT, LABELS, label=3),
        lambda: plots.plot_coverage((MEAN, VAR), Y[:, 0]),
        lambda: plots.plot_coverage((MEAN, VAR), Y, levels=[0.5, 0.2]),
        lambda: plots.plot_coverage((MEAN, VAR), Y, levels=[0.5, 1.0]),
        lambda: plots.plot_coverage((MEAN, VAR), Y, levels=[]),
        lambda: plots.plot_risk_coverage(SCORES, LOSSES[:3]),
        lambda: plots.plot_entropy(SCORES, LOSSES * np.nan),
        lambda: plots.plot_entropy(SCORES, LOSSES[:0]),
        lambda: plots.plot_entropy(SCORES, LOSSES, labels=("one",)),
        lambda: plots.plot_entropy(SCORES, LOSSES, bins=0),
        lambda: plots.plot_signal_to_noise(nnx.Linear(1, 1, rngs=nnx.Rngs(0))),
        lambda: plots.plot_layer_kl(nnx.Linear(1, 1, rngs=nnx.Rngs(0))),
        lambda: plots.plot_pruning(MODEL, 1.0),
        lambda: plots.plot_pruning(MODEL, lambda model: np.zeros(2), fractions=[0.5]),
        lambda: plots.plot_pruning(MODEL, lambda model: 1.0, fractions=[1.0]),
        lambda: plots.plot_history([1.0, 2.0]),
        lambda: plots.plot_history({"other": [1.0]}),
        lambda: plots.plot_history({"nll": [1.0], "kl": [1.0, 2.0]}),
        lambda: plots.plot_draws(MODEL, [[0.0, 1.0]], key=KEY),
        lambda: plots.plot_draws(MODEL, [0.0], key=KEY, n_samples=0),
        lambda: plots.plot_methods([1.0]),
        lambda: plots.plot_methods({}),
        lambda: plots.plot_methods({"a": np.nan}),
        lambda: plots.plot_methods({"a": [[1.0, 2.0]]}),
        lambda: plots.plot_methods({"a": [1.0, 2.0]}, errors={"a": 1.0}),
        lambda: plots.plot_methods({"a": 1.0}, errors={"b": 1.0}),
        lambda: plots.plot_methods({"a": 1.0}, errors={"a": -1.0}),
    ],
)
def test_bad_arguments_are_refused(call):
    with pytest.raises((ValueError, TypeError), match=r"^Expected"):
        call()
