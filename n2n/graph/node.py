"""A node of a latent graph: its states, its parents and how its kernel is drawn."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from n2n.utils.strict import Count, NonNegative, Ordered, Positive, Strict, short_repr

Mode = Literal["default", "slow", "dead", "context"]
Kernel = Literal["full", "product"]
MIN_ALPHA = 1e-9  # here all but one row in millions are one state to the last bit, so smaller values add nothing


class Node(Strict):
    """One variable of a latent graph.

    A latent node draws ``z_t`` given its own ``z_{t-1}`` and its parents at ``t``. The observed node draws ``x_t``
    given its parents at ``t`` and, if it is recurrent, ``x_{t-1}``. A latent that has X as a parent sees ``x_{t-1}``.

    Args:
        name: name of the node, unique in the graph.
        num_states: number of values; for the observed node, the size of the vocabulary.
        parents: names of the parents, in the order of the kernel's axes. The node sees latents at the same time step. A
            latent sees X at the previous step (feedback).
        observed: whether this node is X, whose values are the tokens.
        mode: how the kernel's rows change after they are drawn. ``"default"`` leaves them unchanged. ``"slow"``
            exchanges each row's largest probability with the one on the diagonal, so the state tends to stay.
            ``"dead"`` exchanges it with the one of state 0. ``"context"`` redraws the kernel for every sequence, so it
            must be learned in context.
        kernel: ``"full"`` has one table row for each joint state of the variables that the node sees. ``"product"`` is
            the normalised product of one factor for each of these variables.
        alpha: concentration of the symmetric Dirichlet from which every row (or row of a factor) is drawn.
        stickiness: s in K <- s I + (1 - s) K, applied after the mode. It is the probability of staying without a draw.
        recurrent: whether the observed node sees its own previous state; latent nodes always do.

    Raises:
        ValueError: if a field is invalid, a parent is repeated, a latent is ``recurrent``, or the observed node has
            ``mode="slow"`` or a stickiness but does not see its own previous state.
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
        for option, is_set in (("mode 'slow'", self.mode == "slow"), ("a stickiness", self.stickiness > 0)):
            if is_set and not self.sees_itself:
                raise ValueError(
                    f"{self.name}: {option} needs a previous state, which the observed node sees if it is recurrent"
                )
        return self

    @property
    def sees_itself(self) -> bool:
        """Whether the kernel's first axis is the node's own previous state."""
        return self.recurrent or not self.observed
