"""How far has the catalog moved away from the model in use? What ``recsys reembed`` would mend."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from recsys_cli.batches import batched
from recsys_cli.domain import BEGINNING, Position, Product
from recsys_cli.errors import UsageError
from recsys_cli.generations import serving
from recsys_cli.pipeline.exact import Page, nearest
from recsys_cli.pipeline.models import artifact_of
from recsys_cli.pipeline.recall import Sample, draw
from recsys_cli.ports import Catalog, EmbeddingModel, Generations, ModelFactory

PAGE = 500

THRESHOLDS = {"unknown_words": 0.05, "growth": 0.2, "zero_vectors": 0.05, "overlap": 0.8}
"""From which on the model is stale; for ``overlap``: below which."""


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of 1. What does not apply to a pretrained model is None.

    ``unknown_words``: in products that came or changed since the fit, words that the model was not
    fitted on. ``growth``: of the number of products. ``zero_vectors``: products without words.
    ``overlap``: neighbors in common, by exact search, with a model fitted today; mean of a sample.
    """

    model_version: str
    products: int
    changed_products: int
    unknown_words: float | None
    growth: float | None
    zero_vectors: float
    overlap: float | None

    def crossed(self, thresholds: Mapping[str, float]) -> list[str]:
        """Return a sentence for each threshold that is crossed."""
        said = []
        for name, threshold in thresholds.items():
            value = getattr(self, name)
            if value is None:
                continue
            if name == "overlap" and value < threshold:
                said.append(f"overlap is {value:.4f}, below {threshold:g}")
            elif name != "overlap" and abs(value) > threshold:
                said.append(f"{name} is {value:.4f}, beyond {threshold:g}")
        return said


def parse_thresholds(texts: list[str]) -> dict[str, float]:
    """Read ``growth=0.5``; what is not named keeps its default. Raises UsageError."""
    found = dict(THRESHOLDS)
    for text in (part for one in texts for part in one.split(",")):
        name, _, value = text.partition("=")
        if name not in THRESHOLDS:
            raise UsageError(
                f"--threshold {text!r}: it must be NAME=VALUE, and NAME one of "
                + ", ".join(THRESHOLDS)
            )
        try:
            found[name] = float(value)
        except ValueError:
            raise UsageError(f"--threshold {text!r}: {value!r} is not a number") from None
    return found


@dataclass
class _Counts:
    products: int = 0
    changed: int = 0
    wordless: int = 0
    unknown: float = 0.0
    words: int = 0


def measure_drift(
    catalog: Catalog,
    generations: Generations,
    models: ModelFactory,
    sample: Sample,
    progress: Callable[[str], None] = lambda _: None,
) -> Drift:
    """Measure; nothing changes. Raises NotEmbedded before the first model."""
    generation = serving(generations.all())
    model = models.load(artifact_of(catalog, generation))
    fitted_at = {m.version: m.fitted_at for m in catalog.models()}.get(model.version, BEGINNING)
    counts = _Counts()

    def counted() -> Iterator[Product]:
        for products in batched(catalog.products(), PAGE):
            _count(products, catalog, model, fitted_at, counts)
            progress(f"{counts.products:,} products")
            yield from products

    drawn = draw(counted(), sample)
    fitted_on = model.info.products
    is_fitted = fitted_on > 0
    return Drift(
        model_version=model.version,
        products=counts.products,
        changed_products=counts.changed,
        unknown_words=counts.unknown / max(1, counts.words) if is_fitted else None,
        growth=counts.products / fitted_on - 1 if is_fitted else None,
        zero_vectors=counts.wordless / max(1, counts.products),
        overlap=_overlap(catalog, model, models, drawn, sample.k) if is_fitted else None,
    )


def _count(
    products: list[Product],
    catalog: Catalog,
    model: EmbeddingModel,
    fitted_at: Position,
    counts: _Counts,
) -> None:
    states = catalog.get([product.id for product in products])
    changed = [p for p in products if p.id in states and states[p.id].position > fitted_at]
    unknown, words = model.unknown_words(changed)
    counts.products += len(products)
    counts.changed += len(changed)
    counts.unknown += unknown
    counts.words += words
    counts.wordless += int((~model.embed(products).any(axis=1)).sum())


def _overlap(
    catalog: Catalog,
    model: EmbeddingModel,
    models: ModelFactory,
    drawn: list[Product],
    k: int,
) -> float | None:
    fresh = models.fit(catalog.products())
    before, after = (_neighbors(catalog, m, drawn, k) for m in (model, fresh))
    shares = [
        len(before[i] & after[i]) / len(before[i]) for i in before if before[i] and i in after
    ]
    return sum(shares) / len(shares) if shares else None


def _neighbors(
    catalog: Catalog, model: EmbeddingModel, drawn: list[Product], k: int
) -> dict[str, set[str]]:
    rows = model.embed(drawn)
    worded = [n for n in range(len(drawn)) if rows[n].any()]
    ids = [drawn[n].id for n in worded]
    found = nearest((ids, rows[worded]), _pages(catalog, model), k)
    return {i: {s.product_id for s in scored} for i, scored in zip(ids, found, strict=True)}


def _pages(catalog: Catalog, model: EmbeddingModel) -> Iterator[Page]:
    for products in batched(catalog.products(), PAGE):
        rows = model.embed(products)
        worded = np.flatnonzero(rows.any(axis=1)).tolist()
        yield [products[n].id for n in worded], rows[worded]
