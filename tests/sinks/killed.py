"""A process that runs one sink until it is killed: `python -m tests.sinks.killed PROJECT RELAY SINK-AS-JSON`."""

import json
import sys
import threading
from pathlib import Path

from differ.config import SinkSettings, load
from differ.sinks.runner import SinkRunner


def main(project: str, url: str, sink: str) -> None:
    settings = load(Path(project))
    relay = settings.relay.model_copy(update={"url": url})
    followed = SinkSettings.model_validate(json.loads(sink)).model_copy(update={"name": "mirror"})
    SinkRunner(settings.model_copy(update={"relay": relay, "sinks": {"mirror": followed}}), followed).start()
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
