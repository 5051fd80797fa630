"""The users of NATS in the README can do all that is theirs, and need each permission."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from recsys_cli.domain import EventType, Position, Product, ProductEvent
from recsys_cli.errors import BackendRefused
from recsys_cli.merge import state_of
from recsys_cli.pipeline.dead_letters import LetterChoice, newest, purge, replay
from recsys_cli.pipeline.products import put_product, update_product
from recsys_cli.ports import version_of
from recsys_cli.settings import load
from recsys_cli.wiring import Backends
from tests.flow.test_permissions import CLAIM_IDLE_MS, consume, work
from tests.nats_server import running_nats
from tests.nats_users import PASSWORD, USER, config, operator_subjects, worker_subjects

IN_A_CLUSTER = "$JS.API.STREAM.MSG.GET.product-updates-dead"
"""A worker needs it where the replica that answers may be behind."""


@contextmanager
def shop(publish: Sequence[str]) -> Iterator[Backends]:
    """A shop on a server of its own, as the one user who may publish to these and no more."""
    with running_nats(config(publish)) as server:
        environ = {
            **server.settings,
            "NATS_USER": USER,
            "NATS_PASSWORD": PASSWORD,
            "RECSYS_HOME": os.environ["RECSYS_HOME"],
        }
        with Backends(load({}, environ), claim_idle_ms=CLAIM_IDLE_MS) as opened:
            yield opened


def give_up(opened: Backends) -> None:
    """Consume in vain, until there are dead letters."""

    def fail(_: Sequence[Product]) -> None:
        raise MemoryError

    events = opened.get_event_processor()
    while events.status().pending or events.status().lag:
        consume(opened, fail)


def work_on_nats(opened: Backends) -> None:
    """What any worker does, with a state of several parts, a model removed, a dead letter."""
    work(opened)
    events, catalog = opened.get_event_processor(), opened.get_catalog()
    catalog.save_model(b"another model")
    assert catalog.remove_model(version_of(b"another model"))
    large = ProductEvent(
        type=EventType.CREATE, product_id="carpet", fields={"description": "x" * 700_000}
    )
    catalog.merge({"carpet": state_of(large, Position(1, 0))})
    update_product(events, catalog, "carpet", {"description": None})
    consume(opened)
    put_product(events, catalog, "rug", {"name": "Rug"})
    give_up(opened)
    assert [letter.cause for letter in newest(opened.get_dead_letters(), 10)] == ["failing"]


def operate(opened: Backends) -> None:
    """What comes on top for an operator."""
    events, letters, catalog = (
        opened.get_event_processor(),
        opened.get_dead_letters(),
        opened.get_catalog(),
    )
    put_product(events, catalog, "lamp", {"name": "Lamp"})
    for _ in range(2):
        give_up(opened)
        replay(letters, LetterChoice(every=True))
    consume(opened)
    assert purge(letters, LetterChoice(every=True)) == 0
    assert events.drop_group("product-processors")


def test_a_worker_can_do_all_that_is_its_own() -> None:
    with shop(worker_subjects()) as opened:
        work_on_nats(opened)


def test_an_operator_can_do_the_rest() -> None:
    with shop(worker_subjects() + operator_subjects()) as opened:
        operate(opened)


@pytest.mark.parametrize("needless", [s for s in worker_subjects() if s != IN_A_CLUSTER])
def test_a_worker_needs_each_permission(needless: str) -> None:
    subjects = [subject for subject in worker_subjects() if subject != needless]
    with (
        shop(subjects) as opened,
        pytest.raises(BackendRefused, match="does not let this user publish"),
    ):
        work_on_nats(opened)


@pytest.mark.parametrize("needless", [*operator_subjects(), IN_A_CLUSTER])
def test_an_operator_needs_each_permission(needless: str) -> None:
    subjects = [s for s in worker_subjects() + operator_subjects() if s != needless]
    with (
        shop(subjects) as opened,
        pytest.raises(BackendRefused, match="does not let this user publish"),
    ):
        operate(opened)
