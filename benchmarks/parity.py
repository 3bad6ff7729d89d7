"""``python -m benchmarks parity``: the two packages beside each other, and beside 60-digit arithmetic."""

from __future__ import annotations

from parity_tests.__main__ import main as compare


def main(argv: list[str]) -> None:
    """Run ``python -m parity_tests`` with the same options.

    Raises:
        SystemExit: with code 1 if an error lies beyond its tolerance.
    """
    if code := compare(argv, prog="python -m benchmarks parity"):
        raise SystemExit(code)
