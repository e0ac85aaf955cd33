from differ.iterators.sql.generic import Generic
class PostgreSQL(Generic):
    drivers = {}
