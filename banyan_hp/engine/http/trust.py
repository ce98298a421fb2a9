"""Which certificates a TLS connection trusts, and which one it presents.

By precedence: the setting `ca_bundle`; the variables REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE, as requests reads
them; the system's trust store, as the standard library finds it (SSL_CERT_FILE and SSL_CERT_DIR included);
and, where the system has none (slim containers, some builds of Python), the bundle that requests brings.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import NamedTuple

import requests.utils

from ...logs import debug
from ...settings import ClientCert


class Trust(NamedTuple):
    """What the settings say about TLS."""

    ca_bundle: str | os.PathLike[str] | None = None  # PEM certificates, or a directory as OpenSSL wants it
    client_cert: ClientCert | None = None  # a PEM file with certificate and key, or a pair of files

    def context(self) -> ssl.SSLContext:
        """A context that checks the peer and presents our certificate. Reads files.

        Raises:
            OSError: a file is missing or can't be read; the message names its path.
        """
        context, given = self.context_without_certificate(), self.client_cert
        if given is None:
            return context
        files = [os.fspath(each) for each in ([given] if isinstance(given, (str, os.PathLike)) else given)]
        try:
            context.load_cert_chain(*files)
        except OSError as error:
            raise OSError(
                f"the client certificate {' with the key '.join(files)} can't be used: {error}"
            ) from error
        return context

    def context_without_certificate(self) -> ssl.SSLContext:
        """The same for a proxy, which must not see the certificate that the backend wants."""
        bundle = self._bundle()
        debug("TLS trusts %s", bundle or "the system's certificates")
        if bundle is None:
            return ssl.create_default_context()
        try:
            if Path(bundle).is_dir():
                return ssl.create_default_context(capath=bundle)
            return ssl.create_default_context(cafile=bundle)
        except OSError as error:  # its text names no path
            raise OSError(f"the CA bundle {bundle} can't be used: {error}") from error

    def _bundle(self) -> str | None:
        """The bundle to load; None for the system's."""
        if self.ca_bundle is not None:
            return os.fspath(self.ca_bundle)
        asked_for = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        if asked_for:
            return asked_for
        return None if _system_has_certificates() else requests.utils.DEFAULT_CA_BUNDLE_PATH


def _system_has_certificates() -> bool:
    """A directory counts if it has entries: OpenSSL only reads them when it needs them."""
    paths = ssl.get_default_verify_paths()
    if paths.capath is not None and any(Path(paths.capath).iterdir()):
        return True
    return ssl.create_default_context().cert_store_stats()["x509_ca"] > 0
