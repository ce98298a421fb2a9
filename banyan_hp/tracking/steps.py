"""One step of an interaction."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..engine.records.freeze import freeze
from .fields import as_text_later
from .span import Span
from .timing import Clock

if TYPE_CHECKING:
    from .interaction import Interaction
    from .sinks import Sink

__all__ = ["Step"]


class Step(Span):
    """One step of an interaction, measured by its `with`. Made by `Interaction.step` and the clients' `step`.

    Attributes:
        response: as of an interaction.
        metadata: likewise; goes to `step_details` in the interaction's metadata.
        number: in the order of opening, from 1; `id` on the wire.
    """

    __slots__ = ("_children", "_question", "fields", "interaction", "number", "type")

    def __init__(
        self,
        sink: Sink[Any],
        type: str,  # noqa: A002 - the wire's name
        question: Any,
        *,
        interaction: Interaction[Any] | None = None,
        parent: Span | None = None,
        llm_model: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        fields: Mapping[str, Any] | None = None,
        clock: Clock = perf_counter,
    ) -> None:
        super().__init__(sink, parent, llm_model, metadata, clock)
        self.type = type
        self.fields = fields or {}
        self.interaction = interaction
        self.number = 1 if interaction is None else interaction.number_step()
        self._question = as_text_later(question)
        self._children: list[Step] = []

    @property
    def question(self) -> Any:
        """What it was asked, or what the interaction was."""
        if self._question is None and self.interaction is not None:
            return self.interaction.question
        return self._question

    def hold(self) -> None:
        """As of every span, and its fields."""
        super().hold()
        if self.fields:
            self.fields = freeze(dict(self.fields)).value

    def more(self) -> dict[str, Any]:
        """Its details, with its number and that of the step it was made in; empty if there are none."""
        inside = {"parent": self.parent.number} if isinstance(self.parent, Step) else {}
        more = {**inside, **self.details()}
        return {"id": self.number, **more} if more else {}

    def _inside(self) -> list[Span]:
        return list(self._children)

    def _log(self) -> None:
        if self.interaction is None or not self.interaction.take(self):
            self.sink.log_step(self)
        elif isinstance(self.parent, Step):
            self.parent._children.append(self)

    def __repr__(self) -> str:
        return f"<Step {self.number} {self.type!r}, {'ended' if self._finished else 'open'}>"
