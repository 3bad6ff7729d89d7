"""``python -m benchmarks mutants``: the share of small faults that the tests find.

A run continues where the last one stopped: mutants with a result are not tried again.
"""

from __future__ import annotations

import argparse
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.command_line import unknown
from benchmarks.mutants import results
from benchmarks.mutants.report import markdown, unexplained
from benchmarks.mutants.sample import Mutant, Sample, draw
from benchmarks.mutants.subjects import SUBJECTS
from benchmarks.mutants.survivors import explanations
from benchmarks.mutants.trials import Trials, run
from benchmarks.mutants.workshop import Workshop

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
SIZE, SEED = 320, 2026


def main(argv: list[str]) -> None:
    """Try mutants, then write the report.

    Raises:
        SystemExit: if a survivor has no reason in the file of survivors.
    """
    arguments = _arguments(argv)
    sample = draw(ROOT, SUBJECTS, arguments.size, arguments.seed)
    done = results.read(arguments.results)
    if not arguments.redraw:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            _try(_open(sample, done, arguments), arguments)
        except KeyboardInterrupt:
            print("Stopped. The same command continues from here.")
        done = results.read(arguments.results)
    reasons = explanations()
    report = markdown(sample, results.read_first(arguments.results), done, reasons)
    arguments.results.with_suffix(".md").write_text(report, encoding="utf-8")
    names = unexplained(sample, done, reasons)
    if names:
        raise SystemExit(f"Expected a reason in survivors.toml for every survivor; got none for {', '.join(names)}.")


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks mutants", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", metavar="SUBJECT", help="try the mutants of one group of files, e.g. deepuq_torch")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no further mutant after this time")
    parser.add_argument("--again", action="store_true", help="also try the survivors again, with the tests as they are")
    parser.add_argument("--redraw", action="store_true", help="try nothing; write the report from the results")
    parser.add_argument("--size", type=int, default=SIZE, help=f"number of mutants in the sample (default {SIZE})")
    parser.add_argument("--seed", type=int, default=SEED, help=f"seed of the sample (default {SEED})")
    parser.add_argument("--results", type=Path, default=RESULTS / "mutants.jsonl", help="file of results, JSON Lines")
    parser.add_argument("--folder", type=Path, default=ROOT / ".mutants", help="folder for the copy of the checkout")
    arguments = parser.parse_args(argv)
    names = [subject.name for subject in SUBJECTS]
    if arguments.only is not None and arguments.only not in names:
        parser.error(unknown("--only", "group", arguments.only, names))
    return arguments


def _open(sample: Sample, done: dict[str, results.Result], arguments: argparse.Namespace) -> list[Mutant]:
    """Return the mutants to try."""
    chosen = [mutant for mutant in sample.mutants if arguments.only in (None, mutant.subject)]
    if arguments.again:
        done = {name: result for name, result in done.items() if result.verdict != "survived"}
    return [mutant for mutant in chosen if mutant.name not in done]


def _try(mutants: Sequence[Mutant], arguments: argparse.Namespace) -> None:
    if not mutants:
        return
    deadline = time.monotonic() + 60.0 * arguments.minutes
    trials = Trials(Workshop(ROOT, arguments.folder), {subject.name: subject for subject in SUBJECTS})
    run(
        trials,
        mutants,
        arguments.results,
        stop=lambda: time.monotonic() > deadline,
        show=lambda line: print(line, flush=True),
    )
