"""``python -m benchmarks accuracy uci|mnist|readme``."""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.accuracy import mnist, summary, uci

COMMANDS = {"mnist": mnist.main, "uci": uci.main, "readme": summary.main}


def main(argv: list[str]) -> Any:
    """Run the named benchmark with the rest of the arguments."""
    if not argv or argv[0] not in COMMANDS:
        print(f"usage: python -m benchmarks accuracy {{{','.join(COMMANDS)}}} [options]", file=sys.stderr)
        raise SystemExit(2)
    return COMMANDS[argv[0]](argv[1:])
