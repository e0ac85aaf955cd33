"""Where work runs: the reader's thread, work ahead of whoever needs it, writing behind whoever makes it."""

from differ.executors.local import Deadline, ReaderThread

__all__ = ["Deadline", "ReaderThread"]
