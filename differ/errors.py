"""Every error that differ raises on purpose, each with the exit code of its class.

    DifferError                     exit 3
    ├── UsageError                  exit 2   a command or call that makes no sense
    │   └── ConfigError             exit 2   scheduler.yaml: names file, line and key
    ├── SourceError                 exit 3   a scan failed; nothing was committed
    │   ├── SourceUnavailableError  exit 3   transient: the store could not be reached or died in mid-scan
    │   ├── ScanTimeoutError        exit 3   transient: the scan passed its `timeout`
    │   ├── IteratorError           exit 3   a plugin broke the iterator contract
    │   ├── RecordError             exit 3   a record that cannot be represented exactly
    │   │   ├── NullKeyError        exit 3
    │   │   └── DuplicateKeyError   exit 3
    │   └── SchemaDriftError        exit 3   the schema changed in mid-scan, or `on_schema_change: fail`
    ├── StorageError                exit 3   transient: disk full, permission, I/O error
    ├── NotKeptError                exit 3   a snapshot or segment that retention removed
    ├── HeldError                   exit 4   a guard holds the cycle, or what was held is superseded
    ├── CorruptionError             exit 5   bytes at rest are not what was written
    ├── BusyError                   exit 6   another writer holds the source
    ├── RelayError                  exit 7   between relay and consumer; `code` and `status` as over HTTP
    │   ├── ScnTooOldError          exit 7   SCN_TOO_OLD: retention or a floor stands above the SCN; bootstrap
    │   ├── ScnAheadError           exit 7   SCN_AHEAD: past the head
    │   ├── StreamChangedError      exit 7   STREAM_CHANGED: another SCN timeline than the cursor's
    │   ├── FencedError             exit 7   FENCED: another member owns the partition now
    │   ├── BootstrapGoneError      exit 7   BOOTSTRAP_GONE: the pin was let go or its lease ended
    │   ├── AccessError             exit 7   UNAUTHORIZED or FORBIDDEN: a token is missing, wrong or too weak
    │   ├── RelayUnavailableError   exit 7   transient: the relay cannot be reached or cannot answer now
    │   ├── ConsumerError           exit 7   a consumer's callback kept failing
    │   └── SinkError               exit 7   a destination refused a record or a set-up
    │       └── SinkUnavailableError exit 7  transient: a destination cannot be reached
    └── InterruptedScanError             exit 130

An error says operation, object, cause and what to do next: `read snapshot orders/41: checksum mismatch in
part-00002.parquet` with the hint `run 'differ check'`. `str()` never shows a registered secret.
"""

from __future__ import annotations

import re

_secrets: set[str] = set()
_URL_PASSWORD = re.compile(r"(?P<head>[A-Za-z][A-Za-z0-9+.\-]{0,30}://[^\s:/@]*:)\S+(?=@)")
HIDDEN = "***"
MESSAGE_CHARS_MAX = 8_000


def register_secret(value: str) -> None:
    """Make `redact` hide this value from now on, in this process; values under 3 characters are not hidden."""
    if len(value) >= 3:
        _secrets.add(value)


def redact(text: str) -> str:
    """Return `text` with registered secrets and the passwords of URLs replaced by `***`. O(secrets x length)."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _URL_PASSWORD.sub(rf"\g<head>{HIDDEN}", text)


class DifferError(Exception):
    """What went wrong, with a hint of what to do next; `exit_code` is what the command line ends with."""

    exit_code = 3
    transient = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self._message = message
        self._hint = hint

    @property
    def message(self) -> str:
        """Operation, object and cause, redacted, without the hint; where it quotes what is huge, its beginning."""
        text = redact(self._message[: 10 * MESSAGE_CHARS_MAX])
        return text if len(text) <= MESSAGE_CHARS_MAX else f"{text[:MESSAGE_CHARS_MAX]}... (cut off)"

    @property
    def hint(self) -> str | None:
        """What to do next, or None where nothing sensible can be said."""
        return redact(self._hint) if self._hint else None

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(DifferError):
    """A command or call that makes no sense: unknown source, bad SCN, contradictory options."""

    exit_code = 2


class ConfigError(UsageError):
    """scheduler.yaml is wrong; the message names file, line and key."""


class SourceError(DifferError):
    """A scan failed and nothing was committed."""


class SourceUnavailableError(SourceError):
    """The store could not be reached, refused the credentials, or died in mid-scan."""

    transient = True


class ScanTimeoutError(SourceError):
    """The scan took longer than the source's `timeout`."""

    transient = True


