"""The bounds in pyproject.toml are the versions that were tested."""

import re
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("packaging")
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not (ROOT / "constraints.txt").exists(), reason="an installed package has no pins")


def requirements():
    """Return the requirements of the package and of its extras, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    listed = [Requirement(line) for lines in [project["dependencies"], *extras] for line in lines]
    return {found.name: found for found in listed if found.name != project["name"]}


def pins(name):
    """Return the pinned versions of a constraints file, by package; one package may have several."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {}
    for pin in found:
        versions.setdefault(pin.name, []).append(Version(str(pin.specifier).removeprefix("==")))
    return versions


def lower_bound(requirement):
    return next(Version(part.version) for part in requirement.specifier if part.operator == ">=")


def test_every_lower_bound_is_the_version_of_the_oldest_environment():
    oldest = pins("constraints-oldest.txt")
    assert {name: [lower_bound(found)] for name, found in requirements().items()} == {
        name: oldest.get(name) for name in requirements()
    }


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-newest.txt"])
def test_every_pin_is_within_its_bounds(name):
    pinned = pins(name)
    for package, requirement in requirements().items():
        for version in pinned.get(package, []):
            assert version in requirement.specifier, f"{name} pins {package} to {version}"


def test_the_newest_environment_pins_every_requirement():
    assert set(requirements()) <= set(pins("constraints-newest.txt"))


@pytest.mark.skipif(not (ROOT / "docs").exists(), reason="a source distribution may have no docs beside it")
def test_the_table_in_the_docs_has_the_versions_of_both_environments():
    page = (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([a-z][\w.-]*) \| ([\d.]+) \| ([\d.]+) \|$", page, re.MULTILINE)
    oldest, newest = pins("constraints-oldest.txt"), pins("constraints-newest.txt")
    assert {name: (Version(old), Version(new)) for name, old, new in rows} == {
        name: (oldest[name][0], newest[name][0]) for name in newest
    }
