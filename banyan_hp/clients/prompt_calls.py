"""The calls for prompts and experiments, as a class that `PromptStackLogger` inherits."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, overload

from ..errors import BanyanHPError, ConfigurationError
from ..foreign import shown
from ..prompts.data import UNSET, Fallback, PromptData, Unset
from ..settings import Settings

if TYPE_CHECKING:
    from uuid import UUID

    from .questions import AskedPrompts, StickyContext


class _AtFirstUse:
    """The attribute `_prompts`. As `cached_property`, without a lock, which a fork might leave held.

    Two threads may make one each: `setdefault` keeps the first.
    """

    def __get__(self, logger: PromptCalls, _: type) -> AskedPrompts:
        prompts: AskedPrompts = logger.__dict__.setdefault("_prompts", logger._make_prompts())
        return prompts


class PromptCalls:
    """Checks arguments, and asks the prompts. Trouble with the backend is counted, never raised."""

    _settings: Settings
    _prompts = _AtFirstUse()  # their modules take as long to import as all that a log call needs

    def _make_prompts(self) -> AskedPrompts:
        raise NotImplementedError

    def _prompts_if_used(self) -> AskedPrompts | None:
        return self.__dict__.get("_prompts")

    @overload
    def get_prompt(
        self,
        name: str,
        version: str | None = None,
        branch: str | None = "main",
        use_cache: bool = True,
        sticky_context: StickyContext | None = None,
        project_id: str | None = None,
        *,
        fallback: str | PromptData,
        label: str | None = None,
    ) -> PromptData: ...

    @overload
    def get_prompt(
        self,
        name: str,
        version: str | None = None,
        branch: str | None = "main",
        use_cache: bool = True,
        sticky_context: StickyContext | None = None,
        project_id: str | None = None,
        fallback: Fallback | Unset = UNSET,
        label: str | None = None,
    ) -> PromptData | None: ...

    def get_prompt(
        self,
        name: str,
        version: str | None = None,
        branch: str | None = "main",
        use_cache: bool = True,
        sticky_context: StickyContext | None = None,
        project_id: str | None = None,
        fallback: Fallback | Unset = UNSET,
        label: str | None = None,
    ) -> PromptData | None:
        """Get a prompt by name, from the first of these that has it:

        1. the cache, if the backend confirmed the prompt within `prompt_cache_ttl`, or a `version` within
           `prompt_pinned_ttl`;
        2. the cache, at once, while a background thread asks the backend again;
        3. the backend, within `prompt_timeout`; threads that ask for the same prompt share one request;
        4. the disk, where an earlier process left the last good response;
        5. `fallback`;
        6. None.

        Args:
            name: any text; it is URL-quoted.
            version: a fixed version; no experiment applies. Default: the branch's current version. A version
                rarely changes, so the backend is asked only at the start and every `prompt_pinned_ttl`. If
                the backend responds with another version ("latest", say), the prompt is cached like any.
            branch: default "main".
            use_cache: False asks the backend even if the prompt is cached; steps 4 to 6 apply if that fails.
            sticky_context: e.g. `{"user_id": "user_123"}`, with any keys. A running experiment on one of
                these keys chooses the version; the first key that has an experiment counts. Values are
                strings, ints or UUIDs, compared as text: 1 and "1" are the same user. An empty value counts
                as missing, and so does None: an anonymous user. If the context has no experiment's key, or
                no value at all, the default version is returned, and the call counts as
                `experiment_key_missing`. Default: the `user_id` and `session_id` of the `context` around the
                call, if it has any; `{}` for none.
            project_id: a project other than the logger's.
            fallback: a text, a `PromptData`, or a function without arguments that returns one of them (or
                None). It is used where nothing else is left, also for a prompt that does not exist. An empty
                text is a fallback, too.
            label: the version that this label points to, "staging" say; no experiment applies. It excludes
                `version`. The response must repeat the label: a backend that knows no labels would serve
                everybody's version in its place, so that counts as not found.

        Returns:
            The prompt. None if the backend says that there is no such prompt (remembered for 5 s), or if
            nothing is known about it. A backend that can't be reached, or that refuses the key, is logged
            and counted as `prompt_errors`, never raised: `last_error` in the stats has the reason.

            With `enabled=False` nobody is asked: the `fallback`, else the copy on disk, else None.

        Raises:
            ConfigurationError: an argument is not as described; the message names it.
        """
        try:
            question = self._prompts.question(name, version, branch, project_id, sticky_context, label)
            if sticky_context and not question.sticky and not question.is_fixed and self._settings.enabled:
                self._prompts.no_value()
            if fallback is not UNSET:
                self._prompts.check_fallback(fallback)
            if not self._settings.enabled:
                prompt = None if fallback is UNSET else self._prompts.fall_back(fallback, question)
                return prompt if prompt is not None else self._prompts.disabled(question)
            return self._prompts.get(question, fallback, use_cache=bool(use_cache))
        except BanyanHPError:
            raise
        except Exception as error:  # noqa: BLE001 - the caller's objects may raise anything
            return self._prompts.failed(error, name, fallback)

    @overload
    async def aget_prompt(
        self,
        name: str,
        version: str | None = None,
        branch: str | None = "main",
        use_cache: bool = True,
        sticky_context: StickyContext | None = None,
        project_id: str | None = None,
        *,
        fallback: str | PromptData,
        label: str | None = None,
    ) -> PromptData: ...

    @overload
    async def aget_prompt(
        self,
        name: str,
        version: str | None = None,
        branch: str | None = "main",
        use_cache: bool = True,
        sticky_context: StickyContext | None = None,
        project_id: str | None = None,
        fallback: Fallback | Unset = UNSET,
        label: str | None = None,
    ) -> PromptData | None: ...

    async def aget_prompt(
        self,
        name: str,
        version: str | None = None,
        branch: str | None = "main",
        use_cache: bool = True,
        sticky_context: StickyContext | None = None,
        project_id: str | None = None,
        fallback: Fallback | Unset = UNSET,
        label: str | None = None,
    ) -> PromptData | None:
        """`get_prompt` without blocking the event loop; a cached prompt is returned at once.

        A `fallback` that is a function runs on a thread.
        """
        try:
            question = self._prompts.question(name, version, branch, project_id, sticky_context, label)
            if sticky_context and not question.sticky and not question.is_fixed and self._settings.enabled:
                self._prompts.no_value()
            if fallback is not UNSET:
                self._prompts.check_fallback(fallback)
            if not self._settings.enabled:
                prompt = None if fallback is UNSET else await self._prompts.afall_back(fallback, question)
                return prompt if prompt is not None else self._prompts.disabled(question)
            return await self._prompts.aget(question, fallback, use_cache=bool(use_cache))
        except BanyanHPError:
            raise
        except Exception as error:  # noqa: BLE001 - the caller's objects may raise anything
            return self._prompts.failed(error, name, fallback)

    def experiment(
        self,
        experiment_id: str,
        sticky_context: StickyContext | str | None = None,
        input_text: str | int | UUID | None = None,
        use_cache: bool = True,
        *,
        sticky_key: str | None = None,
        sticky_value: str | int | UUID | None = None,
    ) -> PromptData | None:
        """Get the version of an experiment's prompt that a user is routed to.

        Nothing is remembered between calls: pass the prompt on to `log_prompt(prompt_data=…)`.

        Args:
            experiment_id: the backend's id of the experiment.
            sticky_context: as in `get_prompt`; the experiment's `sticky_type` says which key counts. Or, as
                published, a key and its value in place of the text: `experiment(id, "user_id", "u1")`.
            input_text: for experiments by content: if the context has no `input_hash`, the sticky value is
                `banyan_hp.input_hash(input_text)`.
            use_cache: False asks the backend even if its response is cached.
            sticky_key: the published name of the key, in place of `sticky_context`.
            sticky_value: the published name of its value.

        Returns:
            The prompt. It has its default version if the experiment is not running, or if its key has no
            value (counted as `experiment_key_missing`). None if nothing is known about the experiment.

        Raises:
            ConfigurationError: an argument is not as described; the message names it.
        """
        try:
            name = self._prompts.checked_name("experiment_id", experiment_id)
            context, text = self._prompts.experiment_context(
                sticky_context, input_text, sticky_key, sticky_value
            )
            values = dict(self._prompts.sticky_texts(context))
            if not self._settings.enabled:
                return None
            return self._prompts.experiment(name, values, text, use_cache=bool(use_cache))
        except BanyanHPError:
            raise
        except Exception as error:  # noqa: BLE001 - the caller's objects may raise anything
            return self._prompts.failed(error, "")

    def prefetch(
        self,
        names: Iterable[str],
        branch: str | None = "main",
        project_id: str | None = None,
        label: str | None = None,
    ) -> int:
        """Fetch prompts in parallel, e.g. at start-up, so that no request has to wait for them.

        Waits at most `prompt_timeout` for all of them together (with `background_thread=False`, that and one
        fetch). If there are more names than the cache holds (`prompt_cache_size`), the first ones are
        fetched.

        Returns:
            How many of them are available, possibly from an earlier process's copy on disk.

        Raises:
            ConfigurationError: a name is empty or not a string, or `names` is one string.
        """
        try:
            if isinstance(names, str):
                raise ConfigurationError(f"names must be a list of names, was the string {shown(names)}")
            wanted = islice(iter(names), self._prompts.size)
            questions = [self._prompts.question(name, None, branch, project_id, {}, label) for name in wanted]
            return self._prompts.prefetch(questions) if self._settings.enabled else 0
        except BanyanHPError:
            raise
        except Exception as error:  # noqa: BLE001 - the caller's objects may raise anything
            self._prompts.failed(error, "")
            return 0

    def invalidate(self, name: str | None = None) -> None:
        """Make the next `get_prompt` of `name` (default: of any prompt) wait for the backend.

        The cached prompt is still used if the backend does not respond.

        Raises:
            ConfigurationError: `name` is not a string.
        """
        self._prompts.cache.invalidate(None if name is None else self._prompts.checked_text("name", name))

    def clear_cache(self) -> None:
        """Forget all prompts and experiments, also those on disk."""
        self._prompts.cache.clear()
