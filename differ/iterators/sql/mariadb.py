from differ.iterators.sql.generic import Generic
class MariaDB(Generic):
    drivers = {}
