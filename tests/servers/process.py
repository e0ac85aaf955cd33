"""One server process and its life: start, stop, kill, freeze, thaw, restart, remove.

Invariants: the process listens on 127.0.0.1 only; it is our own child, so signals go to its pid and to the
pids of its children, never to a name; process and folder are gone at the end, also when the tests are killed:
a watchman (a shell that waits for the end of a pipe only we hold open) does then what we no longer can.
"""

import atexit
import contextlib
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self

import psutil

from tests.servers.ports import LOOPBACK, free_port

WATCHMAN = 'cat >/dev/null; kill -9 "$1" 2>/dev/null; sleep 1; rm -rf "$2"'
START_ATTEMPTS = 3
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0
POLL_SECONDS = 0.05


class ServerUnavailableError(RuntimeError):
    """The server cannot run here: its programs are missing, or it did not come up. The text says which."""


class Server(ABC):
    """A server process with its data folder and its port; a context manager that starts and removes it."""

    name: str
    stop_signal = signal.SIGTERM

    def __init__(self) -> None:
        self.host = LOOPBACK
        self.port = free_port()
        # Short on purpose: the path of a Unix socket may have no more than 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="differ-"))
        self.log = self.folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._watchman: subprocess.Popen[bytes] | None = None
        self._prepared = False

    # What a server must say about itself.

    @abstractmethod
    def prepare(self) -> None:
        """Make the data folder; called once, before the first start. Raises ServerUnavailableError."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground."""

    @abstractmethod
    def ping(self) -> None:
        """Do one round trip that only a ready server answers; raise anything when it is not ready."""

    @abstractmethod
    def url(self, database: str = "") -> str:
        """Return the URL of `database`, or of the server's default one."""

    @abstractmethod
    def create_database(self, prefix: str = "test") -> str:
        """Create an empty database with a unique name and return the name."""

    @abstractmethod
    def drop_database(self, database: str) -> None:
        """Drop `database` also where connections to it are still open."""

    def owner(self) -> int | None:
        """Return the uid to run as, or None for our own."""
        return None

    # Its life.

    def start(self) -> None:
        """Start the server and return when it answers.

        The first start may move to another port when the chosen one was taken meanwhile; later ones never do.
        Raises ServerUnavailableError with the end of the server's log.
        """
        if self.running:
            return
        if self._prepared:
            self._launch()
            return
        atexit.register(self.close)
        self.prepare()
        for attempt in range(1, START_ATTEMPTS + 1):
            try:
                self._launch()
                break
            except ServerUnavailableError:
                if attempt == START_ATTEMPTS:
                    raise
                self.port = free_port()
        self._prepared = True

    def stop(self) -> None:
        """Ask the server to end and wait until it has; kill it when it does not. Idempotent."""
        if self._process is None:
            return
        self._dismiss_watchman()
        self.thaw()
        self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End the server and its children with SIGKILL, as a crash would, and wait until they are gone."""
        if self._process is None:
            return
        self._dismiss_watchman()
        family = self._family()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait(STOP_SECONDS_MAX)
        psutil.wait_procs(family, timeout=STOP_SECONDS_MAX)
        self._process = None

    def restart(self) -> None:
        """Stop the server if it runs and start it again on the same port and the same data."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop the server's processes in their tracks (SIGSTOP); connections stay open and nothing answers.

        Parents are stopped before their children are listed, so that none can be born unseen.
        """
        self._signal_family(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on (SIGCONT). Does nothing to a running one."""
        self._signal_family(signal.SIGCONT)

    def ensure(self) -> None:
        """Make sure that the server runs and answers, whatever the last test did to it."""
        if self.running:
            self.thaw()
            self._wait_ready()
        else:
            self.kill()
            self.start()

    def close(self) -> None:
        """Kill the server and remove its data. May be called twice."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.close)

    @property
    def running(self) -> bool:
        """Whether the server's process exists (a frozen one does)."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The server's process id. Raises RuntimeError when it is down."""
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process.pid

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
        self.close()

    # How.

    def run(self, *command: str | Path) -> None:
        """Run one preparing command as the server's owner; raise ServerUnavailableError when it fails."""
        with self.log.open("ab") as log:
            done = subprocess.run(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self.environment(),
                timeout=START_SECONDS_MAX,
                check=False,
                **self._identity(),
            )
        if done.returncode != 0:
            raise self._unavailable(f"{Path(command[0]).name} ended with {done.returncode}")

    def environment(self) -> dict[str, str]:
        """Return the environment of the server: little, and the same on every machine."""
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
        }

    def _identity(self) -> dict[str, Any]:
        uid = self.owner()
        return {} if uid is None else {"user": uid, "group": uid_group(uid), "extra_groups": []}

    def _launch(self) -> None:
        with self.log.open("ab") as log:
            # Never a pipe: the server's children would hold it open, and its reader would wait for ever.
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self.environment(),
                start_new_session=True,  # Ctrl-C in a terminal is for the tests; they end the server.
                **self._identity(),
            )
        try:
            self._post_watchman(self._process.pid)
            self._wait_ready()
        except BaseException:
            self.kill()
            raise

    def _post_watchman(self, pid: int) -> None:
        self._watchman = subprocess.Popen(
            ["sh", "-c", WATCHMAN, "watchman", str(pid), str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _dismiss_watchman(self) -> None:
        if self._watchman is not None:
            self._watchman.kill()  # Before the pipe closes, or it would go to work.
            self._watchman.communicate()
            self._watchman = None

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS_MAX
        last: Exception | None = None
        while time.monotonic() < deadline:
            if not self.running:
                raise self._unavailable("the process ended while starting")
            try:
                self.ping()
                return
            except Exception as error:  # Each driver has its own; every one of them means "not yet".
                last = error
                time.sleep(POLL_SECONDS)
        raise self._unavailable(f"no answer on port {self.port} within {START_SECONDS_MAX:.0f} s ({last})")

    def _family(self) -> list[psutil.Process]:
        """Return the server's process and all below it; empty when it is gone."""
        if self._process is None or self._process.poll() is not None:
            return []
        try:
            parent = psutil.Process(self._process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _signal_family(self, number: signal.Signals) -> None:
        seen: set[int] = set()
        while fresh := [process for process in self._family() if process.pid not in seen]:
            for process in fresh:
                seen.add(process.pid)
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)

    def _unavailable(self, reason: str) -> ServerUnavailableError:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        tail = "\n".join(f"    {line}" for line in lines[-15:])
        return ServerUnavailableError(f"start {self.name}: {reason}\n{tail}".rstrip())


def uid_group(uid: int) -> int:
    """Return the login group of `uid`."""
    return pwd.getpwuid(uid).pw_gid


def unique_name(prefix: str) -> str:
    """Return a database name that no other test uses."""
    return f"{prefix}_{uuid.uuid4().hex[:12]}"
