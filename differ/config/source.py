"""The settings of one source, as `sources:` of scheduler.yaml gives them; the field texts are the reference
page.

Invariant: frozen, and every default is the documented one. `(name)` and `(mask_key)` are not keys of the
file: loading fills them in.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from differ.config.fields import (
    Columns,
    Count,
    CountFromOne,
    CronText,
    Duration,
    LimitField,
    Section,
    Share,
    Size,
    Timezone,
    Tolerance,
)
from differ.config.scalars import Limit


class ScheduleSettings(Section):
    """When cycles are started by `differ run`: `every` or `cron`, exactly one."""

    every_seconds: Duration | None = Field(
        None,
        alias="every",
        description="Time from one start to the next, at least 1s; the first is when `differ run` starts.",
        examples=["5m"],
    )
    cron: CronText | None = Field(
        None,
        description="Five fields as in crontab (minute hour day month weekday; 0 and 7 are Sunday), or a "
        "macro such as `@daily`. In `timezone`. A time that the clocks skip is run an hour later, one "
        "that comes twice is run once; an expression of every hour stays even.",
        examples=["'*/5 * * * *'"],
    )
    timezone: Timezone = Field(
        "UTC", description="The IANA time zone that `cron` is read in.", examples=["Europe/Berlin"]
    )
    jitter_seconds: Duration = Field(
        0.0,
        alias="jitter",
        description="Each start is put off by a random time up to this, so that many sources do not start as one.",
        examples=["10s"],
    )

    @model_validator(mode="after")
    def _one_trigger(self) -> Self:
        if (self.every_seconds is None) == (self.cron is None):
            raise ValueError("exactly one of 'every' and 'cron' is needed, such as {every: 5m}")
        if self.every_seconds is not None and self.every_seconds < 1:
            raise ValueError("'every' is at least 1s")
        if self.every_seconds is not None and self.jitter_seconds >= self.every_seconds:
            raise ValueError("'jitter' must be shorter than 'every'")
        return self


class ColumnsSettings(Section):
    """How single columns are treated. A key column has no treatment, another one, or `ignore` and `mask`."""

    exclude: Columns = Field((), description="Never stored, compared or sent.", examples=["[internal_note]"])
    ignore: Columns = Field(
        (), description="Stored, but a change of these alone is no change.", examples=["[synced_at]"]
    )
    tolerance: dict[str, Tolerance] = Field(
        default_factory=dict,
        description="By column: the absolute difference from the last emitted value up to which a number is unchanged.",
        examples=["{weight: 0.001}"],
    )
    mask: dict[str, str | None] = Field(
        default_factory=dict,
        description="By column: `hmac` (a keyed hash; the key is the environment variable "
        "`DIFFER_MASK_KEY`), `null`, or a fixed text that replaces every value.",
        examples=["{email: hmac}"],
    )


class SnapshotSettings(Section):
    """How the source's states are kept."""

    keep: CountFromOne = Field(24, description="How many committed cycles stay readable.", examples=["24"])
    delta_share: Share = Field(
        0.3, description="A new base is written when the deltas pass this share of it.", examples=["30%"]
    )
    small_base_bytes: Size = Field(
        16 * 1024 * 1024,
        alias="small_base",
        description="While a base is smaller than this, every cycle writes a whole one.",
        examples=["64MiB"],
    )


class ChecksumSettings(Section):
    """The key ranges of `scan: checksum`, and when all rows are read all the same."""

    range_rows: CountFromOne | None = Field(
        None,
        description="How many rows a key range holds, about. By default 256, and more in tables of more than 67 "
        "million rows.",
        examples=["256"],
    )
    full_every: CountFromOne = Field(
        100, description="One cycle of so many reads all rows, whatever the sums say.", examples=["100"]
    )
    moved_max: Share = Field(
        0.25,
        description="All rows are read when more than this share of them lies in ranges that moved.",
        examples=["25%"],
    )


