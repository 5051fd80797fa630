"""The architecture in a few Protocols. Read this file and you know what recsys is made of.

    EventProcessor   the durable stream of product events, read through one ConsumerGroup
    DeadLetters      the events of the stream that were given up
    Catalog          the state of all products, and the embedding model that consumers share
    EmbeddingModel   product -> unit vector
    VectorStore      embeddings of one generation, and their index -> neighbors
    Generations      which generations there are, and which one serves

Every sentence in a docstring here is a promise, and ``tests/contract/`` has a test for it, run
against each adapter. Nouns go in and come out; no driver's type crosses a port. Any method of a
backend may raise BackendUnavailable (no answer) or BackendRefused (an answer that says no); no
driver's own exception leaves an adapter. Adapters may be used from several threads at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol, TypeAlias

from recsys_cli.deliveries import DeadLetter, Delivery, Failure, PendingEvent
from recsys_cli.domain import (
    BEGINNING,
    Explanation,
    Health,
    IndexInfo,
    IndexSpec,
    ModelInfo,
    Neighbor,
    Position,
    Product,
    ProductEvent,
    ProductMetadata,
    SearchFilter,
    StoredEmbedding,
    StoredModel,
    StreamStatus,
)
from recsys_cli.generations import Generation
from recsys_cli.merge import ProductState
from recsys_cli.neighbor_lists import NeighborList

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Vector: TypeAlias = "npt.NDArray[np.float32]"
"""One embedding: shape (dimension,), unit length."""

Matrix: TypeAlias = "npt.NDArray[np.float32]"
"""Embeddings as rows: shape (n, dimension), each of unit length or zero."""

CHECKSUM_BYTES = 32
"""How long the checksum is with which the artifact of a model ends."""


class Embedding(NamedTuple):
    """A product's entry in the vector store; without a vector the stored one stays."""

    product_id: str
    vector: Vector | None
    metadata: ProductMetadata
    source: StoredEmbedding
    updated_at: str


class Connected(Protocol):
    """What every part of a backend can do."""

    def health(self) -> Health:
        """Ask the backend who it is; the address in the answer holds no password."""
        ...

    def close(self) -> None:
        """Let go of connections. Closing twice is harmless."""
        ...


class ConsumerGroup(Protocol):
    """One group on the stream: who is in it, and how far it has come."""

    def create_group(self) -> bool:
        """Make the group at the beginning of the stream; return False where it exists already.

        So nothing that was published earlier is skipped.
        """
        ...

    def drop_group(self, name: str) -> bool:
        """Remove a group, and what only it still kept on the stream; False where there is none."""
        ...

    def forget_consumers(self, names: Sequence[str]) -> list[str]:
        """Remove these consumers' names from the group; return those that could be.

        One that holds anything stays. One that asks for events again is back.
        """
        ...

    def backlog(self) -> Iterator[tuple[Position, ProductEvent]]:
        """Yield what the group has not acknowledged, oldest first, without delivering any of it.

        Undecodable entries and events that arrive meanwhile may be left out.
        """
        ...

    def status(self) -> StreamStatus:
        """Return how far the group is behind. What the backend cannot tell is None, never 0."""
        ...

    def pending(
        self, limit: int, *, min_idle_ms: int = 0, consumer: str | None = None
    ) -> list[PendingEvent]:
        """Return up to ``limit`` deliveries not yet acknowledged, oldest position first.

        Only those idle for ``min_idle_ms`` at least, and of ``consumer`` where it is given.
        """
        ...


