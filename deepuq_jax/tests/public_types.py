"""Check that the types of all public names are known, as a user's type checker sees them.

    python -m deepuq_jax.tests.public_types

Pyright reads a copy without tests, like the one in the wheel. `make lint` runs this.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
# These names are of unknown type because their base classes come from optax and scikit-learn, which publish no types.
UNTYPED_BASES = {
    *("deepuq_jax.natural_gradient", "deepuq_jax.training.natural_gradient.natural_gradient"),
    "deepuq_jax.training.natural_gradient.NaturalGradient",
    *("deepuq_jax.sklearn.VIClassifier", "deepuq_jax.sklearn.classifier.VIClassifier"),
    *("deepuq_jax.sklearn.VIRegressor", "deepuq_jax.sklearn.regressor.VIRegressor"),
    "deepuq_jax.sklearn._base.VIEstimator",
}


def unknown_types(package: str, folder: Path) -> dict[str, list[str]]:
    """Return what Pyright says of each public name whose type it does not know.

    Args:
        package: name of the package, which holds a `py.typed`.
        folder: an empty folder, for the copy.
    """
    shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("tests", "__pycache__"))
    # Pyright finds other packages by the first Python on the path, and ours by PYTHONPATH.
    paths = {"PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])), "PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "pyright", "--verifytypes", package, "--ignoreexternal", "--outputjson"]
    run = subprocess.run(command, cwd=folder, env=os.environ | paths, capture_output=True, text=True)
    report = json.loads(run.stdout)["typeCompleteness"]
    if report["packageName"] != package or not report["symbols"]:
        raise SystemExit(f"Expected Pyright to find {package}; got {run.stdout}")
    return {
        symbol["name"]: [message["message"] for message in symbol["diagnostics"]]
        for symbol in report["symbols"]
        if not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"]
    }


def main() -> int:
    """Print the public names of unknown type, and return 1 if there are any."""
    failures = 0
    for package in ("deepuq_jax", "deepuq_torch"):
        with tempfile.TemporaryDirectory() as folder:
            found = unknown_types(package, Path(folder))
        for name in sorted(found.keys() - UNTYPED_BASES):
            print(name, *found[name], sep="\n    ")
            failures += 1
    print(f"{failures} public names of unknown type")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
