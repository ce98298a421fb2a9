"""What responses about prompts and experiments hold, for the API's document: see `response_models`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from .response_models import Next, Object, Time


class ChatMessage(BaseModel):
    """A message of a chat prompt."""

    role: str
    content: str
    name: str | None = None


class _Said(BaseModel):
    content: Annotated[str, Field(description="always a text, for a chat, too")]
    messages: Annotated[list[ChatMessage] | None, Field(description="of a chat")] = None
    config: Object | None = None


class ServedPrompt(_Said):
    """A prompt as clients fetch it."""

    prompt_id: str
    name: str
    version: str
    branch: str
    project: str
    enable_logging: bool
    metadata: Object


class ExperimentVersionShown(_Said):
    """A version within an experiment."""

    experiment_version_id: str
    version: str
    traffic_percentage: float


class Configuration(BaseModel):
    """What a client needs to route by itself."""

    experiment_id: str
    status: str
    sticky_type: str
    salt: str
    allocation: int
    versions: list[ExperimentVersionShown]
    slots: Annotated[
        dict[str, list[tuple[int, int]]] | None, Field(description="of each version, with allocation 2")
    ] = None


class FetchedPrompt(ServedPrompt):
    """A prompt, and what experiments add to it."""

    label: Annotated[str | None, Field(description="the one that was asked for")] = None
    experiment_id: str | None = None
    experiment_version_id: str | None = None
    sticky_key: str | None = None
    sticky_value: str | None = None
    experiments: Annotated[list[Configuration] | None, Field(description="where clients route")] = None


class ManagedPrompt(_Said):
    """A prompt, with the version that is served or was just made."""

    id: str
    project_id: str
    name: str
    version: str
    branch: str
    enable_logging: bool
    metadata: Object
    released: Annotated[str | None, Field(description="the version that is served without a label")]
    labels: Annotated[dict[str, str], Field(description="the version that each points to")]


class ListedPrompt(ManagedPrompt):
    """A prompt in a list."""

    newest: Annotated[str | None, Field(description="the newest version, draft or not")]


class PromptsPage(BaseModel):
    """Some prompts."""

    prompts: list[ListedPrompt]
    next: Next


class PromptVersion(_Said):
    """A version of a prompt."""

    version: str
    revision: Annotated[str, Field(description="stands for what the version says")]
    change_message: str | None
    author: Annotated[str, Field(description="the id of the key that posted it")]
    created_at: Time | None
    released_at: Annotated[Time | None, Field(description="null: it is a draft")]
    current: bool
    labels: list[str]


class VersionsPage(BaseModel):
    """Some versions of a prompt."""

    id: str
    versions: list[PromptVersion]
    next: Next


class RemovedPrompt(BaseModel):
    """A prompt that is gone."""

    id: str
    deleted: bool


# -- experiments ---------------------------------------------------------------------------------------------


class GuardShown(BaseModel):
    """A metric that no version may be much worse in than the control."""

    metric: str
    worse_by: Annotated[float, Field(description="as a part of the control's mean")]


class ShownExperiment(Configuration):
    """An experiment."""

    prompt_name: str
    branch: str
    project_id: str
    control: str | None
    primary_metric: str | None
    window_seconds: int
    guards: list[GuardShown]
    directions: dict[str, Literal["lower", "higher"]]


class StoredExperiment(ShownExperiment):
    """An experiment that was made or changed."""

    warnings: Annotated[
        list[str], Field(description="sentences, if any: metrics that nothing has measured yet")
    ] = []


class ExperimentsPage(BaseModel):
    """Some experiments."""

    experiments: list[ShownExperiment]
    next: Next


class MovesOfVersion(BaseModel):
    """Shares of all users, in percent, by what a change does to them."""

    stay: float
    leave: float
    join: float


class Moves(BaseModel):
    """What a change moves, in percent of all users."""

    moved_percentage: float
    new_percentage: float
    versions: dict[str, MovesOfVersion]


class DryRun(BaseModel):
    """What a change would do."""

    dry_run: Literal[True]
    moves: Moves
    experiment: ShownExperiment


class RoutedPrompt(BaseModel):
    """The version that a sticky value gets."""

    prompt: ServedPrompt
    selected_version_id: Annotated[str | None, Field(description="null: the prompt's released version")]


class UsageOfVersions(BaseModel):
    """How many calls came of each version."""

    experiment_id: str
    versions: dict[str, int]


class RemovedExperiment(BaseModel):
    """An experiment that is gone."""

    experiment_id: str
    deleted: bool