class EventProcessor(ConsumerGroup, Connected, Protocol):
    """The stream, seen through one consumer group."""

    def publish(self, events: Sequence[ProductEvent]) -> list[Position]:
        """Append the events in this order and return their positions, which strictly increase.

        Returning means that the stream has accepted all of them. After an error some may have been,
        and none where some are larger than the stream can take: EventsTooLarge says which.
        """
        ...

    def begin_publish(self, events: Sequence[ProductEvent]) -> Callable[[], list[Position]]:
        """Do as ``publish`` does, but return at once, in the way of ``VectorStore.begin_write``."""
        ...

    def receive(self, consumer: str, count: int, block_ms: int) -> list[Delivery]:
        """Return up to ``count`` deliveries for ``consumer``; none after ``block_ms`` in vain.

        First what the same consumer left unacknowledged when it last ended, then what any consumer
        has held for longer than the claim time, then new events from the oldest on. An event that
        was delivered before comes alone: it may be the one that killed its consumer, and the
        others shall not pay for it. While it is held, an event is with one consumer only.
        ``attempt`` counts its deliveries, also those whose consumer was killed. ``block_ms`` 0
        does not wait. Raises GroupMissing where there is no group (any longer).

        Entries that are no events (``init: true``) are acknowledged and left out. One that should
        be an event but cannot be read is delivered as an UndecodableEvent; one that is no longer
        on the stream as a LostEvent.
        """
        ...

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """These are done: they are no longer pending and never delivered again to this group.

        Acknowledging twice is harmless. An event that every group has acknowledged leaves the
        stream, where the backend can tell.
        """
        ...

    def postpone(self, delivery: Delivery, failure: Failure, delay_ms: int) -> None:
        """Deliver this again after ``delay_ms``, to whoever asks then, with ``failure``.

        The longest delay is the claim time. Nothing happens if the event is no longer held.
        """
        ...

    def renew(self, deliveries: Sequence[Delivery]) -> None:
        """Hold these for another claim time, except those that are no longer held."""
        ...

    def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Keep these as dead letters and acknowledge them: both, or neither.

        An event that is not pending any more is not kept: somebody else has seen to it.
        """
        ...


class DeadLetters(Protocol):
    """The events of one stream that were given up; ``EventProcessor.bury`` adds to them."""

    def letters(self, *, newest_first: bool = False) -> Iterator[DeadLetter]:
        """Yield all that were there at the call, a page at a time."""
        ...

    def find(self, letter_id: str) -> DeadLetter | None:
        """Return the letter of this id."""
        ...

    def replay(self, letter: DeadLetter) -> bool:
        """Put the event back on the stream and drop the letter: both, or neither.

        The event will count at the position where it first stood, so that it undoes nothing newer.
        Returns False, and does nothing, where the letter is gone.
        """
        ...

    def purge(self, letter_ids: Sequence[str]) -> int:
        """Drop these letters for good; return how many of them were there."""
        ...

    def close(self) -> None:
        """Let go of connections. Closing twice is harmless."""
        ...


def version_of(artifact: bytes) -> str:
    """Return the version of the model that ``artifact`` is: a hash of its content."""
    return artifact[-CHECKSUM_BYTES:].hex()[:12]


class Models(Protocol):
    """The embedding models that all consumers share: one is in use, others are kept by version."""

    def active_model(self) -> bytes | None:
        """Return the artifact of the embedding model in use, None before the first."""
        ...

    def model_checksum(self) -> bytes | None:
        """Return the last CHECKSUM_BYTES of the model in use, None before the first.

        An artifact ends with its checksum, so this tells cheaply whether it is still the same.
        """
        ...

    def offer_model(self, artifact: bytes, fitted_at: Position = BEGINNING) -> bytes:
        """Make ``artifact`` the model in use unless there is one; return the one in use.

        Of several offers at the same moment one wins, and all callers get that one.
        """
        ...

    def models(self) -> list[StoredModel]:
        """Return what is stored, the model in use included, by the time it was saved."""
        ...

    def model(self, version: str) -> bytes | None:
        """Return the artifact of this version."""
        ...

    def save_model(self, artifact: bytes, fitted_at: Position = BEGINNING) -> None:
        """Store a model under its version; storing it again changes nothing.

        ``fitted_at``: the last event that the products it was fitted on had seen.
        """
        ...

    def use_model(self, version: str) -> bool:
        """Make a stored model the one in use; return False where it is not stored."""
        ...

    def remove_model(self, version: str) -> bool:
        """Forget a stored model that is not in use; return whether it was forgotten."""
        ...


class Notes(Protocol):
    """Small documents by name, kept for a vector store that cannot compare and set."""

    def note(self, name: str) -> bytes | None:
        """Return what was put there last, None where nothing was."""
        ...

    def swap_note(self, name: str, seen: bytes | None, new: bytes) -> bool:
        """Put ``new`` where ``seen`` is, None for nothing; return False where it is not.

        Atomic: of several who have seen the same, one succeeds.
        """
        ...


class Catalog(Models, Notes, Connected, Protocol):
    """The state of all products, deleted ones included, and their embedding models."""

    def get(self, product_ids: Sequence[str]) -> dict[str, ProductState]:
        """Return the states of those products that the catalog has seen, deleted ones too.

        Raises InvalidData where what is stored for one of them is no state.
        """
        ...

    def merge(
        self,
        changes: Mapping[str, ProductState],
        known: Mapping[str, ProductState] | None = None,
    ) -> dict[str, ProductState]:
        """Merge each change into the stored state, atomically per product; return the results.

        Two merges at once, from anywhere, both count (see ``merge.merge``). ``known`` may hold
        states that the caller has just read, NOTHING where there was none: it saves reading them
        again and is never trusted.
        """
        ...

    def changed(self, states: Mapping[str, ProductState]) -> dict[str, ProductState | None]:
        """Return those that are others by now; None: there is none left. Raises InvalidData."""
        ...

    def products(self) -> Iterator[Product]:
        """Yield every existing product once, in any order, without holding them all in memory.

        Products that change meanwhile may come in either state, or be left out if deleted; so are
        those whose stored state cannot be read: one must not stand in the way of all.
        """
        ...


class VectorStore(Connected, Protocol):
    """The embeddings of one generation by product, and the index over them.

    ``IndexMissing`` may also mean that the generation is gone: another one serves by then.
    """

    is_eventually_consistent: ClassVar[bool] = False
    """Any method may show for a while what was there before a write or a removal.

    So nothing is to be written that builds upon what was read.
    """

    can_search_exactly: ClassVar[bool] = True
    """A search with ``exact`` compares with every vector; else it ignores that."""

    can_tell_unindexed: ClassVar[bool] = True
    """``unindexed`` names what no search can find; else it names nothing."""

    def create_index(self, spec: IndexSpec) -> bool:
        """Create the index; return False where it exists with this schema already.

        Raises IndexMismatch where it exists with another. Embeddings written earlier are in it.
        """
        ...

    def drop_index(self, *, embeddings: bool) -> bool:
        """Drop the index, and the embeddings too if asked; return False where there was none."""
        ...

    def dimension(self) -> int | None:
        """Return that of the index's vectors, None where there is no index; nothing is counted."""
        ...

    def info(self) -> IndexInfo | None:
        """Return what the index holds, None where there is no index."""
        ...

    def stored(self, product_ids: Sequence[str]) -> dict[str, StoredEmbedding]:
        """Return, for those products that have an embedding, what it was computed from."""
        ...

    def write(self, embeddings: Sequence[Embedding]) -> None:
        """Store the embeddings; each is findable once this returns, if there is an index.

        Where ``is_eventually_consistent``, once it is shown.

        One whose position is older than the stored one's is ignored. One without a vector changes
        the metadata of the stored embedding, and is ignored where there is none. A vector of
        another size, or with a value that is not finite, raises ValueError, and nothing is
        written.
        """
        ...

    def begin_write(self, embeddings: Sequence[Embedding]) -> Callable[[], object]:
        """Do as ``write`` does, but return at once where the backend can go on by itself.

        What is returned waits for the end; it is to be called once, whatever happens.
        """
        ...

    def remove(self, positions: Mapping[str, Position]) -> None:
        """Remove the products' embeddings, except those newer than the given position."""
        ...

    def get(self, product_ids: Sequence[str]) -> dict[str, Vector]:
        """Return the vectors of those products that have one."""
        ...

    def unindexed(self, product_ids: Sequence[str]) -> list[str]:
        """Return those of the stored embeddings that no search can find. Needs an index.

        None where not ``can_tell_unindexed``.
        """
        ...

    def entries(self) -> Iterator[list[Embedding]]:
        """Yield all embeddings, some hundreds at a time, in any order, each once.

        Those that change meanwhile may come in either state; a vector that is damaged comes as it
        is, of whatever size. One that another program wrote without a vector is left out.
        """
        ...

    def search(
        self, vector: Vector, limit: int, where: SearchFilter | None = None
    ) -> list[Neighbor]:
        """Return what ``search_many`` returns for this query alone."""
        ...

    def search_many(
        self,
        queries: Sequence[Vector],
        limit: int,
        where: SearchFilter | None = None,
        *,
        ef: int | None = None,
        exact: bool = False,
    ) -> list[list[Neighbor]]:
        """Return for each query up to ``limit`` closest products, the closest first, ids on a tie.

        All queries travel in one call. ``ef``: candidates to keep while going through the graph;
        None: as the index is set. ``exact``: compare with every vector instead. A store that
        always does, or where not ``can_search_exactly``, ignores both.

        The score is the cosine similarity, the same on every backend to 1e-5. Filter values are
        data: no character in them has a meaning. Attributes must be those of the index. Raises
        IndexMissing where there is no index.
        """
        ...

    def neighbors(
        self,
        product_ids: Sequence[str],
        limit: int,
        where: SearchFilter | None = None,
        *,
        ef: int | None = None,
        exact: bool = False,
    ) -> dict[str, list[Neighbor]]:
        """Return what ``search_many`` returns for the vectors of those products that have one.

        So each may be among its own neighbors. Where the backend goes by what it has stored, the
        caller needs no numpy.
        """
        ...


