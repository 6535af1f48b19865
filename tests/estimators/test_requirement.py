"""What is said where scikit-learn is missing."""

from __future__ import annotations

import importlib
import sys

import pytest

from logprob.estimators import requirement


def test_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.utils.validation", None)
    with pytest.raises(ImportError, match=r"pip install 'logprob\[estimators\]'"):
        importlib.reload(requirement)
