"""What `serve --demo` says: what was put in, and what to try next."""

from __future__ import annotations

from .loading import Loaded

_BLOCK = """\
import banyan_hp as banyan

banyan.configure({configured})
prompt = banyan.get_prompt("support-answer", sticky_context={{"user_id": "u-007"}})
banyan.log_prompt(input="Is an aloe safe for cats?", output="No.", prompt_data=prompt)
print(prompt.version, banyan.flush(timeout=5).delivered)
"""


def what_is_there(loaded: Loaded) -> str:
    """What was put in, in a few lines."""
    prompts = f"{len(loaded.prompts)} prompts in {loaded.versions} versions: {', '.join(loaded.prompts)}"
    talks = f"{loaded.interactions} HuggingPlace interactions in {loaded.sessions} sessions, with steps"
    return (
        f"demo: {loaded.name}, the last {loaded.days} days\n"
        f"  {prompts}\n"
        f"  {len(loaded.experiments)} experiments: {', '.join(loaded.experiments)}\n"
        f"  {loaded.calls} calls by {loaded.users} users and a nightly job; {talks}\n"
    )


def what_to_try(url: str, key: str | None) -> str:
    """Lines that work as they are; with a `key` of None the environment variable BANYAN_API_KEY has it."""
    configured = f'base_url="{url}"' if key is None else f'api_key="{key}", base_url="{url}"'
    shown = "$BANYAN_API_KEY" if key is None else key
    header = f'curl -H "X-API-Key: {shown}"'
    return (
        "try next, in another terminal:\n"
        f'  {header} "{url}/api/logs?limit=2"\n'
        f'  {header} "{url}/api/experiments/support-tone/usage"\n'
        "and in Python:\n\n" + _BLOCK.format(configured=configured)
    )
