"""JSON Lines as documents: each line one document in Extended JSON, canonical or relaxed, as mongoexport writes them.

The records are those of the `mongodb` iterator, so a collection can be stood in for by its export. Relaxed lines have
lost what canonical ones keep: whether a number was a 32-bit or a 64-bit one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bson.codec_options import DatetimeConversion
from bson.errors import BSONError
from bson.json_util import JSONOptions, object_hook

from differ.errors import RecordError
from differ.iterators.contract import Batch, Context
from differ.iterators.documents import DOCUMENTS_MAX, ID, DocumentRecords
from differ.iterators.files.delimited import WholeFile
from differ.iterators.files.json_text import Pairs, bad_line, objects, unique
from differ.iterators.files.place import Place
from differ.records.types import Schema

_OPTIONS: JSONOptions = JSONOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)


class DocumentLines:
    """Reads JSON Lines files as documents."""

    def __init__(self, places: Sequence[Place], ctx: Context) -> None:
        self._places, self._ctx = places, ctx
        self.key = ctx.key or (ID,)
        self._records = DocumentRecords(ctx.source, self.key)

    def schema(self) -> Schema:
        """Key and document; known without reading."""
        return self._records.schema

    def splits(self) -> Sequence[WholeFile]:
        """One a file."""
        return [WholeFile(place=place) for place in self._places]

    def read(self, split: WholeFile) -> Iterator[Batch]:
        """The documents of one file. Raises RecordError naming file and line for a line that is no document."""
        documents: list[dict[str, Any]] = []
        for line, document in objects(split.place, _make, float):
            if ID not in document:
                raise bad_line(split.place, line, "the document has no _id")
            documents.append(document)
            if len(documents) == min(self._ctx.batch_rows, DOCUMENTS_MAX):
                self._ctx.check_cancelled()
                yield self._records.batch(documents)
                documents.clear()
        if documents:
            yield self._records.batch(documents)


def _make(pairs: Pairs) -> Any:
    """An object of a line as a document, or as the BSON value that it writes in Extended JSON."""
    made = unique(pairs)
    try:
        return object_hook(made, _OPTIONS) if any(name.startswith("$") for name in made) else made
    except (BSONError, ValueError, TypeError, KeyError, ArithmeticError, AttributeError) as error:
        raise RecordError(f"it holds no valid Extended JSON: {next(iter(made))!r} ({type(error).__name__})") from None
