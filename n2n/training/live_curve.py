"""A run's progress in a notebook: its loss next to the oracle's, and a button that stops it."""

from __future__ import annotations

import html
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from n2n.monitor.rows import last_row
from n2n.runs.folder import RunFolder
from n2n.runs.run import Run
from n2n.utils.progress import Progress, in_watched_notebook

if TYPE_CHECKING:
    from ipywidgets import Button

PERIOD = 2.0  # minimum seconds between drawings
MAX_SHARE = 0.01  # of the run's time that drawing may take, after the first drawing


def live_curve(
    folder: RunFolder, done: int, total: int, log: Callable[[str], None] = lambda line: None
) -> Progress | LiveCurve:
    """A run's progress: a curve in a notebook that somebody watches, else a bar or lines."""
    return LiveCurve(folder, done, total, log) if in_watched_notebook() else Progress(done, total, log)


class LiveCurve:
    """The curve of the losses, redrawn in place while the cell runs, and a button; use as a context manager.

    The button writes the file ``STOP``. It works while the cell runs because current front ends and kernels send
    messages of widgets through a separate channel (JupyterLab 4.5 and ipykernel 7, and later).

    Args:
        folder: folder of the run.
        done: steps already made.
        total: steps of the whole run.
        log: called with a line every few seconds.
    """

    def __init__(self, folder: RunFolder, done: int, total: int, log: Callable[[str], None]) -> None:
        import ipywidgets

        self._folder, self._total, self._log = folder, total, log
        self._button: Button = ipywidgets.Button(description="Stop", icon="stop", tooltip="Save and leave")
        self._button.on_click(self._stop)
        _respond_while_busy(self._button)
        self._lines = Progress(done, total, log, bar=False, print_line=self._say)
        self._first = f"step {done}/{total}"
        self._line: Any = None  # places in the notebook
        self._curve: Any = None
        self._due = 0.0

    def __enter__(self) -> LiveCurve:
        from IPython.display import HTML, display

        display(self._button)
        self._line = display(HTML(_line(self._first)), display_id=True)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._button.close()
        saved = self._folder.last_step
        self._say(f"{'' if kind is None else f'ended by {kind.__name__}, '}saved at step {saved} of {self._total}")
        self._attempt(self._draw_final)

    def _stop(self, button: Button) -> None:
        button.disabled, button.description = True, "Stopping"
        self._folder.stop_path.touch()

    def _say(self, line: str) -> None:
        from IPython.display import HTML

        if self._line is not None:
            self._line.update(HTML(_line(line)))

    def update(self, done: int, values: dict[str, str]) -> None:
        """Show that ``done`` steps are made."""
        self._lines.update(done, values)
        now = time.monotonic()
        if now < self._due:
            return
        warm = self._curve is not None
        self._attempt(self._draw)
        end = time.monotonic()
        self._due = end + (max(PERIOD, (end - now) / MAX_SHARE) if warm else PERIOD)

    def _attempt(self, work: Callable[[], None]) -> None:
        """Log a figure that cannot be drawn; the run continues."""
        try:
            work()
        except Exception as error:
            self._log(f"the figure was not drawn: {error!r}")

    def _draw(self) -> None:
        """Draw an image, because JupyterLab does not update plotly's static figures.

        A widget would be updated, but a notebook that is saved during the run would not contain it.
        """
        from IPython.display import HTML, display

        from n2n.training.sketch import sketch  # here, because only a notebook that somebody watches needs plotly

        if not self._has_curve():
            return
        picture = HTML(sketch(self._folder.read_metrics()))
        if self._curve is None:
            self._curve = display(picture, display_id=True)
        else:
            self._curve.update(picture)

    def _draw_final(self) -> None:
        """Replace the image by the complete curve."""
        from IPython.display import display

        from n2n.viz.loss_curves import learning_curve

        if not self._has_curve():
            return
        figure = learning_curve(Run(self._folder.path))
        if self._curve is None:
            display(figure)
        else:
            self._curve.update(figure)

    def _has_curve(self) -> bool:
        """Whether at least two steps are logged, as a curve needs. The first is step 0, so the last one decides."""
        row = last_row(self._folder.metrics_path)
        return row is not None and row["step"] > 0


def _line(text: str) -> str:
    """A line of HTML under the button.

    If a notebook was saved while the button existed and is opened without its kernel, JupyterLab reports that the
    widget cannot be displayed. The style hides this report, only in the output before this line.
    """
    before = ".jp-OutputArea-child:has(+ .jp-OutputArea-child .n2n-line)"
    return (
        f"<style>{before} .jupyter-widgets:not(:has(*)) {{ display: none; }}</style>"
        f'<span class="n2n-line">{html.escape(text)}</span>'
    )


def _respond_while_busy(button: Button) -> None:
    """Handle clicks in a separate thread instead of after the cell.

    ipykernel 7.4 sends messages of a widget to the shell that last wrote to the widget, which is the one that runs the
    cell. Without that record they go where the front end directs them, which is a subshell.
    """
    vars(button.comm).pop("_reply_subshell_id", None)
