"""`differ init`: a new project, empty or with the sample shop.

Invariant: nothing that is there already is overwritten, and nothing is written when something would be.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from differ.cli import scaffold
from differ.cli.command import command
from differ.cli.session import Session
from differ.errors import StorageError, UsageError


@command(example="differ init my-project\ndiffer init shop --demo && python shop/demo.py")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--demo", is_flag=True, help="With a sample shop to play with.")
@click.pass_obj
def init(session: Session, folder: Path, demo: bool) -> None:
    """Make a new project in DIR: scheduler.yaml, iterators/, snapshots/ and a README.

    Nothing that is there already is overwritten. With --demo the project watches a sample shop that is made with it, in
    SQLite and JSON Lines. Where the environment variable MONGO_URL is set, the shop's documents are put into that
    server instead, in a collection named differ_demo_customers.
    """
    files = make_project(folder, demo=demo)
    if session.as_json:
        session.terminal.json({"project": str(folder.absolute()), "demo": demo, "files": sorted(files)})
        return
    say = session.terminal.line
    say(f"Made {'the sample shop' if demo else 'a project'} in {folder}. Next:")
    say()
    if folder.resolve() != Path.cwd():
        say(f"  cd {shlex.quote(str(folder))}")
    if demo:
        say("  python demo.py         # scan, change the shop, scan again, see the events")
        say("  differ scan --all      # or go your own way")
    else:
        say("  $EDITOR scheduler.yaml # name your first source")
        say("  differ config check    # is it right?")
        say("  differ scan --all      # take the first state; the next scan finds what changed")


def make_project(folder: Path, *, demo: bool) -> list[str]:
    """Write the files of a new project into `folder`, which is made where it is not there; return their names.

    Raises UsageError, before anything is written, when a file of that name is there; StorageError.
    """
    texts = scaffold.project_files(demo=demo)
    mongodb_url = _mongodb_url() if demo else None
    if mongodb_url is not None:
        texts["scheduler.yaml"] = _in_mongodb(texts["scheduler.yaml"], mongodb_url)
    made = [*texts, *(["shop.db", "customers.jsonl"] if demo else [])]
    taken = sorted(name for name in made if os.path.lexists(folder / name))
    if taken:
        raise UsageError(
            f"init {folder}: it would overwrite {', '.join(taken[:3])}{', ...' if len(taken) > 3 else ''}",
            hint="name a new or an empty folder",
        )
    try:
        for name, text in texts.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"init {folder}: {error.strerror or error}: {error.filename}", hint="name a folder that can be written"
        ) from error
    if demo:
        _make_shop(folder)
    return [name for name in made if (folder / name).exists()]


def _make_shop(folder: Path) -> None:
    from differ.cli.scaffold.demo import shop

    shop.create(folder)


def _mongodb_url() -> str | None:
    from differ.config import environment

    return environment().mongo_url


def _in_mongodb(text: str, url: str) -> str:
    """The demo's scheduler.yaml with the customers in MongoDB. The URL itself, which may hold a password, stays out."""
    from pymongo.uri_parser import parse_uri

    database = "" if parse_uri(url)["database"] else "database: differ_demo, "
    options = f'{{url: "${{MONGO_URL}}", {database}collection: differ_demo_customers}}'
    text = text.replace("iterator: files", "iterator: mongodb")
    return text.replace("{path: customers.jsonl, document: true}", options)
