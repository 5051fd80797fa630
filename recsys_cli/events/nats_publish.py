"""Publishing events on NATS: all that are given are sent before the first is answered.

Each has a message id of its product and a random version, made once: sending it again after a lost
connection stores it once (within the stream's duplicates window, two minutes), and the same change
made twice on purpose is two events.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from nats.errors import NoRespondersError

from recsys_cli.connections.nats_protocol import HEADROOM_BYTES, MESSAGE_ID
from recsys_cli.domain import Position, ProductEvent
from recsys_cli.errors import BackendUnavailable, EventsTooLarge
from recsys_cli.events import nats_api as api
from recsys_cli.events.nats_api import Request
from recsys_cli.events.nats_group import Group
from recsys_cli.events.nats_names import Names, encode, token

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from recsys_cli.connections.nats import NatsConnection


class Publisher:
    def __init__(self, connection: NatsConnection, names: Names, group: Group) -> None:
        self._connection = connection
        self._names = names
        self._group = group

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
        most = max(client.max_payload - HEADROOM_BYTES, 0)
        if too_large := [n for n, request in enumerate(requests) if len(request.body) > most]:
            raise EventsTooLarge(
                f"the event is larger than NATS takes here ({most:,} bytes)",
                places=too_large,
                hint="raise max_payload in the configuration of nats-server",
            )
        if not self._group.was_made:
            await self._group.create(client)
        try:
            await self._put_some(client, requests, accepted)
        except NoRespondersError:
            # Deleted under us: published events must not depend on who comes first.
            await self._group.create(client)
            await self._put_some(client, requests, accepted)

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
