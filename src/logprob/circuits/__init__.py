"""Squared and monotonic probabilistic circuits: exact normaliser, marginals and missing values."""
