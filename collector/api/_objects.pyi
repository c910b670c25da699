from collections.abc import Callable, Mapping, Sequence
from typing import Any

from collector.kube.objects import Pod

def write_pods(
    objects: Sequence[Any],
    names: Sequence[str],
    columns: tuple[Any, ...],
    power: int,
    forms: tuple[tuple[bytes, ...], tuple[bytes, ...]],
    holes: tuple[bytes, bytes],
    inner: tuple[tuple[bytes, ...], ...],
    frame: tuple[bytes, bytes, bytes],
    between: bytes,
    label_text: Callable[[Mapping[str, str]], str] | None,
    escaped: Callable[[str], str],
    moment_text: Callable[[int], str],
    window_text: Callable[[int], str],
    /,
) -> bytes: ...
def encode_pods(
    objects: Sequence[Any],
    names: Sequence[str],
    columns: tuple[Any, ...],
    power: int,
    stamps: bytes,
    unicode: Callable[[str], str],
    /,
) -> bytes: ...
def find_rows(
    pods: Sequence[Pod],
    namespaces: dict[str, int],
    children: list[dict[str, int] | None],
    with_sidecars: bool,
    /,
) -> tuple[list[str], bytes, bytes]: ...
