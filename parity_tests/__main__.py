"""``python -m parity_tests [--out DIR]``: run every case, print the report, and write it as Markdown and JSON."""

from __future__ import annotations

import argparse
from pathlib import Path

from parity_tests import report


def main() -> int:
    """Exit status 0 where every error lies within its tolerance."""
    parser = argparse.ArgumentParser(prog="python -m parity_tests", description=__doc__)
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="where to write report.md and report.json")
    folder = parser.parse_args().out
    data = report.collect()
    report.write(data, folder)
    print(report.markdown(data))
    print("Nearest to their tolerance:", *report.worst_rows(data), sep="\n- ")
    print(f"Written to {folder}.", "All within tolerance." if report.passes(data) else "BEYOND TOLERANCE: see above.")
    return 0 if report.passes(data) else 1


if __name__ == "__main__":
    raise SystemExit(main())
