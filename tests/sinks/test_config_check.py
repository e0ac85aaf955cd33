"""`differ config check` looks at sinks: kind, options and hooks, each in the words of the sink."""

from pathlib import Path
from typing import Any

import pytest

from tests.cli.shop import Shop, table


def checked(folder: Path, **sink: Any) -> tuple[int, str]:
    shop = Shop(folder)
    shop.configure({"orders": table("orders")}, sinks={"look": {"sources": ["orders"], **sink}})
    done = shop.run("config", "check")
    return done.code, done.out + done.err


@pytest.mark.parametrize(
    ("sink", "said"),
    [
        ({"kind": "consol"}, "sink look: kind 'consol': there is no such sink; did you mean 'console'?"),
        ({"kind": "console", "options": {"formt": 1}}, "sink look: options.formt: unknown key; did you mean 'format'?"),
        ({"kind": "console", "hooks": {"after": "gone.py:x"}}, "sink look: hooks.after: there is no file"),
        ({"kind": "console", "hooks": {"after": "mapping.py:VALUE"}}, "it is no function"),
        ({"kind": "console", "mapping": {"sources": {"items": {}}}}, "'mapping' has rules for 'items'"),
        ({"kind": "console", "bootstrap": "never"}, "set start: oldest or start: head"),
        ({"kind": "console", "retries": {"first": "2m"}}, "'first' is longer than 'longest'"),
    ],
)
def test_what_is_wrong_is_told_without_connecting(tmp_path: Path, sink: dict[str, Any], said: str) -> None:
    (tmp_path / "mapping.py").write_text("VALUE = 3\n")
    code, text = checked(tmp_path, **sink)
    assert code == 2
    assert said in " ".join(text.split())


def test_what_is_right_passes(tmp_path: Path) -> None:
    (tmp_path / "mapping.py").write_text("def tidy(row, event):\n    return row\n")
    sink = {
        "kind": "sql",
        "options": {"url": "postgresql://nobody@127.0.0.1:1/x"},
        "hooks": {"before": "mapping.py:tidy"},
    }
    code, text = checked(tmp_path, **sink)
    assert code == 0, text
