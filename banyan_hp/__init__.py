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
    configure,
    flush,
    get_prompt,
    get_stats,
    health,
    interaction,
    log,
    log_prompt,
    shutdown,
    step,
    trace,
    wrap_anthropic,
    wrap_openai,
)
from .engine.flushing import FlushResult
from .errors import (
    AuthenticationError,
    BanyanHPError,
    ConfigurationError,
    DeliveryError,
    HuggingPlaceSDKError,
    MissingKeyError,
    NetworkError,
    RateLimitError,
    ServerError,
    ValidationError,
)
from .huggingplace import HuggingPlace, Session
from .prompts import PromptData
from .receipts import Receipt
from .tracking.context import context
from .tracking.interaction import Interaction
from .tracking.steps import Step

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
    "ServerError",
    "Session",
    "Step",
    "ValidationError",
    "__version__",
    "aflush",
    "aget_prompt",
    "ashutdown",
    "configure",
    "context",
    "flush",
    "get_prompt",
    "get_stats",
    "health",
    "interaction",
    "log",
    "log_prompt",
    "shutdown",
    "step",
    "trace",
    "wrap_anthropic",
    "wrap_openai",
]
