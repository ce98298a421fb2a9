"""Django: an app for `INSTALLED_APPS`, a middleware, system checks, and `manage.py banyan_hp_doctor`.

INSTALLED_APPS = [..., "banyan_hp.integrations.django"]
MIDDLEWARE = ["banyan_hp.integrations.django.BanyanMiddleware", ...]
BANYAN_HP = {"API_KEY": "psk_…", "BASE_URL": "http://127.0.0.1:8787"}

    configuration.py  the setting `BANYAN_HP`: what is wrong with it, the logger and the middleware's options
    middleware.py     the context of a request
    apps.py           the app: configures the logger, registers the checks
    management/       the command
"""

from .middleware import BanyanMiddleware as BanyanMiddleware
from .middleware import hashed_session as hashed_session
from .middleware import loaded_user as loaded_user

__all__ = ["BanyanMiddleware", "hashed_session", "loaded_user"]
