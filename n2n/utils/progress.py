"""How a run tells where it is: a bar for a person, a flushed line every few seconds for a file."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar

from tqdm.auto import tqdm

Item = TypeVar("Item")
PERIOD = 5.0  # seconds between lines


def in_watched_notebook() -> bool:
    """Whether a person looks on from a notebook, whose front end can answer a question.

    JupyterLab lets its kernels ask for input; papermill, nbconvert and nbval do not.
    """
    return _kernel() is not None and bool(getattr(_kernel(), "_allow_stdin", False))


def watched() -> bool:
    """Whether a person looks on, from a notebook or a terminal."""
    return in_watched_notebook() if _kernel() is not None else sys.stdout.isatty()


def _kernel() -> Any:
    """The notebook's kernel that this code runs in, if it does."""
    if "IPython" not in sys.modules:
        return None
    return getattr(sys.modules["IPython"].get_ipython(), "kernel", None)


def print_line(line: str) -> None:
    """Print a line at once; a terminal that was closed, or a pipe that nobody reads, is no reason to end."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


def announce(line: str, log: Callable[[str], None]) -> None:
    """Say a line at once, on the console and in the log."""
    print_line(line)
    log(line)


def track(items: Iterable[Item], unit: str, total: int | None = None) -> Iterator[Item]:
    """The items, while a bar or lines tell how many are done; nothing is shown of what ends within a period.

    Args:
        items: what a loop goes through.
        unit: what an item is.
        total: how many there are (None: ``len(items)``), or the most that there may be.
    """
    with Progress(0, len(items) if total is None else total, unit=unit, delay=PERIOD) as progress:
        for done, item in enumerate(items, start=1):
            yield item
            progress.update(done, {})


class Progress:
    """Shows steps done and the latest values; use as a context manager.

    Args:
        done: steps already made.
        total: steps to make in all.
        log: also given each line, whoever looks on.
        unit: what a step is.
        bar: whether a bar takes the place of lines (None: where a person looks on).
        say: what else is done with a line.
        delay: seconds before which nothing is shown.
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
        self._first, self._total, self._log, self._unit, self._say = done, total, log, unit, print_line
        bar = watched() if bar is None else bar
        self._began = self._said = time.monotonic()
        self._delay = delay
        shape = {"total": total, "initial": done, "unit": unit, "dynamic_ncols": True}
        self._bar = tqdm(**shape, delay=delay) if bar else None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, done: int, values: dict[str, str]) -> None:
        """Tell that ``done`` steps are made; lines come at most once a period, and at the last step."""
        if self._bar is not None:
            self._bar.set_postfix(values, refresh=False)
            self._bar.update(done - self._bar.n)
        now = time.monotonic()
        due = done >= self._total or now - self._said >= PERIOD
        if not due or now - self._began < self._delay:
            return
        self._said = now
        line = self._line(done, values, now)
        self._log(line)
        if self._bar is None:
            self._say(line)

    def _line(self, done: int, values: dict[str, str], now: float) -> str:
        left = (now - self._began) / (done - self._first) * (self._total - done)
        said = [f"{name} {value}" for name, value in values.items()]
        return "  ".join([f"{self._unit} {done}/{self._total}", *said, f"{left:.0f} s left"])
