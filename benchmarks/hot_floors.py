"""What the hot functions cannot do without, measured beside them: bytes decrypted, copied and looked at, cells touched.

A ratio is the share of the function's time that its floor would take.
"""

import os
import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.material import Material
from benchmarks.timing import Function
from collector.core.batch import DataBatch
from collector.core.metrics import METRICS, Kind

SLOTS = 1 << 21
"""Of a table of 16 MiB."""
LIMIT_S = 30
RECORD = 16 * 1024
"""Bytes of a TLS record."""


def functions(material: Material) -> Iterator[Function]:
    """Floors of fetching, decoding, placing, rates and sums."""
    bodies = material.bodies(0)
    size = sum(map(len, bodies)) / 1e6
    on = f"{len(bodies)} summaries of {1000 * size / len(bodies):.0f} KB"
    cipher, nonce = AESGCM(bytes(16)), os.urandom(12)
    sealed = [
        [cipher.encrypt(nonce, body[at : at + RECORD], None) for at in range(0, len(body), RECORD)] for body in bodies
    ]

    def decrypt(_: object) -> None:
        for records in sealed:
            for record in records:
                cipher.decrypt(nonce, record, None)

    def count(_: object) -> None:
        for body in bodies:
            body.count(b"\x00")

    yield Function("floor: AES-128-GCM", on, size, "MB", decrypt)
    yield Function("floor: received over loopback", on, size, "MB", _received, lambda: _sent(bodies))
    yield Function("floor: every byte looked at", on, size, "MB", count, beside="decode_together")
    before, after = (material.placed(samples) for samples in material.two_minutes)
    entities = material.entities.count
    on = f"{entities:,} entities"
    room = np.zeros(after.rows, np.int64)

    def copied(_: object) -> None:
        for m in range(len(METRICS)):
            rows = after.rows_with(m)
            room[: rows.size] = after.cells[m, rows]

    yield Function("floor: values copied once, row by row", on, entities, "entities", copied, beside="Intake of groups")
    identities, table = _places(entities)
    yield Function(
        "floor: names looked up",
        on,
        entities,
        "entities",
        lambda _: table[table[identities]],
        beside="Identities.find",
    )
    yield Function(
        "floor: presence read once",
        on,
        entities,
        "entities",
        lambda _: [np.count_nonzero(column) for column in after.present[:, : after.rows]],
        beside="freezing",
    )
    yield Function(
        "floor: counters read twice, rates written once",
        on,
        entities,
        "entities",
        lambda _: _differences(before, after, room),
        beside="RateCalculator",
    )
    yield Function(
        "floor: summands read once", on, entities, "entities", lambda _: _totals(after), beside="four aggregators"
    )


def _places(entities: int) -> tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.int64]]]:
    """Two random places for each entity, a name's and a label's, of a table that no cache holds."""
    random = np.random.default_rng(0)
    return random.integers(0, SLOTS, 2 * entities), random.integers(0, SLOTS, SLOTS)


def _sent(bodies: list[bytes]) -> list[socket.socket]:
    """A connection for each, at whose end all of it lies."""
    receivers = []
    with socket.create_server(("127.0.0.1", 0), backlog=len(bodies)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * max(map(len, bodies)))
        for body in bodies:
            with socket.create_connection(listener.getsockname(), LIMIT_S) as sender:
                receivers.append(listener.accept()[0])
                sender.sendall(body)
    return receivers


def _received(receivers: list[socket.socket]) -> None:
    into = memoryview(bytearray(RECORD))
    for receiver in receivers:
        with receiver:
            while receiver.recv_into(into):
                pass


def _differences(before: DataBatch, after: DataBatch, room: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
    rows = min(before.rows, after.rows)
    for m, metric in enumerate(METRICS):
        if metric.rate is not None:
            np.subtract(after.cells[m, :rows], before.cells[m, :rows], out=room[:rows])


def _totals(batch: DataBatch) -> None:
    for m, metric in batch.metrics:
        for kind in (Kind.POD, Kind.NAMESPACE, Kind.NODE, Kind.CLUSTER):
            if metric.summed_into(kind):
                batch.cells[m, : batch.rows].sum()
