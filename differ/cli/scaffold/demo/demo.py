"""Show the whole road on the sample shop: scan it, change it, scan it again, and read the events.

    python demo.py

Everything it does is a command, printed after a `$` before it is run, so each can be tried by hand. It may be run
again: the shop is put back to its start first, and the first scan then finds what that changed.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

HERE = Path(__file__).resolve().parent
WIDTH = 78


def main() -> int:
    """The demo, in order. Ends with the exit code of the first command that fails."""
    say(
        "A small shop. Its orders are rows of SQLite (shop.db), its customers are documents (a MongoDB collection or"
        " customers.jsonl). differ may only read them. The source `order_view` joins both: an order with its items and"
        " its customer (iterators/order_view.py)."
    )
    run("python shop.py create")

    say("The first scan. Everything is new, and becomes the state that the next scan is compared with.")
    run("differ scan --all")
    since = head()

    say("The shop goes on. In SQL:")
    run("cat changes/shop.sql")
    run("python shop.py sql changes/shop.sql")
    say("And in the documents:")
    run("cat changes/customers.jsonl")
    run("python shop.py documents changes/customers.jsonl")

    say("The second scan finds what is different.")
    run("differ scan --all")

    say("These are the change events. Each has a number of its own, the SCN.")
    run(f"differ events --since {since}")
    say(
        "Look at order_view: order 1041 was shipped in SQL, and its customer moved in the documents: one event with"
        " both. Order 1012 did not change at all, but its customer did."
    )

    command, project = shown_differ(), shown_project()
    print("To try next:")
    print(f"  {command} history{project} --source order_view --key 1041")
    print(f"  {command} snapshot{project} --source orders --sql")
    print(f"  {command} status{project}")
    return 0


def say(text: str) -> None:
    """Print a paragraph."""
    print(textwrap.fill(text, WIDTH) + "\n", flush=True)


def run(command: str) -> None:
    """Show a command and run it in this folder; a failure ends the demo with its exit code."""
    print(f"$ {command}", flush=True)
    name, *arguments = shlex.split(command)
    if name == "cat":
        print((HERE / arguments[0]).read_text(encoding="utf-8"), flush=True)
        return
    start = {"python": [sys.executable], "differ": differ()}[name]
    result = subprocess.run([*start, *arguments], cwd=HERE, check=False)
    if result.returncode:
        sys.exit(result.returncode)
    print(flush=True)


def head() -> int:
    """The SCN of the newest event."""
    status = subprocess.run([*differ(), "status", "--json"], cwd=HERE, check=True, capture_output=True)
    return int(json.loads(status.stdout)["head_scn"])


def differ() -> list[str]:
    """The command `differ`: of this Python's own environment, else the one on the PATH."""
    beside = Path(sys.executable).with_name("differ")
    found = str(beside) if beside.exists() else shutil.which("differ")
    if found is None:
        sys.exit("demo: there is no command 'differ'; run: pip install differ-cdc")
    return [found]


def shown_differ() -> str:
    """The same as it can be typed where the demo was started."""
    (found,) = differ()
    on_path = shutil.which("differ")
    if on_path and os.path.realpath(on_path) == os.path.realpath(found):
        return "differ"
    return shlex.quote(nearest(found))


def shown_project() -> str:
    """The option that names this project, where it is not found without."""
    return "" if Path.cwd() == HERE else f" --project {shlex.quote(nearest(str(HERE)))}"


def nearest(path: str) -> str:
    """The shorter of the absolute path and the one from the working directory."""
    return min(os.path.relpath(path), path, key=len)


if __name__ == "__main__":
    sys.exit(main())
