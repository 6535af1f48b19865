"""scikit-learn estimators: fit, transform, score."""

__all__: list[str] = []
