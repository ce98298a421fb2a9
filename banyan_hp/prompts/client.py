"""Which prompt a caller gets: the backend's last one, an experiment's version of it, or the fallback."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import logs
from ..engine.delivery.stepwise import run
from ..engine.http.transport import HTTPTransport
from ..experiments import Experiment, Version, input_hash
from ..foreign import is_deliberate, trouble, type_name
from ..logs import say, warn
from ..settings import PromptSettings
from .cache import Found, PromptCache
from .counters import PromptCounters
from .data import UNSET, Fallback, FallbackValue, PromptData, Unset
from .fetching import Backend
from .queries import Endpoint, ExperimentQuery, FetchedPrompt, Implied, PromptQuery, RouteQuery, Sticky
from .store import Store

MOST_SAID_MISSING = 100  # prompts: names that an application makes up don't fill its log
INPUT_HASH = "input_hash"
ROUTED_HERE = {1: "local/1", 2: "local/2"}  # by allocation


class PromptClient:
    """Prompts and experiments of one destination. Thread-safe. Never raises for trouble with the backend.

    Args:
        endpoint: URL, key and headers.
        settings: times and bounds.
        directories: where the last responses are kept for the next process, and where an earlier one may have
            kept them; without any they are in memory only.
        threaded: False fetches on the caller's thread.
        connect: makes the transport for the fetches.
        on_trouble: called with a text when a fetch has failed.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        settings: PromptSettings,
        directories: Sequence[Path],
        *,
        threaded: bool = True,
        connect: Callable[[str, float, int], HTTPTransport] = HTTPTransport,
        on_trouble: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._on_trouble = on_trouble
        self._has_warned = {"unrouted": False, "disabled": False}
        self._said_missing: set[tuple[str, str]] = set()
        self._timeout = settings.prompt_timeout
        self.size = settings.prompt_cache_size
        self._counters = PromptCounters()
        self._backend = Backend(endpoint, settings.prompt_timeout, connect)
        self.cache: PromptCache = PromptCache(
            self._backend,
            Store(*directories),
            settings,
            threaded=threaded,
            on_result=self._note_result,
            on_fork=self._counters.reset,
        )

    def get(self, query: PromptQuery, fallback: Fallback | Unset, *, use_cache: bool) -> PromptData | None:
        """The prompt as the ladder has it: fresh, stale, from disk, the fallback, None."""
        found = self.cache.get(query, use_cache=use_cache, patient=fallback is UNSET)
        prompt = self.prompt(found, query, fallback)
        if prompt is None:
            self._say_why("get_prompt", query, found, fallback)
        return prompt

    async def aget(
        self, query: PromptQuery, fallback: Fallback | Unset, *, use_cache: bool
    ) -> PromptData | None:
        """`get` on the running event loop: fetches, and a fallback that is a function, run on our threads."""
        found = self.cache.cached(query) if use_cache else None
        if found is None:
            found = await self._fetched(query, use_cache=use_cache, patient=fallback is UNSET)
        if not callable(fallback):
            prompt = self.prompt(found, query, fallback)
        else:
            prompt = self.prompt(found, query, UNSET)
            if prompt is None:
                prompt = await self.afall_back(fallback, query)
        if prompt is None:
            self._say_why("aget_prompt", query, found, fallback)
        return prompt

    def _say_why(
        self, call: str, query: PromptQuery, found: Found[FetchedPrompt] | None, fallback: Fallback | Unset
    ) -> None:
        """The caller gets None. Who gave a fallback, if only None, knows that there may be no prompt."""
        if found is None:
            self._leave_reason(f"{call}({query.name!r})")
        elif fallback is UNSET:
            wanted = (("version", query.version), ("label", query.label), ("project", query.project))
            also = "".join(f", {name} {value!r}" for name, value in wanted if value is not None)
            what = f"prompt (branch {query.branch!r}{also}). Check the name, `banyan-hp prompts ls`"
            self._say_missing(f"{call}({query.name!r})", what)

    def _say_missing(self, call: str, what: str) -> None:
        """The backend has no such thing: said once for each."""
        if (call, what) in self._said_missing or len(self._said_missing) >= MOST_SAID_MISSING:
            return
        self._said_missing.add((call, what))
        say(
            logging.WARNING,
            "%s returns None: %s has no such %s, and whether the key is of the right project",
            *(call, self._backend.endpoint.base_url, what),
        )

    def _leave_reason(self, call: str) -> None:
        """Nothing is known, because of trouble with the backend."""
        problem = self.cache.problem
        if problem is None:
            problem = f"{self._backend.endpoint.base_url} did not respond in time"
            self._on_trouble(problem)
        warn("prompt", "%s returns None: %s", call, problem)

    def disabled(self, query: PromptQuery) -> PromptData | None:
        """What an earlier process has left on disk, where logging is switched off and nobody is asked."""
        found = self.cache.kept(query)
        prompt = self._routed(found, query.sticky) if found is not None else None
        if prompt is None:
            self._say_once(
                "disabled",
                "get_prompt(%r) returns None: enabled=False, and there is no copy on disk. Pass fallback=",
                query.name,
            )
        return prompt

    def _say_once(self, kind: str, message: str, *args: object) -> None:
        if not self._has_warned[kind]:
            self._has_warned[kind] = True
            warn(f"prompts {kind}", message, *args)

    async def _fetched(
        self, query: PromptQuery, *, use_cache: bool, patient: bool
    ) -> Found[FetchedPrompt] | None:
        from ..engine.delivery import loops  # who does not use it does not pay for it

        steps = self.cache.get_stepwise(query, use_cache=use_cache, patient=patient)
        if self.cache.threaded:
            return await loops.drive(steps)
        return await loops.on_few_threads(lambda: run(steps))

    async def afall_back(self, fallback: Fallback, query: PromptQuery) -> PromptData | None:
        """`fall_back`; a function, which may block, is called on a thread."""
        from ..engine.delivery import loops

        if not callable(fallback):
            return self.fall_back(fallback, query)
        return await loops.on_few_threads(lambda: self.fall_back(fallback, query))

    def prompt(
        self, found: Found[FetchedPrompt] | None, query: PromptQuery, fallback: Fallback | Unset
    ) -> PromptData | None:
        """The user's version of what was found, or else the fallback."""
        prompt = self._routed(found, query.sticky) if found is not None else None
        if prompt is None and fallback is not UNSET:
            prompt = self.fall_back(fallback, query)
        if logs.everything:
            logs.debug("the prompt %r: %s", query.name, _described(prompt))
        return prompt

    def fall_back(self, fallback: Fallback, query: PromptQuery) -> PromptData | None:
        """The prompt that the fallback gives, counted."""
        value = self._called(fallback, query.name) if callable(fallback) else fallback
        if value is None:
            return None
        self._counters.count("prompts_fallback")
        if isinstance(value, PromptData):
            return replace(value, source="fallback")
        return PromptData(
            "", query.name, value, branch=query.branch, project=query.project, source="fallback"
        )

    def failed(self, error: Exception, name: object, fallback: Fallback | Unset = UNSET) -> PromptData | None:
        """The fallback, after a caller's own objects raised. For the outer guard of a public call.

        Counts and logs the error; re-raises one that is meant to stop the calling thread.
        """
        if is_deliberate(error):
            raise error
        self.cache.count_error()
        warn("bad question", "a prompt could not be asked for: %s", trouble(error))
        if fallback is UNSET:
            return None
        asked = name if type(name) is str else ""
        return self.fall_back(fallback, PromptQuery(asked, None, "main", None, ()))

    def experiment(
        self,
        experiment_id: str,
        sticky_values: Mapping[str, str],
        input_text: str | None,
        *,
        use_cache: bool = True,
    ) -> PromptData | None:
        """The version of the experiment's prompt that a user gets, by the server's routing."""
        found = self.cache.get(ExperimentQuery(experiment_id), use_cache=use_cache)
        if found is None:
            self._leave_reason(f"experiment({experiment_id!r})")
        details = found[0].value if found is not None else None
        if details is None:
            if found is not None:
                what = "experiment. Check the id, `banyan-hp experiments ls`"
                self._say_missing(f"experiment({experiment_id!r})", what)
            return None
        default = PromptQuery(details.prompt_name, None, details.branch, details.project, ())
        value = sticky_values.get(details.sticky_type)
        if value is None and details.sticky_type == INPUT_HASH and input_text is not None:
            value = input_hash(input_text)
        if details.running and value is not None:
            wanted = (experiment_id, details.sticky_type, value, details.prompt_name, details.branch)
            routed = self.cache.get(RouteQuery(*wanted), use_cache=use_cache)
            if routed is not None and routed[0].value is not None:
                return self._routed(routed, ())
            if routed is not None:
                self._note_unrouted(details.prompt_name)
        elif details.running:
            self._counters.count("experiment_key_missing")
        return self.get(default, UNSET, use_cache=use_cache)

    def no_value(self) -> None:
        """Count a call for a user without any sticky value."""
        self._counters.count("experiment_key_missing")

    def prefetch(self, queries: Iterable[PromptQuery]) -> int:
        """Fetch several at the same time and wait for them, within one timeout; how many are there."""
        deadline = time.monotonic() + self._timeout
        wanted = list(queries)
        fetches = [self.cache.start(each) for each in wanted if time.monotonic() < deadline]
        for fetch in fetches:
            fetch.done.wait(max(0.0, deadline - time.monotonic()))
        return sum(map(self.cache.has, wanted))

    def stats(self) -> dict[str, Any]:
        return {**self._counters.stats(), **self.cache.counters.stats()}

    # -- routing ----------------------------------------------------------------------------------------

    def _routed(self, found: Found[FetchedPrompt], sticky: Sticky) -> PromptData | None:
        entry, source = found
        fetched = entry.marked(source)
        if fetched is None:
            return None
        prompt = fetched.prompt
        if prompt.experiment_id is not None:
            self._counters.exposed(prompt.experiment_id, prompt.experiment_version_id)
            return prompt
        if sticky and fetched.unrouted and type(sticky) is not Implied:
            self._note_unrouted(prompt.name)
        return self._routed_here(fetched, sticky) if sticky and fetched.experiments else prompt

    def _note_unrouted(self, name: str) -> None:
        """Sticky values were given in vain."""
        self._counters.count("experiments_unrouted")
        base_url = self._backend.endpoint.base_url
        self._say_once(
            "unrouted",
            "%s routes no experiments: sticky values have no effect, all users get the default version of %r",
            base_url,
            name,
        )

    def _routed_here(self, fetched: FetchedPrompt, sticky: Sticky) -> PromptData:
        """By the first of the user's keys that an experiment goes by."""
        for key, value in sticky:
            for experiment in fetched.experiments:
                if experiment.sticky_type == key:
                    return self._assigned(fetched.prompt, experiment, value)
        self._counters.count("experiment_key_missing")
        return fetched.prompt

    def _assigned(self, prompt: PromptData, experiment: Experiment, value: str) -> PromptData:
        version = experiment.version_for(value)
        if version is None:
            return prompt
        self._counters.exposed(experiment.experiment_id, version.experiment_version_id)
        return _at(prompt, experiment, version, value)

    # -- fallback ---------------------------------------------------------------------------------------

    def _called(self, fallback: Callable[[], FallbackValue], name: str) -> FallbackValue:
        try:
            value: object = fallback()
        except Exception as error:
            if is_deliberate(error):
                raise
            self._counters.count("fallback_errors")
            warn("fallback", "the fallback of the prompt %r failed: %s", name, trouble(error))
            return None
        if value is None or isinstance(value, (str, PromptData)):
            return value
        self._counters.count("fallback_errors")
        wrong = type_name(value)
        warn("fallback", "the fallback of %r must return a str, a PromptData or None, was %s", name, wrong)
        return None

    def _note_result(self, value: object) -> None:
        """Report a failure; count and log the experiments of a fetched prompt that can't be used."""
        if isinstance(value, str):
            self._on_trouble(value)
        problems = value.ignored if isinstance(value, FetchedPrompt) else ()
        for _ in problems:
            self._counters.count("experiments_ignored")
        if problems:
            more = f" (and {len(problems) - 1} more like it)" if len(problems) > 1 else ""
            warn("experiment", "%s%s", self._backend.clean(problems[0]), more)


def _described(prompt: PromptData | None) -> str:
    """For a debug line: where it comes from and which version it is, without the user that it is for."""
    if prompt is None:
        return "none, get_prompt returns None"
    routed = f", experiment {prompt.experiment_id} by {prompt.routed_by}" if prompt.experiment_id else ""
    return f"{prompt.source}, version {prompt.version}{routed}"


def _at(prompt: PromptData, experiment: Experiment, version: Version, value: str) -> PromptData:
    """The prompt at an experiment's version. By position: this runs at each call of each user."""
    return PromptData(
        prompt.prompt_id,
        prompt.name,
        version.content,
        version.version,
        prompt.branch,
        prompt.project,
        prompt.enable_logging,
        prompt.metadata,
        experiment.experiment_id,
        version.experiment_version_id,
        experiment.sticky_type,
        value,
        ROUTED_HERE[experiment.split.allocation],
        prompt.source,
        prompt.fetched_at,
        version.config,
        version.messages,
    )
