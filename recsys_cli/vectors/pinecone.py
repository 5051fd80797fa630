"""The vector store on Pinecone: one namespace per generation of one serverless index.

Whether a generation has an index is noted in the table of generations: Pinecone itself searches a
namespace as soon as something is in it.

Pinecone shows what was written only after a while, and has no conditional write. What it does: of
two writes of one product of which the second was sent after the first was answered, the second
stays. From that, an older embedding does not stay over a newer one:

- Whoever writes or removes waits for the answer, and only then looks at the catalog again, into
  which a consumer has merged its event before (``pipeline/embed.py``). Where another has merged
  something newer by then, it writes that as well. Where the other merges later, its write is sent
  after ours was answered. So the last write of all is of the newest state.
- That holds whatever reads show. ``write`` leaves out only what is older than something that was
  stored once, and so older than the catalog: who wrote it looks again. ``remove`` leaves out only
  what is seen to be newer, and deletes also what cannot be seen yet.
- No write builds upon a read (``is_eventually_consistent``): a vector of earlier never gets the
  metadata, or the position, of now.
- A consumer that is killed before it has looked has not acknowledged: its event comes again.

What is left: a request that its sender has given up, and which takes effect after a later one was
answered. A sender gives up where it is killed, and at each attempt without an answer in time, also
where a further attempt succeeds. ``recsys doctor`` finds that, and mends it; so does the next event
of the product.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from recsys_cli.connections.pinecone import PineconeIndex, Record, key_of
from recsys_cli.domain import (
    Health,
    IndexInfo,
    IndexSpec,
    Neighbor,
    Position,
    SearchFilter,
    StoredEmbedding,
)
from recsys_cli.errors import BackendUnavailable, IndexMismatch, IndexMissing
from recsys_cli.generations import FIRST
from recsys_cli.ports import Catalog, Embedding, Vector
from recsys_cli.vectors import pinecone_records as records
from recsys_cli.vectors.checks import checked
from recsys_cli.vectors.ties import SPARE, closest, in_order

if TYPE_CHECKING:
    from recsys_cli.vectors.pinecone_generations import PineconeTable

LARGEST_LIMIT = 10_000
_SHOWN_WITHIN_S = 60.0
_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.05, 1.0


class PineconeVectors:
    """See ports.VectorStore: one generation of the index, with vectors of ``dimension``.

    ``waits_until_visible``: ``write`` and ``remove`` return only when reading shows what they did,
    or ``catalog`` has something newer by then.
    """

    is_eventually_consistent: ClassVar[bool] = True
    can_search_exactly: ClassVar[bool] = False
    can_tell_unindexed: ClassVar[bool] = False

    def __init__(
        self,
        pinecone: PineconeIndex,
        table: PineconeTable,
        catalog: Catalog,
        *,
        index: str,
        dimension: int,
        generation: int = FIRST,
        attributes: Sequence[str] = (),
        waits_until_visible: bool = False,
    ) -> None:
        self._pinecone = pinecone
        self._table = table
        self._catalog = catalog
        self._name = index
        self._dimension = dimension
        self._number = generation
        self._attributes = attributes
        self._waits = waits_until_visible
        # No key of a text begins with # and a number before a colon.
        later = "" if generation == FIRST else f"#{generation}:"
        self._namespace = later + key_of(index)

    def create_index(self, spec: IndexSpec) -> bool:
        """See ports.VectorStore; without a PINECONE_HOST the index is made in the cloud as well."""
        if not self._pinecone.has_host:
            self._pinecone.make(self._name, spec.dimension)
        there = self._pinecone.stats()
        another = "set PINECONE_HOST to another, or unset it and run recsys index create"
        self._compare("dimension", spec.dimension, there.dimension, another)
        self._compare("metric", "cosine", there.metric, another)
        noted = self._table.spec(self._number)
        if noted is None:
            self._table.add_index(self._number, spec)
            return True
        anew = "recsys reembed, or recsys index drop and recsys index create"
        self._compare("dimension", spec.dimension, noted.dimension, anew)
        self._compare("attributes", spec.attributes, noted.attributes, anew)
        return False

    def drop_index(self, *, embeddings: bool) -> bool:
        dropped = self._table.has_index(self._number)
        self._table.remove_index(self._number)
        if embeddings:
            self._pinecone.delete_all(self._namespace)
            self._wait_while(lambda: len(next(self._pages(), [])))
        return dropped

    def dimension(self) -> int | None:
        noted = self._table.spec(self._number)
        return None if noted is None else self._pinecone.stats().dimension or noted.dimension

    def info(self) -> IndexInfo | None:
        """See ports.VectorStore; ``model_versions`` are those of a page of the embeddings."""
        noted = self._table.spec(self._number)
        if noted is None:
            return None
        stats = self._pinecone.stats()
        count = stats.counts.get(self._namespace, 0)
        sample = self._pinecone.fetch(self._namespace, next(self._pages(), []))
        versions = {records.source(found).model_version for found in sample.values()}
        return IndexInfo(
            name=self._name,
            algorithm="Pinecone",
            dimension=stats.dimension or noted.dimension,
            documents=count,
            indexed=count,
            failures=0,
            memory_bytes=None,
            parameters={},
            model_versions=sorted(versions - {""}),
            attributes=list(noted.attributes),
        )

    def stored(self, product_ids: Sequence[str]) -> dict[str, StoredEmbedding]:
        return {i: records.source(found) for i, found in self._fetch(product_ids).items()}

    def write(self, embeddings: Sequence[Embedding]) -> None:
        checked = [
            (e, None if e.vector is None else self._numbers(e.vector, _whose(e)))
            for e in embeddings
        ]
        before = self._fetch([e.product_id for e in embeddings])
        found, written = dict(before), dict[str, Record]()
        for embedding, values in checked:
            after = _after(found.get(embedding.product_id), embedding, values)
            if after is not None:
                found[embedding.product_id] = written[embedding.product_id] = after
        self._pinecone.upsert(self._namespace, written.values())

        def left() -> int:
            shown = self._fetch(list(written))
            late = {
                i: records.position(record)
                for i, record in written.items()
                if not _shows(shown.get(i), record, before.get(i))
            }
            newest = self._catalog.get(list(late)) if late else {}
            return sum(i not in newest or newest[i].position <= at for i, at in late.items())

        self._wait_while(left)

    def begin_write(self, embeddings: Sequence[Embedding]) -> Callable[[], object]:
        self.write(embeddings)
        return lambda: None

    def remove(self, positions: Mapping[str, Position]) -> None:
        newer = {
            i for i, r in self._fetch(list(positions)).items() if records.position(r) > positions[i]
        }
        gone = {i: position for i, position in positions.items() if i not in newer}
        self._pinecone.delete(self._namespace, map(key_of, gone))
        self._wait_while(
            lambda: sum(records.position(r) <= gone[i] for i, r in self._fetch(list(gone)).items())
        )

    def get(self, product_ids: Sequence[str]) -> dict[str, Vector]:
        return {i: records.vector(found) for i, found in self._fetch(product_ids).items()}

    def unindexed(self, product_ids: Sequence[str]) -> list[str]:
        del product_ids
        self._need_index()
        return []

    def entries(self) -> Iterator[list[Embedding]]:
        for keys in self._pages():
            found = self._pinecone.fetch(self._namespace, keys).values()
            if page := [records.embedding(r, self._attributes) for r in found if r.values]:
                yield page

    def search(
        self, vector: Vector, limit: int, where: SearchFilter | None = None
    ) -> list[Neighbor]:
        return self.search_many([vector], limit, where)[0]

    def search_many(
        self,
        queries: Sequence[Vector],
        limit: int,
        where: SearchFilter | None = None,
        *,
        ef: int | None = None,
        exact: bool = False,
    ) -> list[list[Neighbor]]:
        del ef, exact
        vectors = [self._numbers(vector, "the query") for vector in queries]
        return self._closest(vectors, limit, where)

    def neighbors(
        self,
        product_ids: Sequence[str],
        limit: int,
        where: SearchFilter | None = None,
        *,
        ef: int | None = None,
        exact: bool = False,
    ) -> dict[str, list[Neighbor]]:
        del ef, exact
        found = self._fetch(product_ids)
        if not found:
            return {}
        answers = self._closest([r.values for r in found.values()], limit, where)
        return dict(zip(found, answers, strict=True))

    def health(self) -> Health:
        stats = self._pinecone.stats()
        details = f"{stats.counts.get(self._namespace, 0)} vectors in {self._namespace}"
        return Health(
            part="vectors", address=self._pinecone.address, version="Pinecone", details=details
        )

    def close(self) -> None:
        self._pinecone.close()

    def _closest(
        self, vectors: Sequence[Sequence[float]], limit: int, where: SearchFilter | None
    ) -> list[list[Neighbor]]:
        self._need_index()
        if limit < 1:
            return [[] for _ in vectors]
        limit = min(limit, LARGEST_LIMIT - SPARE)
        conditions = records.conditions(where)

        def nearest(numbers: Sequence[int], count: int) -> dict[int, list[Neighbor]]:
            asked = [vectors[n] for n in numbers]
            answers = self._pinecone.query(self._namespace, asked, count, conditions)
            return {
                n: in_order(map(records.neighbor, found))
                for n, found in zip(numbers, answers, strict=True)
            }

        found = closest(range(len(vectors)), limit, nearest)
        return [found[n][:limit] for n in range(len(vectors))]

    def _fetch(self, product_ids: Sequence[str]) -> dict[str, Record]:
        found = self._pinecone.fetch(self._namespace, map(key_of, product_ids))
        return {i: found[key] for i in product_ids if (key := key_of(i)) in found}

    def _pages(self) -> Iterator[list[str]]:
        return self._pinecone.pages(self._namespace)

    def _numbers(self, vector: Vector, whose: str) -> list[float]:
        numbers: list[float] = checked(vector, self._dimension, whose).tolist()
        return numbers

    def _need_index(self) -> None:
        if not self._table.has_index(self._number):
            raise IndexMissing(f"there is no index {self._name!r}", hint="recsys index create")

    def _compare(self, what: str, wanted: object, there: object, hint: str) -> None:
        if there is not None and wanted != there:
            raise IndexMismatch(
                f"the index {self._name!r} has the {what} {there}, not {wanted}", hint=hint
            )

    def _wait_while(self, left: Callable[[], int]) -> None:
        """Look until none is left of what is not shown as it is. Raises BackendUnavailable."""
        end, pause_s = time.monotonic() + _SHOWN_WITHIN_S, _FIRST_LOOK_S
        while self._waits and (count := left()):
            if time.monotonic() > end:
                raise BackendUnavailable(
                    f"Pinecone has not shown for {_SHOWN_WITHIN_S:.0f} s what was written"
                    f" ({count} products)",
                    hint="try again",
                )
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_LOOK_S)


def _after(
    before: Record | None, embedding: Embedding, values: Sequence[float] | None
) -> Record | None:
    """Return what is to be written over ``before``, None where nothing is."""
    if before is not None and embedding.source.position < records.position(before):
        return None
    if values is not None:
        return records.record(embedding, values)
    if before is None:
        return None
    earlier = records.source(before)
    source = StoredEmbedding(
        position=embedding.source.position,
        model_version=earlier.model_version,
        text_digest=earlier.text_digest,
    )
    return records.record(embedding._replace(source=source), before.values)


def _shows(shown: Record | None, written: Record, before: Record | None) -> bool:
    """Whether this is what was written, or what somebody else has written since."""
    if shown is None or records.position(shown) < records.position(written):
        return False
    return before is None or shown.metadata != before.metadata or shown.metadata == written.metadata


def _whose(embedding: Embedding) -> str:
    return f"the vector of {embedding.product_id!r}"
