"""Lines of the standard library's logging as records: warnings and errors, each with its exception.

export BANYAN_API_KEY=psk_… BANYAN_BASE_URL=http://127.0.0.1:8787
python examples/logging_handler.py
"""

import logging
import logging.config

import banyan_hp as banyan

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stdout"},
        "banyan": {"class": "banyan_hp.integrations.logging.BanyanHandler", "level": "WARNING"},
    },
    "root": {"handlers": ["console", "banyan"], "level": "INFO"},
}
log = logging.getLogger("shop.answers")


def answer(question: str, session: str) -> str:
    """Stands in for your application."""
    log.info("a question of %d characters", len(question))  # below the handler's level
    if not question:
        log.warning("an empty question", extra={"session_id": session})
    try:
        return f"{100 / len(question):.0f} %"
    except ZeroDivisionError:
        log.exception("no answer", extra={"session_id": session, "user_id": "u1"})
        return "sorry"


if __name__ == "__main__":
    logging.config.dictConfig(LOGGING)
    answer("How likely is rain?", session="s1")
    answer("", session="s2")
    print("delivered:", bool(banyan.flush(timeout=10)))
