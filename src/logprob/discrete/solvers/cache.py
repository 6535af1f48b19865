"""Answers that a solver has given before."""

from __future__ import annotations

import pickle
import threading
from collections import OrderedDict
from typing import Any

from numpy.typing import NDArray

from logprob.discrete.solvers.pool import Instance


class AnswerCache:
    """The answers to the instances that were used last; safe in threads.

    Instances are the same if their scores are, to the bit, and everything else of them is when pickled.

    Args:
        size: most answers that are kept, at least 1.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._answers: OrderedDict[Any, NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def key(self, instance: Instance) -> Any:
        """What two equal instances have in common."""
        scores, others = instance
        return scores.shape, scores.dtype.str, scores.tobytes(), pickle.dumps(others) if others else None

    def get(self, key: Any) -> NDArray[Any] | None:
        """The answer, if it is known; it is then the last that will be forgotten."""
        with self._lock:
            if key in self._answers:
                self._answers.move_to_end(key)
            return self._answers.get(key)

    def put(self, key: Any, answer: NDArray[Any]) -> None:
        """Keep an answer, and forget what was not used for longest."""
        with self._lock:
            self._answers[key] = answer
            self._answers.move_to_end(key)
            if len(self._answers) > self.size:
                self._answers.popitem(last=False)
