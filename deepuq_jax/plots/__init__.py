"""Plot predictions, fits and models; each file holds a kind of picture.

Matplotlib is imported only when a plot is made. Figures are made without pyplot, so no global state changes
and no display is needed. Save them with ``axes.figure.savefig(...)`` or ``figure.savefig(...)``. A function that
returns axes also draws on axes that it is given, so pictures can stand side by side or share their axes. The colours
are those of Okabe & Ito, which colour-blind readers can tell apart too.
"""

from deepuq_jax.plots.certainty import plot_certainty
from deepuq_jax.plots.coverage import plot_coverage
from deepuq_jax.plots.draws import plot_draws
from deepuq_jax.plots.entropy import plot_entropy
from deepuq_jax.plots.history import plot_history
from deepuq_jax.plots.layers import plot_layer_kl
from deepuq_jax.plots.methods import plot_methods
from deepuq_jax.plots.pruning import plot_pruning
from deepuq_jax.plots.regression import plot_regression
from deepuq_jax.plots.reliability import plot_reliability
from deepuq_jax.plots.risk_coverage import plot_risk_coverage
from deepuq_jax.plots.signal_to_noise import plot_signal_to_noise
from deepuq_jax.plots.style import BLUE, GREEN, GREY, INK, ORANGE, PALE, PURPLE, SKY, VERMILION

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "INK",
    "ORANGE",
    "PALE",
    "PURPLE",
    "SKY",
    "VERMILION",
    "plot_certainty",
    "plot_coverage",
    "plot_draws",
    "plot_entropy",
    "plot_history",
    "plot_layer_kl",
    "plot_methods",
    "plot_pruning",
    "plot_regression",
    "plot_reliability",
    "plot_risk_coverage",
    "plot_signal_to_noise",
]
