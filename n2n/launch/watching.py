"""A sweep as it goes, for a person: a table that is drawn anew in its place, or a line whenever something changed."""

from __future__ import annotations

from typing import Any

import pandas as pd

from n2n.utils.progress import in_watched_notebook, say


def counted(table: pd.DataFrame) -> str:
    """How many points are in each state, such as ``"2 done, 1 running"``."""
    return ", ".join(f"{count} {state}" for state, count in table["state"].value_counts().items())


class Watcher:
    """Shows the tables that it is given, one after another."""

    def __init__(self) -> None:
        self._handle: Any = None  # of the place in the notebook that shows the table
        self._said = ""

    def show(self, table: pd.DataFrame) -> None:
        """Show a table of ``n2n.launch.states``."""
        if in_watched_notebook():
            self._draw(table)
        elif counted(table) != self._said:
            self._said = counted(table)
            say(self._said)

    def _draw(self, table: pd.DataFrame) -> None:
        from IPython.display import display

        # A name or an error is not markup, and its dollar signs are not mathematics.
        shown = table.style.format({"excess_loss": "{:.4f}"}, na_rep="", escape="html").format_index(escape="html")
        shown = shown.set_table_attributes('class="mathjax_ignore tex2jax_ignore"')
        if self._handle is None:
            self._handle = display(shown, display_id=True)
        else:
            self._handle.update(shown)
