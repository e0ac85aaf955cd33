"""The settings of one sink: what it follows, how a record is mapped, and how patient it is.

Invariant: mapping rules that pass here give no field two owners among the columns that they name; what they do to the
columns of a real schema is checked when the first event of it is mapped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from differ.config.fields import Columns, CountFromOne, Duration, Name, Section


class MappingRules(Section):
    """How a record becomes what the destination stores."""

    rename: dict[str, str] = Field(
        default_factory=dict, description="Column -> the destination's field.", examples=["{total: amount}"]
    )
    pick: Columns = Field(
        (), description="The only columns that are written, beside the key.", examples=["[status, total]"]
    )
    exclude: Columns = Field((), description="Columns that are not written.", examples=["[internal]"])
    nest: dict[str, str] = Field(
        default_factory=dict,
        description="Column -> the dotted path of a nested field.",
        examples=["{customer_name: customer.name}"],
    )
    group: dict[str, str] = Field(
        default_factory=dict,
        description="Prefix with `*` -> the field that columns with this prefix are gathered under, without it.",
        examples=["{address_*: address}"],
    )
    constants: dict[str, Any] = Field(
        default_factory=dict,
        description="Field, or dotted path of one -> a value that every record is given.",
        examples=["{origin: shop}"],
    )

    @field_validator("rename")
    @classmethod
    def _plain(cls, value: dict[str, str]) -> dict[str, str]:
        for column, name in value.items():
            if not name:
                raise ValueError(f"the new name of {column!r} is empty")
            if "." in name:
                raise ValueError(f"{name!r} holds a dot; a nested field is made by 'nest'")
        return value

    @field_validator("nest")
    @classmethod
    def _dotted(cls, value: dict[str, str]) -> dict[str, str]:
        for path in value.values():
            if "." not in path or not all(path.split(".")):
                raise ValueError(f"expected a dotted path such as customer.name, not {path!r}")
        return value

    @field_validator("group")
    @classmethod
    def _patterns(cls, value: dict[str, str]) -> dict[str, str]:
        for pattern, name in value.items():
            if not pattern.endswith("*") or "*" in pattern[:-1] or len(pattern) == 1:
                raise ValueError(f"expected a prefix and a star such as address_*, not {pattern!r}")
            if not all(name.split(".")):
                raise ValueError(f"expected a field such as address, not {name!r}")
        return value

    @field_validator("constants")
    @classmethod
    def _paths(cls, value: dict[str, Any]) -> dict[str, Any]:
        for path in value:
            if not all(path.split(".")):
                raise ValueError(f"expected a field or a dotted path, not {path!r}")
        return value

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for problem in _contradictions(self):
            raise ValueError(problem)
        return self


class MappingSettings(MappingRules):
    """How a record becomes what the destination stores; a source's own rule stands in place of the sink's."""

    sources: dict[Name, MappingRules] = Field(
        default_factory=dict,
        description="Rules of single sources; each kind of rule that is given replaces the one above.",
        examples=["{orders: {rename: {total: amount}}}"],
    )

    def of(self, source: str) -> MappingRules:
        """The rules that count for one source."""
        own = self.sources.get(source)
        base = {name: getattr(self, name) for name in MappingRules.model_fields}
        if own is not None:
            base |= {name: getattr(own, name) for name in own.model_fields_set}
        return MappingRules.model_validate(base)

    @model_validator(mode="after")
    def _agree_by_source(self) -> Self:
        for source, own in self.sources.items():
            base = {name: getattr(self, name) for name in MappingRules.model_fields}
            merged = MappingRules.model_construct(**base | {name: getattr(own, name) for name in own.model_fields_set})
            for problem in _contradictions(merged):
                raise ValueError(f"source {source!r}: {problem}")
        return self


class FilterSettings(Section):
    """Which changes reach the sink."""

    ops: tuple[Literal["insert", "update", "delete"], ...] = Field(
        (),
        description="Only these operations; all by default. A sink that is not told of deletes keeps what is gone, "
        "until it bootstraps.",
        examples=["[insert, update]"],
    )


class HookSettings(Section):
    """Python functions of the project or of an installed package: `file.py:function` or `package.module:function`."""

    before: str | None = Field(
        None,
        description="`before(row, event)` is given each record before the mapping and returns it, changed or not, "
        "or None: the record has no place in the destination.",
        examples=["mapping.py:tidy"],
    )
    after: str | None = Field(
        None,
        description="`after(document, event)`: the same with what the mapping made.",
        examples=["mapping.py:enrich"],
    )


class BatchSettings(Section):
    """What is gathered before the destination is written."""

    events: CountFromOne = Field(10_000, description="At most so many changes in one write.", examples=["10000"])
    every_seconds: Duration = Field(
        1.0,
        alias="every",
        description="Write at least this often while changes come; what came is written at once when no more waits.",
        examples=["1s"],
    )


class RetrySettings(Section):
    """How long to wait before a destination that is down is tried again; it is tried for as long as it takes."""

    first_seconds: Duration = Field(
        1.0, alias="first", description="The first wait; each one after is twice as long.", examples=["1s"]
    )
    longest_seconds: Duration = Field(60.0, alias="longest", description="The longest wait.", examples=["1m"])
    yield_seconds: Duration = Field(
        120.0,
        alias="yield",
        description="When the destination or the relay was away for so long, another process that runs the same sink "
        "may try instead.",
        examples=["2m"],
    )

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.first_seconds > self.longest_seconds:
            raise ValueError("'first' is longer than 'longest'")
        if self.yield_seconds <= 0:
            raise ValueError("'yield' is more than 0s")
        return self


class RefusedSettings(Section):
    """What becomes of a record that the destination will never take."""

    action: Literal["dead-letter", "halt"] = Field(
        "dead-letter",
        description="`dead-letter`: it is put aside and the sink goes on. `halt`: the sink stops before it.",
        examples=["dead-letter"],
    )
    most: CountFromOne = Field(
        100,
        description="When more records of one batch than this are refused, the sink stops: it is not the records.",
        examples=["100"],
    )


class SinkSettings(Section):
    """A destination that is kept equal to one or more sources."""

    name: str = Field("", alias="(name)")
    kind: str = Field(
        min_length=1,
        description="What writes it: a built-in sink, or a class of your own as in `sinks/mysinks.py:MySink`.",
        examples=["elasticsearch"],
    )
    sources: Columns = Field(min_length=1, description="The sources that it follows.", examples=["[orders]"])
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="The sink's own options; docs/sinks.md lists them.",
        examples=['{url: "http://127.0.0.1:9200", index: orders}'],
        repr=False,
    )
    mapping: MappingSettings = Field(
        default_factory=MappingSettings,
        description="How a record becomes what the destination stores.",
        examples=["{exclude: [internal]}"],
    )
    filters: FilterSettings = Field(
        default_factory=FilterSettings,
        description="Which changes reach the sink.",
        examples=["{ops: [insert, update]}"],
    )
    hooks: HookSettings = Field(
        default_factory=HookSettings,
        description="Python functions that see each record.",
        examples=["{after: mapping.py:enrich}"],
    )
    batch: BatchSettings = Field(
        default_factory=BatchSettings, description="What is written at a time.", examples=["{events: 5000, every: 2s}"]
    )
    retries: RetrySettings = Field(
        default_factory=RetrySettings,
        description="How a destination that is down is tried again.",
        examples=["{first: 1s, longest: 1m}"],
    )
    refused: RefusedSettings = Field(
        default_factory=RefusedSettings,
        description="What becomes of a record that the destination will not take.",
        examples=["{action: halt}"],
    )
    lease_seconds: Duration | None = Field(
        None,
        alias="lease",
        description="Of several processes that run the sink one writes; when it does not answer for so long, another "
        "does. By default as long as the relay's consumer groups have it.",
        examples=["30s"],
    )
    start: Literal["bootstrap", "oldest", "head"] = Field(
        "bootstrap",
        description="Where a sink without checkpoint begins: with the sources' whole state, with the oldest event "
        "that is kept, or with the next event.",
        examples=["bootstrap"],
    )
    bootstrap: Literal["auto", "never"] = Field(
        "auto",
        description="`auto`: a sink that fell too far behind takes the sources' whole state again; `never`: it stops.",
        examples=["auto"],
    )

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        for name in self.mapping.sources:
            if name not in self.sources:
                raise ValueError(f"'mapping' has rules for {name!r}, which is none of the sink's sources")
        if self.start == "bootstrap" and self.bootstrap == "never":
            raise ValueError("with bootstrap: never say where to begin; set start: oldest or start: head")
        return self


def _contradictions(rules: MappingRules) -> Iterator[str]:
    """What the rules say against each other, whatever the schema."""
    for column in rules.rename:
        if column in rules.nest:
            yield f"column {column!r} is in 'rename' and in 'nest'; decide for one"
    for column in rules.exclude:
        for other in ("pick", "rename", "nest"):
            if column in getattr(rules, other):
                yield f"column {column!r} is in 'exclude' and in {other!r}; decide for one"
    if rules.pick:
        for other in ("rename", "nest"):
            for column in getattr(rules, other):
                if column not in rules.pick and other == "nest":
                    yield f"column {column!r} is in 'nest' but not in 'pick'"
    yield from path_clashes(
        [
            *((f"column {column!r}", name.split(".")) for column, name in (rules.rename | rules.nest).items()),
            *((f"constant {path!r}", path.split(".")) for path in rules.constants),
        ]
    )


def path_clashes(owners: list[tuple[str, list[str]]]) -> Iterator[str]:
    """Two owners of one field, and a field below one that holds a plain value. owners: who, and the path's parts."""
    taken: dict[tuple[str, ...], str] = {}
    for who, parts in owners:
        path = tuple(parts)
        if path in taken:
            yield f"{taken[path]} and {who} both give the field {'.'.join(path)!r}"
        taken.setdefault(path, who)
    for who, parts in owners:
        for length in range(1, len(parts)):
            if above := taken.get(tuple(parts[:length])):
                yield f"{who} gives {'.'.join(parts)!r}, but {above} gives {'.'.join(parts[:length])!r} a value"
