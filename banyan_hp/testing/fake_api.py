"""What the fake backend responds to each call of the clients.

The same as the local backend (`banyan-hp serve`), as far as the clients ask: both run against one contract
suite. Shares no code with it but the rule of experiments.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
import uuid
import zlib
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, unquote

from ..experiments import RUNNING, experiment_from_config
from .fake_prompts import Experiments, Prompts, at
from .fake_records import INTERACTIONS, USAGES, Kind, Records
from .fake_scores import ASKED, FEEDBACK_PATH, SCORES_PATH, feedback_of, found
from .fake_server import RefusedError, Request, Response

USAGE_PATH = "/api/logs/prompt-usage"
INTERACTION_PATH = "/v2/chatgpt/store_generated_response"
_PROMPT_PATH = "/api/logs/prompt/"
_EXPERIMENT_PATH = "/api/experiments/"
_ASKED = ("branch", "version", "label", "sticky_key", "sticky_value")
Endpoint = Callable[[Request], Response]


class Api:
    """The routes that both clients call.

    Args:
        api_key: the one that is accepted.
        project: the one that the key opens.
        arrived: is notified of each new record.
    """

    def __init__(self, api_key: str, project: str, arrived: threading.Condition) -> None:
        self.prompts = Prompts(project)
        self.experiments = Experiments(self.prompts, project)
        self.records = Records(arrived)
        self._api_key = api_key
        self._project = project
        self._routes: dict[str, dict[str, Endpoint]] = {
            "/api/auth/validate": {"GET": self._validate},
            USAGE_PATH: {"POST": lambda request: self._single(request, USAGES)},
            f"{USAGE_PATH}/batch": {"POST": lambda request: self._batch(request, USAGES)},
            INTERACTION_PATH: {"POST": lambda request: self._single(request, INTERACTIONS)},
            f"{INTERACTION_PATH}/batch": {"POST": lambda request: self._batch(request, INTERACTIONS)},
            f"{_EXPERIMENT_PATH}route": {"POST": self._route},
            FEEDBACK_PATH: {"POST": self._feedback},
            SCORES_PATH: {"GET": self._scores},
        }

    def respond(self, request: Request) -> Response:
        """What the backend says to a request."""
        try:
            endpoint = self._endpoint(request)
            if endpoint != self._feedback:
                self._authenticate(request)
            if endpoint != _no_results:
                asked = _ASKED if endpoint == self._prompt else ASKED if endpoint == self._scores else ()
                _refuse_unknown(request, asked)
            return endpoint(request)
        except RefusedError as refusal:
            return refusal.response

    def _endpoint(self, request: Request) -> Endpoint:
        path = _path(request)
        methods = dict(self._routes.get(path, {}))
        if path.startswith(_PROMPT_PATH) and path != _PROMPT_PATH:
            methods["GET"] = self._prompt
        if path.startswith(_EXPERIMENT_PATH) and path != _EXPERIMENT_PATH:
            methods["GET"] = self._experiment if not path.endswith("/results") else _no_results
        if request.method not in methods:
            status, reason = (405, "Method Not Allowed") if methods else (404, "Not Found")
            raise RefusedError(status, f"{reason}: {request.method} {path}")
        return methods[request.method]

    def _authenticate(self, request: Request) -> None:
        sent = request.headers.get("x-api-key")
        if _path(request).startswith(INTERACTION_PATH):
            scheme, _, key = request.headers.get("authorization", "").partition(" ")
            sent = key.strip() if scheme.lower() == "bearer" else None
        if sent != self._api_key:
            raise RefusedError(
                401, "no API key" if sent is None else "the API key is not one of this backend's"
            )

        asked = request.headers.get("x-project-id")
        if asked and asked != self._project:
            raise RefusedError(
                403, f"X-Project-Id is {asked!r}, the API key is for project {self._project!r}"
            )

    def _validate(self, _request: Request) -> Response:
        return Response(200, {"valid": True, "project": self._project, "role": "admin"})

    def _prompt(self, request: Request) -> Response:
        query = _query(request)
        named = dict(query)
        prompt = self.prompts.find(_path(request)[len(_PROMPT_PATH) :], named.get("branch", "main"))
        sticky = _sticky(query)
        if "version" in named and "label" in named:
            raise RefusedError(400, "version and label exclude each other; give one of them")
        if "version" in named or "label" in named:
            find, wanted = (
                (self.prompts.at_version, named["version"])
                if "version" in named
                else (self.prompts.at_label, named["label"])
            )
            prompt = find(prompt, wanted)
            return _tagged(request, {**prompt, "experiment_id": None} if sticky else prompt)
        return _tagged(request, self.experiments.assigned(prompt, sticky) if sticky else prompt)

    def _experiment(self, request: Request) -> Response:
        return _tagged(request, self._configured(_path(request)[len(_EXPERIMENT_PATH) :]))

    def _configured(self, experiment_id: str) -> dict[str, Any]:
        if experiment_id not in self.experiments:
            raise RefusedError(404, f"experiment {experiment_id!r} not found")
        return self.experiments[experiment_id]

    def _route(self, request: Request) -> Response:
        body = _json(request)
        for name in ("experimentId", "stickyKey", "stickyValue", "apiKey"):
            if not isinstance(body, dict) or not isinstance(body.get(name), str):
                raise RefusedError(422, f"{name} must be a string")
        if body["apiKey"] != self._api_key:
            raise RefusedError(401, "apiKey is not one of this backend's")
        config = self._configured(body["experimentId"])
        if body["stickyKey"] != config["sticky_type"]:
            raise RefusedError(
                422, f"stickyKey must be {config['sticky_type']!r}, the experiment's sticky_type"
            )
        prompt = self.prompts.find(config["prompt_name"], config["branch"])
        running = config["status"] == RUNNING
        chosen = experiment_from_config(config).version_for(body["stickyValue"]) if running else None
        if chosen is None:
            return Response(200, {"prompt": prompt, "selected_version_id": None})
        routed = at(prompt, chosen)
        return Response(200, {"prompt": routed, "selected_version_id": chosen.experiment_version_id})

    # -- logging --------------------------------------------------------------------------------------------

    def _single(self, request: Request, kind: Kind) -> Response:
        body = _json(request)
        refusal = kind.refusal(body)
        if refusal is not None:
            raise RefusedError(kind.bad, refusal)
        record_id = request.headers.get("idempotency-key") or str(uuid.uuid4())
        time = request.headers.get("x-event-time")
        if time is not None and (late := _time_refusal(time)) is not None:
            raise RefusedError(kind.bad, late)
        return Response(*self.records.store(kind, record_id, time, body))

    def _feedback(self, request: Request) -> Response:
        status, score = feedback_of(_json(request), self._api_key)
        if isinstance(score, str):
            raise RefusedError(status, score)
        self.records.rate(score)
        return Response(status, {"stored": True})

    def _scores(self, request: Request) -> Response:
        return Response(200, {"scores": found(self.records.scores, dict(_query(request))), "next": None})

    def _batch(self, request: Request, kind: Kind) -> Response:
        envelope = _json(request)
        entries = envelope.get("records") if isinstance(envelope, dict) else None
        if not isinstance(entries, list) or not all(map(_is_entry, entries)):
            raise RefusedError(kind.bad, "records must be a list of objects with id, ts and body")
        if not entries:
            return Response(200, {"accepted": 0, "gzip": True})
        results = [self._result(kind, entry) for entry in entries]
        if all(200 <= result["status"] < 300 for result in results):
            return Response(200, {"accepted": len(results)})
        return Response(200, {"results": results})

    def _result(self, kind: Kind, entry: dict[str, Any]) -> dict[str, Any]:
        refusal = _time_refusal(entry["ts"]) or kind.refusal(entry["body"])
        if refusal is not None:
            return {"id": entry["id"], "status": kind.bad, "error": refusal}
        status, words = self.records.store(kind, entry["id"], entry["ts"], entry["body"])
        return {"id": entry["id"], "status": status, **(words if status == 409 else {})}


def _path(request: Request) -> str:
    return unquote(request.target.partition("?")[0])


def _query(request: Request) -> list[tuple[str, str]]:
    return parse_qsl(request.target.partition("?")[2], keep_blank_values=True)


def _refuse_unknown(request: Request, known: Collection[str]) -> None:
    for name, _ in _query(request):
        if name not in known:
            allowed = f"the parameters are {', '.join(known)}" if known else "there are no parameters"
            raise RefusedError(400, f"{name!r} is no parameter of {_path(request)}; {allowed}")


def _sticky(query: list[tuple[str, str]]) -> list[tuple[str, str]]:
    keys = [value for name, value in query if name == "sticky_key"]
    values = [value for name, value in query if name == "sticky_value"]
    if len(keys) != len(values):
        raise RefusedError(
            400, f"sticky_key must be as many as sticky_value, was {len(keys)} to {len(values)}"
        )
    return list(zip(keys, values, strict=True))


def _tagged(request: Request, content: Mapping[str, Any]) -> Response:
    """With an ETag; 304 where the client has this content already."""
    digest = hashlib.sha256(json.dumps(content).encode("ascii")).hexdigest()
    tag = f'"{digest[:32]}"'
    if tag in request.headers.get("if-none-match", ""):
        return Response(304, headers={"ETag": tag})
    return Response(200, content, {"ETag": tag})


def _json(request: Request) -> Any:
    body, encoding = request.body, request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("gzip", "identity"):
        raise RefusedError(415, f"Content-Encoding must be gzip or identity, was {encoding!r}")
    try:
        return json.loads(gzip.decompress(body) if encoding == "gzip" else body)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise RefusedError(400, f"body isn't valid JSON: {error}") from error


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, dict) or "body" not in entry:
        return False
    return all(isinstance(entry.get(name), str) and entry[name] for name in ("id", "ts"))


def _time_refusal(value: str) -> str | None:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return f"ts must be an ISO-8601 date and time, was {value!r:.80}"
    return None


def _no_results(_request: Request) -> Response:
    raise RefusedError(501, "the fake backend reckons no results of experiments: banyan-hp serve does")
