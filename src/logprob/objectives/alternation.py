"""Whose turn it is: the energy's, or that of the flow that makes its noise."""

from __future__ import annotations

from typing import Any, Literal

Side = Literal["energy", "flow"]


class Alternation:
    """Turns of two players, by how well the first one tells data from the samples of the second.

    A turn of the energy ends when the accuracy is above ``1/2 + margin``: it is ahead, and the flow may learn from it.
    A turn of the flow ends when it is below ``1/2 + margin / 2``. Between the two bounds the turn goes on, so that
    chance does not flip it. Neither need ever happen: noise of the very law of the data stays at 1/2, and a flow that
    cannot reach it stays above. Hence each turn also has a largest number of steps.

    Args:
        margin: above 1/2.
        energy_steps: at most, in a turn of the energy.
        flow_steps: at most, in a turn of the flow.
        first: who begins.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> turns = Alternation(margin=0.02, energy_steps=100)
        >>> turns.step(), turns.decide(0.51), turns.decide(0.6), turns.side
        (None, False, True, 'flow')
    """

    def __init__(
        self, margin: float = 0.025, energy_steps: int = 2000, flow_steps: int = 200, first: Side = "energy"
    ) -> None:
        if not 0 < margin < 0.5 or min(energy_steps, flow_steps) < 1 or first not in ("energy", "flow"):
            raise ValueError(
                f"expected 0 < margin < 1/2, steps of at least 1, and 'energy' or 'flow' first; "
                f"got {margin}, {energy_steps} and {flow_steps}, {first!r}"
            )
        self.margin, self.energy_steps, self.flow_steps = margin, energy_steps, flow_steps
        self.side: Side = first
        self.steps = 0

    @property
    def is_over(self) -> bool:
        """Whether the turn has reached its largest number of steps."""
        return self.steps >= (self.energy_steps if self.side == "energy" else self.flow_steps)

    def step(self) -> None:
        """Count a step of the present turn."""
        self.steps += 1

    def decide(self, accuracy: float | None = None) -> bool:
        """Start the other one's turn if it is time for it.

        Args:
            accuracy: balanced accuracy on held-out rows with labels summed out, or None where it is not known.

        Returns:
            Whether the turn has changed.
        """
        if not (self.is_over or (accuracy is not None and self._has_reached(accuracy))):
            return False
        self.side, self.steps = "flow" if self.side == "energy" else "energy", 0
        return True

    def state_dict(self) -> dict[str, Any]:
        """Whose turn it is, and its steps."""
        return {"side": self.side, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo :meth:`state_dict`."""
        self.side, self.steps = state["side"], state["steps"]

    def _has_reached(self, accuracy: float) -> bool:
        return accuracy > 0.5 + self.margin if self.side == "energy" else accuracy < 0.5 + self.margin / 2
