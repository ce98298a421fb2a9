"""Nine mistakes that people make, each with `# mistake` on its line. Checked, never run.

`tests/unit/test_types.py` sees that mypy and pyright report each of them, and nothing else.
"""

from __future__ import annotations

import banyan_hp as banyan
from banyan_hp import HuggingPlace, PromptStackLogger


def settings() -> HuggingPlace:
    """Three misspelt names, a word that is not allowed, a number in quotes."""
    banyan.configure(api_key="psk_x", flush_intervall=5.0)  # mistake
    PromptStackLogger(api_key="psk_x", max_retry=5)  # mistake
    PromptStackLogger(api_key="psk_x", overflow="block")  # mistake
    banyan.configure(api_key="psk_x", batch_size="100")  # mistake
    return HuggingPlace(api_key="k", org_id="o", spool_directory="/tmp/spool")  # mistake


def stats() -> None:
    """A misspelt key."""
    print(banyan.get_stats()["log_sent"])  # mistake


def records(hp: HuggingPlace) -> None:
    """A misspelt field, one that no published client has, a step without what it needs."""
    hp.log({"user_promt": "q", "response": "a"})  # mistake
    hp.start_session("s").log({"user_prompt": "q", "response": "a", "customer": 5})  # mistake
    hp.log_step({"type": "sql", "user_question": "q"})  # mistake
