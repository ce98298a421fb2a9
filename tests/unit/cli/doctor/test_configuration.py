"""Settings, where each came from, and that no key is shown wherever it stands."""

from __future__ import annotations

import argparse

import pytest

from banyan_hp import local_keys
from banyan_hp.cli.doctor.arguments import add_doctor
from banyan_hp.cli.doctor.configuration import COMMON_VARIABLES, VARIABLES, Configuration
from banyan_hp.cli.doctor.findings import Finding, State
from tests.support import surface

KEY = "psk_0123456789abcdef"


def look(*arguments: str) -> dict[str, Finding]:
    parser = argparse.ArgumentParser()
    add_doctor(parser.add_subparsers())
    found = Configuration(parser.parse_args(["doctor", *arguments])).findings
    return {finding.topic: finding for finding in found}


def test_it_knows_every_variable_that_the_package_reads() -> None:
    """One that it does not know would be called a mistake. A new one belongs into `COMMON_VARIABLES`."""
    known = {*COMMON_VARIABLES, *(name for each in VARIABLES.values() for name in each.values())}
    of_django = {"BANYAN_HP"}  # a setting in its module, no variable
    assert known == set(surface.VARIABLES.values()) - of_django


def test_an_option_wins_over_the_environment_and_that_over_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in the clients; blank is not given."""
    monkeypatch.setenv("BANYAN_BASE_URL", "http://one.example")
    monkeypatch.setenv("BANYAN_PROJECT_ID", " ")
    found = look("--base-url", "http://two.example/", "--api-key", KEY)
    assert found["base_url"].found == "http://two.example (--base-url)"
    assert found["api_key"].found.endswith("(--api-key)")
    assert found["project_id"].found == "none (default)"
    assert look()["base_url"].found == "http://one.example (environment: BANYAN_BASE_URL)"


@pytest.mark.parametrize("key", [KEY, "no-prefix-0123456789"])
@pytest.mark.parametrize("option", ["--base-url", "--project-id", "--org-id", "--ca-bundle"])
@pytest.mark.parametrize("client", ["banyan", "huggingplace"])
def test_no_key_is_shown(client: str, option: str, key: str) -> None:
    """Not even where somebody has put it into another setting."""
    found = look("--client", client, "--api-key", key, option, key)
    assert key not in str(found)


def test_the_client_is_the_one_whose_key_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Banyan where both are, or none."""
    assert look()["client"].found.startswith("banyan")
    monkeypatch.setenv("HUGGINGPLACE_API_KEY", KEY)
    assert look()["client"].found.startswith("huggingplace")
    monkeypatch.setenv("BANYAN_API_KEY", KEY)
    assert look()["client"].found.startswith("banyan")
    assert look("--client", "huggingplace")["client"].found == "huggingplace (--client)"


def test_a_missing_organisation_and_key_are_two_faults() -> None:
    """Each with its variable."""
    found = look("--client", "huggingplace")
    assert (found["api_key"].state, found["org_id"].state) == (State.WRONG, State.WRONG)
    assert "HUGGINGPLACE_ORG_ID" in found["org_id"].advice


def test_a_pair_of_files_is_a_client_certificate() -> None:
    """Checked as the setting is."""
    assert "client_cert" in look("--client-cert", "/none/a.pem", "/none/b.pem")["settings"].found


def test_the_key_of_a_backend_on_this_machine_is_found() -> None:
    """As clients find it."""
    local_keys.keep("http://127.0.0.1:8787", KEY)
    found = look("--base-url", "http://localhost:8787")["api_key"]
    assert found.state is State.GOOD
    assert "kept by a backend on this machine" in found.found
