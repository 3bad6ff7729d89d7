"""The files that are mutated, and the tests that should find the mutants."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Subject:
    """A group of source files with their tests.

    Attributes:
        name: heads the group's row in the report.
        sources: glob patterns of files, from the root of the checkout.
        quick: test files that find most mutants.
        thorough: further test files for the mutants that `quick` does not find. Slow tests run then, too, also those of
            the quick files.
    """

    name: str
    sources: tuple[str, ...]
    quick: tuple[str, ...]
    thorough: tuple[str, ...]

    def files(self, root: Path) -> list[str]:
        """Return the source files, as paths from `root` with forward slashes, in alphabetical order."""
        found = {path.relative_to(root).as_posix() for pattern in self.sources for path in root.glob(pattern)}
        return sorted(found)

    def first(self, root: Path, file: str) -> tuple[str, ...]:
        """Return the tests of a file that run first: those named after it, if there are any, and the quick ones."""
        path = Path(file)
        own = (path.parents[-2] / "tests" / f"test_{path.stem.lstrip('_')}.py").as_posix()
        named = (own,) if (root / own).exists() else ()
        return tuple(dict.fromkeys((*named, *self.quick)))


def _tests(package: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{package}/tests/test_{name}.py" for name in names)


def _jax(folder: str, quick: tuple[str, ...], thorough: tuple[str, ...]) -> Subject:
    name = f"deepuq_jax/{folder}"
    quick = (*quick, "small_faults")
    return Subject(name, (f"{name}/*.py",), _tests("deepuq_jax", *quick), _tests("deepuq_jax", *thorough))


SUBJECTS = (
    Subject(
        "deepuq_torch",
        tuple(f"deepuq_torch/{name}.py" for name in ("_kl", "_gaussian", "_objective", "_prediction", "_moments")),
        _tests("deepuq_torch", "gaussian", "kl_derivatives", "errors", "refused_arguments", "prediction", "objective"),
        _tests("deepuq_torch", "layers", "messages", "scripting", "step_cost", "torch_citizen", "later_models"),
    ),
    _jax(
        "functional",
        ("scale", "gaussian", "functional", "subnormals", "propagation"),
        ("likelihoods", "second_derivatives", "likelihood_contracts"),
    ),
    _jax("noise", ("noise",), ("estimators", "objective", "contracts", "propagation")),
    _jax("likelihoods", (), ("likelihoods", "likelihood_contracts", "messages", "regressors", "standardized")),
    _jax("priors", ("priors",), ("gaussian", "posterior", "prior_contracts", "messages")),
    _jax("estimators", ("estimators",), ("layers", "contracts", "conv")),
    _jax("metrics", ("metrics",), ("messages", "standardized")),
    _jax(
        "objectives",
        ("objective",),
        ("objective_contracts", "sticking_the_landing", "training", "messages", "traps", "own_classes"),
    ),
    _jax(
        "prediction",
        ("prediction",),
        ("monte_carlo_error", "propagation", "modes", "mixed_precision", "likelihoods", "traps"),
    ),
)
