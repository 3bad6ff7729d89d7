"""Try a wheel in an empty environment for each of its extras.

Another environment has torch but no JAX, for users of `deepuq_torch` alone.

    python -m deepuq_jax.tests.wheels dist/*.whl
    python -m deepuq_jax.tests.wheels dist/*.whl --only torch-alone

The versions are those of constraints.txt. `make dist` runs this on the wheel that it has built. It takes minutes.
"""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
# Extras that are installed only from a clone. Every other command of the Makefile uses the first, and the second is for
# a benchmark, which is in no wheel.
FROM_A_CLONE = {"dev", "gpu-compiled"}

MODEL = """
import jax
import jax.numpy as jnp
from flax import nnx
import deepuq_jax as dq

x = jnp.linspace(-1.0, 1.0, 64)[:, None]
model = dq.BayesByBackpropMLP(1, (8,), 1, likelihood=dq.Gaussian(0.1), rngs=nnx.Rngs(0))
key = jax.random.key(0)
"""

PLAIN = """
from importlib.util import find_spec

model = dq.fit(model, x, x**2, key=key, epochs=5).model
dq.save("model.safetensors", model)
assert dq.predict_vi_uq(dq.load("model.safetensors"), x, key=key).mean.shape == (64, 1)
assert not any(find_spec(name) for name in ("torch", "sklearn", "matplotlib", "arviz_stats", "tqdm"))
try:
    import deepuq_jax.sklearn
except ImportError as error:
    assert "deepuq-jax[sklearn]" in str(error)
"""

TORCH = """
import torch
import deepuq_torch as dt

dq.save("model.safetensors", model)
assert dt.load("model.safetensors")(torch.ones(64, 1)).shape == (64, 1)
"""

DEMO = """
import deepuq_jax.demo.digits
from deepuq_jax.plots import plot_regression

plot_regression(x, dq.predict_vi_uq(model, x, key=key)).figure.savefig("curve.png")
"""

SKLEARN = """
from deepuq_jax.sklearn import VIRegressor

VIRegressor((4,), max_iter=5).fit([[0.0], [0.5], [1.0]], [0.0, 0.6, 1.0]).predict([[0.2]])
"""

INTEROP = """
result = dq.predict_vi_uq(model, x, key=key)
assert len(dq.interop.to_dataframe(result)) == 64
assert "mean" in dq.interop.to_dataset(result)
dq.export(model, "model.export", x)
"""

TORCH_ALONE = """
from importlib.util import find_spec

import torch
import deepuq_torch as dt
from deepuq_torch.methods.vi import BayesByBackpropMLP, predict_vi_uq, vi_elbo_step

assert find_spec("jax") is None
x = torch.linspace(-1, 1, 64)[:, None]
model = BayesByBackpropMLP(1, [8], 1)
vi_elbo_step(model, x, x**2, num_batches=1, criterion=torch.nn.MSELoss())[0].backward()
natural = dt.NaturalGradient(model, num_data=64)
density = dt.functional.gaussian_log_likelihood(0.1)
for _ in range(5):
    natural.zero_grad()
    dt.negative_elbo(model, x, x**2, num_data=64, log_likelihood=density)[0].backward()
    natural.step()
dt.save("model.safetensors", model)
assert predict_vi_uq(dt.load("model.safetensors"), x, n_samples=5, aleatoric_var=0.01).mean.shape == (64, 1)
try:
    import deepuq_jax
except ModuleNotFoundError as error:
    assert error.name in ("jax", "flax", "numpy"), error.name
"""

# A program per extra; the plain installation is the extra without a name.
PROGRAMS = {
    "": MODEL + PLAIN,
    "progress": MODEL + "dq.fit(model, x, x**2, key=key, epochs=2, progress=True)",
    "torch": MODEL + TORCH,
    "demo": MODEL + DEMO,
    "diagnostics": MODEL + "print(dq.diagnose(model, x, x**2, key=key, n_samples=100))",
    "sklearn": SKLEARN,
    "interop": MODEL + INTEROP,
    "docs": "import myst_nb, sphinx, sphinx_book_theme, sphinx_copybutton, sphinx_design",
}


def extras_of(wheel: Path) -> set[str]:
    """Return the extras that a wheel names."""
    with zipfile.ZipFile(wheel) as files:
        metadata = next(name for name in files.namelist() if name.endswith(".dist-info/METADATA"))
        return set(HeaderParser().parsestr(files.read(metadata).decode()).get_all("Provides-Extra", []))


def run_in_new_environment(folder: Path, requirements: list[list[str]], program: str) -> None:
    """Create an environment, install into it with one call of pip per list of arguments, and run a program."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    for arguments in requirements:
        command = [python, "-m", "pip", "install", "--quiet", "--constraint", CONSTRAINTS, *arguments]
        subprocess.run(command, check=True)
    subprocess.run([python, "-W", "error::DeprecationWarning:deepuq_jax", "-c", program], check=True, cwd=folder)


def environments(wheel: Path) -> dict[str, tuple[list[list[str]], str]]:
    """Return what each environment installs, and the program that tries it, by its name.

    Raises:
        ValueError: the wheel has an extra without a program here.
    """
    extras = extras_of(wheel) - FROM_A_CLONE
    if extras != set(PROGRAMS) - {""}:
        raise ValueError(f"Expected a program in PROGRAMS for each of {sorted(extras)}; got {sorted(PROGRAMS)}.")
    found = {name or "plain": ([[f"{wheel}[{name}]" if name else f"{wheel}"]], PROGRAMS[name]) for name in PROGRAMS}
    return {**found, "torch-alone": ([["torch"], ["--no-deps", str(wheel)]], TORCH_ALONE)}


def main() -> None:
    """Try each environment, and report those that fail."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="a wheel of this project")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="the environments to try, such as plain or sklearn")
    arguments = parser.parse_args()
    tried = environments(arguments.wheel.resolve())
    names = arguments.only or list(tried)
    if unknown := set(names) - set(tried):
        parser.error(f"Expected names among {', '.join(tried)}; got {', '.join(sorted(unknown))}.")
    failed = []
    for name in names:
        print(f"{name} ...", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            try:
                run_in_new_environment(Path(folder) / "environment", *tried[name])
            except subprocess.CalledProcessError:
                failed.append(name)
    if failed:
        sys.exit(f"The wheel failed in {', '.join(failed)}.")
    print("The wheel works in every environment.")


if __name__ == "__main__":
    main()
