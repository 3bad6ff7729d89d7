"""``python -m parity_tests [--out DIR] [--render]``: run every case, print the report, write Markdown and JSON.

Without ``--out`` these go to ``parity_tests/results``, and a summary of them into the README, between its markers.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from parity_tests import report, summary


def main() -> int:
    """Exit status 0 where every error lies within its tolerance."""
    parser = argparse.ArgumentParser(prog="python -m parity_tests", description=__doc__)
    parser.add_argument("--out", type=Path, help="where to write report.md and report.json; the README is left alone")
    parser.add_argument("--render", action="store_true", help="run nothing: make the Markdown anew from report.json")
    options = parser.parse_args()
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
