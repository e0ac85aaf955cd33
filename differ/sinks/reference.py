"""The tables of options in docs/sinks.md, written from the sinks' own options classes.

`python -m differ.sinks.reference FILE` puts each table between its two marks; a test compares the page with the code.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from differ.config.reference import table
from differ.sinks.registry import BUILT_IN, sink_class

_MARKS = re.compile(r"(<!-- options of (\w+) -->\n).*?(<!-- end of options -->)", re.DOTALL)


def with_options(page: str) -> str:
    """The page with the present table between each pair of marks. Imports every sink that it names."""

    def one(found: re.Match[str]) -> str:
        return f"{found[1]}{table(sink_class(found[2], Path()).Options)}{found[3]}"

    return _MARKS.sub(one, page)


def documented(page: str) -> set[str]:
    """The kinds whose options the page has."""
    return {found[2] for found in _MARKS.finditer(page)} & set(BUILT_IN)


def main(arguments: list[str]) -> int:
    """Renew the page that is named."""
    path = Path(arguments[0])
    path.write_text(with_options(path.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
