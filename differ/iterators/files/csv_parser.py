"""CSV as columns of texts: Arrow's parser, made strict.

What Arrow takes for granted is an error here: a file that ends inside a quote, a line with too few or too many
fields. Empty lines are skipped, an empty field is null, and a quoted one is an empty string.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.csv as arrow_csv

from differ.errors import SourceError
from differ.iterators.files.csv_lines import QuoteCounter, line_of_bad_count, unclosed_quote
from differ.iterators.files.place import Place, reading
from differ.iterators.options import Options

BLOCK_BYTES = 8 * 1024 * 1024
"""How much is parsed at a time, and the longest row there can be."""


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a CSV file is written. names: of the columns, where no header line tells them."""

    delimiter: str = ","
    header: bool = True
    names: tuple[str, ...] = ()
    nulls: tuple[str, ...] = ("",)

    @classmethod
    def take(cls, options: Options, *, tabs: bool) -> Dialect:
        """The dialect that the options say. Raises ConfigError for options that contradict each other."""
        delimiter = options.take("delimiter", str) or ("\t" if tabs else ",")
        if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n':
            raise options.error("delimiter", "it must be one ASCII character that is no quote and no line end")
        names = options.take_texts("column_names")
        header = options.take("header", bool)
        header = not names if header is None else header
        if not header and not names:
            raise options.error(
                "column_names", "it is missing", hint="a file without header needs names for its columns"
            )
        if len(set(names)) != len(names):
            raise options.error("column_names", "a name is there twice")
        nulls = options.take_texts("null_values") or ("",)
        return cls(delimiter=delimiter, header=header, names=names, nulls=nulls)


def parse(place: Place, dialect: Dialect, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """The file's columns as texts, in batches as they are parsed.

    names: all columns of the file. Raises SourceError naming file and line. Memory is a block or two.
    """
    with place.open_text() as stream:
        counted = QuoteCounter(stream)
        try:
            yield from _parse(place, counted, dialect, columns)
        finally:
            counted.end()


def _parse(place: Place, stream: QuoteCounter, dialect: Dialect, columns: list[str]) -> Iterator[pa.RecordBatch]:
    ragged: list[arrow_csv.InvalidRow] = []

    def refuse(row: arrow_csv.InvalidRow) -> str:
        ragged.append(row)
        return "error"

    batches: Iterator[pa.RecordBatch] | None = None
    while True:
        try:
            if batches is None:
                batches = _open(stream, dialect, columns, refuse)
            batch = next(batches, None)
        except pa.ArrowInvalid as error:
            if "Empty CSV file" in str(error):
                return
            raise _parse_error(place, dialect, ragged, error) from None
        except Exception:
            with reading(place):
                raise
        if batch is None:
            break
        yield batch
    if stream.quotes % 2 and (line := unclosed_quote(place, dialect.delimiter)) is not None:
        raise SourceError(f"read {place.name}: line {line}: a quote is never closed", hint="is the file whole?")


def _open(stream: QuoteCounter, dialect: Dialect, columns: list[str], refuse: object) -> Iterator[pa.RecordBatch]:
    batches: Iterator[pa.RecordBatch] = arrow_csv.open_csv(
        stream,
        read_options=arrow_csv.ReadOptions(
            # One thread: only then does an invalid row know its number.
            use_threads=False,
            block_size=BLOCK_BYTES,
            column_names=list(dialect.names) or None,
            skip_rows_after_names=1 if dialect.header and dialect.names else 0,
        ),
        parse_options=arrow_csv.ParseOptions(
            delimiter=dialect.delimiter, newlines_in_values=True, invalid_row_handler=refuse
        ),
        convert_options=arrow_csv.ConvertOptions(
            column_types={name: pa.string() for name in columns},
            include_columns=columns,
            null_values=list(dialect.nulls),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    return batches


def _parse_error(
    place: Place, dialect: Dialect, ragged: list[arrow_csv.InvalidRow], error: pa.ArrowInvalid
) -> SourceError:
    if ragged:
        expected, actual = ragged[0].expected_columns, ragged[0].actual_columns
        line = line_of_bad_count(place, dialect.delimiter, expected)
        return SourceError(
            f"read {place.name}: line {line}: {actual} fields where there should be {expected}",
            hint="correct the line; is the delimiter the right one?",
        )
    if "straddling" in str(error) or "block size" in str(error):
        return SourceError(
            f"read {place.name}: a row is longer than {BLOCK_BYTES // 2**20} MiB", hint="is a quote never closed?"
        )
    cause = "it is not UTF-8" if "UTF8" in str(error) else "it cannot be parsed as CSV"
    return SourceError(
        f"read {place.name}: {cause}", hint="convert it: iconv -f LATIN1 -t UTF-8" if "UTF8" in str(error) else None
    )
