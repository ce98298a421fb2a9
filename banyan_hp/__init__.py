"""Log your LLM traffic in the background, and lose nothing silently.

`import banyan_hp as banyan` is the Banyan client: `configure()`, `get_prompt()`, `log_prompt()`.
`from banyan_hp import HuggingPlace` is the HuggingPlace client.

A name's module is imported when the name is first used: who wants one client does not pay for the other.
"""

import importlib as _importlib
import typing as _typing

from ._version import __version__

if _typing.TYPE_CHECKING:
    from .banyan import (
        PromptStackLogger,
        aflush,
        aget_prompt,
        ashutdown,
        clear_cache,
        configure,
        experiment,
        flush,
        get_prompt,
        get_stats,
        health,
        interaction,
        invalidate,
        log,
        log_prompt,
        prefetch,
        shutdown,
        step,
        trace,
        wrap_anthropic,
        wrap_openai,
    )
    from .engine.flushing import FlushResult
    from .engine.lifecycle import drain
    from .engine.signals import install_signal_handlers
    from .errors import (
        AuthenticationError,
        BanyanHPError,
        ConfigurationError,
        DeliveryError,
        HuggingPlaceSDKError,
        MissingKeyError,
        NetworkError,
        RateLimitError,
        RenderError,
        ServerError,
        ValidationError,
    )
    from .experiments import input_hash
    from .huggingplace import HuggingPlace, Session
    from .prompts.data import PromptData
    from .receipts import Receipt
    from .tracking.context import context
    from .tracking.interaction import Interaction
    from .tracking.steps import Step

_NAMES_OF = {
    ".banyan": (
        "PromptStackLogger aflush aget_prompt ashutdown clear_cache configure experiment flush "
        "get_prompt get_stats health interaction invalidate log log_prompt prefetch shutdown step "
        "trace wrap_anthropic wrap_openai"
    ),
    ".engine.flushing": "FlushResult",
    ".engine.lifecycle": "drain",
    ".engine.signals": "install_signal_handlers",
    ".errors": (
        "AuthenticationError BanyanHPError ConfigurationError DeliveryError HuggingPlaceSDKError "
        "MissingKeyError NetworkError RateLimitError RenderError ServerError ValidationError"
    ),
    ".experiments": "input_hash",
    ".huggingplace": "HuggingPlace Session",
    ".prompts.data": "PromptData",
    ".receipts": "Receipt",
    ".tracking.context": "context",
    ".tracking.interaction": "Interaction",
    ".tracking.steps": "Step",
}
_MODULE_OF = {name: module for module, names in _NAMES_OF.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(_importlib.import_module(_MODULE_OF[name], __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "AuthenticationError",
    "BanyanHPError",
    "ConfigurationError",
    "DeliveryError",
    "FlushResult",
    "HuggingPlace",
    "HuggingPlaceSDKError",
    "Interaction",
    "MissingKeyError",
    "NetworkError",
    "PromptData",
    "PromptStackLogger",
    "RateLimitError",
    "Receipt",
    "RenderError",
    "ServerError",
    "Session",
    "Step",
    "ValidationError",
    "__version__",
    "aflush",
    "aget_prompt",
    "ashutdown",
    "clear_cache",
    "configure",
    "context",
    "drain",
    "experiment",
    "flush",
    "get_prompt",
    "get_stats",
    "health",
    "input_hash",
    "install_signal_handlers",
    "interaction",
    "invalidate",
    "log",
    "log_prompt",
    "prefetch",
    "shutdown",
    "step",
    "trace",
    "wrap_anthropic",
    "wrap_openai",
]
