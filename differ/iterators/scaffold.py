"""Write a new iterator file: small, commented, and working as soon as its options are set.

Three kinds: `sql` puts one query together and hands it to the built-in SQL iterator, `mongodb` does so with a
pipeline, `python` reads anything by code of your own. Invariant: a file that is there is never overwritten.
"""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from pathlib import Path

from differ.errors import StorageError, UsageError
from differ.iterators.discovery import BUILT_IN, FOLDER

KINDS = ("sql", "mongodb", "python")
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaffold:
    """The file that was written, and what to paste below `sources:` in scheduler.yaml."""

    path: Path
    yaml: str


def new_iterator(project: Path, name: str, kind: str = "python") -> Scaffold:
    """Write `iterators/NAME.py`. Raises UsageError for a bad name or kind and where the file is there already."""
    if kind not in KINDS:
        raise UsageError(f"new iterator {name!r}: there is no kind {kind!r}", hint=f"kinds: {', '.join(KINDS)}")
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"new iterator {name!r}: the name must begin with a letter a-z and go on with a-z, 0-9 and _",
            hint="for example: differ iterator new order_view",
        )
    if keyword.iskeyword(name):
        raise UsageError(f"new iterator {name!r}: that is a word of Python", hint="choose another name")
    if name in BUILT_IN:
        raise UsageError(f"new iterator {name!r}: that is the name of a built-in one", hint="choose another")
    path = Path(project) / FOLDER / f"{name}.py"
    try:
        path.parent.mkdir(exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(_TEMPLATES[kind].replace("NAME", name))
    except FileExistsError:
        raise UsageError(f"new iterator {name!r}: {path} is there already", hint="choose another name") from None
    except OSError as error:
        raise StorageError(f"write {path}: {error.strerror}", hint="make the folder writable") from error
    path.chmod(path.stat().st_mode & ~0o022)  # What others may write, differ refuses to load.
    return Scaffold(path=path, yaml=_SNIPPETS[kind].replace("NAME", name))


_SQL = '''"""NAME: the rows of a query. Options: url."""

from differ.iterators import Context, iterator
from differ.iterators.sql import sql

# Give every column a name of its own, and let one column (or several) identify a row.
QUERY = """
SELECT id, status, total
FROM orders
WHERE status <> 'draft'
"""


@iterator(name="NAME", key="id", consistent=True)
class NAME(sql):
    """Reads QUERY in one consistent snapshot; streaming, types and lookups are those of the built-in iterator."""

    def __init__(self, ctx: Context) -> None:
        ctx.options = {**ctx.options, "query": QUERY}
        ctx.key = ctx.key or ("id",)
        super().__init__(ctx)
'''

_MONGODB = '''"""NAME: what a pipeline makes of a collection. Options: url (with the database), collection."""

from differ.iterators import Context, iterator
from differ.iterators.mongodb import mongodb

# Each document that comes out needs a unique _id. Stages that write or run code are refused.
PIPELINE = [
    {"$match": {"deleted": {"$ne": True}}},
    {"$project": {"internal": 0}},
]


@iterator(name="NAME", key="_id")
class NAME(mongodb):
    """Reads PIPELINE, in one consistent snapshot where the server gives one."""

    def __init__(self, ctx: Context) -> None:
        ctx.options = {**ctx.options, "pipeline": PIPELINE}
        super().__init__(ctx)
'''

_PYTHON = '''"""NAME: the lines of a CSV file, as an example of reading anything by code of your own. Options: path."""

import csv
from itertools import islice
from pathlib import Path

from differ.iterators import Context, iterator


# key: what identifies a row. consistent: True only if one scan reads one state of the store, so that a row which is
# absent is really gone; with False, differ waits for a second scan before it believes a delete.
# types: of columns whose values do not tell, for example types={"total": "decimal(10,2)"}.
@iterator(name="NAME", key="id", consistent=False)
def NAME(ctx: Context):
    """Yields lists of dicts; data frames, Arrow tables and record batches do as well."""
    path = Path(ctx.project) / ctx.options["path"]
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        while batch := list(islice(rows, ctx.batch_rows)):
            ctx.check_cancelled()  # Ends the scan when somebody asked for that.
            yield batch
'''

_TEMPLATES = {"sql": _SQL, "mongodb": _MONGODB, "python": _PYTHON}
_SNIPPETS = {
    "sql": "  NAME:\n    iterator: NAME\n    options:\n      url: ${SHOP_URL:-sqlite:///shop.db}\n"
    "    key: id\n    schedule: {every: 5m}\n",
    "mongodb": "  NAME:\n    iterator: NAME\n    options:\n      url: ${MONGO_URL:-mongodb://127.0.0.1:27017/shop}\n"
    "      collection: orders\n    schedule: {every: 5m}\n",
    "python": "  NAME:\n    iterator: NAME\n    options:\n      path: data.csv\n"
    "    key: id\n    schedule: {every: 5m}\n",
}
