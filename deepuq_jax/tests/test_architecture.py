"""The structure of the package: the direction of imports, their side effects, and the length of files."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import deepuq_jax

PACKAGE = Path(deepuq_jax.__file__).parent

CONTRIBUTING = PACKAGE.parent / "CONTRIBUTING.md"
DEMO = "demo"  # The demo uses the public names, as a user does.


def levels():
    """Return the level of each folder and file of the package, from the table in CONTRIBUTING.md."""
    found = {}
    for row in re.findall(r"^\| (\d+) \| ([^|]+) \|", CONTRIBUTING.read_text(encoding="utf-8"), flags=re.MULTILINE):
        names = re.findall(r"`(\w+)/?`", row[1])
        assert names, row
        assert not set(names) & set(found), row
        found.update(dict.fromkeys(names, int(row[0])))
    return found


LEVELS = levels()


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


def unit_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_the_table_of_levels_lists_every_folder_and_file():
    assert set(LEVELS) == {unit_of(path) for path in modules()}


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down_only(path):
    """A file imports from lower levels and from its own folder; only the demo is exempt."""
    here = unit_of(path)
    if here == DEMO:
        return
    for imported in own_imports(path):
        is_lower = LEVELS[imported] < LEVELS[here]
        assert is_lower or imported == here, f"{path.name} imports {imported}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_private_names_of_a_folder_are_imported_within_it_alone(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("deepuq_jax."):
            continue
        parts = [*node.module.split(".")[1:], *(alias.name for alias in node.names)]
        private = [part for part in parts[1:] if part.startswith("_") and not part.startswith("__")]
        assert not private or parts[0] == unit_of(path), f"{path.name} imports {'.'.join(parts)}"


def test_functional_uses_neither_keys_nor_flax():
    for path in (PACKAGE / "functional").glob("*.py"):
        text = path.read_text()
        assert "jax.random" not in text
        assert "flax" not in text


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_are_short(path):
    assert len(path.read_text().splitlines()) <= 320


def run_program(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.slow
def test_import_without_torch_and_optional_packages():
    blocked = ["torch", "deepuq_torch", "sklearn", "matplotlib", "tqdm", "scipy.stats", "equinox"]
    blocked += ["arviz_stats", "scoringrules", "orbax.checkpoint"]
    code = f"import sys\nfor name in {blocked}: sys.modules[name] = None\nimport deepuq_jax"
    result = run_program(code)
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_import_does_no_work_on_a_device_and_changes_no_global_state():
    code = (
        "import jax\n"
        "before = {name: getattr(jax.config, name, None) for name in jax.config.values}\n"
        "import deepuq_jax\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge._backends, xla_bridge._backends\n"
        "assert before == {name: getattr(jax.config, name, None) for name in jax.config.values}\n"
    )
    result = run_program(code)
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
