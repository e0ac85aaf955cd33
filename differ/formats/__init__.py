"""A change event in each form that leaves differ: Arrow, NDJSON, Avro, Debezium, CloudEvents."""
