"""Log your LLM traffic in the background, and lose nothing silently.

`import banyan_hp as banyan` is the Banyan client: `configure()`, `get_prompt()`, `log_prompt()`.
"""

from ._version import __version__
from .banyan import (
    PromptStackLogger,
    configure,
    flush,
    get_prompt,
    get_stats,
    health,
    log,
    log_prompt,
    shutdown,
)
from .engine.flushing import FlushResult
from .errors import AuthenticationError, BanyanHPError, ConfigurationError, DeliveryError
from .prompts import PromptData

__all__ = [
    "AuthenticationError",
    "BanyanHPError",
    "ConfigurationError",
    "DeliveryError",
    "FlushResult",
    "PromptData",
    "PromptStackLogger",
    "__version__",
    "configure",
    "flush",
    "get_prompt",
    "get_stats",
    "health",
    "log",
    "log_prompt",
    "shutdown",
]
