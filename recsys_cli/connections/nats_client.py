"""The driver's client with what it leaves out mended."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from nats import errors as driver
from nats.aio.client import Client

from recsys_cli.connections.nats_errors import DRIVER_ERRORS

END_TIMEOUT_S = 0.5
IN_A_CLUSTER = 3

# Of each connection over TLS that the server ends, as the driver's own protocol makes asyncio say.
logging.getLogger("asyncio").addFilter(lambda record: "eof_received" not in record.getMessage())


class SafeClient(Client):
    """It logs in to nobody without TLS where that is wanted, and a given up ping breaks nothing."""

    def __init__(self, *, is_encrypted: bool) -> None:
        super().__init__()
        self._is_encrypted = is_encrypted

    @property
    def is_alive(self) -> bool:
        """Whether it is connected and listens: an error while it reads ends that in silence."""
        reading = self._reading_task
        return self.is_connected and reading is not None and not reading.done()

    async def end(self) -> None:
        """Close it, whatever state it is in."""
        # It waits for ever for a connection that failed while TLS began, though that is closed.
        with suppress(*DRIVER_ERRORS):
            await asyncio.wait_for(self.close(), END_TIMEOUT_S)

    def _connect_command(self) -> bytes:
        # Whether there is TLS by now depends on what the server, or who is in between, has offered.
        if self._is_encrypted and not self._server_info.get("tls_required"):
            raise driver.SecureConnWantedError
        if self._server_info.get("tls_verify"):
            # It will hang up, and whether it says why is a matter of timing.
            raise driver.SecureConnFailedError
        return super()._connect_command()

    async def _process_pong(self) -> None:
        # To answer a ping that nobody waits for any longer would end the reading.
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()


def replicas_in(client: Client) -> int:
    """Return how many servers shall have each message: three where there is a cluster."""
    return IN_A_CLUSTER if client._server_info.get("cluster") else 1


def server_version(client: Client) -> str:
    return str(client._server_info.get("version"))
