"""A page of nothing is nothing, in whatever shape it comes; an iterator that pages often ends with one."""

from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from tests.cycle.world import World, numbered


@pytest.mark.parametrize("nothing", [[], (), pd.DataFrame(), pd.DataFrame([]), pa.table({}), pa.record_batch({})])
def test_a_page_without_rows_and_columns_is_no_change_of_schema(world: World, nothing: Any) -> None:
    world.fed("orders")
    world.feed("orders").splits = [[nothing, numbered("a"), nothing], [nothing]]
    assert world.commit("orders").inserts == 1
    world.feed("orders").splits = [[nothing]]
    assert world.commit("orders").deletes == 1
    world.verify("orders")
