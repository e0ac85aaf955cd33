"""Signatures of requests in the way of Standard Webhooks: who knows the secret knows that differ sent it, and when.

    webhook-id         what names the message, the same each time it is sent
    webhook-timestamp  seconds since 1970, of this sending
    webhook-signature  v1,<base64 of HMAC-SHA256 over "id.timestamp.body">, one for each secret, with spaces between

Invariant: nothing of a secret is in a header. Source: the Standard Webhooks specification 1.0.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

PREFIX = "whsec_"


def secret_bytes(secret: str) -> bytes:
    """The key: `whsec_` and base64, or any other text as it is. Raises ValueError for base64 that is none."""
    if not secret.startswith(PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(f"what follows {PREFIX} is no base64") from None


def signed_headers(identity: str, timestamp: int, body: bytes, secrets: Sequence[bytes]) -> dict[str, str]:
    """The three headers; without secrets no signature."""
    headers = {"webhook-id": identity, "webhook-timestamp": str(timestamp)}
    content = f"{identity}.{timestamp}.".encode() + body
    made = [base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode() for secret in secrets]
    return headers | ({"webhook-signature": " ".join(f"v1,{text}" for text in made)} if made else {})
