"""Where a command writes: results to stdout, everything else to stderr; and what the two are.

Invariants: JSON is UTF-8 and never wrapped; what comes from data can neither move the cursor nor colour a terminal;
colour goes to a terminal only, and not where NO_COLOR is set.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from typing import Any, BinaryIO

import click

from differ.cli.fold import folded, width_of
from differ.config.terminal import colour_wanted

PIPED_WIDTH = 80
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class Terminal:
    """stdout and stderr of one command. `printed` tells whether stdout was given a result."""

    def __init__(self) -> None:
        self.printed = False
        self.quiet = False

    @property
    def is_terminal(self) -> bool:
        """Whether a person sees stdout."""
        return sys.stdout.isatty()

    @property
    def errors_are_seen(self) -> bool:
        """Whether a person sees stderr."""
        return sys.stderr.isatty()

    @property
    def can_ask(self) -> bool:
        """Whether a person can be asked a question."""
        return sys.stdin.isatty() and self.errors_are_seen

    @property
    def width(self) -> int:
        """Columns of the terminal."""
        return shutil.get_terminal_size((PIPED_WIDTH, 24)).columns

    @property
    def bytes(self) -> BinaryIO:
        """stdout for bytes; marks a result as printed."""
        self.printed = True
        sys.stdout.flush()
        return sys.stdout.buffer

    def flush(self) -> None:
        """Hand over what was written so far."""
        sys.stdout.flush()

    def line(self, text: str = "") -> None:
        """Write one line of a result."""
        self.printed = True
        sys.stdout.write(text + "\n")

    def labelled(self, label: str, text: str) -> None:
        """Write `label text`, control characters escaped; on a terminal folded, with its lines below each other."""
        shown = clean(text)
        indent = width_of(label)
        lines = folded(shown, max(self.width - indent, 20)) if self.is_terminal else [shown]
        self.line(label + lines[0])
        for more in lines[1:]:
            self.line(" " * indent + more)

    def json(self, value: Any, *, indent: int | None = None) -> None:
        """Write a JSON document; on one line unless `indent` is given, and flushed."""
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
        out = self.bytes
        # Half a surrogate pair has no UTF-8; what replaces it is its JSON escape.
        out.write((text + "\n").encode("utf-8", "backslashreplace"))
        out.flush()

    def note(self, text: str) -> None:
        """Tell the person on stderr, unless --quiet."""
        if not self.quiet:
            sys.stdout.flush()
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    def complain(self, message: str, hint: str | None) -> None:
        """Write an error to stderr: `error: ...` and `hint: ...`."""
        sys.stdout.flush()
        self._complain("error:", message, {"fg": "red", "bold": True})
        if hint:
            self._complain("hint:", hint, {"bold": True})
        sys.stderr.flush()

    def _complain(self, head: str, text: str, style: dict[str, Any]) -> None:
        shown = clean(text, keep_lines=True)
        if self.errors_are_seen:
            shown = "\n".join(line for part in shown.split("\n") for line in folded(part, max(self.width - 7, 20)))
            shown = shown.replace("\n", "\n" + " " * (len(head) + 1))
        sys.stderr.write(f"{self.styled(head, on_stderr=True, **style)} {shown}\n")

    def styled(self, text: str, *, on_stderr: bool = False, **style: Any) -> str:
        """The text with colour, where it will be seen."""
        seen = self.errors_are_seen if on_stderr else self.is_terminal
        return click.style(text, **style) if style and seen and colour_wanted() else text


def clean(text: str, *, keep_lines: bool = False) -> str:
    """The text with control characters shown as escapes, so that data cannot command a terminal."""

    def shown(match: re.Match[str]) -> str:
        character = match.group()
        if keep_lines and character == "\n":
            return character
        return character.encode("unicode_escape").decode()

    return _CONTROL.sub(shown, text)


def count(number: int | None) -> str:
    """A number as people read it: 1,500,000; a dash for None."""
    return "-" if number is None else f"{number:,}"


def duration(seconds: float) -> str:
    """Seconds as people say them, in one unit: 0.04 s, 2.1 s, 5 min, 3 h, 12 d."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 2 * 86400 else f"{seconds / 86400:.0f} d"
