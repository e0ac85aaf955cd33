"""What the environment says of colour: NO_COLOR and TERM. Imports nothing heavy, so that every command may ask.

Source: https://no-color.org.
"""

from __future__ import annotations

import os
from collections.abc import Mapping


def colour_wanted(environ: Mapping[str, str] | None = None) -> bool:
    """Whether text to a terminal may be coloured: NO_COLOR is not set (or empty), and the terminal is not `dumb`."""
    variables = os.environ if environ is None else environ
    return not variables.get("NO_COLOR") and variables.get("TERM") != "dumb"
