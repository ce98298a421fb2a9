"""Which certificates a TLS connection trusts, and which one it presents.

By precedence: the setting `ca_bundle`; the variables REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE, as requests reads
them; the system's trust store, as the standard library finds it (SSL_CERT_FILE and SSL_CERT_DIR included);
and, where the system has none (slim containers, some builds of Python), the bundle that requests brings.

Loading a trust store takes milliseconds, so all connections of a process share one context for the same
files; files that were replaced since (rotated certificates) make another one.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import requests.utils

from ...logs import debug
from ...settings import ClientCert

MOST_CONTEXTS = 16
MOST_SESSIONS = 100
_SESSIONS = "banyan_hp_sessions"  # by host, on the context that they belong to

_Path = str | os.PathLike[str]
_contexts: dict[tuple[object, ...], ssl.SSLContext] = {}


def remember_session(sock: object) -> None:
    """Keep a socket's session for the next connection. TLS 1.3 has one only after the first response."""
    if not isinstance(sock, ssl.SSLSocket) or sock.server_hostname is None:
        return
    sessions, session = vars(sock.context).get(_SESSIONS), sock.session
    if sessions is not None and session is not None and session.has_ticket:
        if len(sessions) >= MOST_SESSIONS:
            sessions.clear()
        sessions[sock.server_hostname] = session


class Trust(NamedTuple):
    """What the settings say about TLS."""

    ca_bundle: _Path | None = None  # PEM certificates, or a directory as OpenSSL wants it
    client_cert: ClientCert | None = None  # a PEM file with certificate and key, or a pair of files

    def context(self) -> ssl.SSLContext:
        """A context that checks the peer and presents our certificate. Reads files.

        Raises:
            OSError: a file is missing or can't be read; the message names its path.
        """
        given = self.client_cert
        if given is None:
            return self.context_without_certificate()
        files = [os.fspath(each) for each in ([given] if isinstance(given, (str, os.PathLike)) else given)]
        return self._shared(files)

    def context_without_certificate(self) -> ssl.SSLContext:
        """The same for a proxy, which must not see the certificate that the backend wants."""
        return self._shared(())

    def _shared(self, certificate: Iterable[str]) -> ssl.SSLContext:
        """Two threads may make one each: `setdefault` keeps the first, and either would do."""
        bundle, files = self._bundle(), tuple(certificate)
        key = (bundle, *map(_state, (*_system_files(), *([bundle] if bundle else ()), *files)), files)
        found = _contexts.get(key)
        if found is not None:
            return found
        if len(_contexts) >= MOST_CONTEXTS:
            _contexts.clear()
        return _contexts.setdefault(key, _with_certificate(_trusting(bundle), files))

    def _bundle(self) -> str | None:
        """The bundle to load; None for the system's."""
        if self.ca_bundle is not None:
            return os.fspath(self.ca_bundle)
        return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")


def _trusting(bundle: str | None) -> ssl.SSLContext:
    debug("TLS trusts %s", bundle or "the system's certificates")
    if bundle is None:
        context = ssl.create_default_context()
        if _has_certificates(context):
            return _resuming(context)
        bundle = requests.utils.DEFAULT_CA_BUNDLE_PATH
    try:
        if Path(bundle).is_dir():
            return _resuming(ssl.create_default_context(capath=bundle))
        return _resuming(ssl.create_default_context(cafile=bundle))
    except OSError as error:  # its text names no path
        raise OSError(f"the CA bundle {bundle} can't be used: {error}") from error


def _resuming(context: ssl.SSLContext) -> ssl.SSLContext:
    """The same context, which from now on resumes the last session with a host, where both sides can.

    A session is with the host whose certificate was checked when it began, and with this context's own
    certificate, so resuming it trusts nobody else. No subclass: gevent patches only the standard library's.
    """
    wrap, sessions = context.wrap_socket, dict[str, ssl.SSLSession]()

    def wrap_socket(sock: Any, *args: Any, **options: Any) -> ssl.SSLSocket:
        session = sessions.get(options.get("server_hostname", ""))
        if session is not None:
            options["session"] = session
        return wrap(sock, *args, **options)

    vars(context).update({"wrap_socket": wrap_socket, _SESSIONS: sessions})
    return context


def _with_certificate(context: ssl.SSLContext, files: tuple[str, ...]) -> ssl.SSLContext:
    if not files:
        return context
    try:
        context.load_cert_chain(*files)
    except OSError as error:
        named = " with the key ".join(files)
        raise OSError(f"the client certificate {named} can't be used: {error}") from error
    return context


def _has_certificates(context: ssl.SSLContext) -> bool:
    """A directory counts if it has entries: OpenSSL only reads them when it needs them."""
    directory = ssl.get_default_verify_paths().capath
    if directory is not None and any(Path(directory).iterdir()):
        return True
    return context.cert_store_stats()["x509_ca"] > 0


def _system_files() -> tuple[str, ...]:
    paths = ssl.get_default_verify_paths()
    return tuple(path for path in (paths.cafile, paths.capath) if path is not None)


def _state(path: str) -> tuple[str, int, int]:
    """What changes when a file is replaced."""
    try:
        found = Path(path).stat()
    except OSError:
        return path, 0, 0
    return path, found.st_mtime_ns, found.st_size
