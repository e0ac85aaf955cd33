"""`differ init`: a new project, empty or with the sample shop.

Invariant: nothing that is there already is overwritten, and nothing is written when something would be.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from differ.cli import scaffold
from differ.cli.command import command
from differ.cli.scaffold.demo import shop
from differ.cli.session import Session
from differ.errors import SourceUnavailableError, UsageError
from differ.storage.files import storage_errors

ANSWER_MILLISECONDS_MAX = 5_000


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

    Raises UsageError, before anything is written, when a file of that name is there, and StorageError or
    SourceUnavailableError (MONGO_URL); then what was written is gone again.
    """
    texts = scaffold.project_files(demo=demo)
    mongodb_url = _mongodb_url() if demo else None
    if mongodb_url is not None:
        texts["scheduler.yaml"] = _in_mongodb(texts["scheduler.yaml"], folder, mongodb_url)
    made = [*texts, *(["shop.db", "customers.jsonl"] if demo else [])]
    taken = sorted(name for name in made if os.path.lexists(folder / name))
    if taken:
        raise UsageError(
            f"init {folder}: it would overwrite {', '.join(taken[:3])}{', ...' if len(taken) > 3 else ''}",
            hint="name a new or an empty folder",
        )
    new_folders = [path for path in _folders(folder, made) if not path.exists()]
    try:
        with storage_errors(f"init {folder}: write", folder):
            for path in new_folders:
                path.mkdir()
                path.chmod(path.stat().st_mode & ~stat.S_IWOTH)  # differ runs no code that everybody may write
            for name, text in texts.items():
                (folder / name).write_text(text, encoding="utf-8")
                (folder / name).chmod((folder / name).stat().st_mode & ~stat.S_IWOTH)
        if demo:
            with _server_errors(folder):
                shop.create(folder)
    except BaseException:
        with suppress(OSError):
            for name in made:
                (folder / name).unlink(missing_ok=True)
            for path in reversed(new_folders):
                path.rmdir()
        raise
    return [name for name in made if (folder / name).exists()]


def _folders(folder: Path, names: list[str]) -> list[Path]:
    """The folders that these files need, those above first."""
    found = {parent for name in names for parent in (folder / name).absolute().parents}
    return sorted(found, key=lambda path: len(path.parts))


def _mongodb_url() -> str | None:
    from differ.config import environment

    return environment().mongo_url


def _in_mongodb(text: str, folder: Path, url: str) -> str:
    """The demo's scheduler.yaml with the customers in MongoDB. The URL itself, which may hold a password, stays out."""
    from pymongo import MongoClient
    from pymongo.uri_parser import parse_uri

    from differ.config.transit import mongo_arguments

    arguments = {"serverSelectionTimeoutMS": ANSWER_MILLISECONDS_MAX} | mongo_arguments(url, {})
    with _server_errors(folder), MongoClient[Any](url, **arguments) as client:
        client.admin.command("ping")
        named = parse_uri(url)["database"]
    database = "" if named else "database: differ_demo, "
    options = f'{{url: "${{MONGO_URL}}", {database}collection: differ_demo_customers}}'
    text = text.replace("iterator: files", "iterator: mongodb")
    return text.replace("{path: customers.jsonl, document: true}", options)


@contextmanager
def _server_errors(folder: Path) -> Iterator[None]:
    """Turn what the server of MONGO_URL answers into an error that does not repeat the URL."""
    from pymongo import errors

    try:
        yield
    except (errors.InvalidURI, errors.ConfigurationError, ValueError):
        raise UsageError(
            f"init {folder}: MONGO_URL is no URL of a MongoDB server",
            hint="mongodb://user:password@host:27017/database, with special characters escaped as in %40",
        ) from None
    except errors.PyMongoError as error:
        cause = str(error).partition(", Timeout:")[0].partition(" (configured timeouts")[0].partition(", full error")[0]
        raise SourceUnavailableError(
            f"init {folder}: put the customers into the server of MONGO_URL: {cause}",
            hint="mend that, or unset MONGO_URL: then the customers are in a file",
        ) from None
