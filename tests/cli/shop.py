"""A real project on a real SQLite shop, and the three ways of running `differ` in it."""

import contextlib
import io
import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from differ.cli.main import run
from tests.canary import check_text, with_canary

COMMAND = (sys.executable, "-P", "-m", "differ")


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    def __post_init__(self) -> None:
        check_text(self.out, "what the command printed")
        check_text(self.err, "what the command logged")

    @property
    def lines(self) -> list[Any]:
        """stdout as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def document(self) -> Any:
        """stdout as one JSON document."""
        return json.loads(self.out)


class Shop:
    """A project folder with `shop.db`; `sources` go into its scheduler.yaml."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.configure({"orders": table("orders")})

    def configure(self, sources: dict[str, Any], **more: Any) -> None:
        """Write scheduler.yaml."""
        text = yaml.safe_dump(with_canary({"version": 1, "sources": sources, **more}), sort_keys=False)
        (self.folder / "scheduler.yaml").write_text(text)

    def sql(self, *statements: str) -> None:
        """Run statements in the shop, as one transaction."""
        connection = sqlite3.connect(self.folder / "shop.db")
        with contextlib.closing(connection), connection:
            for statement in statements:
                connection.execute(statement)

    def orders(self, count: int = 5) -> None:
        """A fresh table of orders, 1 to `count`."""
        rows = ", ".join(f"({number}, 'paid')" for number in range(1, count + 1))
        self.sql("CREATE TABLE orders (id INTEGER PRIMARY KEY, status TEXT)", f"INSERT INTO orders VALUES {rows}")

    def plugin(self, name: str, code: str) -> None:
        """Write iterators/NAME.py."""
        (self.folder / "iterators").mkdir(exist_ok=True)
        (self.folder / "iterators" / f"{name}.py").write_text(code)

    def run(self, *arguments: str) -> Done:
        """Run a command inside this process: quick, through everything but the interpreter's start."""
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run([*arguments, "--project", str(self.folder)])
        out.flush()
        err.flush()
        texts = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
        return Done(code, *texts)

    def ok(self, *arguments: str) -> Done:
        """Like `run`, for what must end with 0."""
        done = self.run(*arguments)
        assert done.code == 0, (arguments, done)
        return done

    def start(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        """Start the real command in the project's folder."""
        return subprocess.Popen(
            (*COMMAND, *arguments),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=os.environ | environment,
        )

    def call(self, *arguments: str, **environment: str) -> Done:
        """Run the real command to its end."""
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=60)
        return Done(process.returncode, out, err)


def table(name: str, **more: Any) -> dict[str, Any]:
    """The settings of a source that reads a table of the shop."""
    return {"iterator": "sql", "options": {"url": "sqlite:///shop.db", "table": name}, **more}
