"""What the answer to a fetched prompt says of experiments, by the backend's routing mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from banyan_hp.server.experiments import Experiments
from banyan_hp.server.modes import RoutingMode
from banyan_hp.server.prompts import Prompt


@dataclass(frozen=True, slots=True)
class PromptRouting:
    """The fields that experiments add to a prompt's own, or put in their place."""

    experiments: Experiments
    mode: RoutingMode

    def fields(self, prompt: Prompt, sticky: Sequence[tuple[str, str]], *, pinned: bool) -> dict[str, object]:
        """For a caller who sent these sticky pairs; `pinned`: who asked for a version by name."""
        if not sticky or self.mode is RoutingMode.NONE:
            return {}
        if pinned:  # whatever experiment runs, the caller gets the version it named
            return {"experiment_id": None}
        if self.mode is RoutingMode.CLIENT:
            return {"experiments": [each.as_configuration() for each in self.experiments.on(prompt)]}
        return self._assignment(prompt, sticky)

    def _assignment(self, prompt: Prompt, sticky: Sequence[tuple[str, str]]) -> dict[str, object]:
        running = self.experiments.running_on(prompt, sticky)
        variant = running[0].variant_for(running[1]) if running is not None else None
        if running is None or variant is None:
            return {"experiment_id": None}
        experiment, sticky_value = running
        return {
            "version": variant.version,
            "content": variant.content,
            "experiment_id": experiment.experiment_id,
            "experiment_version_id": variant.experiment_version_id,
            "sticky_key": experiment.sticky_type,
            "sticky_value": sticky_value,
        }