class RowsGuard(Section):
    """Bounds on the number of rows; a first scan may be empty all the same."""

    min: Count = Field(1, description="Hold a cycle with fewer rows.", examples=["1"])
    max: CountFromOne | None = Field(None, description="Hold a cycle with more rows.", examples=["5000000"])
    change: LimitField | None = Field(
        None, description="Hold when the row count moved by more than this, up or down.", examples=["50%"]
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max is not None and self.max < self.min:
            raise ValueError("'max' is smaller than 'min'")
        return self


class GuardSettings(Section):
    """What holds a cycle for a person to approve. A share counts from 11 rows on."""

    deletes: LimitField = Field(
        Limit(share=Decimal("0.2")),
        description="Hold when more than this share, or this plain number, of the rows is gone.",
        examples=["20%"],
    )
    updates: LimitField = Field(
        Limit(share=Decimal("0.9")),
        description="Hold when more than this share, or this plain number, of the rows changed.",
        examples=["90%"],
    )
    rows: RowsGuard = Field(
        default_factory=RowsGuard,
        description="Bounds on the number of rows.",
        examples=["{min: 1}"],
    )
    confirm_deletes: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Whether a delete needs a second scan (or the iterator's `lookup`) to agree: `auto` "
        "only where the iterator reads no consistent state, `always`, `never`.",
        examples=["auto"],
    )


class SourceSettings(Section):
    """One keyed set of records that differ watches."""

    name: str = Field("", alias="(name)")
    iterator: str = Field(
        min_length=1,
        description="What reads it: `sql`, `mongodb`, `files`, or the name of a plugin.",
        examples=["sql"],
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="The iterator's own options; they are passed on as they are.",
        examples=["{url: env:SHOP_URL, table: orders}"],
        repr=False,
    )
    key: Columns = Field(
        (),
        description="The column, or list of columns, that identifies a record. Default: the table's "
        "primary key for `sql`, `_id` for `mongodb`, what the plugin says for others.",
        examples=["order_id"],
    )
    schedule: ScheduleSettings | None = Field(
        None,
        description="When to scan under `differ run`; without it only by hand.",
        examples=["{every: 5m}"],
    )
    columns: ColumnsSettings = Field(
        default_factory=ColumnsSettings,
        description="Columns to exclude, ignore, tolerate or mask.",
        examples=["{ignore: [synced_at]}"],
    )
    mask_key: str | None = Field(None, alias="(mask_key)", repr=False)
    timeout_seconds: Duration | None = Field(
        None,
        alias="timeout",
        description="Of one scan; a scan that takes longer commits nothing.",
        examples=["30m"],
    )
    scan: Literal["full", "checksum"] = Field(
        "full",
        description="`full` reads every row. `checksum` has the server sum up each key range and reads only "
        "those whose sum moved: tables of PostgreSQL and MariaDB with an integer key; whatever else is read in full.",
        examples=["full"],
    )
    checksum: ChecksumSettings = Field(
        default_factory=ChecksumSettings,
        description="How `scan: checksum` goes about it.",
        examples=["{full_every: 100}"],
    )
    snapshots: SnapshotSettings = Field(
        default_factory=SnapshotSettings,
        description="How the source's states are kept.",
        examples=["{keep: 24}"],
    )
    guards: GuardSettings = Field(
        default_factory=GuardSettings,
        description="What holds a cycle for a person to approve.",
        examples=["{deletes: 20%}"],
    )
    on_schema_change: Literal["evolve", "hold", "fail"] = Field(
        "evolve",
        description="A changed schema becomes a new version (`evolve`), or holds, or fails the cycle.",
        examples=["evolve"],
    )
    baseline: Literal["events", "snapshot-only"] = Field(
        "events",
        description="The first cycle: every row is an insert event, or there is a snapshot only and "
        "consumers bootstrap.",
        examples=["events"],
    )
