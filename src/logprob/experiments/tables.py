"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table


def metrics_table(metrics: Mapping[str, Mapping[str, float]]) -> Table:
    """Metrics down, splits across."""
    table = Table()
    table.add_column("metric")
    for split in metrics:
        table.add_column(split, justify="right")
    for name in dict.fromkeys(name for values in metrics.values() for name in values):
        table.add_row(name, *(_digits(values[name]) if name in values else "" for values in metrics.values()))
    return table


def _digits(value: float) -> str:
    return f"{value:.4f}" if value == 0 or abs(value) >= 1e-3 else f"{value:.1e}"


def print_table(title: str, table: Table) -> None:
    """Write a title and a table to standard output; where that is no terminal, as wide as the table needs."""
    print(title)
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(80, console.measure(table).maximum))
    console.print(table)
