"""A scheduler that is given another configuration while it runs."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest
import yaml

from differ.config import Settings, load
from differ.schedule import Scheduler


@pytest.fixture
def ended() -> Iterator[SimpleQueue[str]]:
    """The sources whose scans ended, in order."""
    names: SimpleQueue[str] = SimpleQueue()

    class Listen(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            words = record.getMessage().split()
            if words[0] == "scan" and words[2] == "finished":
                names.put(words[1].rstrip(":"))

    logger = logging.getLogger("differ.schedule")
    handler, level = Listen(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield names
    logger.removeHandler(handler)
    logger.setLevel(level)


def settings(folder: Path, **every: str) -> Settings:
    sources = {name: {"iterator": "files", "schedule": {"every": text}} for name, text in every.items()}
    (folder / "scheduler.yaml").write_text(yaml.safe_dump({"version": 1, "sources": sources}))
    return load(folder)


def test_only_what_changed_is_scheduled_anew(tmp_path: Path, ended: SimpleQueue[str]) -> None:
    scheduler = Scheduler(settings(tmp_path, kept="1h", gone="1h", slower="1h"), command=(sys.executable, "-c", "pass"))
    scheduler.start()
    try:
        assert {ended.get(timeout=60) for _ in range(3)} == {"kept", "gone", "slower"}
        scheduler.reload(settings(tmp_path, kept="1h", slower="2h", new="1h"))
        assert ended.get(timeout=60) == "new"  # and nothing else has a turn now
        assert scheduler.status()["jobs"] == 3
        scheduler.pause()
        scheduler.reload(settings(tmp_path, kept="1h"))
        scheduler.resume()
        assert scheduler.status()["jobs"] == 1
    finally:
        scheduler.stop()
    assert ended.empty()
    assert scheduler.status()["running"] == 0