class Generations(Connected, Protocol):
    """The generations under one index name. Who changes them holds the lock, by its token.

    Each change raises LockHeld, and changes nothing, once the lock has expired, or another run has
    it: then consumers may have stopped writing to what was being built.
    """

    def all(self) -> list[Generation]:
        """Return them, oldest first; one serves. In the beginning that is the first, empty.

        While nobody holds the lock, what a run was building is unfinished.
        """
        ...

    def store(self, generation: Generation) -> VectorStore:
        """Return what the generation holds, whether or not it still exists."""
        ...

    def lock(self, holder: str, ttl_ms: int) -> int:
        """Take the lock for ``ttl_ms``; return a token higher than all before. Raises LockHeld."""
        ...

    def renew(self, token: int, ttl_ms: int) -> None:
        """Hold the lock for ``ttl_ms`` from now on."""
        ...

    def unlock(self, token: int) -> None:
        """Let go of the lock, if it is still held by this token."""
        ...

    def begin(self, token: int, model_version: str, spec: IndexSpec) -> Generation:
        """Add a generation that is being built, under a number never used before."""
        ...

    def note(self, token: int, generation: Generation) -> None:
        """Put this in place of what is known of the generation; not for making it serve."""
        ...

    def serve(self, token: int, number: int) -> None:
        """Let this generation answer all queries from now on; keep the one that did. Atomic."""
        ...

    def drop(self, token: int, number: int) -> None:
        """Remove a generation that does not serve: its index, its embeddings, then its entry."""
        ...


