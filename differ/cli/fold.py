"""Fold text to a width in terminal cells, at spaces where that is possible; wide characters take two."""

from __future__ import annotations


def width_of(text: str) -> int:
    """How many cells of a terminal the text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def folded(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` cells; a word that is longer is cut."""
    if width_of(text) <= width:
        return [text]
    from rich.cells import chop_cells

    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if width_of(joined) <= width:
            lines[-1] = joined
            continue
        pieces = chop_cells(word, width) or [""]
        lines[-1:] = [lines[-1], *pieces] if lines[-1] else pieces
    return lines
