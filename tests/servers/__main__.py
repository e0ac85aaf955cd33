"""Start and end the named servers, or all: `python -m tests.servers mariadb`. Exit code 1: one cannot run."""

import sys

from tests.servers import NATS, Elasticsearch, Kafka, MariaDB, MongoDB, OpenSearch, PostgreSQL, ServerUnavailableError

SERVERS = {server.name: server for server in (PostgreSQL, MariaDB, MongoDB, NATS, Kafka, Elasticsearch, OpenSearch)}

for name in sys.argv[1:] or SERVERS:
    try:
        with SERVERS[name]() as running:
            print(f"{name}: answered at {running.url()}")
    except ServerUnavailableError as error:
        sys.exit(str(error))
