"""What Postgres says, by SQLSTATE: whether waiting helps, and what to do where it does not."""

from __future__ import annotations

import inspect
from contextlib import closing, suppress

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_cli.connections.postgres import PostgresConnection
from recsys_cli.connections.postgres_errors import SchemaGone, translation
from recsys_cli.errors import BackendRefused, BackendUnavailable, SettingsError

PLACE = "db:5432/shop"
EVERY = [
    error
    for module in (psycopg, psycopg.errors)
    for _, error in inspect.getmembers(module, inspect.isclass)
    if issubclass(error, psycopg.Error)
]

WAITED_FOR = {
    "08006": "does not answer",
    "25006": "takes no writes",
    "40P01": "gave way",
    "40001": "gave way",
    "53100": "has no room",
    "53200": "has no room",
    "53300": "has no room",
    "53400": "has no room",
    "55P03": "keeps this locked",
    "57014": "took too long",
    "57P01": "is going down",
    "57P03": "is going down or starting",
    "58030": "cannot read or write its files",
}
REFUSED = {
    "28P01": "the password in SUPABASE_DB_URL",
    "28000": "the user name",
    "3D000": "the name of the database",
    "42501": "recsys init --print-sql | psql; or let it grant",
    "0A000": "the extensions",
    "58P01": "install pgmq and pgvector",
}


@pytest.mark.parametrize("error", EVERY, ids=lambda error: error.__name__)
def test_every_error_of_the_driver_is_translated(error: type[psycopg.Error]) -> None:
    translated = translation(PLACE, error("something went wrong"))
    assert isinstance(translated, BackendUnavailable | BackendRefused)
    assert PLACE in str(translated)
    assert "something went wrong" in str(translated)


@pytest.mark.parametrize("state", WAITED_FOR)
def test_what_passes_is_waited_for(state: str) -> None:
    translated = translation(PLACE, psycopg.errors.lookup(state)("so it is"))
    assert isinstance(translated, BackendUnavailable)
    assert WAITED_FOR[state] in str(translated)


@pytest.mark.parametrize("state", REFUSED)
def test_what_stays_is_refused_with_what_to_do(state: str) -> None:
    translated = translation(PLACE, psycopg.errors.lookup(state)("so it is"))
    assert isinstance(translated, BackendRefused)
    assert REFUSED[state] in translated.hint


@pytest.mark.parametrize("state", ["42P01", "3F000", "42883"])
def test_what_was_dropped_is_known(state: str) -> None:
    assert isinstance(translation(PLACE, psycopg.errors.lookup(state)("gone")), SchemaGone)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            'connection failed: connection to server at "10.0.0.1", port 5432 failed: Connection'
            " refused\n\tIs the server running on that host?",
            f"Postgres at {PLACE} does not answer: Connection refused",
        ),
        (
            "consuming input failed: server closed the connection unexpectedly\n\tThis probably"
            " means the server terminated abnormally\n\tbefore or while processing the request.",
            f"Postgres at {PLACE} does not answer: consuming input failed: server closed the"
            " connection unexpectedly",
        ),
        (
            'connection failed: connection to server at "::1", port 5432 failed: FATAL:  the'
            " database system is starting up",
            f"Postgres at {PLACE} does not answer: the database system is starting up",
        ),
        ("", f"Postgres at {PLACE} does not answer: OperationalError"),
    ],
)
def test_the_words_of_libpq_are_one_line(said: str, shown: str) -> None:
    assert str(translation(PLACE, psycopg.OperationalError(said))) == shown


@pytest.mark.parametrize(
    "said",
    [
        "Tenant or user not found",
        "(ENOTFOUND) tenant/user shop.project not found",
        "(ENOIDENTIFIER) no tenant identifier provided (external_id or sni_hostname required)",
    ],
)
def test_a_user_that_the_pooler_does_not_know_is_not_waited_for(said: str) -> None:
    at = 'connection failed: connection to server at "10.0.0.1", port 6543 failed: FATAL:  '
    translated = translation(PLACE, psycopg.OperationalError(at + said))
    assert str(translated) == f"Postgres at {PLACE} lets nobody in: {said}"
    assert "postgres.PROJECT" in translated.hint


def test_an_empty_address_says_what_to_set() -> None:
    with pytest.raises(SettingsError) as error:
        PostgresConnection("", schema="recsys")
    assert "SUPABASE_DB_URL" in error.value.hint


@given(st.text(st.sampled_from("postgresql:/@?#&=%1a[]. ,"), max_size=40))
def test_any_text_is_an_address_or_a_sentence(url: str) -> None:
    with suppress(SettingsError), closing(PostgresConnection(url, schema="recsys")) as connection:
        assert connection.place


def test_nobody_there_names_the_address() -> None:
    with (
        closing(PostgresConnection("postgresql://me:geheim@127.0.0.1:1/x", schema="s")) as nobody,
        pytest.raises(BackendUnavailable, match=r"127\.0\.0\.1:1/x") as error,
    ):
        nobody.health("events")
    assert "geheim" not in str(error.value)
