"""Datasets of the same people: one cut from the recordings of another, or several tasks of one study."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from neurosig.loaders.manifest import list_manifests, read_manifest

__all__ = ["same_people"]


def same_people(name: str, told: Iterable[str] = ()) -> frozenset[str]:
    """Datasets in which the people of a dataset have the names that they have there.

    Parameters
    ----------
    name : str
        Name of a dataset: of `neurosig.loaders.list_manifests`, MOABB's code of one, or any other.
    told : iterable of str
        What the manifest of one that does not come with neurosig says itself.

    Returns
    -------
    frozenset of str
        The name, and those of the others.
    """
    found = _families().get(name, frozenset({name}))
    return found.union(*(same_people(other) for other in told))


@functools.cache
def _families() -> dict[str, frozenset[str]]:
    """By each name the family that it belongs to; a manifest need not name those that name it."""
    families: dict[str, frozenset[str]] = {}
    for name in list_manifests():
        if others := read_manifest(name).same_people:
            joined = frozenset({name, *others}).union(*(families.get(one, ()) for one in (name, *others)))
            families |= dict.fromkeys(joined, joined)
    return families