class IteratorError(SourceError):
    """A plugin broke the iterator contract, failed to import, or raised."""


class RecordError(SourceError):
    """A record that has no exact representation."""


class NullKeyError(RecordError):
    """A record whose key is null in one of its columns."""


class DuplicateKeyError(RecordError):
    """Two records of one scan with the same key."""


class SchemaDriftError(SourceError):
    """The schema changed in the middle of a scan, or changed at all under `on_schema_change: fail`."""


class StorageError(DifferError):
    """Bytes could not be written or read: disk full, permission, I/O error."""

    transient = True


class NotKeptError(DifferError):
    """What was asked for existed, and retention removed it."""


class HeldError(DifferError):
    """A guard holds the cycle, or the held cycle that was named is no longer the one to end."""

    exit_code = 4


class CorruptionError(DifferError):
    """Bytes at rest are not what was written: never served, found by `differ check`."""

    exit_code = 5


class BusyError(DifferError):
    """Another process holds the source's lock, or fenced us off."""

    exit_code = 6


class RelayError(DifferError):
    """Between relay and consumer; `code` is what an HTTP answer names, `status` its status."""

    exit_code = 7
    code = "RELAY_ERROR"
    status = 500


class ScnTooOldError(RelayError):
    """Events after the SCN were let go, or a source's floor stands above it: the consumer bootstraps.

    oldest: the oldest SCN that can be read. source: whose floor it is, or None for retention.
    """

    code = "SCN_TOO_OLD"
    status = 410

    def __init__(
        self, message: str, *, hint: str | None = None, oldest: int | None = None, source: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.oldest, self.source = oldest, source


class ScnAheadError(RelayError):
    """The SCN is past the head of the stream; `head` says where that is."""

    code = "SCN_AHEAD"
    status = 409

    def __init__(self, message: str, *, hint: str | None = None, head: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.head = head


class StreamChangedError(RelayError):
    """The cursor is of another SCN timeline: another stream id, or another chain at that SCN."""

    code = "STREAM_CHANGED"
    status = 409


class FencedError(RelayError):
    """Another member of the consumer group owns the partition now; what this one says of it no longer counts."""

    code = "FENCED"
    status = 409


class BootstrapGoneError(RelayError):
    """The bootstrap's pin was let go, or its lease ended: begin a new one."""

    code = "BOOTSTRAP_GONE"
    status = 410


class AccessError(RelayError):
    """A token is missing or wrong (401), or gives too little right (403)."""

    code = "UNAUTHORIZED"
    status = 401

    def __init__(self, message: str, *, hint: str | None = None, forbidden: bool = False) -> None:
        super().__init__(message, hint=hint)
        if forbidden:
            self.code, self.status = "FORBIDDEN", 403


class RelayUnavailableError(RelayError):
    """The relay cannot be reached, broke off, or cannot answer now."""

    code = "UNAVAILABLE"
    status = 503
    transient = True


class ConsumerError(RelayError):
    """A consumer's callback kept failing, and its events go nowhere else."""

    code = "CONSUMER_FAILED"


class SinkError(RelayError):
    """A destination refused a record, or is not set up as it must be."""

    code = "SINK_FAILED"


class SinkUnavailableError(SinkError):
    """A destination cannot be reached, or is too busy."""

    transient = True


class InterruptedScanError(DifferError):
    """Ctrl-C or SIGTERM ended the scan; nothing was committed."""

    exit_code = 130
