"""Mean-field variational inference (Bayes by Backprop), at its documented path.

The set-up is as follows:

- Each parameter tensor has its own Gaussian posterior, whose components are independent.
- In a stochastic forward pass, Bayesian layers sample their weights from the posteriors, by reparameterization.
- The divergence KL(q || p) of the posteriors from a Gaussian prior is computed analytically, in nats.
- The ELBO helper ``vi_elbo_step`` adds the scaled KL to a data-fit loss; ``negative_elbo`` does so in exact units.

Source: Blundell et al. 2015, https://arxiv.org/abs/1505.05424
"""

from .._homoscedastic import HomoscedasticBayesByBackpropRegressor
from .._last_layer import LastLayerVariationalInference
from .._layers import BayesianLinear
from .._mlp import BayesByBackpropMLP, BayesByBackpropRegressor
from .._objective import negative_elbo, vi_elbo_step
from .._posterior import GaussianPosterior, GaussianPrior
from .._prediction import predict_vi_uq
from .._regressors import (
    HeteroscedasticBayesByBackpropRegressor,
    HeteroscedasticMultiOutputBayesByBackpropRegressor,
    MultiOutputBayesByBackpropRegressor,
)
from ..types import UQResult

__all__ = [
    "BayesByBackpropMLP",
    "BayesByBackpropRegressor",
    "BayesianLinear",
    "GaussianPosterior",
    "GaussianPrior",
    "HeteroscedasticBayesByBackpropRegressor",
    "HeteroscedasticMultiOutputBayesByBackpropRegressor",
    "HomoscedasticBayesByBackpropRegressor",
    "LastLayerVariationalInference",
    "MultiOutputBayesByBackpropRegressor",
    "UQResult",
    "negative_elbo",
    "predict_vi_uq",
    "vi_elbo_step",
]
