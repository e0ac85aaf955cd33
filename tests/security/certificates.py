"""Certificates of an authority of the test's own, by the openssl command."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Certificates:
    """PEM files. authority: nobody trusts it by itself; certificate, key: of `names`."""

    authority: Path
    certificate: Path
    key: Path


def make_certificates(folder: Path, *names: str) -> Certificates:
    """For these DNS names, and 127.0.0.1."""
    if shutil.which("openssl") is None:
        if os.environ.get("DIFFER_REQUIRE_SERVICES") == "1":
            pytest.fail("there is no openssl command", pytrace=False)
        pytest.skip("there is no openssl command")
    made = Certificates(folder / "authority.pem", folder / "server.pem", folder / "server.key")
    alternative = ",".join(["IP:127.0.0.1", *(f"DNS:{name}" for name in names)])
    authority_key, request = folder / "authority.key", folder / "request.pem"
    extensions = folder / "extensions"
    extensions.write_text(f"subjectAltName={alternative}\n")
    new = ["req", "-newkey", "rsa:2048", "-nodes"]
    _openssl(
        *new,
        "-x509",
        "-days",
        "2",
        "-subj",
        "/CN=authority of a test",
        "-keyout",
        authority_key,
        "-out",
        made.authority,
    )
    _openssl(*new, "-subj", f"/CN={names[0]}", "-keyout", made.key, "-out", request)
    _openssl(
        "x509", "-req", "-in", request, "-days", "2", "-CA", made.authority, "-CAkey", authority_key,
        "-CAcreateserial", "-extfile", extensions, "-out", made.certificate,
    )  # fmt: skip
    return made


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)
