"""docs/http.md says what the server does: each call, parameter, header and code, and its examples run."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import differ
from differ import errors
from differ.server import problems
from differ.server.stream import StreamQuery
from tests.cli.shop import Shop
from tests.docs.markdown import ROOT
from tests.server.relay import Relay

PAGE = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
DEFAULT = "http://127.0.0.1:7070"


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    shop = Shop(tmp_path / "shop")
    shop.orders(5)
    shop.ok("scan", "--all")
    relay = Relay(differ.open(shop.folder)).start()
    yield relay
    relay.stop()
    relay.project.close()


def test_every_call_is_there_with_its_right(relay: Relay) -> None:
    rows = dict(re.findall(r"^\| `((?:GET|PUT|POST|DELETE) \S+)` \| (\w+) \|", PAGE, re.M))
    described = {
        f"{method.upper()} {path}"
        for path, methods in relay.get("/openapi.json").json["paths"].items()
        for method in methods
    }
    assert rows.keys() == described


def test_every_field_of_every_call_is_there(relay: Relay) -> None:
    fenced = r"^```\w*\n(.*?)^```"
    code = re.findall(fenced, PAGE, re.M | re.S) + re.findall(r"`([^`]+)`", re.sub(fenced, "", PAGE, flags=re.M | re.S))
    words = {word for text in code for word in re.findall(r"\w+", text)}
    document = relay.get("/openapi.json").json
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            for parameter in call.get("parameters", ()):
                assert parameter["in"] == "path" or parameter["name"] in words, (method, path, parameter["name"])
    for name, schema in document["components"]["schemas"].items():
        assert set(schema.get("properties", ())) <= words, name


def test_every_parameter_and_header_is_there(relay: Relay) -> None:
    for name in StreamQuery.model_fields:
        assert f"| `{name}` |" in PAGE, name
    for name in relay.stream().headers:
        if name.startswith("differ-"):
            assert re.search(rf"^\| `{name}` \|", PAGE, re.M | re.I), name


def test_every_code_is_there_with_its_status() -> None:
    found = {code: status for _, status, code in problems.CODES}
    found |= {"INTERNAL": 500, "INVALID": 422, "FORBIDDEN": 403, "METHOD_NOT_ALLOWED": 405}
    for one in (*vars(errors).values(), *vars(problems).values()):
        if isinstance(one, type) and issubclass(one, errors.RelayError):
            found[one.code] = one.status
    for own_side in ("RELAY_ERROR", "CONSUMER_FAILED", "SINK_FAILED"):
        del found[own_side]
    rows = {code: int(status) for code, status in re.findall(r"^\| `([A-Z_]+)` \| (\d+) \|", PAGE, re.M)}
    assert rows == found


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_examples_run(relay: Relay, tmp_path: Path) -> None:
    examples = re.findall(r"```sh\n(.*?)```", PAGE, re.S)
    assert len(examples) >= 7
    for example in examples:
        script = example.replace(DEFAULT, relay.url).replace("curl -s", "curl -sS --fail-with-body")
        done = subprocess.run(
            ["sh", "-eu", "-c", script],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "DIFFER_READ_TOKEN": "token"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (script, done)
        assert '"error"' not in done.stdout
