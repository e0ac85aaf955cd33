"""What scheduler.yaml says under `options:` of a sink of kind `sql`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from differ.config.fields import CountFromOne, Section


class SqlOptions(Section):
    """The options of a `sql` sink."""

    url: str = Field(
        min_length=1,
        description="SQLAlchemy URL. A relative SQLite file starts from the project.",
        examples=["postgresql://user@host/warehouse"],
        repr=False,
    )
    table: str = Field("{source}", min_length=1, description="The table; `{source}` stands for the source's name.")
    schema_: str | None = Field(
        None, alias="schema", min_length=1, description="The database's schema that the tables are in."
    )
    create: bool = Field(True, description="Create tables that are missing, with the key as primary key.")
    on_new_column: Literal["add", "ignore", "fail"] = Field(
        "add", description="A field that the table has no column for: add the column, leave the field out, or stop."
    )
    checkpoints: str = Field(
        "differ_checkpoints", min_length=1, description="The table that checkpoints are kept in, beside the data."
    )
    key_length: CountFromOne = Field(
        255, description="Where keys of text need a length (MariaDB, MySQL): characters of a key column."
    )
    connect_args: dict[str, Any] = Field(
        default_factory=dict, description="Passed to the driver as they are.", repr=False
    )
