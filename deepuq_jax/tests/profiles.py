"""The cases of a test that `make test` runs; `make test-all` runs the others too."""

import pytest


def small_profile(names, small):
    """Return the names as cases of a test, those outside of `small` marked `long`.

    A contract costs a compilation per case, so `make test` runs it for representatives of each kind of case.
    """
    names, small = list(names), set(small)
    if not small <= set(names):
        raise ValueError(f"Expected the small profile to be part of {names}; got {small - set(names)} beside them.")
    return [pytest.param(name, marks=() if name in small else pytest.mark.long) for name in names]
