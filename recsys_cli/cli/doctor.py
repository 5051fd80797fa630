"""recsys doctor: whether catalog and index agree, and what mends them."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Annotated

import typer

from recsys_cli.cli import options, render
from recsys_cli.cli.signals import exiting_on_signals

if TYPE_CHECKING:
    from recsys_cli.pipeline.doctor import Diagnosis, Mended
    from recsys_cli.settings import Settings

NAMED = 10
ANSWERING = {
    6379: "to use Redis, set REDIS_URL",
    4222: "to use NATS, set EVENT_PROCESSOR_TYPE=nats",
}


def doctor(
    fix: Annotated[
        bool,
        typer.Option("--fix", help="Republish what is ill, and nothing else; remove orphans."),
    ] = False,
    json: options.Json = False,
    redis: options.RedisUrl = None,
) -> None:
    """Compare the catalog with the index, product by product; exit with 3 where they differ.

    What --fix republishes are updates that change nothing: whoever consumes them embeds the
    products again, from what the catalog has then.
    """
    from recsys_cli.pipeline.doctor import Doctor, Mended

    with options.backends(redis, wait_visible=fix) as opened, exiting_on_signals():
        _point_out(opened.settings)
        physician = Doctor(
            opened.get_event_processor(),
            opened.get_catalog(),
            opened.get_generations(),
            opened.get_model_factory(),
        )
        with render.progress("examine") as bar:
            found = physician.examine(bar.say)
        mended = physician.mend(found) if fix else Mended()
    if json:
        render.json_line(found)
    else:
        _show(found)
    if found.waiting:
        render.warning(
            f"{render.counted(found.waiting, 'event')} waiting: what differs may be on its way"
        )
    if fix and found.findings:
        render.success(_told(mended))
    elif found.findings:
        render.warning(f"{render.counted(len(found.findings), 'difference')}: recsys doctor --fix")
    raise typer.Exit(3 if found.findings and not fix else 0)


def _show(found: Diagnosis) -> None:
    pairs: list[tuple[str, object]] = [
        ("generation", found.generation),
        ("products", render.number(found.products)),
        ("embeddings", render.number(found.embeddings)),
        ("products without words", render.number(found.wordless)),
    ]
    for ailment, ids in found.by_ailment().items():
        named = ", ".join(ids[:NAMED]) + (", ..." if len(ids) > NAMED else "")
        pairs.append((ailment, f"{len(ids):,}: {named}" if ids else "0"))
    render.facts("doctor", pairs)


def _told(mended: Mended) -> str:
    said = []
    if mended.removed:
        said.append(f"removed {render.counted(mended.removed, 'embedding')}")
    if mended.published:
        republished = render.counted(mended.published, "product")
        said.append(f"republished {republished}: recsys consume --drain")
    return ", ".join(said) or "nothing is left to mend"


def _point_out(settings: Settings) -> None:
    """Nothing is ever guessed from what is set or what answers on a port; but it may be said."""
    for sentence in settings.unused():
        render.warning(sentence)
    if settings.origins:
        return
    for port, advice in ANSWERING.items():
        try:
            with socket.create_connection(("localhost", port), timeout=0.2):
                render.notice(f"something answers on localhost:{port}; {advice}")
        except OSError:
            continue
