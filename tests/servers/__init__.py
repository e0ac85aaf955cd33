"""Real servers for tests: plain processes on private ports of 127.0.0.1, each in a folder of its own.

    with PostgreSQL() as server:
        engine = sqlalchemy.create_engine(server.url(server.create_database()))

One file per server. What they share (start, stop, kill, freeze, restart, clean up) is in `process`.
"""

from tests.servers.elasticsearch import Elasticsearch, OpenSearch
from tests.servers.kafka import Kafka
from tests.servers.mariadb import MariaDB
from tests.servers.mongodb import MongoDB
from tests.servers.nats import NATS
from tests.servers.postgresql import PostgreSQL
from tests.servers.process import Server, ServerUnavailableError

__all__ = [
    "NATS",
    "Elasticsearch",
    "Kafka",
    "MariaDB",
    "MongoDB",
    "OpenSearch",
    "PostgreSQL",
    "Server",
    "ServerUnavailableError",
]
