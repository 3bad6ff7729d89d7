"""The house: imports go down only, nothing runs on a device at import, torch is not needed, the text is short."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import deepuq_jax

PACKAGE = Path(deepuq_jax.__file__).parent

# A file may import from its own level's folder and from lower levels only; the same table stands in CONTRIBUTING.md.
LEVELS = {
    "_checks": 0,
    "types": 0,
    "_threefry": 0,
    "_noise": 0,
    "_paths": 0,
    "_draws": 0,
    "_progress": 0,
    "functional": 1,
    "priors": 2,
    "estimators": 2,
    "metrics": 2,
    "posterior": 3,
    "model": 3,
    "_sources": 3,
    "adapters": 3,
    "layers": 4,
    "bayesianize": 4,
    "objective": 5,
    "training": 6,
    "prediction": 6,
    "_epochs": 6,
    "schedules": 1,
    "_fit_defaults": 1,
    "fit": 7,
    "pruning": 7,
    "plots": 7,
    "diagnostics": 7,
    "demo": 8,
}
# One file of a level may use another of the same level only in this order.
SAME_LEVEL = {
    ("types", "_checks"),
    ("_noise", "_checks"),
    ("_noise", "_threefry"),
    ("_draws", "_checks"),
    ("model", "posterior"),
    ("_epochs", "training"),
    ("_sources", "model"),
    ("adapters", "model"),
    ("pruning", "diagnostics"),
}


def modules():
    return [p for p in PACKAGE.rglob("*.py") if "tests" not in p.parts and p != PACKAGE / "__init__.py"]


def unit(dotted):
    return dotted.split(".")[1]


def own_imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("deepuq_jax."):
            yield unit(node.module)
        elif isinstance(node, ast.ImportFrom) and node.module == "deepuq_jax":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (unit(alias.name) for alias in node.names if alias.name.startswith("deepuq_jax."))


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down_only(path):
    here = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert here in LEVELS, f"{here} has no level: add it to LEVELS and to CONTRIBUTING.md"
    for imported in own_imports(path):
        if LEVELS[here] >= 8:
            continue  # The demo is a user: it takes the public names.
        is_lower = LEVELS[imported] < LEVELS[here]
        assert is_lower or imported == here or (here, imported) in SAME_LEVEL, f"{path.name} imports {imported}"


def test_functional_knows_no_keys_and_no_modules():
    for path in (PACKAGE / "functional").glob("*.py"):
        text = path.read_text()
        assert "jax.random" not in text
        assert "flax" not in text


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_are_short(path):
    assert len(path.read_text().splitlines()) <= 320


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_import_without_torch_and_optional_packages():
    blocked = ["torch", "deepuq_torch", "sklearn", "matplotlib", "tqdm", "scipy.stats", "equinox"]
    blocked += ["arviz_stats", "scoringrules"]
    code = f"import sys\nfor name in {blocked}: sys.modules[name] = None\nimport deepuq_jax"
    result = run(code)
    assert result.returncode == 0, result.stderr


def test_import_does_no_work_on_a_device_and_changes_no_global_state():
    code = (
        "import jax\n"
        "before = {name: getattr(jax.config, name, None) for name in jax.config.values}\n"
        "import deepuq_jax\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge._backends, xla_bridge._backends\n"
        "assert before == {name: getattr(jax.config, name, None) for name in jax.config.values}\n"
    )
    result = run(code)
    assert result.returncode == 0, result.stderr


def test_public_names_exist_and_have_a_docstring_with_an_example():
    for name in deepuq_jax.__all__:
        assert getattr(deepuq_jax, name).__doc__, name
    functions = [
        "fit",
        "predict_vi_uq",
        "negative_elbo",
        "vi_elbo_step",
        "kl_divergence",
        "bayesianize",
        "draw",
        "diagnose",
    ]
    for name in functions:
        assert ">>>" in getattr(deepuq_jax, name).__doc__, name
