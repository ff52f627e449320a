"""The runs of a design: what each is about, its name, and its configuration."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from n2n import models
from n2n.config.train_config import TrainConfig
from n2n.difficulty.calibration import with_alphas
from n2n.experiments.design import Cell, Design

HEADS = 4
ALWAYS_NAMED = ("level", "target", "process", "arch")


class Point(NamedTuple):
    """A run of a design.

    Attributes:
        cell: what the run is about.
        lr: peak learning rate.
    """

    cell: Cell
    lr: float

    @property
    def columns(self) -> dict[str, Any]:
        """The point as columns of the results."""
        return {**self.cell._asdict(), "lr": self.lr}


def point_name(design: Design, point: Point) -> str:
    """A readable name, such as ``"nodes=4,target=1.5,process=3,arch=mamba"``; what does not vary is left out."""
    varying = {"dim": design.sizes, "layers": design.sizes, "steps": design.steps, "sequences": design.sequences}
    varying |= {"seed": design.seeds, "lr": design.lrs}
    parts = []
    for name, value in point.columns.items():
        if name in ALWAYS_NAMED or len(varying[name]) > 1:
            text = f"{value:g}" if isinstance(value, float) else str(value)
            parts.append(f"{design.factor if name == 'level' else name}={text}")
    return ",".join(parts)


def train_config(design: Design, point: Point, alpha: float) -> TrainConfig:
    """The configuration of a run.

    Args:
        design: the design.
        point: one of its runs.
        alpha: the calibrated concentration of the point's process.
    """
    cell, level = point.cell, design.level(point.cell.level)
    graph = with_alphas(level.graph, dict.fromkeys(level.calibrated_nodes, alpha))
    read = cell.steps * design.batch_size
    shared = {"log_every": cell.steps, "checkpoint_every": cell.steps, "eval_every": cell.steps, **design.training}
    return TrainConfig(
        graph=graph.model_copy(update={"name": f"{design.factor}={level.name}"}),
        process_seed=cell.process,
        **_model_fields(design.reference, cell.arch, graph.vocab_size, cell.dim, cell.layers),
        steps=cell.steps,
        sequences=None if cell.sequences == read else cell.sequences,
        lr=point.lr,
        seed=cell.seed,
        seq_len=design.seq_len,
        batch_size=design.batch_size,
        **shared,
    )


@cache
def _model_fields(reference: str, arch: str, vocab_size: int, dim: int, layers: int) -> dict[str, Any]:
    """Fields of ``TrainConfig`` of the model of ``arch`` that has as many parameters as the reference."""
    options = {"vocab_size": vocab_size, "layers": layers, "heads": HEADS}
    if arch == reference:
        return {"arch": arch, "dim": dim, "layers": layers, "heads": HEADS}
    parameters = models.build(reference, dim=dim, **options).num_parameters
    found = models.match(arch, parameters=parameters, **options).options
    own = {name: found[name] for name in ("dim", "layers", "heads")}
    others = {name: value for name, value in found.items() if name not in {*own, "vocab_size"}}
    return {"arch": arch, **own, "model_options": others}
