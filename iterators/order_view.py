"""An order with its items and its customer: one record, read from two stores that know nothing of each other.

Orders and items are rows of a SQL database; customers are documents (a MongoDB collection, or JSON Lines). A change on
either side is one change event of the order. Each store is read by differ's own iterator in one consistent state, one
shortly after the other. So a pair may be of two moments; the next scan brings what was missed.

Options: `shop` (the URL of the SQL database), `customers` (an iterator and its options).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bson.json_util import JSONOptions, loads

from differ.iterators import Context, iterator
from differ.iterators.discovery import find_iterator

OPTIONS: JSONOptions = JSONOptions(tz_aware=True)  # a date of a document is a moment, not a local time


# Whether an order is there depends on the SQL database alone, and that is read in one consistent state: so its absence
# proves that it was deleted.
@iterator(key="order_id", consistent=True, types={"items": "json", "customer": "json"})
def order_view(ctx: Context) -> Iterator[list[dict[str, Any]]]:
    """Yield the orders in pages. The customers and items are kept in memory; the orders pass through."""
    customers = {}
    for page in read(ctx, ctx.options["customers"]["iterator"], ctx.options["customers"]["options"]):
        customers.update({loads(row["_id"]): loads(row["document"], json_options=OPTIONS) for row in page})

    orders = {"url": ctx.options["shop"], "table": "orders"}
    order_items = {"url": ctx.options["shop"], "table": "order_items"}
    sql = find_iterator("sql", Path(ctx.project))
    with sql.connect(replace(ctx, options=orders)) as handle:  # both tables in one transaction
        items: dict[int, dict[str, Any]] = defaultdict(dict)
        for page in read(ctx, "sql", order_items, handle):
            for item in page:
                line = {"sku": item["sku"], "quantity": item["quantity"], "price": str(item["price"])}
                items[item["order_id"]][str(item["line"])] = line  # by line, so that a change shows which item
        for page in read(ctx, "sql", orders, handle):
            yield [
                {
                    **order,
                    "items": items[order["order_id"]],
                    # A customer who is not there (yet) is null; the order is there all the same.
                    "customer": customers.get(order["customer_id"]),
                }
                for order in page
            ]


def read(ctx: Context, name: str, options: Mapping[str, Any], handle: Any = None) -> Iterator[list[dict[str, Any]]]:
    """Yield what another iterator reads, as lists of dicts."""
    spec = find_iterator(name, Path(ctx.project))
    reader: Any = spec.open(replace(ctx, options=options, key=(), handle=handle))
    try:
        for split in reader.splits():
            for batch in reader.read(split):
                ctx.check_cancelled()
                yield batch.to_pylist()
    finally:
        reader.close()
