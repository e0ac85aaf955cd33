"""Markdown as the tests read it: fenced blocks, links, headings."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(?P<kind>[^\n`]*)\n(?P<body>.*?)^```$", re.M | re.S)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (?P<text>.+)$", re.M)


@dataclass(frozen=True)
class Block:
    """A fenced block: what stands after the fence, and what is in it."""

    kind: str
    body: str


def pages() -> list[Path]:
    """Every page of the project: those at the top, below docs/, and those that new projects are given."""
    folders = [(ROOT, "*.md"), (ROOT / "docs", "**/*.md"), (ROOT / "iterators", "*.md"), (ROOT / "differ", "**/*.md")]
    return sorted(page for folder, pattern in folders for page in folder.glob(pattern))


def blocks(text: str) -> list[Block]:
    return [Block(found["kind"], found["body"]) for found in _FENCE.finditer(text)]


def links(text: str) -> list[str]:
    """The targets of all links outside of code."""
    prose = re.sub(r"`[^`\n]*`", "", _FENCE.sub("", text))
    return [found["target"] for found in _LINK.finditer(prose)]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings."""
    found: set[str] = set()
    for heading in _HEADING.finditer(_FENCE.sub("", text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading["text"]).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        number = 0
        while (name := slug if not number else f"{slug}-{number}") in found:
            number += 1
        found.add(name)
    return found


def broken_links(text: str, page: Path) -> Iterator[str]:
    """The relative links of a page that lead nowhere."""
    for target in links(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        aim = (page.parent / path).resolve() if path else page
        if not aim.exists():
            yield f"{page.name}: {target}: there is no {path}"
        elif fragment and fragment not in anchors(text if aim == page else aim.read_text(encoding="utf-8")):
            yield f"{page.name}: {target}: no heading has the anchor {fragment}"
