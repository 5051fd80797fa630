"""A new generation beside the serving one: built, checked, then put in its place in one step.

Killed at any point, the old one serves on. The next run finds the unfinished one and goes on with
it, unless another model or other index parameters are wanted by then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from recsys_cli.domain import CORE_FIELDS, IndexInfo
from recsys_cli.errors import GenerationNotFound, ModelNotFound, UsageError
from recsys_cli.generations import Generation, GenerationState, serving
from recsys_cli.pipeline.embed import Target
from recsys_cli.pipeline.fill import Filled, Pace, fill
from recsys_cli.pipeline.lease import held_lock
from recsys_cli.pipeline.models import fit_on_catalog, version_in
from recsys_cli.pipeline.readiness import Limits, Readiness, readiness
from recsys_cli.ports import (
    Catalog,
    ConsumerGroup,
    EmbeddingModel,
    Generations,
    ModelFactory,
    version_of,
)

_replace = msgspec.structs.replace


@dataclass(frozen=True)
class ReembedOptions:
    """``model_version``: a stored model, None fits one. ``parameters``: of the index, as changed.

    ``keep``: how many earlier generations stay.
    """

    model_version: str | None = None
    parameters: dict[str, int | tuple[str, ...]] = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)
    limits: Limits = field(default_factory=Limits)
    keep: int = 1


@dataclass(frozen=True)
class Reembedded:
    """What became of it. ``refusals``: why the old generation serves on; then the new one is gone.

    ``resumed``: it was begun by an earlier run.
    """

    before: Generation
    after: Generation
    filled: Filled
    readiness: Readiness
    refusals: list[str]
    resumed: bool
    seconds: float


class Reembedding:
    """Builds generations, and turns back to earlier ones."""

    def __init__(
        self,
        events: ConsumerGroup,
        catalog: Catalog,
        generations: Generations,
        models: ModelFactory,
    ) -> None:
        self._events = events
        self._catalog = catalog
        self._generations = generations
        self._models = models

    def run(self, options: ReembedOptions, progress: Callable[[Filled, int], None]) -> Reembedded:
        """Build the next generation and let it serve, if it is fit to.

        ``progress`` gets what is done, and how many products there are to expect. Raises LockHeld
        where another run is at it.
        """
        started = time.monotonic()
        with held_lock(self._generations) as token:
            before = self._noted(token)
            after = self._unfinished(token, before, options)
            resumed = after is not None
            if after is None:
                model = self._chosen(options.model_version)
                spec = _replace(before.spec, **options.parameters)
                after = self._generations.begin(token, model.version, spec)
            filled, target = self._fill(after, options.pace, progress)
            found = readiness(
                target, self._generations.store(before), self._catalog, filled, options.limits
            )
            refusals = found.refusals(options.limits)
            if refusals:
                self._generations.drop(token, after.number)
                if options.model_version is None:
                    self._forget_models_of([after])
            else:
                self._serve(token, after)
                self._drop_kept(token, options.keep)
        return Reembedded(
            before, after, filled, found, refusals, resumed, time.monotonic() - started
        )

    def roll_back(
        self, number: int | None, pace: Pace, progress: Callable[[Filled, int], None]
    ) -> tuple[Generation, Generation]:
        """Let a kept generation serve again; return the one that served, and that one.

        It was not written to since it was kept, so it is first brought up to the catalog: that
        takes seconds, and queries are answered meanwhile by the one that serves. Raises
        GenerationNotFound.
        """
        with held_lock(self._generations) as token:
            before = self._noted(token)
            chosen = self._kept(number)
            self._generations.note(token, _replace(chosen, state=GenerationState.RETURNING))
            self._fill(chosen, pace, progress)
            self._serve(token, chosen)
            return before, chosen

    def prune(self, keep: int) -> list[Generation]:
        """Drop kept generations but for the newest ``keep``, and what killed runs have left."""
        with held_lock(self._generations) as token:
            self._noted(token)
            dropped = [g for g in self._generations.all() if g.state is GenerationState.BUILDING]
            for generation in dropped:
                self._generations.drop(token, generation.number)
            return dropped + self._drop_kept(token, keep)

    def use_model(self, version: str) -> bool:
        """Make a stored model the one in use, where that needs no embedding; return whether it is.

        That is so where it is in use already, or nothing is embedded.
        """
        generation = serving(self._generations.all())
        if version_in(self._catalog, generation) == version:
            return True
        info = self._generations.store(generation).info()
        if info is not None and info.documents:
            return False
        if not self._catalog.use_model(version):
            raise _no_model(version)
        if generation.model_version:
            with held_lock(self._generations) as token:
                self._generations.note(token, _replace(generation, model_version=version))
        return True

    def _noted(self, token: int) -> Generation:
        """Return the serving generation, with its model on record, and in use."""
        for generation in self._generations.all():
            if generation.state is GenerationState.RETURNING:  # a rollback was killed
                self._generations.note(token, _replace(generation, state=GenerationState.KEPT))
        found = serving(self._generations.all())
        if found.model_version:
            # A run that was killed after the swap has not come to this.
            self._catalog.use_model(found.model_version)
            return found
        active = self._catalog.active_model()
        if active is None:
            return found
        # Stored under its version too, so that it is there when another one is in use.
        self._catalog.save_model(active)
        noted = _replace(found, model_version=version_of(active))
        self._generations.note(token, noted)
        return noted

    def _unfinished(
        self, token: int, before: Generation, options: ReembedOptions
    ) -> Generation | None:
        """Return what an earlier run has begun, if it is what is wanted now; drop it if not."""
        found = None
        for generation in self._generations.all():
            if generation.state is not GenerationState.BUILDING:
                continue
            wanted = options.model_version in (None, generation.model_version)
            spec = _replace(before.spec, **options.parameters)
            known = self._catalog.model(generation.model_version) is not None
            if wanted and known and generation.spec == spec and found is None:
                found = generation
            else:
                self._generations.drop(token, generation.number)
        return found

    def _chosen(self, version: str | None) -> EmbeddingModel:
        if version is not None:
            artifact = self._catalog.model(version)
            if artifact is None:
                raise _no_model(version)
            return self._models.load(artifact)
        model, fitted_at = fit_on_catalog(self._events, self._catalog, self._models)
        self._catalog.save_model(model.to_bytes(), fitted_at)
        return model

    def _fill(
        self, generation: Generation, pace: Pace, progress: Callable[[Filled, int], None]
    ) -> tuple[Filled, Target]:
        artifact = self._catalog.model(generation.model_version)
        if artifact is None:
            raise _no_model(generation.model_version)
        model = self._models.load(artifact)
        store = self._generations.store(generation)
        store.create_index(generation.spec)
        serving_store = self._generations.store(serving(self._generations.all()))
        info = serving_store.info()
        expected = max(model.info.products, info.documents if info else 0)
        target = Target(generation, store, model)
        return fill(target, self._catalog, pace, lambda done: progress(done, expected)), target

    def _serve(self, token: int, generation: Generation) -> None:
        self._generations.serve(token, generation.number)
        self._catalog.use_model(generation.model_version)

    def _kept(self, number: int | None) -> Generation:
        kept = [
            g
            for g in self._generations.all()
            if g.state is GenerationState.KEPT and number in (None, g.number)
        ]
        if not kept:
            which = "earlier generation" if number is None else f"kept generation {number}"
            raise GenerationNotFound(f"there is no {which}", hint="recsys index generations")
        return max(kept, key=lambda g: g.since)

    def _drop_kept(self, token: int, keep: int) -> list[Generation]:
        kept = [g for g in self._generations.all() if g.state is GenerationState.KEPT]
        kept.sort(key=lambda g: g.since, reverse=True)
        # Without a model's name it is the first, from before anything was embedded.
        useless = [g for g in kept if not g.model_version]
        dropped = useless + [g for g in kept if g.model_version][keep:]
        for generation in dropped:
            self._generations.drop(token, generation.number)
        self._forget_models_of(dropped)
        return dropped

    def _forget_models_of(self, dropped: list[Generation]) -> None:
        used = {g.model_version for g in self._generations.all()}
        for version in {g.model_version for g in dropped} - used:
            self._catalog.remove_model(version)


def declared(attributes: Sequence[str]) -> tuple[str, ...]:
    """Return the attributes that an index shall filter by. Raises UsageError."""
    for name in attributes:
        if not name.strip() or name in CORE_FIELDS or list(attributes).count(name) > 1:
            raise UsageError(
                f"--attribute {name!r}: each must be named once, and is none of "
                + ", ".join(CORE_FIELDS)
            )
    return tuple(attributes)


class GenerationStatus(msgspec.Struct, frozen=True, kw_only=True):
    """``documents`` is None where the index is missing; no ``model_version``: none is fitted."""

    generation: int
    state: GenerationState
    model_version: str
    documents: int | None
    parameters: dict[str, int]
    since: str


def list_generations(catalog: Catalog, generations: Generations) -> list[GenerationStatus]:
    """Return what there is, oldest first."""
    found = []
    for generation in generations.all():
        info = generations.store(generation).info()
        found.append(
            GenerationStatus(
                generation=generation.number,
                state=generation.state,
                model_version=_versions(catalog, generation, info),
                documents=info.documents if info else None,
                parameters=info.parameters if info else {},
                since=generation.since,
            )
        )
    return found


def _versions(catalog: Catalog, generation: Generation, info: IndexInfo | None) -> str:
    found = generation.model_version or ", ".join(info.model_versions if info else ())
    if not found and generation.state is GenerationState.SERVING:
        return version_in(catalog, generation)
    return found


def _no_model(version: str) -> ModelNotFound:
    return ModelNotFound(f"the catalog has no model {version!r}", hint="recsys model list")
