"""What an attempt stands on: the committed state it is compared with, and the rules that decide how.

Fixed once the lock is held: the previous snapshot, the source's settings and its row in the catalog.
"""

from __future__ import annotations

import difflib
import logging
from pathlib import Path

from differ.catalog import SourceEntry
from differ.config import SourceSettings
from differ.cycle.place import Place
from differ.diff.encoding import Encoding, refingerprint
from differ.diff.schema_changes import schema_changes
from differ.errors import SourceError
from differ.model import PreviousCommit
from differ.records.types import Schema
from differ.snapshots.index import Index
from differ.snapshots.snapshot import Snapshot

log = logging.getLogger(__name__)
_NUMBERS = ("int", "float", "decimal", "null")


class Ground:
    """The previous state of a source. `budget_bytes` bounds each buffer of a cycle.

    previous: the committed state, None before the first. old: the same, but None where a new base is to be made without
    looking at it.
    """

    def __init__(self, place: Place, settings: SourceSettings, entry: SourceEntry) -> None:
        self._place, self._settings, self._entry = place, settings, entry
        self.source = settings.name
        self.state = place.state
        self.waiting_file = entry.absent
        self.budget_bytes = place.budget_bytes
        self.previous: Snapshot | None = None
        self.commit: PreviousCommit | None = None
        if entry.current is not None:
            base = place.catalog.cycle(settings.name, entry.current)
            self.previous = Snapshot(place.snapshots, place.manifest(base))
            self.commit = PreviousCommit(
                cycle=base.cycle,
                rows=self.previous.rows,
                committed_at=base.finished_at or base.started_at,
                position=entry.position,
            )
        self.old = None if entry.rebaseline else self.previous

    @property
    def silent(self) -> bool:
        """Whether the cycle makes no events: a new base, or a first one that consumers bootstrap from."""
        first = self.previous is None and self._settings.baseline == "snapshot-only"
        return first or self._entry.rebaseline

    def deletes_wait(self, consistent: bool) -> bool:
        """Whether an absent key has to be confirmed before it is a delete."""
        mode = self._settings.guards.confirm_deletes
        return mode == "always" or (mode == "auto" and not consistent)

    def encoding(self, schema: Schema) -> Encoding:
        """The rules of comparison for rows of this schema. Raises SourceError for a tolerance that is no number's."""
        columns = self._settings.columns
        for name in (*columns.ignore, *columns.tolerance):
            if name not in schema.types:
                near = difflib.get_close_matches(name, schema.names, 1)
                log.warning("source=%s: no column %r to compare by rule%s", self._settings.name, name,
                            f"; did you mean {near[0]!r}?" if near else "")  # fmt: skip
        for name in columns.tolerance:
            if name in schema.types and schema.types[name].kind not in _NUMBERS:
                raise SourceError(
                    f"scan {self._settings.name}: columns.tolerance names {name!r}, which is {schema.types[name]}",
                    hint="a tolerance is for int, float and decimal columns; 'ignore' takes any",
                )
        return Encoding(
            schema=schema,
            ignore=frozenset(columns.ignore) & set(schema.names),
            tolerance={name: value for name, value in columns.tolerance.items() if name in schema.types},
            returned=self._returned(schema) - set(columns.ignore),
        )

    def index(self, encoding: Encoding, spill: Path) -> tuple[Index | None, bool]:
        """The index to compare with, and whether the rows must be written anew, under another schema or encoding."""
        old = self.old
        if old is None:
            return None, False
        if _stored_as(old.schema) == _stored_as(encoding.schema) and (
            old.manifest.encoding["layout"] == encoding.layout
        ):
            return old.index, False
        if not self.same_key(encoding.schema):
            return old.index, True
        return refingerprint(old, encoding, spill, budget_bytes=self.budget_bytes), True

    def same_key(self, schema: Schema) -> bool:
        """Whether the key has the same columns as before, so that old and new keys can be equal at all."""
        return self.old is None or set(self.old.schema.key) == set(schema.key)

    def same_key_layout(self, encoding: Encoding) -> bool:
        """Whether key hashes of the previous state and of this encoding compare without making them anew."""
        return self.old is None or self.old.manifest.encoding["layout"]["key"] == encoding.layout["key"]

    def base_is_due(self) -> bool:
        """Whether the cycle should write a whole base: the state is small, or its deltas have grown."""
        if self.old is None:
            return True
        rules = self._settings.snapshots
        return self.old.manifest.base_is_due(
            small_base_bytes=rules.small_base_bytes, delta_share=float(rules.delta_share)
        )

    def changes(self, encoding: Encoding) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Sentences on what the source changed in its schema, and on what the configuration changed."""
        if self.previous is None:
            return (), ()
        found = schema_changes(self.previous.schema, encoding.schema)
        columns = self._settings.columns
        ours = tuple(f"column {name!r} " for name in (*columns.exclude, *columns.mask))
        rules = [change for change in found if ours and change.startswith(ours)]
        source = tuple(change for change in found if change not in rules)
        rules.extend(encoding.encoder_changes(self.previous.manifest.encoding))
        if self.previous.manifest.encoding["rules"] != encoding.rules and not self._entry.rebaseline:
            rules.append(f"rules of comparison: {encoding.rules_text}")
        return source, tuple(rules)

    def _returned(self, schema: Schema) -> frozenset[str]:
        """The columns that the previous state lacks, and some state before it had."""
        added = set() if self.old is None else set(schema.names) - set(self.old.schema.names)
        versions = self._place.catalog.schemas(self.source) if added else []
        return frozenset(name for name in added if any(name in version.schema.types for version in versions))


def _stored_as(schema: Schema) -> list[tuple[str, str, str]]:
    return [(column.name, str(column.type.storage), column.type.layout) for column in schema.columns]
