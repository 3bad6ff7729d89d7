"""The settings of a run: the arguments of `fit`, with the defaults filled in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from deepuq_jax._checks import check_count, check_optimizer, expected
from deepuq_jax.model.variables import copied
from deepuq_jax.objectives.objective import Objective, VariationalObjective, as_objective
from deepuq_jax.training import _defaults as default
from deepuq_jax.training._data import Arrays, Data
from deepuq_jax.training._rows import on_mesh
from deepuq_jax.training._run import Run, Score
from deepuq_jax.training.natural_gradient import NaturalGradient
from deepuq_jax.training.state import TrainState, check_opt_state


class Plan(NamedTuple):
    """Checked settings of a run.

    Attributes:
        objective: the objective, with the number of examples filled in if the data are arrays.
        optimizer: the optimizer, with the number of steps filled in if it depends on it.
        epochs: number of passes over the data.
    """

    objective: VariationalObjective
    optimizer: optax.GradientTransformation
    epochs: int


def make_plan(
    model: Any,
    data: Data,
    objective: Objective | None,
    optimizer: optax.GradientTransformation | None,
    epochs: int | None,
    *,
    has_patience: bool,
    earlier: TrainState | None,
) -> Plan:
    """Fill in the defaults of `fit`.

    Args:
        model: the model to train.
        data: the training data.
        objective, optimizer, epochs: arguments of `fit`.
        has_patience: whether `fit` stops early.
        earlier: the state that `fit` continues with, or None for a new run.
    Raises:
        ValueError, TypeError: an argument is invalid, or has no default for these data or an earlier state.
    """
    if optimizer is not None:
        check_optimizer("optimizer", optimizer)
    if epochs is not None:
        check_count("epochs", epochs)
    given = None if objective is None else as_objective(objective)
    epochs = default.epochs_for(data.steps) if epochs is None else epochs
    data.check_epochs(epochs)
    steps = data.steps * epochs if data.steps else None
    used = default.plain_objective() if given is None else given
    if isinstance(data, Arrays):
        used = used.for_data(data.size)
    elif given is None:
        what = "to be set for an iterable of batches, as in ELBO(num_data=N)"
        raise ValueError(expected("objective", what, "None"))
    num_data = getattr(used, "num_data", None)
    if earlier is not None:
        return Plan(used, _to_continue(earlier, optimizer, steps, num_data), epochs)
    chosen = default.optimizer_for(model, used, steps) if optimizer is None else optimizer
    is_natural = isinstance(chosen, NaturalGradient)
    # Early stopping leaves the number of steps open, so the default objective is then the ELBO throughout.
    if isinstance(data, Arrays) and given is None and not has_patience:
        used = default.objective_for(model, steps, is_natural=is_natural).for_data(data.size)
    return Plan(used, chosen.for_training(steps, num_data) if is_natural else chosen, epochs)


def _to_continue(
    earlier: TrainState, optimizer: optax.GradientTransformation | None, steps: int | None, num_data: Any
) -> optax.GradientTransformation:
    """Return the optimizer of a run that continues with an earlier state."""
    if optimizer is None:
        what = "to be given with a TrainState, since the learning rate of the default falls to 0 by the end of a run"
        raise ValueError(expected("optimizer", what, "None"))
    if isinstance(optimizer, NaturalGradient):
        optimizer = optimizer.for_continuing(int(earlier.step), steps, num_data)
    check_opt_state(optimizer, earlier.params, earlier.opt_state)
    return optimizer


def start_run(
    model: Any,
    data: Data,
    plan: Plan,
    *,
    earlier: TrainState | None = None,
    score: Score | None = None,
    patience: int | None = None,
    progress: bool = False,
) -> Run:
    """Create a run that has made no step yet.

    Args:
        model, data, earlier: as in `make_plan`.
        plan: the settings of the run.
        score: the validation score of a model, or None.
        patience, progress: as in `fit`.
    """
    passes = data.epochs(model, plan.objective, plan.optimizer, one_by_one=progress or score is not None)
    # The epochs donate their buffers, so training starts from a copy and the caller's arrays survive.
    state = on_mesh(copied(_start_of(model, plan.optimizer, earlier)), data.mesh)
    return Run(state, passes, score, epochs=plan.epochs, patience=patience, progress=progress)


def _start_of(model: Any, optimizer: optax.GradientTransformation, earlier: TrainState | None) -> TrainState:
    """Return the state before the first step; it may share the caller's arrays."""
    if earlier is None:
        return TrainState.create(model, optimizer)
    # An earlier run may have ended at a step that was not finite; this run may fare better.
    return replace(earlier, bad_step=jnp.full((), -1, jnp.int32))
