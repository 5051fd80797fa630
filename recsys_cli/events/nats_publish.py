"""Publishing events on NATS: all that are given are sent before the first is answered.

Each has a message id of its product and a random version, made once: sending it again after a lost
connection stores it once (within the stream's duplicates window, two minutes), and the same change
made twice on purpose is two events.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING

from nats.errors import NoRespondersError

from recsys_cli.connections.nats_protocol import HEADROOM_BYTES, MESSAGE_ID
from recsys_cli.domain import Position, ProductEvent
from recsys_cli.errors import BackendUnavailable, EventsTooLarge
from recsys_cli.events import nats_api as api
from recsys_cli.events.nats_api import Missing, Request
from recsys_cli.events.nats_group import Group
from recsys_cli.events.nats_names import Names, encode, token

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from recsys_cli.connections.nats import NatsConnection


_HEADERS_BYTES = 256
"""More than the message id takes, which counts for the limit of a stream."""

_OF_SERVER = "raise max_payload in the configuration of nats-server"
_OF_STREAM = "raise max_msg_size of the stream: nats stream edit"


class Publisher:
    def __init__(self, connection: NatsConnection, names: Names, group: Group) -> None:
        self._connection = connection
        self._names = names
        self._group = group
        self._limit: int | None = None

    def begin(self, events: Sequence[ProductEvent]) -> Callable[[], list[Position]]:
        """See ports.EventProcessor.begin_publish."""
        if not events:
            return list
        requests = self._requests(events)
        accepted: dict[int, int] = {}
        wait = self._connection.begin(lambda client: self._put(client, requests, accepted))

        def positions() -> list[Position]:
            try:
                wait()
            except BackendUnavailable:
                # The connection alone may be gone; what had arrived is told apart by its id.
                self._connection.call(lambda client: self._put(client, requests, accepted))
            numbers = [accepted[place] for place in range(len(requests))]
            if any(one >= following for one, following in pairwise(numbers)):
                raise BackendUnavailable("the events have arrived in another order; publish again")
            return [Position(number, 0) for number in numbers]

        return positions

    def _requests(self, events: Sequence[ProductEvent]) -> list[Request]:
        version = secrets.token_urlsafe(9)
        return [
            Request(
                self._names.subject(event.product_id),
                encode(event.as_text()),
                {MESSAGE_ID: f"{token(event.product_id)}.{version}.{number}"},
            )
            for number, event in enumerate(events)
        ]

    async def _put(
        self, client: Client, requests: Sequence[Request], accepted: dict[int, int]
    ) -> None:
        """Store what is not accepted yet; ``accepted`` gets the sequence of each by its place."""
        _refuse(requests, client.max_payload - HEADROOM_BYTES, _OF_SERVER)
        if not self._group.was_made:
            await self._group.create(client)
        if self._limit is None:
            self._limit = await self._limit_of_stream(client)
        _refuse(requests, self._limit, _OF_STREAM)
        try:
            await self._put_some(client, requests, accepted)
        except NoRespondersError:
            # Deleted under us: published events must not depend on who comes first.
            await self._group.create(client)
            self._limit = None
            await self._put_some(client, requests, accepted)

    async def _limit_of_stream(self, client: Client) -> int:
        """Return how large an event may be there: an operator may have made it with a limit."""
        most = -1
        with suppress(Missing):
            config = (await api.ask(client, f"STREAM.INFO.{self._names.stream}"))["config"]
            most = int(config.get("max_msg_size", -1))
        return most - _HEADERS_BYTES if most >= 0 else client.max_payload

    async def _put_some(
        self, client: Client, requests: Sequence[Request], accepted: dict[int, int]
    ) -> None:
        places = [place for place in range(len(requests)) if place not in accepted]
        replies: list[Msg | None] = []
        try:
            await api.ask_many(client, [requests[place] for place in places], replies)
        finally:
            for place, reply in zip(places, replies, strict=False):
                if reply is not None:
                    accepted[place] = int(api.answer(reply)["seq"])


def _refuse(requests: Sequence[Request], most: int, hint: str) -> None:
    """Raise EventsTooLarge where some have more than ``most`` bytes."""
    if places := [n for n, request in enumerate(requests) if len(request.body) > most]:
        raise EventsTooLarge(
            f"the event is larger than NATS takes here ({max(most, 0):,} bytes)",
            places=places,
            hint=hint,
        )
