"""recsys keeps "products like this one" true for a shop whose catalogue changes all day.

The names below are the Python API; importing the package loads none of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recsys_cli.api import (
        ProductEventConsumer,
        ProductEventProducer,
        VectorStore,
        close,
        get_embedding_model,
        get_event_processor,
        get_vector_store,
    )
    from recsys_cli.domain import Neighbor, Product

__all__ = [
    "Neighbor",
    "Product",
    "ProductEventConsumer",
    "ProductEventProducer",
    "VectorStore",
    "close",
    "get_embedding_model",
    "get_event_processor",
    "get_vector_store",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - lazy on purpose

    home = "domain" if name in ("Neighbor", "Product") else "api"
    return getattr(import_module(f"{__name__}.{home}"), name)
