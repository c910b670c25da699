"""An OpenAPI 2 document as the protobuf that a kube-apiserver gives to kubectl: gnostic's openapi_v2.Document.

Only the messages and fields that `kubectl explain` reads; numbers are those of gnostic's OpenAPIv2.proto.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

OPENAPI_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""As it is answered; clients ask for it with `@` in place of one dot, which is no media type."""


def as_protobuf(document: Mapping[str, Any]) -> bytes:
    """swagger 1, info 2, definitions 9."""
    info = _text(1, document["info"]["title"]) + _text(2, document["info"]["version"])
    definitions = (_named(1, name, _schema(schema)) for name, schema in document["definitions"].items())
    return _text(1, document["swagger"]) + _bytes(2, info) + _bytes(9, b"".join(definitions))


def _schema(schema: Mapping[str, Any]) -> bytes:
    """$ref 1, format 2, description 4, required 19, additional_properties 21, type 22, items 23, properties 25."""
    parts = [
        *(_text(1, schema[name]) for name in ("$ref",) if name in schema),
        *(_text(2, schema[name]) for name in ("format",) if name in schema),
        *(_text(4, schema[name]) for name in ("description",) if name in schema),
        *(_text(19, name) for name in schema.get("required", ())),
    ]
    if "additionalProperties" in schema:
        parts.append(_bytes(21, _bytes(1, _schema(schema["additionalProperties"]))))
    if "type" in schema:
        parts.append(_bytes(22, _text(1, schema["type"])))
    if "items" in schema:
        parts.append(_bytes(23, _bytes(1, _schema(schema["items"]))))
    if "properties" in schema:
        parts.append(
            _bytes(25, b"".join(_named(1, name, _schema(each)) for name, each in schema["properties"].items()))
        )
    extensions: Iterable[str] = (name for name in schema if name.startswith("x-"))
    # NamedAny 31: name 1, value 2, which is an Any with its text as yaml 2; JSON is YAML.
    parts += [_named(31, name, _text(2, json.dumps(schema[name]))) for name in extensions]
    return b"".join(parts)


def _named(field: int, name: str, value: bytes) -> bytes:
    return _bytes(field, _text(1, name) + _bytes(2, value))


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    digits.append(number)
    return bytes(digits)
