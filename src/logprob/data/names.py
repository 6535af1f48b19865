"""Refuse an unknown name with the nearest known ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def check_name(kind: str, name: str, known: Iterable[str]) -> None:
    """Raise if ``name`` is not one of ``known``.

    Raises:
        ValueError: names the nearest known names first, then all of them.

    Example:
        >>> check_name("planar law", "rings", ["ring", "mring", "moons"])
        Traceback (most recent call last):
        ValueError: unknown planar law 'rings'; did you mean 'ring' or 'mring'? known: moons, mring, ring
    """
    names = sorted(known)
    if name in names:
        return
    nearest = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, nearest))}? " if nearest else ""
    raise ValueError(f"unknown {kind} {name!r}; {hint}known: {', '.join(names)}")
