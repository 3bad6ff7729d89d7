"""Compare deepuq_jax with deepuq_torch, and both with 60-digit arithmetic.

Runs every case, prints the report, writes it as Markdown and JSON to parity_tests/results, and puts its summaries into
README.md and docs/results.md, between markers. A run takes some minutes and shows its progress. The exit status is 0 if
every error of the two packages is within its tolerance, else 1; errors of the original package do not count.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from parity_tests import report, summary


def main(argv: list[str] | None = None, prog: str = "python -m parity_tests") -> int:
    """Run the command line; return the exit status.

    Args:
        argv: the options; those of the process by default.
        prog: how the program is called, for its usage.
    """
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write report.md and report.json to DIR, and leave the pages alone"
    )
    parser.add_argument(
        "--render", action="store_true", help="run nothing, and make the Markdown and the summaries from report.json"
    )
    options = parser.parse_args(argv)
    folder = options.out or report.RESULTS
    data = json.loads((folder / "report.json").read_text(encoding="utf-8")) if options.render else report.collect()
    report.write(data, folder)
    if options.out is None:
        summary.write(data)
    print(report.markdown(data))
    print("Nearest to their tolerance:", *report.worst_rows(data), sep="\n- ")
    print(f"Written to {folder}.", "All within tolerance." if report.passes(data) else "BEYOND TOLERANCE: see above.")
    return 0 if report.passes(data) else 1


if __name__ == "__main__":
    raise SystemExit(main())
