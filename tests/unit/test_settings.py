from __future__ import annotations

from pathlib import Path

import pytest

from recsys_cli.errors import SettingsError
from recsys_cli.settings import EventsBackend, Settings, VectorsBackend, load


def test_nothing_configured_is_the_embedded_file() -> None:
    settings = load({}, {"RECSYS_HOME": "/data"})
    assert settings.events_backend is EventsBackend.EMBEDDED
    assert settings.vectors_backend is VectorsBackend.EMBEDDED
    assert settings.describe() == f"embedded file {Path('/data/recsys.db')}"


@pytest.mark.parametrize(
    "environ",
    [
        {"REDIS_HOST": "cache"},
        {"REDIS_PORT": "6380"},
        {"REDIS_DB": "0"},
        {"REDIS_URL": "redis://cache"},
        {"REDIS_PASSWORD": "secret"},
    ],
)
def test_any_redis_setting_chooses_redis(environ: dict[str, str]) -> None:
    settings = load({}, environ)
    assert settings.events_backend is EventsBackend.REDIS
    assert settings.catalog_backend is EventsBackend.REDIS
    assert settings.vectors_backend is VectorsBackend.REDIS


def test_a_type_chooses_nats_and_the_catalog_follows() -> None:
    assert load({}, {"NATS_URL": "nats://bus"}).events_backend is EventsBackend.EMBEDDED
    settings = load({}, {"NATS_URL": "nats://u:s3cret@bus", "EVENT_PROCESSOR_TYPE": "nats"})
    assert settings.events_backend is settings.catalog_backend is EventsBackend.NATS
    assert settings.vectors_backend is VectorsBackend.EMBEDDED
    assert settings.describe().startswith("events: NATS at nats://u:***@bus, catalog: NATS at nats")


def test_nats_beside_redis_leaves_it_the_vectors() -> None:
    settings = load({}, {"REDIS_HOST": "cache", "EVENT_PROCESSOR_TYPE": "nats"})
    assert settings.events_backend is settings.catalog_backend is EventsBackend.NATS
    assert settings.vectors_backend is VectorsBackend.REDIS
    settings = load({}, {"REDIS_HOST": "cache", "CATALOG_TYPE": "nats"})
    assert settings.events_backend is EventsBackend.REDIS
    assert settings.catalog_backend is EventsBackend.NATS


def test_a_type_decides_for_its_part() -> None:
    settings = load({}, {"REDIS_URL": "redis://cache:1/0", "VECTOR_STORE_TYPE": "embedded"})
    assert settings.events_backend is EventsBackend.REDIS
    assert settings.vectors_backend is VectorsBackend.EMBEDDED
    assert settings.describe().startswith("events: Redis at redis://cache:1/0, catalog: Redis")


def test_flags_go_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    toml = tmp_path / "shop.toml"
    toml.write_text('redis_url = "redis://toml"\nredis_db = 3\nvector_dimension = 256\n')
    environ = {"RECSYS_CONFIG": str(toml), "REDIS_URL": "redis://environment", "REDIS_DB": "2"}

    settings = load({"redis_url": "redis://flag"}, environ)

    assert settings.redis_url == "redis://flag"
    assert settings.redis_db == 2
    assert settings.vector_dimension == 256
    assert settings.product_stream_key == "product:updates"
    assert settings.origins == {
        "redis_url": "flag",
        "redis_db": "environment",
        "vector_dimension": str(toml),
    }


def test_the_file_in_the_working_directory_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recsys.toml").write_text('product_stream_key = "shop:updates"\n')
    monkeypatch.chdir(tmp_path)
    assert load({}, {}).product_stream_key == "shop:updates"


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"REDIS_PORT": "abc"}, "REDIS_PORT (environment) is 'abc': expected int"),
        ({"REDIS_PORT": "0"}, "REDIS_PORT (environment) is '0': expected int >= 1"),
        ({"SIMILARITY_THRESHOLD": "2"}, "SIMILARITY_THRESHOLD (environment) is '2'"),
        ({"VECTOR_STORE_TYPE": "faiss"}, "it must be one of embedded, redis"),
        ({"RECSYS_CONFIG": "absent.toml"}, "absent.toml cannot be read"),
    ],
)
def test_a_bad_value_is_one_sentence(environ: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError) as error:
        load({}, environ)
    assert sentence in str(error.value)


def test_an_unknown_name_in_the_file_is_an_error_with_the_nearest_one(tmp_path: Path) -> None:
    toml = tmp_path / "shop.toml"
    toml.write_text('redis_ulr = "redis://x"\n')
    with pytest.raises(SettingsError, match="unknown setting: redis_ulr") as error:
        load({}, {"RECSYS_CONFIG": str(toml)})
    assert error.value.hint == "did you mean redis_url?"


