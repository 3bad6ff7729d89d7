"""``python -m benchmarks speed|accuracy``."""

from __future__ import annotations

import sys

from benchmarks.accuracy import command as accuracy
from benchmarks.speed import command as speed

COMMANDS = {"speed": speed.main, "accuracy": accuracy.main}


def main(argv: list[str]) -> int:
    """Run the named benchmark with the rest of the arguments."""
    if not argv or argv[0] not in COMMANDS:
        print(f"usage: python -m benchmarks {{{','.join(COMMANDS)}}} [options]", file=sys.stderr)
        return 2
    COMMANDS[argv[0]](argv[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
