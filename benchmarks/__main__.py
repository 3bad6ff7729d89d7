"""``python -m benchmarks speed|profile|accuracy``."""

from __future__ import annotations

import sys
from importlib import import_module

# Imported where asked for: accuracy runs without torch.
COMMANDS = {"speed": "speed.command", "profile": "speed.profile", "accuracy": "accuracy.command"}


def main(argv: list[str]) -> int:
    """Run the named benchmark with the rest of the arguments."""
    if not argv or argv[0] not in COMMANDS:
        print(f"usage: python -m benchmarks {{{','.join(COMMANDS)}}} [options]", file=sys.stderr)
        return 2
    import_module(f"benchmarks.{COMMANDS[argv[0]]}").main(argv[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
