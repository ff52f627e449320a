"""A run as it goes, for a person in a notebook: its curve beside the oracle's, and a button that stops it."""

from __future__ import annotations

import html
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from n2n.monitor import checkpoint
from n2n.monitor.stop import STOP_FILE
from n2n.runs.run import Run
from n2n.training.sketch import sketch
from n2n.utils.progress import Progress, in_watched_notebook
from n2n.viz.comparison import learning_curve

if TYPE_CHECKING:
    from ipywidgets import Button

PERIOD = 2.0  # seconds between drawings, at least
SHARE = 0.01  # of the time that drawing may take, once it is warm
MIN_ROWS = 2  # of metrics, before which there is no curve


def live_curve(folder: Path, done: int, total: int, log: Callable[[str], None] = lambda line: None) -> Progress | Live:
    """How a run tells where it is: drawn in a notebook that a person looks at, else a bar or lines."""
    return Live(folder, done, total, log) if in_watched_notebook() else Progress(done, total, log)


class Live:
    """The curve of the losses, drawn anew in its place while the cell runs, and a button; use as a context manager.

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
        self._button: Button = ipywidgets.Button(description="Stop", icon="stop", tooltip="Save and leave")
        self._button.on_click(self._stop)
        _hear_while_busy(self._button)
        self._lines = Progress(done, total, log, bar=False, say=self._say)
        self._first = f"step {done}/{total}"
        self._line: Any = None  # places in the notebook
        self._curve: Any = None
        self._due = 0.0

    def __enter__(self) -> Live:
        from IPython.display import HTML, display

        display(self._button)
        self._line = display(HTML(_line(self._first)), display_id=True)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._button.close()
        saved = checkpoint.last(self._folder / "checkpoints")
        self._say(f"{'' if kind is None else f'ended by {kind.__name__}, '}saved at step {saved} of {self._total}")
        self._attempt(self._keep)

    def _stop(self, button: Button) -> None:
        button.disabled, button.description = True, "Stopping"
        (self._folder / STOP_FILE).touch()

    def _say(self, line: str) -> None:
        from IPython.display import HTML

        if self._line is not None:
            self._line.update(HTML(_line(line)))

    def update(self, done: int, values: dict[str, str]) -> None:
        """Tell that ``done`` steps are made."""
        self._lines.update(done, values)
        now = time.monotonic()
        if now < self._due:
            return
        warm = self._curve is not None
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
        """A picture, because JupyterLab leaves one of plotly's static figures as it was first drawn.

        A widget would be drawn anew too, but a notebook that is saved meanwhile holds nothing of it.
        """
        from IPython.display import HTML, display

        metrics = Run(self._folder).metrics
        if len(metrics) < MIN_ROWS:
            return
        picture = HTML(sketch(metrics))
        if self._curve is None:
            self._curve = display(picture, display_id=True)
        else:
            self._curve.update(picture)

    def _keep(self) -> None:
        """The whole curve in the picture's place."""
        from IPython.display import display

        run = Run(self._folder)
        if len(run.metrics) < MIN_ROWS:
            return
        if self._curve is None:
            display(learning_curve(run))
        else:
            self._curve.update(learning_curve(run))


def _line(text: str) -> str:
    """A line of HTML under the button.

    Of a notebook that was saved while the button was there and is opened without its kernel, JupyterLab says that the
    widget cannot be displayed; the style hides that, in the output before this line alone.
    """
    before = ".jp-OutputArea-child:has(+ .jp-OutputArea-child .n2n-line)"
    return (
        f"<style>{before} .jupyter-widgets:not(:has(*)) {{ display: none; }}</style>"
        f'<span class="n2n-line">{html.escape(text)}</span>'
    )


def _hear_while_busy(button: Button) -> None:
    """Have what the button says handled by a thread of its own, and not after the cell.

    ipykernel 7.4 hands what a widget's front end says to the shell that last wrote to the widget, which is the one that
    is busy with the cell; without that memory it goes where the front end asks, which is a subshell.
    """
    vars(button.comm).pop("_reply_subshell_id", None)
