"""The methods that are compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Method:
    """A regressor with its settings.

    Attributes:
        name: how the tables call it.
        library: "bde" or "deepuq_jax".
        settings: arguments of the regressor besides its seed.
        again: whether to fit a second time in the same process.
    """

    name: str
    library: str
    settings: dict[str, Any] = field(default_factory=dict)
    again: bool = True

    def seeded(self, seed: int) -> dict[str, Any]:
        """The settings with a seed."""
        return self.settings | {"seed" if self.library == "bde" else "random_state": seed}


# The example of a regression in the README of sklearn-contrib-bde 1.0.2. Its loss, GaussianNLL(), is the default.
README = {
    "hidden_layers": [16, 16],
    "n_members": 8,
    "epochs": 200,
    "validation_split": 0.15,
    "lr": 1e-3,
    "weight_decay": 1e-4,
    "warmup_steps": 5000,
    "n_samples": 2000,
    "n_thinning": 2,
    "patience": 10,
}

OURS, OURS_OWN_NOISE, OURS_SMALL = (
    "VIRegressor, nothing set",
    "VIRegressor, heteroscedastic",
    "VIRegressor, heteroscedastic, 16-16",
)
BDE, BDE_README = "BdeRegressor, nothing set", "BdeRegressor, README"
METHODS = (
    Method(OURS, "deepuq_jax"),
    Method(OURS_OWN_NOISE, "deepuq_jax", {"likelihood": "heteroscedastic"}),
    Method(OURS_SMALL, "deepuq_jax", {"likelihood": "heteroscedastic", "hidden_layer_sizes": [16, 16]}),
    Method(BDE, "bde"),
    Method(BDE_README, "bde", README, again=False),
)
# In the quick run, so that everything works.
QUICK = (
    Method(OURS_OWN_NOISE, "deepuq_jax", {"likelihood": "heteroscedastic", "max_iter": 2}),
    Method(BDE, "bde", {"epochs": 2}, again=False),
)
