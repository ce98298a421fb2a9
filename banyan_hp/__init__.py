"""Log your LLM traffic in the background, and lose nothing silently.

`import banyan_hp as banyan` is the Banyan client: `configure()`, `get_prompt()`, `log_prompt()`.
`from banyan_hp import HuggingPlace` is the HuggingPlace client.

A name's module is imported when the name is first used: an application that uses one client does not load the
other.
"""

import typing as _typing

from ._version import __version__ as __version__

if _typing.TYPE_CHECKING:  # type checkers and editors see the names in each module's __all__
    from .clients.banyan import *
    from .clients.huggingplace import *
    from .clients.prompt_logger import *
    from .clients.receipts import *
    from .clients.results import *
    from .engine.delivery.waiters import *
    from .engine.process.exit import *
    from .engine.process.signals import *
    from .errors import *
    from .experiments import *
    from .prompts.data import *
    from .tracking.context import *
    from .tracking.interaction import *
else:
    import importlib as _importlib

    _NAMES_OF = {
        ".clients.banyan": (
            "aflush aget_prompt ashutdown clear_cache configure experiment experiment_results "
            "feedback_token flush get_prompt get_stats health interaction invalidate log log_prompt "
            "prefetch score shutdown step trace wrap_anthropic wrap_google_genai wrap_mistral wrap_openai"
        ),
        ".engine.delivery.waiters": "FlushResult",
        ".engine.process.exit": "drain",
        ".engine.process.signals": "install_signal_handlers",
        ".errors": (
            "AuthenticationError BanyanHPError ConfigurationError DeliveryError HuggingPlaceSDKError "
            "MissingKeyError NetworkError RateLimitError RenderError ServerError ValidationError"
        ),
        ".experiments": "input_hash",
        ".clients.huggingplace": "HuggingPlace Session",
        ".prompts.data": "PromptData",
        ".clients.prompt_logger": "PromptStackLogger",
        ".clients.receipts": "Receipt",
        ".clients.results": "ExperimentResults",
        ".tracking.context": "context",
        ".tracking.interaction": "Interaction Step",
    }
    _MODULE_OF = {name: module for module, names in _NAMES_OF.items() for name in names.split()}
    __all__ = sorted([*_MODULE_OF, "__version__"])

    def __getattr__(name: str) -> object:
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(_importlib.import_module(_MODULE_OF[name], __name__), name)
        return value

    def __dir__() -> list[str]:
        return __all__
