"""Watches: what changes, as a stream of events, one JSON document a line.

    {"type": "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR", "object": ...}

Changes come with each tick. A watch keeps no queue: it holds the scene that its client has been told of, and when the
client has read that to its end, tells the difference to the newest one. So a slow client misses ticks in between and no
object, memory stays what a few scenes take, and who reads too slowly for a whole minute is cut off by the server.

What a client knows at the version it begins with is told exactly when that revision's scene is remembered: after a list
with a limit, or while others watch. Else all that is shown is told once, and what is gone since.
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from typing import Final

from collector.api import jsontext
from collector.api.metrics_forms import Form, Table
from collector.api.metrics_objects import Resource, Version, gone_document
from collector.api.metrics_options import Options
from collector.api.metrics_reader import AT_ONCE
from collector.api.metrics_scenes import difference, scene_now
from collector.api.metrics_shown import Difference, Measured, Scene, Shown, key
from collector.api.metrics_writer import Sheet, Writer, moment
from collector.api.revisions import ExpiredError, Revision
from collector.api.route import Answer, Context, Document
from collector.api.status import expired, too_many
from collector.kube.objects import Pod

LIKED_S: Final = (1800, 3600)
"""A watch without `timeoutSeconds` ends after a time between these, as an API server ends it."""

LONGEST_S: Final = 24 * 3600
"""However long a client would like to listen."""

RETRY_AFTER_S: Final = 5

LOOKED_AT_ONCE: Final = 8_192

INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"


def watched(context: Context, version: Version, resource: Resource, options: Options, form: Form) -> Answer:
    """The stream of changes that `options` ask for. Raises StatusError when there are too many watches already."""
    if context.revisions.watches >= context.most_watches:
        limit = context.most_watches
        raise too_many(
            f"there are {limit} watches of nodes and pods already: raise --api-max-watches, or poll",
            RETRY_AFTER_S,
        )
    return Answer(_Counted(context, Watch(context, version, resource, options, form).events()), live=True)


class _Counted:
    """The events of a watch that counts from now until it is closed, whether or not it was ever read."""

    def __init__(self, context: Context, events: AsyncGenerator[bytes, None]) -> None:
        self._revisions, self._events, self._open = context.revisions, events, True
        self._revisions.watches += 1

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._events)

    async def aclose(self) -> None:
        """Another may come."""
        if self._open:
            self._open = False
            self._revisions.watches -= 1
        await self._events.aclose()


class Watch:
    """One watch."""

    def __init__(self, context: Context, version: Version, resource: Resource, options: Options, form: Form) -> None:
        self._context = context
        self._version = version
        self._resource = resource
        self._options = options
        self._form = form
        self._first = True
        self._ends = time.monotonic() + min(LONGEST_S, options.timeout_s or random.uniform(*LIKED_S))

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Until the time is over."""
        yield b""  # so that the client learns at once that it is let in
        options, context = self._options, self._context
        known: Scene | Revision
        if options.initial_events or not options.version:
            known = await self._scene()
            if options.initial_events:
                async for piece in self._told(known, known, _all_new(known)):
                    yield piece
            if options.marked:
                yield self._bookmark(known, {INITIAL_EVENTS_END: "true"})
        else:
            try:
                revision, ours = context.revisions.find(options.version, context.now())
            except ExpiredError as error:
                yield self._event("ERROR", jsontext.compact(expired(str(error)).document()))
                return
            scene = revision.scenes.get((self._resource.plural, options.wanted.namespace))
            known = revision if scene is None or not ours else scene
        while (left := self._ends - time.monotonic()) > 0:
            if await context.revisions.after(known.number, context.now(), left) is None:
                return
            after = await self._scene()
            told = self._changes(known, after) if isinstance(known, Scene) else self._caught_up(known, after)
            async for piece in told:
                yield piece
            known = after
            yield self._bookmark(after) if options.bookmarks else b""

    async def _scene(self) -> Scene:
        return await scene_now(self._context, self._resource, self._options.wanted.namespace)

    async def _changes(self, before: Scene, after: Scene) -> AsyncIterator[bytes]:
        async for piece in self._told(before, after, await difference(before, after)):
            yield piece

    async def _caught_up(self, revision: Revision, scene: Scene) -> AsyncIterator[bytes]:
        """All that is shown, and what was there at `revision` and is not any more; what that used is not known."""
        there, gone, listers = set[tuple[str, str]](), list[Measured](), self._context.listers
        test = self._options.wanted.test()
        for number, each in enumerate(self._there(revision)):
            there.add(key(each))
            of_kind = listers.pods.get(key(each)) if isinstance(each, Pod) else listers.nodes.get(each.name)
            if of_kind is None and test(each):
                gone.append(each)
            if not number % LOOKED_AT_ONCE:
                await asyncio.sleep(0)
        version, when = f"{scene.object_version}", moment(revision.moment)
        for each in gone:
            yield self._event("DELETED", self._remains(each, version, when))
        before: list[int] = []
        for number, each in enumerate(scene.shown.objects):
            before.append(number if key(each) in there else -1)
            if not number % LOOKED_AT_ONCE:
                await asyncio.sleep(0)
        async for piece in self._told(scene, scene, Difference((), range(len(before)), before)):
            yield piece

    async def _told(self, before: Scene, after: Scene, found: Difference) -> AsyncIterator[bytes]:
        """The events of a difference, in pieces. What a selector no longer selects is gone, and the other way round."""
        created = self._context.now()
        writer = Writer(self._version, self._resource, Sheet(None), created, f"{after.object_version}")
        old, new, test = before.shown, after.shown, self._options.wanted.test()
        gone = [each for each in found.deleted if test(old.objects[each])]
        for start in range(0, len(gone), AT_ONCE):
            some = gone[start : start + AT_ONCE]
            yield self._lines(["DELETED"] * len(some), writer, old.chosen(some))
            await asyncio.sleep(0)
        for start in range(0, len(found.now), AT_ONCE):
            types: list[str] = []
            some = []
            for at, earlier in zip(
                found.now[start : start + AT_ONCE], found.before[start : start + AT_ONCE], strict=True
            ):
                was = earlier >= 0 and test(old.objects[earlier])
                if test(new.objects[at]):
                    types.append("MODIFIED" if was else "ADDED")
                    some.append(at)
                elif was:
                    types.append("DELETED")
                    some.append(at)
            yield self._lines(types, writer, new.chosen(some)) if some else b""
            await asyncio.sleep(0)

    def _there(self, revision: Revision) -> Iterable[Measured]:
        if not self._resource.namespaced:
            return revision.nodes
        namespace = self._options.wanted.namespace
        return (pod for pod in revision.pods if namespace in {None, pod.namespace})

    def _remains(self, gone: Measured, version: str, when: str) -> str:
        """What is said of an object that is gone, and of which no scene is remembered."""
        namespace, name = key(gone)
        names = {"name": name, **({"namespace": namespace} if namespace else {})}
        metadata: dict[str, Document] = {**names, "resourceVersion": version, "creationTimestamp": when}
        if gone.labels:
            metadata["labels"] = dict(sorted(gone.labels.items()))
        return self._odd(gone_document(self._version, self._resource, metadata, when), metadata, name)

    def _bookmark(self, scene: Scene, annotations: dict[str, Document] | None = None) -> bytes:
        metadata: dict[str, Document] = {"resourceVersion": f"{scene.number}", "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        head: dict[str, Document] = {"kind": self._resource.kind, "apiVersion": self._version.api_version}
        rest: dict[str, Document] = {"containers": []} if self._resource.namespaced else {"usage": {}}
        document: dict[str, Document] = {**head, "metadata": metadata, "timestamp": None, "window": "0s", **rest}
        return self._event("BOOKMARK", self._odd(document, metadata))

    def _odd(self, document: Document, metadata: Mapping[str, Document], name: str = "") -> str:
        """An object that is none of a scene, in the form that was asked for; without a name it has no row."""
        if isinstance(self._form, Table):
            document = self._form.odd(document, metadata, name, first=self._first)
        self._first = False
        return jsontext.compact(document)

    def _lines(self, types: Sequence[str], writer: Writer, shown: Shown) -> bytes:
        texts = self._form.alone(writer, shown, first=self._first)
        self._first = False
        return b"".join(self._event(each, text) for each, text in zip(types, texts, strict=True))

    @staticmethod
    def _event(kind: str, document: str) -> bytes:
        return f'{{"type":"{kind}","object":{document}}}\n'.encode()


def _all_new(scene: Scene) -> Difference:
    numbers = range(len(scene.shown))
    return Difference((), numbers, [-1] * len(scene.shown))
