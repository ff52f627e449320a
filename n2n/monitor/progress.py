"""How a run tells where it is: a bar for a person, a flushed line every few seconds for a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType

from tqdm.auto import tqdm

PERIOD = 5.0  # seconds between lines


def watched() -> bool:
    """Whether a person looks on: a terminal, or a notebook whose front end can answer a question.

    JupyterLab lets its kernels ask for input; papermill, nbconvert and nbval do not.
    """
    if "IPython" in sys.modules:
        shell = sys.modules["IPython"].get_ipython()
        kernel = getattr(shell, "kernel", None)
        if kernel is not None:
            return bool(getattr(kernel, "_allow_stdin", False))
    return sys.stdout.isatty()


def announce(line: str, log: Callable[[str], None]) -> None:
    """Say a line at once, on the console and in the log."""
    print(line, flush=True)
    log(line)


class Progress:
    """Shows steps done and the latest values; use as a context manager.

    Args:
        done: steps already made.
        total: steps to make in all.
        log: also given each line, whoever looks on.
        unit: what a step is.
    """

    def __init__(
        self, done: int, total: int, log: Callable[[str], None] = lambda line: None, unit: str = "step"
    ) -> None:
        self._first, self._total, self._log, self._unit = done, total, log, unit
        self._began = self._said = time.monotonic()
        self._bar = tqdm(total=total, initial=done, unit=unit, dynamic_ncols=True) if watched() else None

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
        if now - self._said < PERIOD and done < self._total:
            return
        self._said = now
        line = self._line(done, values, now)
        if self._bar is None:
            announce(line, self._log)
        else:
            self._log(line)

    def _line(self, done: int, values: dict[str, str], now: float) -> str:
        left = (now - self._began) / (done - self._first) * (self._total - done)
        said = [f"{name} {value}" for name, value in values.items()]
        return "  ".join([f"{self._unit} {done}/{self._total}", *said, f"{left:.0f} s left"])
