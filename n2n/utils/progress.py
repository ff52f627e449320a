"""Progress of long work: a bar for a person, a flushed line every few seconds for a log file.

tqdm draws the bar. Into a file it would write a carriage return each refresh and no readable lines.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Collection, Iterator
from types import TracebackType
from typing import Any, TypeVar

from tqdm.auto import tqdm

Item = TypeVar("Item")
PERIOD = 5.0  # seconds between lines


def in_watched_notebook() -> bool:
    """Whether this runs in a notebook that a person has open.

    JupyterLab lets its kernels ask for input; papermill, nbconvert and nbval do not.
    """
    return _kernel() is not None and bool(getattr(_kernel(), "_allow_stdin", False))


def watched() -> bool:
    """Whether a person watches, in a notebook or a terminal."""
    return in_watched_notebook() if _kernel() is not None else sys.stdout.isatty()


def _kernel() -> Any:
    """The notebook's kernel that runs this code; None outside notebooks."""
    if "IPython" not in sys.modules:
        return None
    return getattr(sys.modules["IPython"].get_ipython(), "kernel", None)


def print_line(line: str) -> None:
    """Print a line and flush it; a closed terminal or a pipe without a reader is ignored."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


def announce(line: str, log: Callable[[str], None]) -> None:
    """Print a line at once, and log it."""
    print_line(line)
    log(line)


def track(items: Collection[Item], unit: str) -> Iterator[Item]:
    """Iterate over items and show progress; a loop that ends within ``PERIOD`` shows nothing.

    Args:
        items: items to iterate over.
        unit: name of an item.
    """
    with Progress(0, len(items), unit=unit, delay=PERIOD) as progress:
        for done, item in enumerate(items, start=1):
            yield item
            progress.update(done, {})


class Progress:
    """Shows the number of steps done and the latest values; use as a context manager.

    Args:
        done: steps done before.
        total: steps in all.
        log: called with each line, whether or not a person watches.
        unit: name of a step.
        bar: whether to show a bar instead of lines (None: if a person watches).
        print_line: called with each line if there is no bar.
        delay: seconds during which nothing is shown at first.
    """

    def __init__(
        self,
        done: int,
        total: int,
        log: Callable[[str], None] = lambda line: None,
        *,
        unit: str = "step",
        bar: bool | None = None,
        print_line: Callable[[str], None] = print_line,
        delay: float = 0.0,
    ) -> None:
        self._first, self._total, self._log, self._unit, self._print_line = done, total, log, unit, print_line
        bar = watched() if bar is None else bar
        self._began = self._printed = time.monotonic()
        self._delay = delay
        options = {"total": total, "initial": done, "unit": unit, "dynamic_ncols": True}
        self._bar = tqdm(**options, delay=delay) if bar else None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, done: int, values: dict[str, str]) -> None:
        """Show that ``done`` steps are done; lines come at most once a period, and at the last step."""
        if self._bar is not None:
            self._bar.set_postfix(values, refresh=False)
            self._bar.update(done - self._bar.n)
        now = time.monotonic()
        due = done >= self._total or now - self._printed >= PERIOD
        if not due or now - self._began < self._delay:
            return
        self._printed = now
        line = self._line(done, values, now)
        self._log(line)
        if self._bar is None:
            self._print_line(line)

    def _line(self, done: int, values: dict[str, str], now: float) -> str:
        left = (now - self._began) / (done - self._first) * (self._total - done)
        parts = [f"{name} {value}" for name, value in values.items()]
        return "  ".join([f"{self._unit} {done}/{self._total}", *parts, f"{left:.0f} s left"])
