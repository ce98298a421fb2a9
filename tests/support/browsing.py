"""A browser without a screen: cookies, redirects and forms, over the application in this process."""

from __future__ import annotations

from collections.abc import Mapping
from html.parser import HTMLParser

import httpx

from tests.support.app import LocalApp

HOST = "http://local"


class Page(HTMLParser):
    """What a page of HTML consists of, as far as tests ask."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__()
        self.response = response
        self.status = response.status_code
        self.path = response.url.raw_path.decode()
        self.text = ""
        self.links: list[str] = []
        self.attributes: set[str] = set()
        self.forms: list[Form] = []
        self.feed(response.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.attributes |= set(given)
        self.links += [given["href"]] if tag == "a" and "href" in given else []
        if tag == "form":
            self.forms.append(Form(given.get("action", self.path).partition("#")[0], {}))
        elif tag in ("input", "textarea", "select", "button") and self.forms and given.get("name"):
            self.forms[-1].fields[given["name"]] = given.get("value", "")

    def handle_data(self, data: str) -> None:
        self.text += data

    def form(self, action: str) -> Form:
        """The form that is sent there."""
        return next(each for each in self.forms if each.action == action)


class Form:
    """Where a form is sent, and the values of its fields."""

    def __init__(self, action: str, fields: dict[str, str]) -> None:
        self.action = action
        self.fields = fields


class Browser:
    """Its cookies, and one application."""

    def __init__(self, app: LocalApp) -> None:
        self.app = app
        self.cookies = httpx.Cookies()

    def get(self, path: str, **headers: str) -> Page:
        """A page, after its redirects."""
        return self._request("GET", path, None, headers)

    def post(self, path: str, fields: Mapping[str, str], **headers: str) -> Page:
        """A form's response, after its redirects."""
        return self._request("POST", path, fields, {"origin": HOST, **headers})

    def send(self, page: Page, action: str, **fields: str) -> Page:
        """Send a form of a page, with these values."""
        return self.post(action, {**page.form(action).fields, **fields})

    async def stream(self, path: str) -> str:
        """Events, until the server ends them. To be run by the application's runner."""
        return (await self._sent("GET", path, None, {"accept": "text/event-stream"})).text

    def log_in(self) -> Page:
        """With the key of the application's caller."""
        return self.send(self.get("/login"), "/login", key=self.app.key)

    def _request(
        self, method: str, path: str, fields: Mapping[str, str] | None, headers: Mapping[str, str]
    ) -> Page:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return Page(self.app.runner.run(self._sent(method, path, fields, sent)))

    async def _sent(
        self, method: str, path: str, fields: Mapping[str, str] | None, headers: Mapping[str, str]
    ) -> httpx.Response:
        transport = httpx.ASGITransport(self.app.app)
        async with httpx.AsyncClient(
            transport=transport, base_url=HOST, cookies=self.cookies, follow_redirects=True
        ) as client:
            response = await client.request(method, path, data=fields, headers=headers)
            self.cookies = client.cookies
            return response
