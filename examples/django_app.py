"""Django in one file: records say of which request and user they are, without a line in the view.

pip install django
export BANYAN_API_KEY=psk_… BANYAN_BASE_URL=http://127.0.0.1:8787
python examples/django_app.py check                  # Django's system checks look at BANYAN_HP, too
python examples/django_app.py banyan_hp_doctor       # network, key, on-disk queue
python examples/django_app.py runserver
"""

import sys
import time

from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.urls import path

import banyan_hp as banyan

settings.configure(
    DEBUG=True,
    SECRET_KEY="for this example only",  # noqa: S106
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["banyan_hp.integrations.django"],
    MIDDLEWARE=["banyan_hp.integrations.django.BanyanMiddleware"],
    BANYAN_HP={
        # API_KEY, BASE_URL and PROJECT_ID come from the environment, as everywhere.
        "FLUSH_INTERVAL": 0.5,
        "ANONYMOUS_COOKIE": "visitor",
        "HEALTH_PATH": "/healthz/banyan",
    },
)


def call_a_model(question: str) -> str:
    """Stands in for your model."""
    return question[::-1]


def ask(request: HttpRequest) -> JsonResponse:
    """The prompt's version goes by the visitor, whom the record names, as it does the request."""
    question = request.GET["question"]
    prompt = banyan.get_prompt("quickstart", fallback="Answer briefly.")
    started = time.perf_counter()
    answer = call_a_model(question)
    duration_ms = (time.perf_counter() - started) * 1000
    banyan.log_prompt(question, answer, prompt_data=prompt, duration_ms=duration_ms)
    return JsonResponse({"answer": answer})


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """A generator's record is the request's as well, though it is made long after the view has returned."""

    @banyan.trace
    def answer(question: str):  # type: ignore[no-untyped-def]
        yield from call_a_model(question)

    return StreamingHttpResponse(answer(request.GET["question"]))


urlpatterns = [path("ask", ask), path("stream", stream)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
else:
    application = get_wsgi_application()