def test_shown_settings_hold_no_secret() -> None:
    environ = {"REDIS_URL": "redis://u:s3cret@cache", "REDIS_PASSWORD": "s3cret"}
    environ |= {"NATS_URL": "tls://s3cret@bus", "NATS_PASSWORD": "s3cret", "NATS_TOKEN": "s3cret"}
    shown = load({}, environ).shown()
    assert "s3cret" not in repr(shown)
    assert ("NATS_TOKEN", "***", "environment") in shown
    assert ("REDIS_PASSWORD", "***", "environment") in shown
    assert len(shown) == len(Settings.__struct_fields__) - 1


def test_a_backend_that_no_part_is_on_is_told() -> None:
    nats = {"NATS_URL": "nats://bus", "NATS_USER": "u"}
    (said,) = load({}, nats).unused()
    assert said.startswith("NATS_URL, NATS_USER: set, and nothing is on nats; to use it, set")
    assert load({}, nats | {"CATALOG_TYPE": "nats"}).unused() == []
    assert load({}, {"REDIS_URL": "redis://cache", "RECSYS_HOME": "/data"}).unused() == []
    types = {"EVENT_PROCESSOR_TYPE": "embedded", "VECTOR_STORE_TYPE": "embedded"}
    (said,) = load({}, {"REDIS_URL": "redis://cache"} | types).unused()
    assert said.startswith("REDIS_URL")


def test_the_consumer_name_tells_host_and_process() -> None:
    assert load({}, {"PRODUCT_STREAM_CONSUMER": "eu-{}"}).consumer_id.startswith("eu-")
    assert load({}, {"PRODUCT_STREAM_CONSUMER": "only-one"}).consumer_id == "only-one"


def test_the_value_of_a_secret_is_not_in_the_settings_as_text() -> None:
    settings = load({}, {"REDIS_URL": "redis://u:s3cret@cache", "REDIS_PASSWORD": "s3cret"})
    assert "s3cret" not in repr(settings) + str(settings) + repr(list(settings.__rich_repr__()))
    assert "REDIS_PORT=6379" in repr(settings)


@pytest.mark.parametrize(
    "environ", [{"REDIS_TLS": "true"}, {"REDIS_CA_CERTS": "/ca.pem"}, {"REDIS_TLS": "1"}]
)
def test_tls_goes_with_host_and_port(environ: dict[str, str]) -> None:
    settings = load({}, environ | {"REDIS_HOST": "cache"})
    assert settings.redis_address == "rediss://cache:6379/0"
    assert settings.events_backend is EventsBackend.REDIS


@pytest.mark.parametrize("url", ["redis://cache", "unix:///run/redis.sock"])
@pytest.mark.parametrize("name", ["REDIS_TLS", "REDIS_CA_CERTS"])
def test_tls_beside_a_url_without_is_a_contradiction(name: str, url: str) -> None:
    with pytest.raises(SettingsError, match=rf"{name} \(environment\) asks for TLS") as error:
        load({"redis_url": url}, {name: "1"})
    assert "rediss://" in error.value.hint
    assert load({"redis_url": "rediss://cache"}, {name: "1"}).redis_address == "rediss://cache"


def test_warnings_tell_what_is_seen_and_what_is_not_verified() -> None:
    assert load({"redis_url": "rediss://u@cache"}, {"REDIS_PASSWORD": "x"}).warnings() == []
    assert load({}, {"REDIS_URL": "redis://:x@cache"}).warnings() == []
    (seen,) = load({"redis_url": "redis://:x@cache"}, {}).warnings()
    assert "REDIS_PASSWORD" in seen
    (unverified,) = load({}, {"REDIS_URL": "rediss://cache?ssl_cert_reqs=none"}).warnings()
    assert "not verified" in unverified


def test_an_api_key_in_clear_is_warned_of() -> None:
    def said(host: str, name: str = "PINECONE_HOST") -> list[str]:
        return load({}, {"VECTOR_STORE_TYPE": "pinecone", name: host}).warnings()

    for name in ("PINECONE_HOST", "PINECONE_CONTROLLER_HOST"):
        (warning,) = said("http://index.example", name)
        assert f"{name} is http://: everybody on the way can read the API key" in warning
    assert said("https://index.example") == said("index.example") == []
    assert said("http://127.0.0.1:5080") == []


@pytest.mark.parametrize("schema", ["public", "x" * 49, "ä" * 25, "a%sb", "a$$b"])
def test_a_schema_that_others_use_or_that_no_statement_can_name_is_refused(schema: str) -> None:
    assert load({}, {"SUPABASE_SCHEMA": "ä" * 24}).supabase_schema
    assert load({}, {"SUPABASE_SCHEMA": schema}).supabase_schema, "nothing is on Supabase"
    used = {"SUPABASE_SCHEMA": schema, "CATALOG_TYPE": "supabase"}
    with pytest.raises(SettingsError, match=r"SUPABASE_SCHEMA \(environment\) is") as error:
        load({}, used)
    assert error.value.hint == (
        "name a schema for recsys alone, of 48 bytes at most, without % and $$"
    )
