"""Lists: whole, straight from the columns; or in pages, cut from the scene of the revision that the first was of.

A client that goes on with a token sees one moment throughout. When that moment is no longer remembered the answer is
410, with a token that goes on at the same place of what is shown now, as an API server does.
"""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Mapping
from typing import Final

from collector.api.metrics_forms import PACKED, Form
from collector.api.metrics_objects import Resource, Version
from collector.api.metrics_options import INCONSISTENT, Options, Token
from collector.api.metrics_protobuf import PROTOBUF, protobuf_list
from collector.api.metrics_scenes import pieces, scene_now
from collector.api.metrics_shown import Scene, Shown, key
from collector.api.metrics_writer import Sheet, Writer, in_frame
from collector.api.revisions import ExpiredError
from collector.api.route import Answer, Context, Document
from collector.api.status import StatusError, bad_request, expired

TESTED_AT_ONCE: Final = 4_096

TOO_OLD: Final = "The resourceVersion for the provided list is too old."

CONTINUE_TOO_OLD: Final = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


async def listed(
    context: Context, version: Version, resource: Resource, options: Options, form: Form, sheet: Sheet, link: str
) -> Answer:
    """The list that `options` ask for; `link` is the path it was asked for at. Raises StatusError."""
    head: dict[str, Document] = {"selfLink": link} if version.self_links else {}
    if version.sampled and (options.limit or options.token is not None or options.exact):
        scene, which, rest = await _page(context, resource, options)
        writer = Writer(version, resource, sheet, context.now(), f"{scene.object_version}")
        metadata = {**head, "resourceVersion": f"{scene.number}", **rest}
        return _answer(form, writer, metadata, _cut(scene, which, form.at_once(resource)))
    now = context.now()
    revision = context.revisions.current(now)
    if version.sampled:
        head["resourceVersion"] = f"{revision.number}"
    writer = Writer(version, resource, sheet, now, f"{revision.object_version}" if version.sampled else "")
    return _answer(form, writer, head, pieces(context, version, resource, options.wanted, form.at_once(resource)))


def _answer(form: Form, writer: Writer, metadata: Mapping[str, Document], shown: AsyncIterator[Shown]) -> Answer:
    if form is PACKED:
        return Answer(protobuf_list(writer, metadata, shown), PROTOBUF)

    async def elements() -> AsyncIterator[bytes]:
        write = form.elements(writer)
        async for some in shown:
            yield write(some)

    return Answer(in_frame(writer.sheet, form.document(writer.version, writer.resource, metadata), elements()))


async def _page(
    context: Context, resource: Resource, options: Options
) -> tuple[Scene, list[int], Mapping[str, Document]]:
    """What the page is cut from, the numbers of its objects, and what its metadata say of the rest."""
    scene, start = await _source(context, resource, options)
    objects = scene.shown.objects
    if options.wanted.everything:
        stop = min(len(objects), start + options.limit) if options.limit else len(objects)
        which, more = list(range(start, stop)), len(objects) - stop
    else:
        which, more = await _tested(scene, start, options)
    if not more:
        return scene, which, {}
    rest: dict[str, Document] = {"continue": Token(scene.number, *key(objects[which[-1]])).text()}
    if options.wanted.everything:  # as in Kubernetes: with a selector it would have to be counted
        rest["remainingItemCount"] = more
    return scene, which, rest


async def _source(context: Context, resource: Resource, options: Options) -> tuple[Scene, int]:
    """The scene, and the number of the first object that counts."""
    namespace, token = options.wanted.namespace, options.token
    if token is None:
        if options.exact:
            return _remembered(context, resource, namespace, options.version, expired(TOO_OLD)), 0
        return await scene_now(context, resource, namespace), 0
    if (token.namespace and not resource.namespaced) or namespace not in {None, token.namespace}:
        raise bad_request("continue key is not valid: it is of another list")
    if token.version == INCONSISTENT:
        scene = await scene_now(context, resource, namespace)
    else:
        onward = Token(INCONSISTENT, token.namespace, token.name).text()
        scene = _remembered(context, resource, namespace, token.version, expired(CONTINUE_TOO_OLD, onward))
    return scene, bisect_right(scene.shown.objects, (token.namespace, token.name), key=key)


def _remembered(
    context: Context, resource: Resource, namespace: str | None, version: int, otherwise: StatusError
) -> Scene:
    try:
        revision, _ = context.revisions.find(version, context.now())
    except ExpiredError:
        raise otherwise from None
    scene = revision.scenes.get((resource.plural, namespace))
    if scene is None or revision.number != version:
        raise otherwise
    return scene


async def _tested(scene: Scene, start: int, options: Options) -> tuple[list[int], bool]:
    """The numbers of the objects that the selectors select, up to the limit; whether there are more."""
    test, objects, found = options.wanted.test(), scene.shown.objects, list[int]()
    for first in range(start, len(objects), TESTED_AT_ONCE):
        for at in range(first, min(first + TESTED_AT_ONCE, len(objects))):
            if test(objects[at]):
                if options.limit and len(found) == options.limit:
                    return found, True
                found.append(at)
        await asyncio.sleep(0)
    return found, False


async def _cut(scene: Scene, which: list[int], at_once: int) -> AsyncIterator[Shown]:
    for start in range(0, len(which), at_once):
        yield scene.shown.chosen(which[start : start + at_once])
        await asyncio.sleep(0)