class NeighborSink(Protocol):
    """Where neighbor lists go. It remembers, over runs that were killed, which it has."""

    def already(self, product_ids: Sequence[str]) -> list[bool]:
        """Return for each product whether this export has its list. Each is asked for once."""
        ...

    def write(self, lists: Sequence[NeighborList]) -> None:
        """Keep these, for good once it returns."""
        ...

    def finish(self) -> None:
        """Put the lists in the place of earlier ones, but for products that were not asked for."""
        ...


class EmbeddingModel(Protocol):
    """Turns products into vectors, always alike; only a neural one's last bits vary by machine."""

    @property
    def version(self) -> str:
        """A hash of the model's content: equal versions embed equally."""
        ...

    @property
    def dimension(self) -> int: ...

    @property
    def info(self) -> ModelInfo: ...

    def embed(self, products: Sequence[Product]) -> Matrix:
        """Return one unit row per product; a zero row where the text has nothing to go by."""
        ...

    def explain(self, one: Product, other: Product) -> Explanation:
        """Return what sums up to the cosine of the two. Raises UsageError where none can tell."""
        ...

    def unknown_words(self, products: Sequence[Product]) -> tuple[float, int]:
        """Return how many words it was not fitted on, an estimate, and how many words there are.

        A word counts once for each product that has it. A pretrained model knows them all.
        """
        ...

    def text_digest(self, product: Product) -> str:
        """Return a short digest of what ``embed`` looks at: equal digests, equal embeddings."""
        ...

    def to_bytes(self) -> bytes:
        """Return the artifact: versioned, checksummed, and never a pickle."""
        ...


class ModelFactory(Protocol):
    """Makes embedding models, so that the pipeline need not know which kind is configured."""

    @property
    def dimension(self) -> int: ...

    def fit(self, products: Iterable[Product]) -> EmbeddingModel:
        """Fit a new model on the products, in one pass and bounded memory."""
        ...

    def merge(self, artifacts: Sequence[bytes]) -> EmbeddingModel:
        """Return the model that fitting on all parts at once would have given, to the byte.

        Each artifact was fitted on another part of the products, whatever the order and the cut.
        Raises InvalidModel where they do not go together.
        """
        ...

    def load(self, artifact: bytes) -> EmbeddingModel:
        """Open an artifact. Raises InvalidModel, saying what is wrong with it."""
        ...
