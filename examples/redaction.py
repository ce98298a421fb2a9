"""Personal data and secrets are removed before a record leaves the process; some records have no texts.

    export BANYAN_API_KEY=psk_… BANYAN_BASE_URL=http://127.0.0.1:8787 REDACTION_SALT=…
    python examples/redaction.py

With REDACTION_SALT (16 bytes or more) values become keyed hashes, so that equal ones can be told.
"""

import os

import banyan_hp as banyan
from banyan_hp import redact


def main() -> None:
    banyan.configure(
        before_send=redact.combine(
            redact.emails(),
            redact.phones(),
            redact.credit_cards(),
            redact.ibans(),
            redact.api_keys(),
            redact.fields("password"),
            redact.pattern(r"EMP-[0-9]{6}", "employee number"),
            salt=os.environ.get("REDACTION_SALT"),
        ),
        content_off_prompts=["medical-intake"],
    )
    banyan.log_prompt(
        input="I am alice@example.com (EMP-123456), my card is 4111 1111 1111 1111.",
        output="Thank you. We call +49 151 12345678.",
        metadata={"request": {"user": "alice", "password": "hunter2"}},
    )
    banyan.log_prompt(input="My knee hurts.", output="Since when?", prompt_name="medical-intake")
    delivered = banyan.flush(timeout=5)
    print("delivered:", bool(delivered))
    for kind, count in sorted(banyan.get_stats()["redactions"].items()):
        print(f"{kind}: {count}")


if __name__ == "__main__":
    main()
