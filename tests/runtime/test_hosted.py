"""A module's states: what fails is started again after longer and longer waits, or stays failed for a person."""

import pytest

from differ.errors import ConfigError, RelayUnavailableError, UsageError
from differ.runtime.hosted import Hosted
from differ.runtime.module import HEALTHY_SECONDS
from tests.runtime.fragile import Clock, Fragile


def hosted(module: Fragile, clock: Clock) -> Hosted:
    return Hosted("relay", module, clock=clock)


def test_what_fails_is_started_again_after_longer_and_longer_waits() -> None:
    clock, module = Clock(), Fragile(start=OSError("the port is taken"))
    one = hosted(module, clock)
    one.act("start")
    waits = []
    for _ in range(9):
        body = one.describe()
        assert (body["state"], body["error"]) == ("failed", "OSError: the port is taken")
        waits.append(body["restart_seconds"])
        clock.now += body["restart_seconds"] - 0.01
        assert one.look_after() is None
        clock.now += 0.01
        again = one.look_after()
        assert again is not None
        again()
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    module.failing.clear()
    clock.now += 60
    again = one.look_after()
    assert again is not None
    again()
    assert (one.state, one.error, one.describe()["restart_seconds"]) == ("running", None, None)


def test_a_module_that_ran_for_long_is_well_again() -> None:
    clock, module = Clock(), Fragile()
    one = hosted(module, clock)
    one.act("start")
    for wait, ran in [(1, 5.0), (2, HEALTHY_SECONDS), (1, 0.0)]:
        module.ended = RuntimeError("it died")
        assert one.look_after() is None
        assert one.describe()["restart_seconds"] == wait
        module.ended = None
        clock.now += wait
        again = one.look_after()
        assert again is not None
        again()
        clock.now += ran
        assert (one.look_after(), one.state) == (None, "running")


@pytest.mark.parametrize(
    ("error", "stays"),
    [
        (ConfigError("there is no such option"), True),
        (RelayUnavailableError("nobody is there"), False),
        (ZeroDivisionError("a plugin's own mistake"), False),
    ],
)
def test_what_only_a_person_can_mend_stays_failed(error: Exception, stays: bool) -> None:
    one = hosted(Fragile(start=error), Clock())
    one.act("start")
    assert one.state == "failed"
    assert (one.describe()["restart_seconds"] is None) is stays


def test_a_port_that_is_taken_may_be_free_later() -> None:
    error = ConfigError("listen on 127.0.0.1:7070: Address already in use")
    error.__cause__ = OSError(98, "Address already in use")
    one = hosted(Fragile(start=error), Clock())
    one.act("start")
    assert one.describe()["restart_seconds"] == 1


def test_a_failed_module_was_stopped_and_a_person_is_quicker_than_the_wait() -> None:
    clock, module = Clock(), Fragile(start=OSError("no"))
    one = hosted(module, clock)
    one.act("start")
    assert module.calls == ["start", "stop"]
    clock.now += 1
    again = one.look_after()
    module.failing.clear()
    one.act("start")
    assert again is not None
    again()
    assert module.calls == ["start", "stop", "start"]
    assert one.state == "running"


def test_a_paused_module_comes_back_paused() -> None:
    clock, module = Clock(), Fragile()
    one = hosted(module, clock)
    one.act("start")
    one.act("pause")
    module.ended = OSError("gone")
    assert one.look_after() is None
    module.ended = None
    clock.now += 1
    again = one.look_after()
    assert again is not None
    again()
    assert one.state == "paused"
    assert module.calls[-2:] == ["start", "pause"]


def test_what_was_stopped_by_a_person_stays_stopped_even_where_it_fails_to() -> None:
    clock, module = Clock(), Fragile(stop=OSError("it clings"))
    one = hosted(module, clock)
    one.act("start")
    one.act("stop")
    assert (one.state, one.describe()["restart_seconds"]) == ("failed", None)
    clock.now += 3600
    assert one.look_after() is None


def test_restart_from_every_state() -> None:
    module = Fragile()
    one = hosted(module, Clock())
    for before, calls in [
        ([], ["start"]),
        (["start"], ["start", "stop", "start"]),
        (["pause"], ["pause", "stop", "start"]),
        (["stop"], ["stop", "start"]),
    ]:
        module.calls.clear()
        for action in [*before, "restart"]:
            one.act(action)
        assert one.state == "running"
        assert module.calls in (calls, calls[1:])
    with pytest.raises(UsageError, match="there is no action 'explode'"):
        one.act("explode")


def test_facts_that_cannot_be_told_do_not_hide_the_state() -> None:
    module = Fragile(status=ValueError("broken"))
    one = hosted(module, Clock())
    one.act("start")
    assert one.describe()["status"] == {"error": "ValueError: broken"}
