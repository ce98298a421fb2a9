"""What `PromptStackLogger` offers of prompts and experiments, as a class that it inherits."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from ..errors import BanyanHPError, ConfigurationError
from ..foreign import shown
from ..prompts.client import UNSET, Fallback, PromptClient, Unset
from ..prompts.data import PromptData
from ..settings import Settings
from .arguments import (
    StickyContext,
    check_fallback,
    checked_name,
    checked_text,
    prompt_question,
    sticky_texts,
)


class PromptCalls:
    """Checks arguments, and asks the `PromptClient`. Trouble with the backend is counted, never raised."""

    _settings: Settings
    _prompts: PromptClient

    def get_prompt(
        self,
        name: str,
        version: str | None = None,
        branch: str = "main",
        use_cache: bool = True,
        sticky_context: StickyContext | None = None,
        project_id: str | None = None,
        fallback: Fallback | Unset = UNSET,
    ) -> PromptData | None:
        """A prompt by name, from the first of these that has it:

        1. the cache, if the backend confirmed it within `prompt_cache_ttl`, or a `version` within
           `prompt_pinned_ttl`;
        2. the cache, at once, while a thread in the background asks again;
        3. the backend, waiting at most `prompt_timeout`; threads that ask for the same wait for one request;
        4. the disk, where an earlier process left the last good answer;
        5. `fallback`;
        6. None.

        Args:
            name: any text; it is URL-quoted.
            version: a certain version; no experiment applies. As it is corrected or deleted seldom, the
                backend is asked seldom whether it still holds: at start and every `prompt_pinned_ttl`. One
                that the backend answers with another version ("latest", say) is asked for like any prompt.
                Default: the branch's current one.
            branch: default "main".
            use_cache: False asks the backend in any case, and takes the ladder's next rungs in trouble only.
            sticky_context: e.g. `{"user_id": "user_123"}`, or any other key. A running experiment that goes
                by one of these keys decides the version: the first key that one goes by counts. Values are
                strings, ints or UUIDs, and are taken as their text: 1 and "1" are the same user; an empty
                text counts as no value. Without a key that an experiment goes by, the default version is
                given and counted (`experiment_key_missing`).
            project_id: another project than the logger's.
            fallback: a text, a `PromptData`, or a function of no arguments that returns one (or None), for
                when there is nothing else. An empty text counts. A prompt that does not exist takes it, too.

        Returns:
            None if the backend says that there is no such prompt (remembered for 5 s), or if nothing is
            known of it. When the backend can't be asked, or refuses the key, that is logged and counted as
            `prompt_errors`, never raised.

        Raises:
            ConfigurationError: an argument is not as described; the message names it.
        """
        try:
            question = prompt_question(name, version, branch, project_id, sticky_context)
            if fallback is not UNSET:
                check_fallback(fallback)
            if not self._settings.enabled:
                return None if fallback is UNSET else self._prompts.fall_back(fallback, question)
            return self._prompts.get(question, fallback, use_cache=bool(use_cache))
        except BanyanHPError:
            raise
        except Exception as error:  # noqa: BLE001 - the caller's objects may raise anything
            return self._prompts.failed(error, name, fallback)

    async def aget_prompt(
        self,
        name: str,
        version: str | None = None,
        branch: str = "main",
        use_cache: bool = True,
        sticky_context: StickyContext | None = None,
        project_id: str | None = None,
        fallback: Fallback | Unset = UNSET,
    ) -> PromptData | None:
        """`get_prompt` without blocking the event loop: what is in the cache is given on the spot.

        A `fallback` that is a function is called on a thread.
        """
        try:
            question = prompt_question(name, version, branch, project_id, sticky_context)
            if fallback is not UNSET:
                check_fallback(fallback)
            if not self._settings.enabled:
                return None if fallback is UNSET else await self._prompts.afall_back(fallback, question)
            return await self._prompts.aget(question, fallback, use_cache=bool(use_cache))
        except BanyanHPError:
            raise
        except Exception as error:  # noqa: BLE001 - the caller's objects may raise anything
            return self._prompts.failed(error, name, fallback)

    def experiment(
        self,
        experiment_id: str,
        sticky_context: StickyContext | None = None,
        input_text: str | None = None,
    ) -> PromptData | None:
        """The version of an experiment's prompt that a user gets, as the server routes it.

        Keeps no state between calls: pass the prompt on to `log_prompt(prompt_data=…)`.

        Args:
            experiment_id: as the backend names it.
            sticky_context: as in `get_prompt`; the experiment's `sticky_type` says which key counts.
            input_text: for experiments by content, where no `input_hash` is in the context: its
                `banyan_hp.input_hash` is the sticky value.

        Returns:
            The prompt; at its default version if the experiment is not running, or there is no value for its
            key (counted as `experiment_key_missing`). None if nothing is known of the experiment.

        Raises:
            ConfigurationError: an argument is not as described; the message names it.
        """
        try:
            name = checked_name("experiment_id", experiment_id)
            text = None if input_text is None else checked_text("input_text", input_text)
            values = dict(sticky_texts(sticky_context))
            return self._prompts.experiment(name, values, text) if self._settings.enabled else None
        except BanyanHPError:
            raise
        except Exception as error:  # noqa: BLE001 - the caller's objects may raise anything
            return self._prompts.failed(error, "")

    def prefetch(self, names: Iterable[str], branch: str = "main", project_id: str | None = None) -> int:
        """Fetch prompts at the same time, at start-up say, so that no request has to wait for them.

        Of more names than the cache holds (`prompt_cache_size`) the first ones are fetched.

        Returns:
            How many of them are there, be it from an earlier process's disk copy. Waits at most
            `prompt_timeout` for all together (with `background_thread=False`: and one fetch).

        Raises:
            ConfigurationError: a name is empty or not a string, or `names` is one string.
        """
        try:
            if isinstance(names, str):
                raise ConfigurationError(f"names must be a list of names, was the string {shown(names)}")
            wanted = islice(iter(names), self._prompts.size)
            questions = [prompt_question(name, None, branch, project_id, None) for name in wanted]
            return self._prompts.prefetch(questions) if self._settings.enabled else 0
        except BanyanHPError:
            raise
        except Exception as error:  # noqa: BLE001 - the caller's objects may raise anything
            self._prompts.failed(error, "")
            return 0

    def invalidate(self, name: str | None = None) -> None:
        """Have the next `get_prompt` of `name` (default: of all prompts) wait for the backend.

        What is known stays the next best answer, should the backend not answer.

        Raises:
            ConfigurationError: `name` is not a string.
        """
        self._prompts.cache.invalidate(None if name is None else checked_text("name", name))

    def clear_cache(self) -> None:
        """Forget all prompts and experiments, those on disk, too."""
        self._prompts.cache.clear()
