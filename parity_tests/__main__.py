"""Compare deepuq_jax with deepuq_torch, and both with 60-digit arithmetic.

Runs every case, prints the report, writes it as JSON and Markdown to parity_tests/results, and puts its summaries into
README.md and docs/results.md, between markers. A run takes some minutes and shows its progress. The exit status is 0 if
every error of the two packages is within its tolerance, else 1; errors of the original package do not count.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from parity_tests import backend, plot, report, summary


def main(argv: list[str] | None = None, prog: str = "python -m parity_tests") -> int:
    """Run the command line; return the exit status.

    Args:
        argv: the options; those of the process by default.
        prog: how the program is called, for its usage.
    """
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    files = parser.add_mutually_exclusive_group()
    files.add_argument("--json", type=Path, metavar="FILE", help="write to FILE, and leave the pages alone")
    files.add_argument("--out", type=Path, metavar="DIR", help="the same as --json DIR/report.json")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw how much of its tolerance each error uses")
    parser.add_argument(
        "--render", action="store_true", help="run nothing, and make the Markdown and the summaries from the JSON"
    )
    backend.add_option(parser)
    options = backend.parse(parser, argv)
    file = options.json or (options.out or report.RESULTS) / "report.json"
    if options.render and not file.exists():
        parser.error(f"Expected a file that exists with --render; got {file}.")
    data = json.loads(file.read_text(encoding="utf-8")) if options.render else report.collect()
    report.write(data, file)
    if options.json is None and options.out is None:
        summary.write(data)
    if options.plot is not None:
        plot.draw(data, options.plot)
    print(report.markdown(data))
    print("Nearest to their tolerance:", *report.worst_rows(data), sep="\n- ")
    print(f"Written to {file}.", "All within tolerance." if report.passes(data) else "BEYOND TOLERANCE: see above.")
    return 0 if report.passes(data) else 1


if __name__ == "__main__":
    raise SystemExit(main())
