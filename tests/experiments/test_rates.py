"""The learning rate of each learner, and the runs that come next."""

from itertools import product

import pandas as pd
from support.small_designs import planted_row, small_design

from n2n.experiments import Point, chosen_rates, judged, pending_points, rate_table
from n2n.experiments.results import RUN_COLUMNS

DESIGN = small_design(lrs=[1e-3, 1e-2, 1e-1], tuning=1, processes=[0, 1, 2])
ALPHAS = {(level, 1.4, process): 1.0 for level, process in product(("4", "8"), range(3))}
BEST = {("4", "transformer"): 1e-3, ("4", "mingru"): 1e-2, ("8", "transformer"): 1e-1, ("8", "mingru"): 1e-3}


def rows_of(point: Point) -> list[dict]:
    """The rate in BEST is the best on ``valid`` and the worst on ``test``."""
    best = BEST[point.cell.level, point.cell.arch] == point.lr
    if point.lr == 1e-1 and not best:
        return [planted_row(point, None, state="diverged", split=None)]
    return [planted_row(point, 0.1 if best else 0.2, split="valid"), planted_row(point, 0.4 if best else 0.3)]


def table_of(points: list[Point]) -> pd.DataFrame:
    return pd.DataFrame([row for point in points for row in rows_of(point)], columns=list(RUN_COLUMNS))


def test_rates_are_compared_first_and_the_other_processes_run_at_the_best():
    empty = table_of([])
    first = pending_points(DESIGN, ALPHAS, empty)
    assert {(point.cell.process, point.lr) for point in first} == {(0, lr) for lr in DESIGN.lrs}
    assert len(first) == 2 * 2 * 3
    assert pending_points(DESIGN, ALPHAS, table_of(first[:5])) == first[5:]
    second = pending_points(DESIGN, ALPHAS, table_of(first))
    assert {point.cell.process for point in second} == {1, 2}
    assert len(second) == 2 * 2 * 2
    assert {((point.cell.level, point.cell.arch), point.lr) for point in second} == set(BEST.items())
    assert pending_points(DESIGN, ALPHAS, table_of(first + second)) == []


def test_the_rate_is_chosen_on_valid_not_on_test_and_a_diverged_run_is_the_worst():
    table = table_of(pending_points(DESIGN, ALPHAS, table_of([])))
    rates = chosen_rates(DESIGN, table)
    assert {learner[:2]: rate for learner, rate in rates.items()} == BEST
    chosen = judged(DESIGN, table)
    assert chosen["excess"].tolist() == [0.4] * 4
    assert (chosen["split"] == "test").all()


def test_the_best_valid_loss_counts_if_the_best_weights_are_judged():
    rows = []
    for point in pending_points(DESIGN, ALPHAS, table_of([])):
        rows += [planted_row(point, point.lr, split="valid", step=1), planted_row(point, 1 - point.lr, split="valid")]
    table = pd.DataFrame(rows, columns=list(RUN_COLUMNS))
    assert set(chosen_rates(DESIGN, table).values()) == {1e-1}
    best = DESIGN.model_copy(update={"training": {"select": "best", "eval_every": 1}})
    assert set(chosen_rates(best, table).values()) == {1e-3}


def test_a_rate_at_the_edge_of_the_choice_is_said():
    rates = rate_table(DESIGN, table_of(pending_points(DESIGN, ALPHAS, table_of([]))))
    said = rates.set_index(["level", "arch"])["at_edge"].to_dict()
    assert said == {learner: rate != 1e-2 for learner, rate in BEST.items()}
    assert rate_table(small_design(), table_of([])).empty


def test_a_process_out_of_reach_has_no_run():
    some = {key: alpha for key, alpha in ALPHAS.items() if key != ("8", 1.4, 0)}
    assert {point.cell.level for point in pending_points(DESIGN, some, table_of([]))} == {"4"}


def test_with_one_rate_nothing_is_compared():
    design = small_design()
    points = pending_points(design, ALPHAS, table_of([]))
    assert [point.cell for point in points] == design.cells
    table = table_of([Point(cell, 1e-2) for cell in design.cells])
    assert len(judged(design, table)) == len(design.cells)
