"""Report of a sweep: a folder with a page that needs no network, and tables as CSV."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from n2n.runs.run_table import RESULTS, count_states
from n2n.sweeps.equal_size import EqualSize
from n2n.sweeps.results import SweepResults
from n2n.sweeps.scaling_laws import Scaling
from n2n.utils.files import remove_unfinished, write_text
from n2n.utils.paths import checked_path
from n2n.viz.sweeps import LABELS, equal_size, excess_by_run, scaling_law

PAGE, PLOTLY = "index.html", "plotly.min.js"
STYLE = """
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --rule: #ccc; }
@media (prefers-color-scheme: dark) { :root { --ink: #ddd; --paper: #111; --rule: #444; } }
body { color: var(--ink); background: var(--paper); font: 15px/1.5 Helvetica, Arial, sans-serif;
  max-width: 1000px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.6em; } h2 { font-size: 1.2em; margin-top: 2em; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9em; }
th, td { border: 0; border-bottom: 1px solid var(--rule); padding: 0.25em 0.7em; text-align: right; }
th { text-align: left; } td:last-child { text-align: left; }
"""


@dataclass(frozen=True, eq=False)
class Part:
    """A section of a page.

    Attributes:
        heading, text: plain text; HTML in it is escaped.
        content: a figure, a table, or None.
    """

    heading: str
    text: str
    content: go.Figure | pd.DataFrame | None = None


def write_report(results: SweepResults, scaling: Mapping[str, Scaling], equal: EqualSize, folder: str = "") -> Path:
    """Write the report of a sweep.

    The folder holds ``index.html`` with all figures and tables, ``plotly.min.js`` which the page needs, and
    ``runs.csv``, ``unfinished.csv``, ``evaluations.csv``, ``fits.csv`` and ``equal_size.csv``. It can be moved as a
    whole. Each file is replaced atomically.

    Args:
        results: from ``n2n.read_sweep``.
        scaling: by axis, from ``n2n.scaling_fits``.
        equal: from ``n2n.at_equal_size``.
        folder: path of the report (empty: ``report`` in the sweep's folder).

    Returns:
        path of the page.

    Raises:
        ValueError: ``folder`` is a file.
    """
    place = checked_path(folder, "export") if folder else results.path / "report"
    if place.exists() and not place.is_dir():
        raise ValueError(f"export: saw {place}, which is a file; a folder is needed")
    place.mkdir(parents=True, exist_ok=True)
    remove_unfinished(place)
    fits = pd.concat([fitted.table for fitted in scaling.values()], ignore_index=True)
    tables = {"runs": results.table.reset_index(), "unfinished": results.unfinished.reset_index(), "fits": fits}
    tables |= {"evaluations": results.evaluations, "equal_size": equal.table}
    for name, table in tables.items():
        write_text(place / f"{name}.csv", table.to_csv(index=False))
    write_text(place / PLOTLY, get_plotlyjs())
    page = place / PAGE
    write_text(page, page_of(f"Sweep {results.path.name}", _parts(results, scaling, equal, fits)))
    return page


def _parts(results: SweepResults, scaling: Mapping[str, Scaling], equal: EqualSize, fits: pd.DataFrame) -> list[Part]:
    counts = f"{len(results.table)} runs: {count_states(results.table['state'])}."
    if results.unfinished.empty:
        parts = [Part("Runs", f"{counts} All are finished and evaluated.")]
    else:
        parts = [Part("Runs", f"{counts} {UNFINISHED}", results.unfinished)]
    overview = "Last held-out evaluation of each run, with 95% intervals over sequences. The oracle is at 0."
    parts.append(Part("Excess loss of each run", overview, excess_by_run(results.table)))
    columns = ["state", "arch", *(name for name in RESULTS[1:] if name in results.table)]
    parts.append(Part("In numbers", "Losses in nats per token.", _numbers(results.table[columns])))
    for axis, fitted in scaling.items():
        parts.append(Part(f"Against {LABELS[axis][0]}", LAWS[axis], scaling_law(fitted)))
    fit_text = "excess loss = coefficient * size ** -exponent, by least squares in logarithms; low and high bound a "
    fit_text += f"95% interval of the exponent from {next(iter(scaling.values())).resamples} resamples of the runs."
    parts.append(Part("Fits", fit_text, _rounded(fits)))
    size_text = "A run of this size, or an interpolation in logarithms between the two nearest sizes; nothing is "
    size_text += (
        "extrapolated. Intervals are over held-out sequences, which evaluations share, so their errors are added."
    )
    return [*parts, Part("At equal size", size_text, equal_size(equal)), Part("In numbers", "", _rounded(equal.table))]


UNFINISHED = (
    "The runs below are unfinished or have no evaluation. Evaluations of unfinished runs appear in the excess loss of "
    "each run and against data. They appear against parameters and at equal size only if no run is finished, and never "
    "against compute."
)
LAWS = {
    "parameters": "Last evaluations of finished runs (or all runs if none is finished) after one number of tokens.",
    "tokens": "All evaluations. Before the end of a run its learning rate has not decayed yet.",
    "flops": "Finished runs. By convention, three forward passes per token, of which only matrix "
    "products and convolutions count.",
}


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers as text of four significant digits, for coefficients of any size; missing numbers are empty."""
    numbers = table.select_dtypes("float").columns
    return table.assign(**{name: ["" if math.isnan(x) else f"{x:.4g}" for x in table[name]] for name in numbers})


def _numbers(table: pd.DataFrame) -> pd.DataFrame:
    return table.round(4).astype({"parameters": "Int64"})


def page_of(title: str, parts: list[Part]) -> str:
    """An HTML page that draws its figures with ``plotly.min.js`` in the same folder."""
    body = "\n".join(_section(part, f"figure-{i}") for i, part in enumerate(parts))
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
    tags = f"<title>{html.escape(title)}</title><script src={PLOTLY!r}></script>"
    top = f"<h1>{html.escape(title)}</h1>"
    return f'<!doctype html>\n<html lang="en"><head>{head}{tags}</head><body>\n{top}\n{body}\n</body></html>\n'


def _section(part: Part, name: str) -> str:
    content = ""
    if isinstance(part.content, pd.DataFrame):
        content = f'<div class="wide">{part.content.to_html(border=0, na_rep="", escape=True)}</div>'
    elif part.content is not None:
        options = {"include_plotlyjs": False, "full_html": False, "div_id": name, "config": {"responsive": True}}
        content = part.content.to_html(**options)
    return f"<section><h2>{html.escape(part.heading)}</h2><p>{html.escape(part.text)}</p>{content}</section>"
