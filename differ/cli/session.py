"""What one call of `differ` was told in common: project, output and logs; handed to every command."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from differ.cli.interrupts import Interrupts
from differ.cli.terminal import Terminal

if TYPE_CHECKING:
    from differ.config import Settings
    from differ.project import Project


@dataclass(kw_only=True)
class Session:
    """The options that every command has. verbosity: -1 quiet, 0, 1 with -v, 2 with -vv. alone: see `main.run`."""

    project: Path | None = None
    as_json: bool = False
    verbosity: int = 0
    log_format: str = "text"
    terminal: Terminal = field(default_factory=Terminal)
    interrupts: Interrupts = field(default_factory=Interrupts)
    alone: bool = False

    def settings(self) -> Settings:
        """The project's settings: of --project, else of the nearest folder above. Raises ConfigError."""
        from differ.config import load

        return load(self.project)

    def agrees(self, question: str) -> bool:
        """Ask the person a yes-or-no question on stderr; no is the default. Ctrl-C raises KeyboardInterrupt."""
        while True:
            click.echo(f"{question} [y/N]: ", nl=False, err=True)
            self.interrupts.wait_for_line(sys.stdin.fileno())
            answer = sys.stdin.readline().strip().lower()
            if answer in ("y", "yes"):
                return True
            if answer in ("", "n", "no"):
                return False
            click.echo("answer y or n", err=True)

    @contextmanager
    def open(self) -> Iterator[Project]:
        """The project, open; closed at the end."""
        from differ.records.pandas_later import ask_pandas_later

        ask_pandas_later()
        from differ.project import Project

        # Python looks for garbage before it ends, several times: among modules, which costs a sixth of a short scan.
        # A plugin comes later: what it leaves open, such as a file, is written and closed at the end as ever.
        if self.alone:
            gc.freeze()
        with Project(self.settings()) as project:
            yield project
