"""A membership against answers that come late, get lost, or are none: what it believes to own is never too much."""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from differ.client.membership import Membership
from differ.client.retries import Backoff, Retries
from differ.client.transport import Transport
from differ.errors import FencedError, RelayError, RelayUnavailableError
from tests.server.eventually import eventually

AWAY = RelayUnavailableError("away")
CURSOR = f"6f0c0000-0000-4000-8000-000000000000.7.{'0' * 32}.0"


class Line:
    """Stands for a transport: hands each call to the test, and waits for what the test answers."""

    def __init__(self) -> None:
        self.calls: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.answers: queue.Queue[Any] = queue.Queue()

    def call(self, method: str, path: str, *, body: Any = None, backoff: Any = None) -> Any:
        action = path.rpartition("/")[2]
        self.calls.put((action, body))
        if action == "leave":
            return {"left": True}
        answer = self.answers.get(timeout=30)
        if callable(answer):
            answer = answer()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def another(self, *, read_seconds: float | None = None) -> "Line":
        return self

    def abort(self) -> None:
        self.answers.put(AWAY)

    def close(self) -> None:
        pass

    def next(self, action: str) -> Any:
        """The body of the next call, which must be this one."""
        found, body = self.calls.get(timeout=30)
        assert found == action
        return body


def share(version: int, tokens: dict[str, int], **more: Any) -> dict[str, Any]:
    lease = more.pop("lease_seconds", 3.0)
    return {"version": version, "partitions": tokens, "checkpoints": {}, "revoked": [], "lease_seconds": lease} | more


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def seat(line: Line) -> Iterator[Membership]:
    """A member of partitions 1 and 2, whose clock stands still."""
    seat = Membership(cast(Transport, line), "index", clock=lambda: 100.0)
    line.answers.put(share(1, {"1": 1, "2": 1}, checkpoints={"1": {"kind": "stream", "cursor": CURSOR}}))
    seat.join()
    line.next("join")
    yield seat
    seat.leave()


def test_an_answer_that_was_under_way_brings_nothing_back(line: Line, seat: Membership) -> None:
    seat.release([9])  # Not ours: it only wakes the heartbeat.
    assert line.next("heartbeat")["released"] == []
    seat.release([2])
    line.answers.put(share(2, {"1": 1, "2": 1, "3": 5}))
    body = line.next("heartbeat")
    assert set(seat.share.tokens) == {1, 3}
    assert (body["version"], body["released"]) == (2, [2])
    line.answers.put(share(3, {"1": 1, "2": 2, "3": 5}))
    eventually(lambda: seat.share.tokens == {1: 1, 2: 2, 3: 5})
    assert set(seat.share.checkpoints) == {1}


def test_what_was_released_is_said_again_until_it_is_answered(line: Line, seat: Membership) -> None:
    seat.release([2])
    assert line.next("heartbeat")["released"] == [2]
    line.answers.put(AWAY)
    assert line.next("heartbeat")["released"] == [2]
    assert set(seat.share.tokens) == {1}
    line.answers.put(share(2, {"1": 1}))
    seat.release([1])
    assert line.next("heartbeat")["released"] == [1]
    assert not seat.lost


@pytest.mark.parametrize(
    ("answer", "error"),
    [(FencedError("another has it"), FencedError), ({"no": "relay"}, RelayError), ([], RelayError)],
)
def test_a_lease_that_is_over_stays_over(line: Line, seat: Membership, answer: Any, error: type[RelayError]) -> None:
    seat.release([2])
    line.answers.put(answer)
    eventually(lambda: seat.lost)
    with pytest.raises(error):
        seat.check()


def test_the_lease_counts_from_the_attempt_to_join_that_was_answered(line: Line) -> None:
    now = [0.0]
    seat = Membership(cast(Transport, line), "index", clock=lambda: now[0])

    def late(error: Exception) -> Callable[[], Exception]:
        def answer() -> Exception:
            now[0] += 60
            return error

        return answer

    line.answers.put(late(AWAY))
    line.answers.put(late(AWAY))
    line.answers.put(share(1, {}, lease_seconds=10.0))
    seat.join(Backoff(Retries(first_seconds=0.001, most_seconds=0.002), threading.Event()))
    assert not seat.lost
    now[0] += 9
    assert seat.lost
    seat.leave()
