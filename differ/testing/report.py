"""What a conformance suite found: one named check each, passed, failed or not applicable, and how to mend it.

Invariant: every check of a suite is in its report exactly once, also when the first already failed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Outcome = Literal["pass", "fail", "skip"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at. detail: what was seen. mend: what to change, where it failed."""

    name: str
    outcome: Outcome
    detail: str
    mend: str | None = None

    def __str__(self) -> str:
        line = f"{self.outcome:4}  {self.name}: {self.detail}"
        return f"{line}\n      {self.mend}" if self.mend else line


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All checks of one iterator; `str` is what people read."""

    iterator: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.outcome == "fail")

    def __getitem__(self, name: str) -> Check:
        """The check of this name. Raises KeyError."""
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(name)

    def to_json(self) -> dict[str, Any]:
        """The line of `differ iterator test --json`."""
        checks = [
            {"name": check.name, "outcome": check.outcome, "detail": check.detail}
            | ({"mend": check.mend} if check.mend else {})
            for check in self.checks
        ]
        return {"iterator": self.iterator, "passed": self.passed, "checks": checks}

    def __str__(self) -> str:
        failed = len(self.failures)
        end = f"{failed} of {len(self.checks)} checks failed" if failed else "conforms"
        return "\n".join([*map(str, self.checks), f"{self.iterator}: {end}"])
