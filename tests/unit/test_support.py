"""The README's table of backends leaves none out, and nothing that their adapters declare."""

from __future__ import annotations

from recsys_cli import ports
from recsys_cli.settings import EventsBackend, VectorsBackend
from tests import support
from tests.contract.backends import CATALOGS, EVENTS, VECTORS


def test_every_backend_that_can_be_chosen_is_tested_for_its_ports() -> None:
    assert set(EventsBackend) <= set(EVENTS)
    assert set(EventsBackend) <= set(CATALOGS)
    assert set(VectorsBackend) <= set(VECTORS)
    assert set(support.STORES) == set(VectorsBackend)


def test_whatever_an_adapter_declares_is_in_the_table() -> None:
    declared = {
        (port.__name__, name)
        for port in vars(ports).values()
        if isinstance(port, type) and port.__module__ == ports.__name__
        for name, hint in vars(port).get("__annotations__", {}).items()
        if str(hint).startswith("ClassVar")
    }
    assert declared == {("VectorStore", c.attribute) for c in support.OF_STORES}
