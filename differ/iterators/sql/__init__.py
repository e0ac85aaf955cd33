"""The built-in `sql` iterator: a table or a query of any database that SQLAlchemy speaks to.

    options -> snapshot (one connection, one consistent read) -> relation (what to read) -> fields (how to read each
    column) -> batches

What differs between databases is in one file each (`sqlite`, `postgresql`, `mariadb`, `generic`) behind the protocol
in `dialects`. Invariant: types come from the database's catalogue, never from looking at some rows.
"""

from differ.iterators.sql.source import sql

__all__ = ["sql"]
