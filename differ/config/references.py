"""`${VAR}`, `${VAR:-default}`, `$${`, `env:NAME` and `file:PATH` in the values of scheduler.yaml.

`${...}` works inside any text; `env:` and `file:` are a whole value, meant for secrets. What came from
outside the file is registered to be hidden in every message (`differ.errors.redact`), unless hiding it
would hide ordinary words:

    env:NAME, file:PATH         the whole value
    ${VAR} in a URL             the passwords of the URL, not its host or path
    ${VAR} elsewhere            where the variable or the key sounds secret, or the value looks random

Invariant: a default is never looked at again, so a value cannot smuggle in a reference.
Source: Docker Compose's interpolation, without its nesting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from differ.config.document import Document, KeyPath
from differ.config.problems import Problem
from differ.errors import register_secret

SECRET_BYTES_MAX = 64 * 1024

_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<or>:-(?P<default>[^}]*))?\}|(?P<bad>\$\{)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_PASSWORD = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://[^\s:/@]*:(?P<password>[^\s]+)@")
_SECRET_WORD = re.compile(
    r"pass(?:word|wd|phrase)?(?![a-z])|pwd|secret|token|credential|api_?key|access_?key|private", re.I
)
LITERAL_SECRET_CHARACTERS = 8
_QUERY = re.compile(r"[?&](?P<key>[^=&\s]+)=(?P<value>[^&\s]+)")


def resolve(document: Document, *, environ: Mapping[str, str], project: Path) -> tuple[dict[str, Any], list[Problem]]:
    """The document's values with every reference replaced, and what could not be; secrets are registered."""
    problems: list[Problem] = []

    def walk(value: Any, path: KeyPath) -> Any:
        if isinstance(value, dict):
            return {key: walk(child, (*path, key)) for key, child in value.items()}
        if isinstance(value, list):
            return [walk(child, (*path, index)) for index, child in enumerate(value)]
        if isinstance(value, str):
            try:
                return _resolve_text(value, path, environ, project)
            except ValueError as cause:
                problems.append(Problem(path, str(cause)))
        return value

    return walk(document.value, ()), problems


def is_secret_reference(text: Any) -> bool:
    """Whether a value of the file is `env:NAME` or `file:PATH` as a whole."""
    if not isinstance(text, str):
        return False
    return text.startswith("env:") or (text.startswith("file:") and not text.startswith("file://"))


def sounds_secret(name: str) -> bool:
    """Whether a key or variable of this name usually holds a secret."""
    return _SECRET_WORD.search(name) is not None


def url_secrets(text: str) -> Iterator[str]:
    """The passwords of a URL and of its query, as written and decoded."""
    if found := _PASSWORD.match(text):
        yield from {found["password"], unquote(found["password"])}
    for found in _QUERY.finditer(text):
        if sounds_secret(found["key"]):
            yield from {found["value"], unquote(found["value"])}


def _resolve_text(text: str, path: KeyPath, environ: Mapping[str, str], project: Path) -> str:
    if is_secret_reference(text):
        kind, _, target = text.partition(":")
        value = _from_environment(target, environ) if kind == "env" else _from_file(target, project)
        register_secret(value)
        for line in value.splitlines():
            register_secret(line)
    else:
        value, used = _substitute(text, environ)
        if not _URL.match(value):
            for name, part in used:
                if _is_secret(name, path, part):
                    register_secret(part)
        # A short literal is hidden by nobody: it may be a common word, and hiding it would garble every message.
        literal = "options" in path and len(value) >= LITERAL_SECRET_CHARACTERS
        if sounds_secret(str(path[-1])) and (used or literal):
            register_secret(value)
    if _URL.match(value):
        for secret in url_secrets(value):
            register_secret(secret)
    return value


def _substitute(text: str, environ: Mapping[str, str]) -> tuple[str, list[tuple[str, str]]]:
    """The text with `${...}` replaced, and the variables that were used with their values."""
    used: list[tuple[str, str]] = []

    def replace(found: re.Match[str]) -> str:
        if found["bad"]:
            raise ValueError(
                "'${' begins no valid reference; write ${NAME}, ${NAME:-default}, or $${ for the text itself"
            )
        name = found["name"]
        if name is None:
            return "${"
        if value := environ.get(name):
            used.append((name, value))
            return value
        if found["or"] is None:
            raise ValueError(f"environment variable {name} is not set or empty; set it, or write ${{{name}:-default}}")
        return found["default"]

    return _REFERENCE.sub(replace, text), used


def _from_environment(name: str, environ: Mapping[str, str]) -> str:
    if not _NAME.match(name):
        raise ValueError("expected env:NAME with the name of an environment variable")
    if not (value := environ.get(name)):
        raise ValueError(f"environment variable {name} is not set or empty; set it")
    return value


def _from_file(target: str, project: Path) -> str:
    """A file's text without the line break at its end; a relative path starts from the project."""
    try:
        with (project / target).open("rb") as file:
            body = file.read(SECRET_BYTES_MAX + 1)
        value = body.decode("utf-8").rstrip("\r\n")
    except OSError as cause:
        raise ValueError(f"read {target}: {cause.strerror or cause}") from cause
    except UnicodeDecodeError as cause:
        raise ValueError(f"read {target}: not UTF-8 text") from cause
    if len(body) > SECRET_BYTES_MAX:
        raise ValueError(f"read {target}: larger than 64 KiB, so it is no secret")
    if not value:
        raise ValueError(f"read {target}: the file is empty")
    return value


def _is_secret(name: str, path: KeyPath, value: str) -> bool:
    """Whether to hide a variable's value everywhere; messages are full of ordinary words, so not those."""
    if sounds_secret(name) or any(sounds_secret(str(key)) for key in path):
        return True
    return any(
        len(part) >= 12 and any(char.isdigit() for char in part) and any(char.isalpha() for char in part)
        for part in re.split(r"[^A-Za-z0-9+=]", value)
    )
