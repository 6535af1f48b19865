"""What can go wrong that a user can mend: one line each, with the exit code of the command line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RunError(Exception):
    """A run could not go on; the message says what happened, what was kept and what to do."""

    exit_code = 1


class RecipeError(RunError, ValueError):
    """A recipe, or a value given for it, is wrong; nothing was started."""

    exit_code = 2


class DivergedError(RunError):
    """The loss stopped being a finite number."""


def nearest(name: str, accepted: Iterable[str]) -> str:
    """``"; did you mean 'x'? (accepted: x, y)"``: the tail of a message about an unknown name.

    Example:
        >>> nearest("unitz", ["units", "layer"])
        "; did you mean 'units'? (accepted: layer, units)"
    """
    names = sorted(accepted)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    guess = f"; did you mean {close[0]!r}?" if close else ";"
    return f"{guess} (accepted: {', '.join(names) or 'none'})"
