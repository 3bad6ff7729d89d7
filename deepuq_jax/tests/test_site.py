"""The site covers every public name, every page is in a table of contents, and links between files lead somewhere."""

import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import deepuq_jax

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# Folders whose names only the package itself uses.
INTERNAL = {"adapters"}

pytestmark = pytest.mark.skipif(not (DOCS / "conf.py").exists(), reason="an installed package has no docs beside it")


def documented():
    """Return the dotted names that the pages of the reference show."""
    found = []
    for page in (DOCS / "api").glob("*.rst"):
        module = ""
        for kind, name in re.findall(r"^\.\. (\w+):: ([\w.]+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
            if kind == "currentmodule":
                module = name
            elif kind.startswith("auto"):
                found.append(name if name.startswith("deepuq_") else f"{module}.{name}")
    return found


def names_of(file):
    """Return the `__all__` that a Python file assigns, without importing the file."""
    found = re.search(r"^__all__ = \[(.*?)\]", file.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [] if found is None else re.findall(r'"(\w+)"', found[1])


def functions_of(module):
    """Return the public functions that a module without an `__all__` defines."""
    own = [value for value in vars(module).values() if inspect.isfunction(value)]
    names = [value.__name__ for value in own if value.__module__ == module.__name__]
    return [name for name in names if not name.startswith("_")]


def pages():
    return [page for page in DOCS.rglob("*") if page.suffix in (".md", ".rst") and "_build" not in page.parts]


def prose(page):
    """Return a page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


# Names without an example: results, which the example of a function shows, and contracts, which a user's class fulfils.
WITHOUT_EXAMPLE = {
    *("DensityEstimate", "ELBOTerms", "FitResult", "PriorChoice", "UQResult", "BayesianModule", "TrainState"),
    *("PredictionSets", "QuantileIntervals", "SplitIntervals", "CalibrationRanks", "FitHealth", "LayerHealth"),
    *(
        "Moments",
        "PrecisionStep",
        "ScaleStep",
        "Reliability",
        "RiskCoverage",
        "Draw",
        "KeyRequiredError",
        "NonFiniteError",
    ),
    *("BayesianModel", "Estimator", "Likelihood", "Objective", "Prior", "NoiseSource", "PredictiveDistribution"),
    *("KLRule", "AlongPath", "AtDraw", "Antithetic"),
}


def value_of(name):
    """Return the value of a dotted name, importing the modules that it names."""
    package, *parts = name.split(".")
    value = pytest.importorskip(package)
    for part in parts:
        if inspect.ismodule(value) and not hasattr(value, part):
            importlib.import_module(f"{value.__name__}.{part}")
        value = getattr(value, part)
    return value


def test_no_name_is_listed_twice():
    found = documented()
    assert len(found) == len(set(found))


@pytest.mark.parametrize("package", ["deepuq_jax", "deepuq_torch"])
def test_every_name_of_the_reference_has_a_docstring_with_an_example(package):
    """The examples are doctests, which `make test` runs."""
    names = [name for name in documented() if name.startswith(f"{package}.")]
    if importlib.util.find_spec("sklearn") is None:
        names = [name for name in names if not name.startswith("deepuq_jax.sklearn")]
    lacking = {name.rpartition(".")[2] for name in names if ">>>" not in (inspect.getdoc(value_of(name)) or "")}
    assert lacking == (WITHOUT_EXAMPLE if package == "deepuq_jax" else set())


def test_every_public_name_is_in_the_reference():
    """A name that two packages export may be listed under either. Constants, such as colours, need not be listed."""
    shown = {name.rpartition(".")[2] for name in documented() if name.startswith("deepuq_jax")}
    public = {name for name in deepuq_jax.__all__ if not inspect.ismodule(getattr(deepuq_jax, name))}
    for file in (ROOT / "deepuq_jax").glob("*/__init__.py"):
        if file.parent.name not in INTERNAL:
            public.update(name for name in names_of(file) if name in deepuq_jax.__all__ or not name.isupper())
    public.update(functions_of(deepuq_jax.schedules))
    assert public <= shown, sorted(public - shown)


def test_every_public_name_of_deepuq_torch_is_in_the_reference():
    shown = {name for name in documented() if name.startswith("deepuq_torch")}
    package = ROOT / "deepuq_torch"
    public = {f"deepuq_torch.{name}" for name in names_of(package / "__init__.py")} - {
        "deepuq_torch.functional",
        "deepuq_torch.methods",
    }
    public |= {f"deepuq_torch.functional.{name}" for name in names_of(package / "functional.py")}
    assert public == shown


def test_every_page_is_in_a_table_of_contents():
    listed = {DOCS / "index"}
    for page in pages():
        for toctree in re.findall(r"^```\{toctree\}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.S | re.M):
            for entry in re.findall(r"^(\w[\w/*-]*)$", toctree, re.MULTILINE):
                found = [match.with_suffix("") for match in page.parent.glob(f"{entry}.*")]
                assert found or "*" in entry, f"{page.name} lists {entry}"
                listed.update(found)
    assert {page.with_suffix("") for page in pages()} == listed


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_a_block_of_colons_ends_on_a_line_of_its_own(page):
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r"^.*[^:\n]:::+$", text, re.MULTILINE)
    assert len(re.findall(r"^:::+\{", text, re.MULTILINE)) == len(re.findall(r"^:::+$", text, re.MULTILINE))


def test_every_record_of_the_benchmarks_has_a_page():
    shown = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "benchmarks").glob("*.md"))
    for record in (ROOT / "benchmarks" / "results").glob("*.md"):
        assert f"{{include}} ../../benchmarks/results/{record.name}" in shown


def anchors(page):
    """Return the anchors of a page's headings, as GitHub and MyST make them."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def markdown():
    """Return the paths of all Markdown whose links are checked."""
    others = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")
    return [*others, *(str(page.relative_to(ROOT)) for page in pages() if page.suffix == ".md")]


@pytest.mark.skipif(not (DOCS / "images").exists(), reason="a source distribution has no pictures")
@pytest.mark.parametrize("name", markdown())
def test_links_between_files_lead_somewhere(name):
    page = ROOT / name
    for target, anchor in re.findall(r"\]\(([^()\s#]*)(?:#([^()\s]*))?\)", prose(page)):
        if target.startswith(("http:", "https:")):
            continue
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{target} in {page.name}"
        assert not anchor or anchor in anchors(file), f"{target}#{anchor} in {page.name}"


def test_the_landing_page_has_the_program_of_the_readme():
    programs = [
        re.findall(r"^```python\n(.*?)^```", file.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)[0]
        for file in (ROOT / "README.md", DOCS / "index.md")
    ]
    assert programs[0] == programs[1]


@pytest.mark.long
def test_the_site_is_built_without_a_warning(tmp_path):
    """The tutorials are executed, and links and references are checked."""
    pytest.importorskip("sphinx_book_theme")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", str(tmp_path / "trees")]
    run = subprocess.run([*command, str(DOCS), str(tmp_path / "html")], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "html" / "index.html").exists()
