"""Work on items in threads, ahead of whoever takes the results, in order and bounded.

Arrow, NumPy and the compiled kernels let go of the interpreter's lock, so the stages of a scan overlap: one batch is
fetched while another is decoded, a third is hashed and a fourth is compared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(items: Iterable[Item], work: Callable[[Item], Result], helpers: int) -> Generator[Result, None, None]:
    """What `work` makes of each item, in order; `helpers` threads work while the next items are fetched.

    Raises what `items` and `work` raise. Memory: as many items as helpers, one that is fetched and one that is out.
    """
    with ThreadPoolExecutor(helpers, thread_name_prefix="differ-ahead") as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > helpers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for left in waiting:
                left.cancel()
