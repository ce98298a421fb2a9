"""What the published Banyan README shows works as shown, but for the name of the import, key and host.

One program for each of its Python blocks, making the same calls; the prelude supplies what that README leaves
undefined. Each runs in a process of its own, against the local backend.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.backend import Backend

SEED = Path(__file__).parents[2] / "examples" / "seed.json"

PRELUDE = """
import os
import banyan_hp as banyan

user_input, content_hash, execution_time = "What is new?", banyan.input_hash("What is new?"), 12.5

def your_model_function(prompt, text):
    return f"{len(prompt)} characters of prompt, {text}"
"""

CONFIGURED = 'banyan.configure(api_key="psk_local", base_url=os.environ["BANYAN_BASE_URL"])\n'

# name -> (program, how many records arrive); the project is the one that the key opens
BLOCKS = {
    "three steps": (
        CONFIGURED
        + """
prompt_data = banyan.get_prompt("my-prompt", sticky_context={"user_id": "123"})
output = your_model_function(prompt_data.content, user_input)
banyan.log_prompt(input=user_input, output=output, prompt_data=prompt_data)
""",
        1,
    ),
    "key from the environment": (
        """
banyan.configure(api_key=os.getenv("BANYAN_API_KEY"))
assert banyan.get_prompt("my-prompt")
""",
        0,
    ),
    "key and project": (
        """
banyan.configure(api_key="psk_local", project_id="default")
assert banyan.get_prompt("my-prompt")
""",
        0,
    ),
    "basic usage": (
        CONFIGURED
        + """
prompt_data = banyan.get_prompt(name="prompt_name")
if prompt_data:
    output = your_model_function(prompt_data.content, user_input)
    banyan.log_prompt(
        input=user_input,
        output=output,
        prompt_data=prompt_data,
        model="gpt-3.5-turbo",
        metadata={"user_type": "new"},
    )
    banyan.flush(timeout=30)
    os._exit(0)  # all of it has been delivered
""",
        1,
    ),
    "experiments": (
        CONFIGURED
        + """
prompt_data = banyan.get_prompt("marketing-email", sticky_context={"user_id": "user_123"})
experiment_context = prompt_data.get_experiment_context()
if experiment_context:
    print(f"experiment {experiment_context['experiment_id']}")
else:
    print(f"default version {prompt_data.version}")
assert experiment_context["experiment_version_id"] and experiment_context["sticky_key"] == "user_id"
output = your_model_function(prompt_data.content, user_input)
banyan.log_prompt(
    input=user_input, output=output, prompt_data=prompt_data, model="gpt-4", duration_ms=execution_time
)
banyan.flush(timeout=30)
""",
        1,
    ),
    "several sticky keys": (
        CONFIGURED
        + """
prompt_data = banyan.get_prompt(
    "my-prompt",
    sticky_context={"user_id": "user_123", "session_id": "session_456", "input_hash": "content_hash"},
)
assert prompt_data
""",
        0,
    ),
    "sticky by user, content, custom key": (
        CONFIGURED
        + """
for sticky_context in (
    {"user_id": "user_123"}, {"input_hash": content_hash}, {"customer_id": "enterprise_client_1"}
):
    first = banyan.get_prompt("marketing-email", sticky_context=sticky_context, use_cache=False)
    assert banyan.get_prompt("marketing-email", sticky_context=sticky_context, use_cache=False) == first
""",
        0,
    ),
    "statistics": (
        CONFIGURED
        + """
banyan.log_prompt(input="a", output="b", blocking=True)
stats = banyan.get_stats()
assert (stats["logs_sent"], stats["queue_size"]) == (1, 0)
""",
        1,
    ),
    "flush and shutdown": (
        CONFIGURED
        + """
banyan.log_prompt(input="a", output="b")
banyan.flush(timeout=30)
banyan.log_prompt(input="c", output="d")
banyan.shutdown(timeout=30)
os._exit(0)
""",
        2,
    ),
    "a logger of one's own": (
        """
from banyan_hp import PromptStackLogger

logger = PromptStackLogger(
    api_key="psk_local",
    base_url=os.environ["BANYAN_BASE_URL"],
    project_id="default",
    max_retries=5,
    retry_delay=2.0,
    queue_size=2000,
    flush_interval=10.0,
)
prompt_data = logger.get_prompt("my-prompt")
logger.log_prompt(input="test", output="result", prompt_data=prompt_data)
""",
        1,
    ),
    "synchronous mode": (
        """
banyan.configure(api_key="psk_local", background_thread=False)
success = banyan.log_prompt(input="test", output="result", blocking=True)
assert success is True
os._exit(0)
""",
        1,
    ),
    "a prompt that does not exist": (
        CONFIGURED
        + """
try:
    prompt_data = banyan.get_prompt("non-existent-prompt")
    if not prompt_data:
        print("Prompt not found")
except Exception as error:
    raise SystemExit(f"it raised {error}")
""",
        0,
    ),
}


SAID = {"a prompt that does not exist": "banyan_hp: get_prompt('non-existent-prompt') returns None: "}


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with Backend(seed=SEED) as running:
        yield running


@pytest.mark.parametrize("name", BLOCKS)
def test_the_published_readmes_block_works(name: str, backend: Backend, tmp_path: Path) -> None:
    """It runs to its end with no word on stderr but those that are meant, and what it logs arrives."""
    program, records = BLOCKS[name]
    before = backend.count()
    environment = {
        "BANYAN_BASE_URL": backend.url,
        "BANYAN_API_KEY": backend.api_key,
        "BANYAN_HP_SPOOL_DIR": str(tmp_path / name.replace(" ", "-")),
    }
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + textwrap.dedent(program)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = finished.stderr.splitlines()
    assert finished.returncode == 0
    assert len(said) == (name in SAID), said
    assert not said or said[0].startswith(SAID[name])
    assert backend.count() - before == records
