"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table


def metrics_table(metrics: Mapping[str, Mapping[str, float]]) -> Table:
    """Splits down, metrics across."""
    table = Table()
    table.add_column("split")
    names = list(dict.fromkeys(name for values in metrics.values() for name in values))
    for name in names:
        table.add_column(name, justify="right")
    for split, values in metrics.items():
        table.add_row(split, *(f"{values[name]:.4f}" if name in values else "" for name in names))
    return table


def print_table(title: str, table: Table) -> None:
    """Write a title and a table to standard output; where that is no terminal, as wide as the table needs."""
    print(title)
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(80, console.measure(table).maximum))
    console.print(table)
