"""Energy models of rows given a condition, and the identifiable models beside them."""

__all__: list[str] = []
