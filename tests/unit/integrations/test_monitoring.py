"""The files for Prometheus and Grafana in `examples/monitoring`: they name what is exported, and work."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from banyan_hp.guide import page
from banyan_hp.integrations.families import FAMILIES

MONITORING = Path(__file__).parents[3] / "examples" / "monitoring"
EXPORTED = {each.sample_name for each in FAMILIES}
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))
QUERIES = [target["expr"] for each in DASHBOARD["panels"] for target in each["targets"]]


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\bbanyan_hp_\w+", text))


def promtool(*arguments: str) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("query", QUERIES)
def test_the_dashboard_asks_for_what_is_exported(query: str) -> None:
    """And for labels that are there."""
    assert names_in(query) <= EXPORTED
    labels = set(re.findall(r"\b(\w+)(?:=~|!=|=)\"", query))
    for names in re.findall(r"by \(([^)]*)\)", query):
        labels |= set(names.split(", "))
    of_family = {
        label for each in FAMILIES if each.sample_name in names_in(query) for label in each.all_labels
    }
    assert labels <= {"job", "instance"} | of_family


def test_the_dashboard_can_be_imported() -> None:
    """No panel on another, no id twice, no data source of ours."""
    panels = DASHBOARD["panels"]
    assert len({each["id"] for each in panels}) == len(panels)
    cells = [
        (x, y)
        for each in panels
        for x in range(each["gridPos"]["x"], each["gridPos"]["x"] + each["gridPos"]["w"])
        for y in range(each["gridPos"]["y"], each["gridPos"]["y"] + each["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    assert {each["datasource"]["uid"] for each in panels} == {"${datasource}"}
    variables = {each["name"] for each in DASHBOARD["templating"]["list"]}
    assert set(re.findall(r"\$(\w+)", " ".join(QUERIES))) - {"__rate_interval"} <= variables
    asked = " ".join(each.get("definition", "") for each in DASHBOARD["templating"]["list"])
    assert names_in(asked) <= EXPORTED


def test_prometheus_understands_the_dashboards_queries(tmp_path: Path) -> None:
    """As rules, with Grafana's variables filled in."""
    filled = [re.sub(r"\$\w+", ".*", query.replace("$__rate_interval", "5m")) for query in QUERIES]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(filled)]
    path = tmp_path / "rules.yml"  # JSON is YAML
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}), "utf-8")
    promtool("check", "rules", str(path))


def test_the_alerts_are_about_what_is_exported_and_explained() -> None:
    """Each in the guide, by its name, and tested."""
    text = (MONITORING / "alerts.yml").read_text("utf-8")
    assert names_in(text) - {"banyan_hp"} <= EXPORTED
    alerts = re.findall(r"- alert: (\w+)", text)
    assert len(alerts) == 9
    tested = (MONITORING / "alerts_test.yml").read_text("utf-8")
    guide = page("monitoring").text
    for alert in alerts:
        assert f"alertname: {alert}\n" in tested
        assert f"`{alert}`" in guide


def test_the_alerts_are_raised_when_they_should_be() -> None:
    """Prometheus' own unit tests of them, and its check of the configuration beside."""
    promtool("test", "rules", str(MONITORING / "alerts_test.yml"))
    promtool("check", "config", str(MONITORING / "prometheus.yml"))
