"""A command on a real pseudo-terminal of 80 columns: what a person sees, and can type."""

import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from fcntl import ioctl

from tests.cli.shop import COMMAND, Shop

SECONDS = 60.0
COLUMNS = 80


class Seen:
    """A running command whose three streams are one terminal."""

    def __init__(self, shop: Shop, *arguments: str, **environment: str) -> None:
        self._master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
        variables = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
        self.process = subprocess.Popen(
            (*COMMAND, *arguments),
            cwd=shop.folder,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509
            env=variables | {"TERM": "xterm-256color"} | environment,
        )
        os.close(slave)
        self.raw = b""

    @property
    def text(self) -> str:
        """What was written, without colours and cursor movements."""
        text = self.raw.decode("utf-8", "replace").replace("\r\n", "\n")
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)

    @property
    def coloured(self) -> bool:
        """Whether a colour was set."""
        return re.search(rb"\x1b\[[0-9;]*m", self.raw) is not None

    def wait_for(self, text: str) -> None:
        """Read until this was written."""
        deadline = time.monotonic() + SECONDS
        while text not in self.text:
            assert self._read(deadline), (text, self.text)

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self._master, text.encode())

    def end(self) -> int:
        """Read to the end and return the exit code."""
        deadline = time.monotonic() + SECONDS
        while self._read(deadline):
            pass
        os.close(self._master)
        return self.process.wait(SECONDS)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"nothing more came in time after: {self.text}"
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the last one on the other side has gone
            return False
        self.raw += data
        return bool(data)


def _take_terminal() -> None:
    """Make the pseudo-terminal the process's own, so that Ctrl-C typed there is a signal to it."""
    ioctl(0, termios.TIOCSCTTY, 0)
