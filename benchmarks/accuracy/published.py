"""Published results on the standard splits of the regression sets.

Each result is a test RMSE and a log-likelihood per example, in nats.
"""

from __future__ import annotations

COLUMNS = ["MC dropout, tuned¹", "Deep Ensembles²", "PBP²", "mean-field VI³", "deterministic VI³"]
DROPOUT, MEAN_FIELD = (COLUMNS.index(name) for name in ("MC dropout, tuned¹", "mean-field VI³"))
SOURCES = (
    "¹ Gal & Ghahramani's re-run with a grid search, 50 hidden units. ² Lakshminarayanan et al. 2017 (arXiv "
    "1612.01474), Table 1. ³ Wu et al. 2019 (arXiv 1810.03958), Table 2: 50 ReLUs, heteroscedastic, empirical Bayes."
)

# For each set, one pair (RMSE, log-likelihood) per column, in the order of `COLUMNS`. An unpublished RMSE is None.
RESULTS: dict[str, list[tuple[float | None, float]]] = {
    "bostonHousing": [(2.90, -2.40), (3.28, -2.41), (3.01, -2.57), (None, -2.46), (None, -2.41)],
    "concrete": [(4.83, -2.94), (6.03, -3.06), (5.67, -3.16), (None, -3.07), (None, -3.06)],
    "energy": [(0.54, -1.21), (2.09, -1.38), (1.80, -2.04), (None, -1.03), (None, -1.01)],
    "wine-quality-red": [(0.62, -0.93), (0.64, -0.94), (0.64, -0.97), (None, -0.92), (None, -0.90)],
    "yacht": [(0.67, -1.25), (1.58, -1.18), (1.02, -1.63), (None, -0.68), (None, -0.47)],
}


def cells(name: str) -> list[str]:
    """The cells of the published columns for a set; dashes for an unknown set.

    >>> cells("yacht")[0], cells("yacht")[3], cells("new")[0]
    ('0.67 / -1.25', '- / -0.68', '-')
    """
    if name not in RESULTS:
        return ["-"] * len(COLUMNS)
    return [f"{'-' if rmse is None else f'{rmse:.2f}'} / {ll:.2f}" for rmse, ll in RESULTS[name]]
