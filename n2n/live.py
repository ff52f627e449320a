"""A run as it goes, for a person in a notebook: its curve beside the oracle's, and a button that stops it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from n2n.monitor import checkpoint
from n2n.monitor.preemption import FILE
from n2n.monitor.progress import Progress, in_watched_notebook
from n2n.runs import Run
from n2n.viz.curves import learning_curve

if TYPE_CHECKING:
    from ipywidgets import Button

PERIOD = 2.0  # seconds between drawings, at least
SHARE = 0.01  # of the time that drawing may take, once it is warm
LEAST_ROWS = 2  # of metrics, before which there is no curve


def shown(folder: Path, done: int, total: int, log: Callable[[str], None] = lambda line: None) -> Progress | Live:
    """How a run tells where it is: drawn in a notebook that a person looks at, else a bar or lines."""
    return Live(folder, done, total, log) if in_watched_notebook() else Progress(done, total, log)


class Live:
    """The learning curve, drawn anew in its place while the cell runs, and a button; use as a context manager.

    The button writes the file ``STOP``, which works while the cell runs because front ends and kernels of today send
    what widgets say by a channel of its own (JupyterLab 4.5 and ipykernel 7, and later).

    Args:
        folder: of the run.
        done: steps already made.
        total: steps to make in all.
        log: is given a line every few seconds.
    """

    def __init__(self, folder: Path, done: int, total: int, log: Callable[[str], None]) -> None:
        import ipywidgets

        self._folder, self._total, self._log = folder, total, log
        self._line = ipywidgets.Label(f"step {done}/{total}")
        self._button: Button = ipywidgets.Button(description="Stop", icon="stop", tooltip="Save and leave")
        self._button.on_click(self._stop)
        _hear_while_busy(self._button)
        self._lines = Progress(done, total, log, bar=False, say=self._say)
        self._figure: go.FigureWidget | None = None
        self._handle: Any = None  # of the place in the notebook that shows it
        self._due = 0.0

    def __enter__(self) -> Live:
        import ipywidgets
        from IPython.display import display

        display(ipywidgets.HBox([self._button, self._line]))
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._button.disabled = True
        saved = max(checkpoint.steps(self._folder / "checkpoints"), default=0)
        self._say(f"{'' if kind is None else f'ended by {kind.__name__}, '}saved at step {saved} of {self._total}")
        self._attempt(self._draw)
        self._attempt(self._keep)

    def _stop(self, button: Button) -> None:
        button.disabled, button.description = True, "Stopping"
        (self._folder / FILE).touch()

    def _say(self, line: str) -> None:
        self._line.value = line

    def update(self, done: int, values: dict[str, str]) -> None:
        """Tell that ``done`` steps are made."""
        self._lines.update(done, values)
        now = time.monotonic()
        if now < self._due:
            return
        warm = self._figure is not None
        self._attempt(self._draw)
        drawn = time.monotonic()
        self._due = drawn + (max(PERIOD, (drawn - now) / SHARE) if warm else PERIOD)

    def _attempt(self, work: Callable[[], None]) -> None:
        """A figure that cannot be drawn is no reason for a run to end."""
        try:
            work()
        except Exception as error:
            self._log(f"the figure was not drawn: {error!r}")

    def _draw(self) -> None:
        """A widget, because JupyterLab's renderer of plotly's static figures leaves one as it was first drawn."""
        from IPython.display import display

        run = Run(self._folder)
        if len(run.metrics) < LEAST_ROWS:
            return
        drawn = learning_curve(run)
        if self._figure is None:
            self._figure = go.FigureWidget(drawn)
            self._handle = display(self._figure, display_id=True)
        else:
            self._figure.update(drawn.to_plotly_json())

    def _keep(self) -> None:
        """The last figure as a static one, which a saved notebook still shows."""
        if self._figure is None:
            return
        self._handle.update(go.Figure(self._figure))
        self._figure.close()


def _hear_while_busy(button: Button) -> None:
    """Have what the button says handled by a thread of its own, and not after the cell.

    ipykernel 7.4 hands what a widget's front end says to the shell that last wrote to the widget, which is the one that
    is busy with the cell; without that memory it goes where the front end asks, which is a subshell.
    """
    vars(button.comm).pop("_reply_subshell_id", None)
