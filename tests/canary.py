"""A secret that every test run uses, and that must come out nowhere.

It is the password of every PostgreSQL URL (whose servers trust anybody) and a token of the relay of every project that
tests make. Searched are: what each test printed and logged, what each process
of the command line wrote, each answer of a relay, and each file that a project left.
"""

from pathlib import Path
from typing import Any

import pytest

CANARY = "Kanarienvogel-7f3a91"
VARIABLE = "DIFFER_TEST_CANARY"
FILE_BYTES_MAX = 8 << 20
"""Larger files are those of tests about size."""


class CanaryError(AssertionError):
    """The secret was found."""


def check_text(text: str | bytes, where: object) -> None:
    """Raise CanaryError when the secret is in it."""
    found = CANARY in text if isinstance(text, str) else CANARY.encode() in text
    if found:
        raise CanaryError(f"the secret of the test run is in {where}")


def judge(report: pytest.TestReport) -> None:
    """Make a test fail that printed, logged or failed with it."""
    try:
        for name, content in report.sections:
            check_text(content, name)
        check_text(report.longreprtext, "the traceback")
    except CanaryError as error:
        report.outcome, report.longrepr, report.sections = "failed", str(error), []


def check_folder(folder: Path) -> None:
    """The same for all files below a project's folder but scheduler.yaml, which may hold a URL as people write it."""
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "scheduler.yaml" and path.stat().st_size <= FILE_BYTES_MAX:
            check_text(path.read_bytes(), path)


def with_canary(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a project with the secret as one more token, which opens and closes nothing to anybody else."""
    sources = list(settings.get("sources") or ())
    relay = settings.get("relay", {})
    if not sources or not isinstance(relay, dict) or not isinstance(relay.get("tokens", {}), dict):
        return settings
    tokens = relay.get("tokens", {})
    canary = {"token": f"env:{VARIABLE}", "sources": sources[:1]}
    limited = {**tokens.get("limited", {}), "canary": canary}
    return {**settings, "relay": {**relay, "tokens": {**tokens, "limited": limited}}}
