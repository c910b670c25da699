"""What a list shows, in pieces; and the scenes of a revision, made when somebody asks for a page or for changes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from collector.api.metrics_objects import AGGREGATED, PODS, Resource, Version
from collector.api.metrics_reader import AT_ONCE, Reader
from collector.api.metrics_select import Wanted
from collector.api.metrics_shown import Comparing, Difference, Gathering, Scene, Shown
from collector.api.route import Context
from collector.kube.objects import Pod

SAMPLED: Final = next(version for version in AGGREGATED if version.sampled)
"""Scenes are the same in all versions that show samples."""

COMPARED_AT_ONCE: Final = 4_096


def pieces(
    context: Context, version: Version, resource: Resource, wanted: Wanted, at_once: int
) -> AsyncIterator[Shown]:
    """What a list shows, sorted, some `at_once`; it is of the moment of this call."""
    reader = Reader(context, version)

    async def nodes() -> AsyncIterator[Shown]:
        for start in range(0, len(selected), at_once):
            yield reader.nodes(selected[start : start + at_once])
            await asyncio.sleep(0)

    async def pods() -> AsyncIterator[Shown]:
        left: list[Pod] = []
        async for some in wanted.pods(context):
            some[:0] = left  # few pieces: each waits for a turn of the event loop
            whole = len(some) - len(some) % at_once
            for start in range(0, whole, at_once):
                yield reader.pods(some[start : start + at_once])
                await asyncio.sleep(0)
            left = some[whole:]
        if left:
            yield reader.pods(left)

    if resource is PODS:
        return pods()
    selected = wanted.nodes(context)
    return nodes()


async def scene_now(context: Context, resource: Resource, namespace: str | None) -> Scene:
    """What the current revision shows of this kind in this namespace; None: in all."""
    revisions, part = context.revisions, (resource.plural, namespace)
    async with revisions.lock(part):
        revision = revisions.current(context.now())
        scene = revision.scenes.get(part)
        if scene is None:
            gathering = Gathering()
            async for piece in pieces(context, SAMPLED, resource, Wanted(namespace), AT_ONCE):
                gathering.add(piece)
            scene = Scene(revision.number, revision.object_version, gathering.whole())
            revisions.keep(revision, part, scene)
    return scene


async def difference(before: Scene, after: Scene) -> Difference:
    """What changed between two scenes of the same part."""
    found = after.differences.get(before.number)
    if found is None:
        comparing = Comparing(before, after)
        for _ in comparing.steps(COMPARED_AT_ONCE):
            await asyncio.sleep(0)
        found = after.differences[before.number] = comparing.found()
    return found


def advance(context: Context) -> None:
    """Tell watches that there are new points."""
    listers = context.listers
    context.revisions.advance(context.now(), tuple(listers.nodes.items.values()), tuple(listers.pods.items.values()))
