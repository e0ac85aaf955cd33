"""A program that only consumes does not pay for the server, the catalog or pandas."""

import subprocess
import sys

HEAVY = {
    "sqlalchemy",
    "pydantic",
    "pandas",
    "fastapi",
    "uvicorn",
    "starlette",
    "pymongo",
    "apscheduler",
    "yaml",
    "click",
}


def test_the_client_imports_nothing_of_the_server() -> None:
    program = "import differ.client, sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert {"differ", "urllib3", "pyarrow", "tenacity"} <= loaded
    assert loaded & HEAVY == set()
    layers = "import differ.client, sys; print(*[name for name in sys.modules if name.startswith('differ.')])"
    done = subprocess.run([sys.executable, "-c", layers], check=True, capture_output=True, text=True)
    found = {name.split(".")[1] for name in done.stdout.split()}
    assert found == {"client", "errors", "formats", "kernels", "model", "records", "storage"}
