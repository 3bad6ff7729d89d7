"""The figures show the right elements at the right values."""

import sys

import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from scipy.stats import norm

from deepuq_jax import UQResult
from deepuq_jax.plots import BLUE, GREY, ORANGE, plot_certainty, plot_regression

X = np.array([0.5, -1.0, 2.0, 0.0])
ORDER = np.argsort(X)
MEAN, EPISTEMIC, ALEATORIC = np.array([1.0, -1, 0, 2]), np.array([4.0, 1, 0.25, 9]), np.array([1.0, 2, 3, 4])


def regression(aleatoric=True):
    def column(values):
        return jnp.asarray(values)[:, None]

    noise = dict(aleatoric_var=column(ALEATORIC), total_var=column(EPISTEMIC + ALEATORIC)) if aleatoric else {}
    return UQResult(mean=column(MEAN), epistemic_var=column(EPISTEMIC), **noise)


def band(ax, label):
    """Return x, lower and upper end of the band with that label."""
    (found,) = [area for area in ax.collections if area.get_label().startswith(label)]
    points = found.get_paths()[0].vertices
    x = np.unique(points[:, 0])
    return x, *(np.array([pick(points[points[:, 0] == at, 1]) for at in x]) for pick in (np.min, np.max))


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_bands_are_the_intervals(level):
    ax = plot_regression(X, regression(), level=level)
    z = norm.ppf(0.5 + level / 2)
    for label, variance in (("Epistemic", EPISTEMIC), ("Total", EPISTEMIC + ALEATORIC)):
        x, lower, upper = band(ax, label)
        np.testing.assert_allclose(x, X[ORDER])
        np.testing.assert_allclose(lower, (MEAN - z * np.sqrt(variance))[ORDER], rtol=1e-5)
        np.testing.assert_allclose(upper, (MEAN + z * np.sqrt(variance))[ORDER], rtol=1e-5)
    expected = np.asarray(regression().interval(level)[1])[ORDER, 0]
    np.testing.assert_allclose(band(ax, "Total")[2], expected, rtol=1e-6)


def test_lines_and_points():
    truth, data = X**2, (np.array([[0.1], [0.2]]), np.array([3.0, 4.0]))
    ax = plot_regression(X[:, None], regression(), data=data, truth=truth)
    lines = {line.get_label(): line.get_xydata() for line in ax.get_lines()}
    np.testing.assert_allclose(lines["Mean"], np.stack([X, MEAN], 1)[ORDER])
    np.testing.assert_allclose(lines["Truth, no noise"], np.stack([X, truth], 1)[ORDER])
    (points,) = [area for area in ax.collections if area.get_label() == "Data"]
    np.testing.assert_allclose(points.get_offsets(), [[0.1, 3], [0.2, 4]])
    assert len(ax.get_legend().get_texts()) == 5


def test_without_noise_there_is_no_total_band():
    ax = plot_regression(X, regression(aleatoric=False))
    assert [area.get_label() for area in ax.collections] == ["Epistemic, 95 %"]


def test_draws_on_the_axes_given_and_changes_nothing_global():
    before = dict(matplotlib.rcParams)
    ax = Figure().add_subplot()
    assert plot_regression(X, regression(), ax=ax) is ax
    plot_certainty(np.zeros((2, 8, 8)), classification(2))
    assert dict(matplotlib.rcParams) == before


def classification(n, classes=3, seed=0):
    probs = np.random.default_rng(seed).dirichlet(np.ones(classes), n)
    return UQResult(mean=probs, probs=probs, predictive_entropy=-(probs * np.log(probs)).sum(1))


def contents(part):
    """Return the image, bar heights and colours of each column in a row of the figure."""
    tops = [ax for ax in part.axes if ax.get_images()]
    bottoms = [ax for ax in part.axes if ax.patches]
    return [
        (
            top.get_images()[0].get_array(),
            [p.get_height() for p in low.patches],
            [to_hex(p.get_fc()) for p in low.patches],
        )
        for top, low in zip(tops, bottoms, strict=True)
    ]


def test_certainty_picks_by_entropy_and_shows_the_probabilities():
    result, images = classification(7), np.arange(7.0)[:, None, None] * np.ones((7, 4, 4))
    most, least = plot_certainty(images, result, count=3).subfigs
    order = np.argsort(result.predictive_entropy)
    for part, expected in ((most, order[:3]), (least, order[::-1][:3])):
        shown = contents(part)
        assert [int(image[0, 0]) for image, _, _ in shown] == list(expected)
        np.testing.assert_allclose([heights for _, heights, _ in shown], result.probs[expected])
    assert f"{result.predictive_entropy[order[-1]]:.2f} nats" in [ax.get_title() for ax in least.axes]


def test_colours_tell_predicted_from_true():
    probs = np.array([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3]])
    result = UQResult(mean=probs, probs=probs, predictive_entropy=np.array([0.8, 1.0]))
    hit, miss = (
        contents(part)[0][2] for part in plot_certainty(np.zeros((2, 4, 4)), result, labels=[0, 2], count=1).subfigs
    )
    assert hit == [BLUE.lower(), GREY, GREY]
    assert miss == [GREY, BLUE.lower(), ORANGE.lower()]


def test_the_unseen_row_has_the_first_images_in_their_own_order():
    result, others = classification(4), classification(5, seed=1)
    images = np.arange(5.0)[:, None, None] * np.ones((5, 4, 4))
    parts = plot_certainty(np.zeros((4, 4, 4)), result, unseen=(images, others), count=2).subfigs
    assert len(parts) == 3
    shown = contents(parts[2])
    assert [int(image[0, 0]) for image, _, _ in shown] == [0, 1]
    np.testing.assert_allclose([heights for _, heights, _ in shown], others.probs[:2])


@pytest.mark.parametrize(
    "call",
    [
        lambda: plot_regression(X[:3], regression()),
        lambda: plot_regression(X, regression(), truth=np.zeros((4, 2))),
        lambda: plot_regression(X, UQResult(mean=MEAN)),
        lambda: plot_regression(X, classification(4)),
        lambda: plot_regression(X, regression(), level=1.0),
        lambda: plot_certainty(np.zeros((4, 16)), classification(4)),
        lambda: plot_certainty(np.zeros((3, 4, 4)), classification(4)),
        lambda: plot_certainty(np.zeros((4, 4, 4)), regression()),
        lambda: plot_certainty(np.zeros((4, 4, 4)), classification(4), count=0),
    ],
)
def test_bad_arguments_are_refused(call):
    with pytest.raises(ValueError, match="Expected"):
        call()


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"deepuq-jax\[demo\]"):
        plot_regression(X, regression())
    with pytest.raises(ImportError, match=r"deepuq-jax\[demo\]"):
        plot_certainty(np.zeros((4, 4, 4)), classification(4))
