"""A node of a latent graph: its states, its parents, how its kernel is drawn."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from n2n.utils.strict import Count, NonNegative, Ordered, Positive, Strict, short_repr

Mode = Literal["default", "slow", "dead", "context"]
Kernel = Literal["full", "product"]
MIN_ALPHA = 1e-9  # there all but one row in millions is one state to the last bit, so smaller ones add nothing


class Node(Strict):
    """One variable of a latent graph.

    A latent node draws ``z_t`` given its own ``z_{t-1}`` and its parents at ``t``; the observed node draws ``x_t``
    given its parents at ``t`` and, if it is recurrent, ``x_{t-1}``. A latent that names X as a parent sees ``x_{t-1}``.

    Args:
        name: unique in the graph.
        num_states: number of values; for the observed node, the size of the vocabulary.
        parents: names of the nodes seen, in the order of the kernel's axes: latents at the same time step, and X, by a
            latent, at the step before (feedback).
        observed: whether this is X, whose values are the tokens.
        mode: what is done to the kernel's rows once drawn. ``"slow"`` moves each row's largest probability to the
            diagonal (the state tends to stay), ``"dead"`` moves it to state 0; "moves" is an exchange of two entries.
            ``"context"`` redraws the kernel for every sequence, so that it must be learned in context.
        kernel: ``"full"``, one table row for each joint state of what the node sees; ``"product"``, the normalised
            product of one factor for each variable seen.
        alpha: concentration of the symmetric Dirichlet that every row (or row of a factor) is drawn from.
        stickiness: s in K <- s I + (1 - s) K, once the mode is applied: the chance of staying without a draw.
        recurrent: whether the observed node sees its own previous state; latent nodes always do.

    Raises:
        ValueError: a wrong field, a repeated parent, ``mode="slow"`` or a stickiness on an observed node that does not
            see its own previous state, or ``recurrent`` on a latent.
    """

    positional: ClassVar[tuple[str, ...]] = ("name", "num_states", "parents")

    name: Annotated[str, Field(max_length=200)]
    num_states: Count
    parents: Ordered[str] = ()
    observed: bool = False
    mode: Mode = "default"
    kernel: Kernel = "full"
    alpha: Annotated[Positive, Field(ge=MIN_ALPHA)] = 1.0
    stickiness: Annotated[NonNegative, Field(lt=1)] = 0.0
    recurrent: bool = False

    @field_validator("name")
    @classmethod
    def _named(cls, name: str) -> str:
        if not name:
            raise ValueError("saw an empty name; a node needs one")
        return name

    @model_validator(mode="after")
    def _consistent(self) -> Node:
        repeated = [name for name, times in Counter(self.parents).items() if times > 1]
        if repeated:
            raise ValueError(
                f"{self.name}: parent {short_repr(repeated[0])} is repeated in {short_repr(list(self.parents))}"
            )
        if self.recurrent and not self.observed:
            raise ValueError(f"{self.name}: recurrent marks the observed node; a latent always sees its previous state")
        for asked, given in (("mode 'slow'", self.mode == "slow"), ("a stickiness", self.stickiness > 0)):
            if given and not self.sees_itself:
                raise ValueError(
                    f"{self.name}: {asked} needs a previous state, which the observed node sees if it is recurrent"
                )
        return self

    @property
    def sees_itself(self) -> bool:
        """Whether the kernel's first axis is the node's own previous state."""
        return self.recurrent or not self.observed
