"""Log your LLM traffic in the background, and lose nothing silently.

`import banyan_hp as banyan` is the Banyan client: `configure()`, `get_prompt()`, `log_prompt()`.
`from banyan_hp import HuggingPlace` is the HuggingPlace client.
"""

from ._version import __version__
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
    invalidate,
    log,
    log_prompt,
    prefetch,
    shutdown,
)
from .engine.flushing import FlushResult
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

__all__ = [
    "AuthenticationError",
    "BanyanHPError",
    "ConfigurationError",
    "DeliveryError",
    "FlushResult",
    "HuggingPlace",
    "HuggingPlaceSDKError",
    "MissingKeyError",
    "NetworkError",
    "PromptData",
    "PromptStackLogger",
    "RateLimitError",
    "Receipt",
    "RenderError",
    "ServerError",
    "Session",
    "ValidationError",
    "__version__",
    "aflush",
    "aget_prompt",
    "ashutdown",
    "clear_cache",
    "configure",
    "experiment",
    "flush",
    "get_prompt",
    "get_stats",
    "health",
    "input_hash",
    "install_signal_handlers",
    "invalidate",
    "log",
    "log_prompt",
    "prefetch",
    "shutdown",
]
