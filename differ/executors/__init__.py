"""Where splits and key ranges run: local threads."""

from differ.executors.local import Deadline, ReaderThread

__all__ = ["Deadline", "ReaderThread"]
