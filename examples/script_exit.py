"""A script that logs and ends: flush explicitly, and know what became of the records.

    export BANYAN_API_KEY=psk_… BANYAN_BASE_URL=http://127.0.0.1:8787
    python examples/script_exit.py

Without the explicit flush, the exit itself would deliver what it can within `exit_timeout` (2 s) and leave
the rest on disk, where the next run picks it up.
"""

import sys

from banyan_hp import PromptStackLogger


def main() -> int:
    logger = PromptStackLogger()
    for number in range(10):
        logger.log_prompt(input=f"question {number}", output=f"answer {number}")
    if logger.flush(timeout=2):
        print("all 10 records were delivered")
        return 0
    result = logger.shutdown(timeout=2)  # one more attempt; what is left is on disk when it returns
    print(f"{result.spooled} records are on disk and will be sent later; {result.lost} were lost")
    return 1 if result.lost else 0


if __name__ == "__main__":
    sys.exit(main())
