"""Which commands there are. The module of each is imported when it is run, or asked for its help.

No command needs another's, and all of them together cost more than half of what ``recsys --help``
may take. So each has its line of that help here; a test compares them with the commands.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any, cast

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

_LISTED = {
    "init": (
        "init:init",
        "Make what is missing on the backends: schema, group and index.",
    ),
    "import": (
        "import_feed:import_",
        "Import product files: what is new, changed or gone becomes events on the stream.",
    ),
    "consume": (
        "consume:consume",
        "Turn events into embeddings and keep the index current, in the foreground.",
    ),
    "drift": (
        "drift:drift",
        "Say how far the catalog has moved away from the model in use; exit with 3 if too far.",
    ),
    "reembed": (
        "reembed:reembed",
        "Embed the whole catalog anew beside the serving generation, check it, and let it serve.",
    ),
    "similar": (
        "similar:similar",
        "Show the products closest to one, or to a text, by cosine similarity.",
    ),
    "explain": (
        "explain:explain",
        "Show which words make two products alike, and how much each adds to the score.",
    ),
    "evaluate": (
        "evaluate:evaluate",
        "Measure how often the true matches are among the neighbors.",
    ),
    "export": (
        "backup:export",
        "Write all products, the model and the vectors to a file, for recsys restore.",
    ),
    "restore": (
        "backup:restore",
        "Put a backup into the catalog, with its model and its vectors.",
    ),
    "promote": (
        "backup:promote",
        "Carry catalog, model and vectors over to Redis; there similar then gives the same "
        "answers.",
    ),
    "lag": (
        "status:lag",
        "Show how far the consumer group is behind, and what each consumer holds.",
    ),
    "pending": (
        "status:pending",
        "Show the events that were delivered and not acknowledged, the oldest first.",
    ),
    "health": (
        "status:health",
        "Ask stream, catalog and vector store whether they answer; exit 5 if one does not.",
    ),
    "doctor": (
        "doctor:doctor",
        "Compare the catalog with the index, product by product; exit with 3 where they differ.",
    ),
    "demo": (
        "demo:demo",
        "Import, consume and query a small catalogue on an embedded file of its own.",
    ),
    "dlq": ("dlq:app", "The dead letters: events that were given up."),
    "group": ("group:app", "The consumer groups of the stream (recsys lag lists them)."),
    "product": ("product:app", "Put, update, remove or show one product."),
    "index": ("index:app", "The index of embeddings, and its generations."),
    "model": ("model:app", "Fit, list, use, export or import embedding models."),
    "neighbors": ("neighbors:app", "The neighbors of all products at once."),
    "config": ("config:app", "Show the settings in force."),
}
"""By name: the module in this package with the function or the app in it, and the line of help."""


class ListedCommand(TyperCommand):
    """A command, or a family of them, of which only its line of help is known so far."""

    def __init__(self, name: str, place: str, summary: str) -> None:
        super().__init__(name, help=summary)
        self.place = place

    def load(self) -> TyperCommand | TyperGroup:
        """Return the command itself, with its options."""
        return _loaded(self.name, self.place)

    def make_context(self, *arguments: Any, **extra: Any) -> Any:
        """Let the command itself go on: to run, to show help or to complete, all begin here."""
        return self.load().make_context(*arguments, **extra)


@cache
def _loaded(name: str | None, place: str) -> TyperCommand | TyperGroup:
    module, _, attribute = place.partition(":")
    found = getattr(import_module(f"{__package__}.{module}"), attribute)
    if isinstance(found, typer.Typer):
        return typer.main.get_group(found)
    alone = typer.Typer(add_completion=False)
    alone.command(name)(found)
    return cast(TyperCommand, typer.main.get_command(alone))


class Commands(TyperGroup):
    """All commands of recsys, in the order in which help lists them."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, (place, summary) in _LISTED.items():
            self.add_command(ListedCommand(name, place, summary))
