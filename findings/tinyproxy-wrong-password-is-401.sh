#!/usr/bin/env bash
# tinyproxy 1.11.1 (Debian 12's package 1.11.1-2.1+deb12u1) with BasicAuth: a client that sends a wrong password.
#
# Without a password the proxy answers 407 with Proxy-Authenticate, as RFC 9110 wants it. With a wrong one it
# answers 401 with WWW-Authenticate, for plain requests and for CONNECT. That is what an origin server says about
# its own credentials: a client which acts on the status takes its API key for refused, and one which acts on the
# header sends the origin's password where the proxy's was wrong.
#
# Seen: the status and the challenge, without a password and with a wrong one; for GET, then for CONNECT.
set -euo pipefail
folder=$(mktemp -d)
proxy=
trap 'test -z "$proxy" || kill "$proxy"; rm -rf "$folder"' EXIT
(cd "$folder" && apt-get -o APT::Sandbox::User=root download --quiet --quiet tinyproxy-bin=1.11.1-2.1+deb12u1 && dpkg -x ./*.deb .)
cat >"$folder/conf" <<'CONF'
Port 18391
Listen 127.0.0.1
BasicAuth ann secret
ConnectPort 443
CONF
"$folder/usr/bin/tinyproxy" -d -c "$folder/conf" >"$folder/log" 2>&1 &
proxy=$!
python3 - >"$folder/seen" <<'PY'
import base64
import socket
import time


def connected():
    for _ in range(100):
        try:
            return socket.create_connection(("127.0.0.1", 18391), timeout=5)
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise TimeoutError("tinyproxy does not listen")


wrong = "Proxy-Authorization: Basic " + base64.b64encode(b"ann:wrong").decode() + "\r\n"
for line in ("GET http://127.0.0.1:9/ HTTP/1.1", "CONNECT 127.0.0.1:443 HTTP/1.1"):
    for password in ("", wrong):
        with connected() as proxy:
            proxy.sendall(f"{line}\r\nHost: 127.0.0.1\r\n{password}\r\n".encode())
            head = proxy.makefile("rb").read().partition(b"\r\n\r\n")[0].decode()
        challenge = next(each for each in head.splitlines() if "uthenticate:" in each)
        print(line.split()[0], "wrong" if password else "none", head.split()[1], challenge)
PY
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
GET none 407 Proxy-Authenticate: Basic realm="Tinyproxy"
GET wrong 401 WWW-Authenticate: Basic realm="Tinyproxy"
CONNECT none 407 Proxy-Authenticate: Basic realm="Tinyproxy"
CONNECT wrong 401 WWW-Authenticate: Basic realm="Tinyproxy"
SEEN
