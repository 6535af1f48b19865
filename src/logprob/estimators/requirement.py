"""scikit-learn, or a line that says how to get it."""

try:
    from sklearn.utils.validation import validate_data  # noqa: F401  (older versions have none)
except ImportError as error:
    raise ImportError("logprob.estimators needs scikit-learn >= 1.6: pip install 'logprob[estimators]'") from error
