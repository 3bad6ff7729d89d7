"""Commands with help, and refusals of unknown names."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, NamedTuple


class Command(NamedTuple):
    """A command of a program.

    Attributes:
        module: the module whose `main(argv)` runs the command.
        help: the line on the command in the program's --help.
    """

    module: str
    help: str


def run(prog: str, description: str, commands: Mapping[str, Command], argv: list[str]) -> Any:
    """Run the command that the first argument names.

    Args:
        prog: the name of the program in its messages.
        description: the description of the program in --help.
        commands: the commands, keyed by name.
        argv: the name of a command, followed by the arguments of the command.
    Raises:
        SystemExit: with code 2 for an unknown or a missing name, with code 0 after --help.
    """
    epilog = f"`{prog} COMMAND --help` lists the options of a command."
    parser = argparse.ArgumentParser(prog=prog, description=description, epilog=epilog)
    names = parser.add_subparsers(title="commands", metavar="COMMAND", dest="name", required=True)
    for name, command in commands.items():
        names.add_parser(name, help=command.help)
    if argv and not argv[0].startswith("-") and argv[0] not in commands:
        parser.error(unknown("COMMAND", "command", argv[0], commands))
    chosen = parser.parse_args(argv[:1]).name
    return import_module(commands[chosen].module).main(argv[1:])


def unknown(option: str, kind: str, got: str, known: Iterable[str]) -> str:
    """Refuse an unknown name, and list the nearest known names.

    A known name such as "numpyro, SVI, scanned" is also compared part by part.

    >>> unknown("--sets", "set", "yatch", ["energy", "yacht"])
    'Expected --sets to match a set; got yatch. The nearest: yacht.'
    """
    candidates = list(dict.fromkeys(part for name in known for part in (name, *name.split(", "))))
    # If nothing is close, three distant names still serve as examples.
    nearest = difflib.get_close_matches(got, candidates) or difflib.get_close_matches(got, candidates, cutoff=0.0)
    return f"Expected {option} to match a {kind}; got {got}. The nearest: {'; '.join(nearest)}."
