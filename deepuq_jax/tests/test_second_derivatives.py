"""Second derivatives of the derivative rules, compared with finite differences of the first derivatives."""

import inspect

import jax
import jax.numpy as jnp
import jax.test_util
import pytest

import deepuq_jax as dq
from deepuq_jax import priors

PRIORS = [getattr(priors, name) for name in priors.__all__ if inspect.isclass(getattr(priors, name))]
CLOSED_FORMS = [prior for prior in PRIORS if prior().resolve(jnp.ones(2), jnp.ones(2)).has_closed_form_kl]


def check(function, *arguments):
    jax.test_util.check_grads(jax.jit(function), arguments, order=2, modes=("fwd", "rev"), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("prior", CLOSED_FORMS)
def test_closed_forms_of_the_kl_have_second_derivatives(prior, x64):
    """One mean equals the prior's, and one sigma is so large that its square dominates the KL.

    The prior is resolved first: an empirical prior documents that its derivatives are those of the resolved one.
    """
    mu, rho = jnp.array([0.3, 0.0, -1.0]), jnp.array([-1.0, 0.0, 2.0])
    resolved = prior().resolve(mu, rho)
    check(lambda mu, rho: dq.GaussianPosterior(mu, rho).kl(resolved), mu, rho)


@pytest.mark.slow
def test_sigma_and_its_logarithm_have_second_derivatives(x64):
    rho = jnp.array([-3.0, 0.0, 2.0])
    check(dq.functional.sigma_from_rho, rho)
    check(dq.functional.log_sigma, rho)
