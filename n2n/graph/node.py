"""A node of a latent graph: its states, its parents and how its kernel is drawn."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from n2n.utils.arrays import SUM_TOLERANCE
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
        stickiness: s in K <- s I + (1 - s) K, from 0 to 1, applied after the mode. It is the probability of staying
            without a draw. A latent with ``stickiness=1`` is frozen: it keeps the state that it has at t = 0, whatever
            its other fields, so its kernel is the identity, also in mode ``"context"``.
        recurrent: whether the observed node sees its own previous state; latent nodes always do.
        initial: ``(num_states,)``, the probability of each state of a frozen latent at t = 0. None gives all states the
            same probability.

    Raises:
        ValueError: if a field is invalid, a parent is repeated, a latent is ``recurrent``, the observed node has
            ``mode="slow"`` or a stickiness but does not see its own previous state, the observed node is frozen, a
            frozen latent has parents, which it would ignore, or a node that is not frozen has ``initial``.

    Examples:
        A frozen latent makes a mixture: in each sequence, Z follows the kernel of one of three regimes throughout, and
        ``n2n.filter`` averages over the regimes.

        >>> regime = Node("regime", 3, stickiness=1, initial=[0.5, 0.3, 0.2])
        >>> nodes = [regime, Node("Z", 4, ["regime"]), Node("X", 8, ["Z"], observed=True)]
        >>> mixture = n2n.Graph(nodes, initial="stationary")
    """

    positional: ClassVar[tuple[str, ...]] = ("name", "num_states", "parents")

    name: Annotated[str, Field(max_length=200)]
    num_states: Count
    parents: Ordered[str] = ()
    observed: bool = False
    mode: Mode = "default"
    kernel: Kernel = "full"
    alpha: Annotated[Positive, Field(ge=MIN_ALPHA)] = 1.0
    stickiness: Annotated[NonNegative, Field(le=1)] = 0.0
    recurrent: bool = False
    initial: Ordered[NonNegative] | None = None

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
        self._refuse_frozen()
        return self

    def _refuse_frozen(self) -> None:
        if self.frozen and self.observed:
            raise ValueError(
                f"{self.name}: stickiness 1 freezes the observed node, so all tokens would be equal; only a latent can "
                "be frozen"
            )
        if self.frozen and self.parents:
            raise ValueError(
                f"{self.name}: stickiness 1 freezes the state, so the parents {short_repr(list(self.parents))} have no "
                "effect; remove them, or use a stickiness below 1"
            )
        if self.initial is None:
            return
        if not self.frozen:
            raise ValueError(
                f"{self.name}: initial is for frozen latents, and stickiness is {self.stickiness:g} rather than 1; the "
                "graph's initial sets the law of other nodes"
            )
        total = sum(self.initial)
        if len(self.initial) != self.num_states or abs(total - 1) > SUM_TOLERANCE:
            raise ValueError(
                f"{self.name}: initial: saw {short_repr(list(self.initial))}, {len(self.initial)} numbers with sum "
                f"{total:.9g}; {self.num_states} probabilities with a sum of 1 are needed"
            )

    @model_serializer(mode="wrap")
    def _without_absent_initial(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit an initial of None, so that such a node has the same record and hash as before the field existed."""
        return {name: value for name, value in dump(self).items() if name != "initial" or value is not None}

    @property
    def frozen(self) -> bool:
        """Whether the node keeps the state that it has at t = 0."""
        return self.stickiness == 1

    @property
    def redrawn(self) -> bool:
        """Whether the kernel is redrawn for every sequence; that of a frozen latent is always the identity."""
        return self.mode == "context" and not self.frozen

    @property
    def sees_itself(self) -> bool:
        """Whether the kernel's first axis is the node's own previous state."""
        return self.recurrent or not self.observed
