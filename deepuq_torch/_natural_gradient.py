"""Natural-gradient variational inference as a torch optimizer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from ._checks import above_zero, decay, fault, number_or_scalar, positive_number
from ._natural_step import Part, Rates, parts, take_step

# A step is divided by the weight of the KL, but at least by this number, because the weight is 0 when a warm-up starts.
_SMALLEST_WEIGHT = 0.01
# Posteriors of up to this number of elements are joined: one call of each operation per tensor would cost more than
# copying the tensors.
_SMALL = 2**13
# Advice about the parameters of the optimizer ``rest``.
_LIST_OTHERS = "List them with `[p for name, p in model.named_parameters() if not name.endswith(('.mu', '.rho'))]`."
_NO_OTHERS = "The model has no other parameters, so leave rest out."


class NaturalGradient(Optimizer):
    """Optimizer of posteriors by natural gradients.

    ::

        S <- S (1 + a + a^2 / 2),   a = (1 - beta2) * sigma * dL/dsigma,   S = 1 / sigma^2
        mu <- mu - lr * g / S,   g the debiased moving average of dL/dmu with decay beta1

    ``L = num_data * loss / kl_weight`` is in nats of the whole data set, and ``loss`` is that of ``negative_elbo``. For
    an L that is quadratic in the weights, S tends to the Hessian plus the prior's precision, and lr = 1 is Newton's
    step. A posterior is a module with two parameters mu and rho of the same shape, as in ``GaussianPosterior``. Its
    state is one tensor, where Adam has four.

    All other parameters of the model are trained by ``rest``. Its parameter groups follow that of the posteriors in
    ``param_groups``, so ``zero_grad``, ``state_dict``, a gradient scaler and a scheduler of this optimizer include
    these groups; give ``rest`` no scheduler of its own. Parameters without a gradient stay as they are. A non-finite
    gradient makes its parameters NaN, as in torch's optimizers; ``torch.amp.GradScaler`` skips such a step.

    Args:
        model: a model with posteriors, not its parameters.
        lr: learning rate of the means. Let a scheduler reduce it to 0, so that the noise of the gradients averages out.
        num_data: number of examples in the whole training set, the same as in ``negative_elbo``.
        beta1: decay of the average of dL/dmu.
        beta2: decay of the precision, which is a moving average; a number, or a function of the number of steps so far.
            The default suits about 8,000 steps; ``deepuq_jax.fit`` chooses 1 - 4 / steps. A number is saved in
            ``state_dict``, like lr and beta1. A function cannot be saved, so pass it to the constructor again: loading
            keeps it.
        mean_limit: the longest step of a mean, in standard deviations; infinity for no limit.
        precision_limit: the largest abs(a); infinity for no limit.
        rest: optimizer of all other parameters of the model that require a gradient; it may also train parameters
            outside of the model. If None, Adam with a learning rate of 1e-3 trains all other parameters of the model.

    Raises:
        ValueError: a setting is out of range, the model has no posterior, ``rest`` leaves out a parameter that requires
            a gradient, or ``rest`` has a parameter of a posterior.
        TypeError: an argument of the wrong type.

    Source:
        Khan et al. 2018, https://arxiv.org/abs/1806.04854, with the correction that keeps S positive of Lin, Schmidt
        and Khan 2020, https://arxiv.org/abs/2002.10060. With a Gaussian prior it is IVON, Shen et al. 2024,
        https://arxiv.org/abs/2402.17641.

    Example:
        >>> from deepuq_torch import BayesByBackpropMLP, negative_elbo
        >>> model = BayesByBackpropMLP(3, [8], 2)
        >>> optimizer = NaturalGradient(model, num_data=1000)
        >>> x, y = torch.randn(16, 3), torch.randint(2, (16,))
        >>> negative_elbo(model, x, y, num_data=1000, kl_weight=0.5)[0].backward()
        >>> optimizer.step(kl_weight=0.5)
    """

    def __init__(
        self,
        model: nn.Module,
        lr: float = 0.2,
        *,
        num_data: float | Tensor,
        beta1: float = 0.9,
        beta2: float | Callable[[int], float] = 0.9995,
        mean_limit: float = 0.3,
        precision_limit: float = 0.1,
        rest: Optimizer | None = None,
    ):
        settings: dict[str, Any] = {
            "lr": positive_number("lr", lr),
            "num_data": positive_number("num_data", num_data),
            "beta1": decay("beta1", beta1),
            "mean_limit": above_zero("mean_limit", mean_limit),
            "precision_limit": above_zero("precision_limit", precision_limit),
        }
        # A function stays out of the parameter groups, so that a checkpoint holds only numbers and tensors.
        self._beta2_of_step = beta2 if callable(beta2) else None
        if not callable(beta2):
            settings["beta2"] = decay("beta2", beta2)
        posteriors = _posteriors(model)
        self.rest: Optimizer | None = None
        super().__init__(posteriors, settings)
        self.rest = _rest(model, posteriors, rest)
        if self.rest is not None:
            self.param_groups.extend(self.rest.param_groups)

    @torch.no_grad()
    def step(  # type: ignore[override]
        self, closure: Callable[[], Any] | None = None, *, kl_weight: float | Tensor = 1.0
    ) -> Any:
        """Take a step.

        Args:
            closure: computes the loss and its gradients again, and returns the loss.
            kl_weight: factor of the KL in the loss, the same as in ``negative_elbo``. The step is divided by this
                factor, or by 0.01 if the factor is smaller.

        Returns:
            the loss of the closure, if there is one.
        """
        weight = number_or_scalar("kl_weight", kl_weight)
        weight = weight.clamp_min(_SMALLEST_WEIGHT) if isinstance(weight, Tensor) else max(weight, _SMALLEST_WEIGHT)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        group = self.param_groups[0]
        per_data_set = group["num_data"] / weight
        for count, together in self._joint(group["params"]):
            beta2 = group["beta2"] if self._beta2_of_step is None else self._beta2_of_step(count)
            unbiased = 1.0 - group["beta1"] ** (count + 1)  # The average starts at 0.
            rates = Rates(
                mean=group["lr"] * per_data_set / unbiased,
                precision=(1.0 - beta2) * per_data_set,
                beta1=group["beta1"],
                mean_limit=group["mean_limit"],
                precision_limit=group["precision_limit"],
            )
            take_step(together, rates)
        if self.rest is not None:
            self.rest.step()
        return loss

    def _joint(self, parameters: Sequence[nn.Parameter]) -> Iterator[tuple[int, list[Part]]]:
        """Yield pairs (number of steps so far, parts of posteriors to compute together)."""
        groups: dict[Any, list[Part]] = {}
        for mu, rho in zip(parameters[::2], parameters[1::2], strict=True):
            if mu.grad is None and rho.grad is None:
                continue
            state = self.state[mu]
            if not state:
                state["step"], state["momentum"] = 0, torch.zeros_like(mu)
            for part in parts(Part(mu, rho, mu.grad, rho.grad, state["momentum"])):
                alone = None if mu.numel() <= _SMALL else len(groups)
                groups.setdefault((state["step"], mu.dtype, rho.dtype, mu.device, alone), []).append(part)
            state["step"] += 1
        for (count, *_), together in groups.items():
            yield count, together

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Refuse a group after construction, since nothing determines how to train it."""
        if self.param_groups:
            raise ValueError(fault("all parameters", "to be in the model or in rest at construction", "another group"))
        super().add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """Return the state, including that of ``rest``, in torch's form."""
        own = self.state
        try:
            if self.rest is not None:
                self.state: defaultdict[torch.Tensor, Any] = defaultdict(dict, {**own, **self.rest.state})
            return super().state_dict()
        finally:
            self.state = own

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the result of ``state_dict``.

        If the constructor got a function as beta2, the function is kept. If it got a number, the number is replaced by
        that of the state, and kept only if the state was saved with a function.
        """
        own = self.param_groups[0].get("beta2")
        super().load_state_dict(state_dict)
        group = self.param_groups[0]
        if self._beta2_of_step is None:
            group.setdefault("beta2", own)
        else:
            group.pop("beta2", None)
        if self.rest is not None:
            posteriors = set(group["params"])
            others = {key: self.state.pop(key) for key in list(self.state) if key not in posteriors}
            self.rest.__setstate__({"state": defaultdict(dict, others), "param_groups": self.param_groups[1:]})

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_beta2_of_step": self._beta2_of_step, "rest": self.rest}


def _posteriors(model: nn.Module) -> list[nn.Parameter]:
    """List mu and rho of each posterior, in turn."""
    if not isinstance(model, nn.Module):
        raise TypeError(fault("model", "to be a torch.nn.Module", type(model).__name__))
    found: list[nn.Parameter] = []
    for module in model.modules():
        own = dict(module.named_parameters(recurse=False))
        if "mu" in own and "rho" in own and own["mu"].shape == own["rho"].shape:
            found.extend((own["mu"], own["rho"]))
    if not found:
        raise ValueError(fault("model", "to hold a posterior, a module with parameters mu and rho", "none"))
    return found


def _rest(model: nn.Module, posteriors: Sequence[nn.Parameter], rest: Optimizer | None) -> Optimizer | None:
    """Return the optimizer of all parameters that belong to no posterior."""
    taken = set(posteriors)
    others = {name: parameter for name, parameter in model.named_parameters() if parameter not in taken}
    if rest is None:
        return Adam(others.values(), lr=1e-3) if others else None
    if not isinstance(rest, Optimizer):
        raise TypeError(fault("rest", "to be a torch.optim.Optimizer", type(rest).__name__))
    held = {parameter for group in rest.param_groups for parameter in group["params"]}
    if held & taken:
        advice = _LIST_OTHERS if others else _NO_OTHERS
        raise ValueError(fault("rest", "to hold no parameter of a posterior", f"{len(held & taken)} of them", advice))
    missing = [name for name, parameter in others.items() if parameter.requires_grad and parameter not in held]
    if missing:
        wanted = "to hold all parameters that belong to no posterior"
        raise ValueError(fault("rest", wanted, f"none of {missing}", _LIST_OTHERS))
    return rest
