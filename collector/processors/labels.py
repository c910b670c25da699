"""Which Kubernetes labels become labels of an entity, and how (behaviour reference, section 6.2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class LabelCopier:
    """`--store-label`, `--ignore-label` and `--label-separator`, applied to one object's labels."""

    stored: tuple[tuple[str, str], ...] = ()
    """(Kubernetes label, label of the entity): stored under a name of its own."""
    ignored: frozenset[str] = frozenset()
    """Kubernetes labels left out of the joined `labels`."""
    separator: str = ","

    def copy(self, labels: Mapping[str, str]) -> Mapping[str, str]:
        """The entity's labels: the stored ones, then `labels`, there even when empty. Equal input, same object."""
        return _copy(self, tuple(sorted(labels.items())))


@lru_cache(maxsize=1 << 14)
def _copy(copier: LabelCopier, labels: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    by_key = dict(labels)
    copied = {new: by_key[key] for key, new in copier.stored if key in by_key}
    # Sorted as "key:value" texts by their bytes, "a-b:1" before "a:1"; code points and UTF-8 bytes sort alike.
    pairs = sorted(f"{key}:{value}" for key, value in labels if key not in copier.ignored)
    copied["labels"] = copier.separator.join(pairs)
    return copied
