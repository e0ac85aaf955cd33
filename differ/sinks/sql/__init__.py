"""The `sql` sink: one table a source in any database of SQLAlchemy, with the checkpoint in the same transaction.

options, sink     what scheduler.yaml says; the contract's calls in order
tables            find, create and widen tables
types, values     logical types -> the database's types; Python's values -> what its driver takes
writer, postgresql, mariadb, sqlite     how rows are upserted and deleted in bulk
book              the table of checkpoints
errors            a driver's error -> try again, refuse the record, or a person has to mend it
"""

from differ.sinks.sql.sink import SqlSink

__all__ = ["SqlSink"]
