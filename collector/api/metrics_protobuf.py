r"""Lists of pods as Kubernetes' protobuf, which kubectl asks for before JSON.

kubectl takes half of the CPU for it. Sources of the numbers of fields: `generated.proto` of
k8s.io/metrics (v1beta1) and of apimachinery's meta/v1, api/resource and runtime.

    four bytes "k8s\0", then Unknown: typeMeta 1 {apiVersion 1, kind 2}, raw 2, contentEncoding 3, contentType 4
    raw              PodMetricsList: metadata 1, items 2
    metadata of it   selfLink 1, resourceVersion 2, continue 3, remainingItemCount 4
    an item          metadata 1, timestamp 2 {seconds 1, nanos 2}, window 3 {duration 1}, containers 4
    metadata of it   name 1, namespace 3, resourceVersion 6, creationTimestamp 8, labels 11
    a container      name 1, usage 2 {key 1, value 2 {string 1}}

The length of `raw` stands before it, so that the list must be made whole before it is sent: it is held in pieces.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

from collector.api.metrics_items import AVAILABLE, columns_of
from collector.api.metrics_objects import PODS, RESOURCES
from collector.api.metrics_shown import Shown
from collector.api.metrics_writer import SECOND, Labels, Writer, amounts
from collector.api.route import Document
from collector.kube.objects import Pod

if AVAILABLE:
    from collector.api import _objects as extension

PROTOBUF: Final = "application/vnd.kubernetes.protobuf"

_MAGIC: Final = b"k8s\0"
_RAW: Final = b"\x12"
_NO_ENCODING_NO_TYPE: Final = b"\x1a\x00\x22\x00"
_SURROGATES: Final = re.compile("[\ud800-\udfff]")


async def protobuf_list(
    writer: Writer, metadata: Mapping[str, Document], shown: AsyncIterator[Shown]
) -> AsyncIterator[bytes]:
    """The list of the pods of `shown`, in pieces; nothing is sent before all are made."""
    write = encoder(writer)
    head = _field(1, _list_metadata(metadata))
    pieces = [head, *[write(some) async for some in shown]]
    of_type = _text(1, writer.version.api_version) + _text(2, f"{PODS.kind}List")
    yield _MAGIC + _field(1, of_type) + _RAW + _varint(sum(map(len, pieces)))
    pieces.reverse()
    while pieces:
        yield pieces.pop()
        await asyncio.sleep(0)  # compressing a piece is work
    yield _NO_ENCODING_NO_TYPE


def encoder(writer: Writer) -> Callable[[Shown], bytes]:
    """What encodes pods as items of a list, some at a time."""
    stamps = _stamps(writer)
    if AVAILABLE:
        return lambda shown: extension.encode_pods(
            shown.objects,
            shown.names,
            columns_of(shown, shown.oldest()),
            shown.usage.cpu_power,
            stamps,
            _unicode,
        )
    return lambda shown: encode_plainly(shown, stamps)


def encode_plainly(shown: Shown, stamps: bytes) -> bytes:
    """What `encoder` writes, without the extension."""
    shapes, values = amounts(shown.usage)
    told = shown.usage.at(shown.oldest())
    items, start = [], 0
    for pod, end, time, window in zip(
        shown.objects, shown.ends.tolist(), told.times.tolist(), told.windows.tolist(), strict=True
    ):
        assert isinstance(pod, Pod)
        metadata = _text(1, pod.name) + _text(3, pod.namespace) + stamps + _label_fields(pod.labels)
        item = _field(1, metadata) + _field(2, _time(time)) + _field(3, _number(1, window))
        for at in range(start, end):
            used = zip(RESOURCES[shapes[at]], values[at], strict=True)
            usage = b"".join(_field(2, _text(1, resource) + _field(2, _text(1, amount))) for resource, amount in used)
            item += _field(4, _text(1, shown.names[at]) + usage)
        items.append(_field(2, item))
        start = end
    return b"".join(items)


def _stamps(writer: Writer) -> bytes:
    """What the metadata of all pods of an answer have."""
    version = writer.stamps.get("resourceVersion", "")
    return (_text(6, version) if version else b"") + _field(8, _time(writer.created))


def _list_metadata(metadata: Mapping[str, Document]) -> bytes:
    encoded = b""
    for number, name in enumerate(("selfLink", "resourceVersion", "continue", "remainingItemCount"), 1):
        value = metadata.get(name)
        if isinstance(value, int):
            encoded += _number(number, value)
        elif isinstance(value, str):
            encoded += _text(number, value)
    return encoded


def _label_fields(labels: Labels) -> bytes:
    return b"".join(_field(11, _text(1, name) + _text(2, value)) for name, value in sorted(labels.items()))


def _time(ns: int) -> bytes:
    """Whole seconds, as Kubernetes' API writes times."""
    return _number(1, ns // SECOND) + _number(2, 0)


def _text(field: int, text: str) -> bytes:
    return _field(field, _unicode(text).encode())


def _unicode(text: str) -> str:
    """`text` without what is no character."""
    return _SURROGATES.sub("\ufffd", text)


def _field(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _number(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number % 2**64)


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    return bytes((*digits, number))
