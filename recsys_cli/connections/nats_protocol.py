"""What JetStream calls things, and its direct-get service, which the driver does not offer.

https://docs.nats.io/reference/reference-protocols/nats_api_reference; codes as in nats-server's
``errors.json``.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from nats.js.errors import APIError, NoStreamResponseError

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

REQUEST_TIMEOUT_S = 10.0
PAGE_BYTES = 8 * 1024 * 1024
"""Of one answer with many messages."""

HEADROOM_BYTES = 16 * 1024
"""Left of the server's message limit: for subject and headers, or for what a dead letter tells."""

EXPECTED_SEQUENCE = "Nats-Expected-Last-Subject-Sequence"
MESSAGE_ID = "Nats-Msg-Id"

WRONG_SEQUENCE = (10071, 10164)
STREAM_EXISTS = 10058
UNAVAILABLE = 10008
CONSUMER_EXISTS = 10148
NO_CONSUMER, NO_MESSAGE, NO_STREAM = 10014, 10037, 10059
NOTHING_TO_UPDATE = 10149


def token(text: str) -> str:
    """Return ``text`` as one token of a subject: letters, digits, ``-``, ``_``, the rest ``=XX``.

    ``=`` stands for the empty text.
    """
    return re.sub(rb"[^A-Za-z0-9_-]", lambda m: b"=%02X" % m[0][0], text.encode()).decode() or "="


def text_of(token: str) -> str:
    """Return what :func:`token` was given; of a foreign one anything that names nothing of ours."""
    raw = re.sub(rb"=([0-9A-F]{2})", lambda m: bytes([int(m[1], 16)]), token.encode())
    return raw.decode(errors="replace")


def told(reply: Msg) -> dict[str, Any]:
    """Return what JetStream's API replies. Raises the APIError that it tells instead."""
    facts: dict[str, Any] = msgspec.json.decode(reply.data)
    if "error" in facts:
        raise APIError.from_error(facts["error"])
    return facts


async def direct(
    client: Client, stream: str, request: Mapping[str, object]
) -> AsyncIterator[tuple[Msg, Mapping[str, str]]]:
    """Yield messages and their headers as the direct-get service answers, up to its end-of-batch.

    Any replica may answer, so in a cluster this can be a moment old. Raises NoStreamResponseError
    where nobody answers for the stream.
    """
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox)
    try:
        subject = f"$JS.API.DIRECT.GET.{stream}"
        await client.publish(subject, msgspec.json.encode(request), reply=inbox)
        while True:
            message = await answers.next_msg(timeout=REQUEST_TIMEOUT_S)
            headers = message.headers or {}
            status = headers.get("Status", "")
            if status in ("204", "404"):
                return
            if status == "503":
                raise NoStreamResponseError
            if status:
                raise APIError(code=int(status), description=headers.get("Description", ""))
            yield message, headers
    finally:
        await answers.unsubscribe()
