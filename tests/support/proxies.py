"""The real nginx, HAProxy, Varnish, tinyproxy and Apache as child processes between a client and its backend.

Owned here: their configurations, and the wait until they listen. Each runs in the foreground on a free
loopback port, keeps all its files in a directory of the test, and needs no root. The test that uses one is
skipped where the program is not installed.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.raw import TLS_FILES
from tests.support.servers import START_SECONDS, STOP_SECONDS, Server, free_port, wait_until

_ADMIN_DIRECTORIES = ("/usr/sbin", "/usr/local/sbin", "/sbin")  # often not in the PATH of ordinary users


class Proxy:
    """A proxy that runs: where it listens, and its process."""

    def __init__(self, port: int, server: Server) -> None:
        self.port = port
        self.server = server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Nginx(Proxy):
    """nginx with two workers."""

    def __init__(self, port: int, server: Server, command: list[str]) -> None:
        super().__init__(port, server)
        self._command = command

    def reload(self) -> None:
        """`nginx -s reload`, and the wait until its old workers get their signal to end."""
        done = self.server.output.count("gracefully shutting down")
        subprocess.run(
            [*self._command, "-s", "reload"], check=True, capture_output=True, timeout=STOP_SECONDS
        )
        wait_until(
            lambda: self.server.output.count("gracefully shutting down") >= done + 2,
            STOP_SECONDS,
            lambda: f"the old workers stay; it said: {self.server.output}",
        )


def found(program: str) -> str:
    """The path of a program; the test is skipped where there is none."""
    path = shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), *_ADMIN_DIRECTORIES]))
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


@contextmanager
def nginx(directory: Path, backend_port: int, settings: str = "", *, tls: bool = False) -> Iterator[Nginx]:
    """nginx in front of a backend, with further `settings` of its server block."""
    port = free_port()
    command = [found("nginx"), "-p", str(directory), "-e", "stderr", "-c", str(directory / "nginx.conf")]
    listen = f"127.0.0.1:{port}" + (" ssl" if tls else "")
    config = _NGINX.format(
        user="user root;"
        if os.geteuid() == 0
        else "",  # workers of another user can't use the test's directory
        directory=directory,
        backend_port=backend_port,
        listen=listen,
        settings=settings + (_NGINX_TLS if tls else ""),
    )
    (directory / "nginx.conf").write_text(config)
    with _running(command, directory, port) as server:
        yield Nginx(port, server, command)


@contextmanager
def configured_nginx(directory: Path, blocks: str, listens: str) -> Iterator[Proxy]:
    """nginx with these blocks in `http`, where `listens` is the directive to put a free port into."""
    port = free_port()
    assert blocks.count(listens) == 1
    blocks = blocks.replace(listens, listens.replace("443", f"127.0.0.1:{port}"))
    frame, _, _ = _NGINX.partition("    upstream")
    config = frame.format(user="user root;" if os.geteuid() == 0 else "") + blocks + "}\n"
    (directory / "nginx.conf").write_text(config)
    command = [found("nginx"), "-p", str(directory), "-e", "stderr", "-c", str(directory / "nginx.conf")]
    with _running(command, directory, port) as server:
        yield Proxy(port, server)


@contextmanager
def haproxy(directory: Path, *node_ports: int, mode: str = "tcp", settings: str = "") -> Iterator[Proxy]:
    """HAProxy in front of nodes that take their turns: connections in mode tcp, requests in mode http."""
    port = free_port()
    nodes = "\n".join(f"    server node{node} 127.0.0.1:{node}" for node in node_ports)
    config = _HAPROXY.format(port=port, mode=mode, settings=settings, nodes=nodes)
    (directory / "haproxy.cfg").write_text(config)
    with _running([found("haproxy"), "-db", "-f", str(directory / "haproxy.cfg")], directory, port) as server:
        yield Proxy(port, server)


@contextmanager
def varnish(directory: Path, backend_port: int) -> Iterator[Proxy]:
    """Varnish with its built-in VCL and default times, in front of a backend."""
    port = free_port()
    work = directory / "varnish"
    work.mkdir()
    command = [found("varnishd"), "-F", "-j", "none", "-n", str(work), "-s", "malloc,16m"]
    command += ["-a", f"127.0.0.1:{port}", "-b", f"127.0.0.1:{backend_port}"]
    with _running(command, directory, port) as server:
        yield Proxy(port, server)


@contextmanager
def tinyproxy(directory: Path, user: str, password: str) -> Iterator[Proxy]:
    """tinyproxy that wants a name and a password."""
    port = free_port()
    config = _TINYPROXY.format(port=port, user=user, password=password, directory=directory)
    (directory / "tinyproxy.conf").write_text(config)
    command = [found("tinyproxy"), "-d", "-c", str(directory / "tinyproxy.conf")]
    with _running(command, directory, port) as server:
        yield Proxy(port, server)


@contextmanager
def apache(directory: Path, backend_port: int, settings: str) -> Iterator[Proxy]:
    """Apache, whose `settings` name a proxied backend as the README does."""
    port = free_port()
    program = found("apache2")
    settings = settings.replace("127.0.0.1:8787", f"127.0.0.1:{backend_port}")
    config = _APACHE.format(port=port, directory=directory, modules=_APACHE_MODULES, settings=settings)
    (directory / "apache.conf").write_text(config)
    command = [program, "-d", str(directory), "-f", str(directory / "apache.conf"), "-D", "FOREGROUND"]
    with _running(command, directory, port) as server:
        yield Proxy(port, server)


@contextmanager
def _running(command: list[str], directory: Path, port: int) -> Iterator[Server]:
    with Server(command, directory) as server:
        wait_until(
            lambda: _listens(server, port), START_SECONDS, lambda: f"it does not listen: {server.output}"
        )
        yield server


def _listens(server: Server, port: int) -> bool:
    assert not server.has_ended(), f"it ended at once; it said: {server.output}"
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        return True
    return False


_NGINX = """
{user}
daemon off;
worker_processes 2;
pid nginx.pid;
error_log stderr notice;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    upstream backend {{ server 127.0.0.1:{backend_port}; keepalive 8; }}
    server {{
        listen {listen};
        {settings}
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
        }}
    }}
}}
"""

_NGINX_TLS = f"""
        ssl_certificate {TLS_FILES / "localhost.pem"};
        ssl_certificate_key {TLS_FILES / "localhost.pem"};
"""

_HAPROXY = """
defaults
    mode {mode}
    timeout connect 1s
    timeout client 10s
    timeout server 10s

listen nodes
    bind 127.0.0.1:{port}
    balance roundrobin
{settings}
{nodes}
"""

_TINYPROXY = """
Port {port}
Listen 127.0.0.1
Timeout 10
MaxClients 20
LogLevel Connect
LogFile "{directory}/tinyproxy.log"
PidFile "{directory}/tinyproxy.pid"
BasicAuth {user} {password}
"""

_APACHE_MODULES = "/usr/lib/apache2/modules"
_APACHE = """
ServerRoot "{directory}"
ServerName localhost
Listen 127.0.0.1:{port}
PidFile "{directory}/apache.pid"
ErrorLog /dev/stderr
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
{settings}
"""
