"""Attacks as small programs. Each is first run without the guard, where it must work."""

from __future__ import annotations

import sys

PYTHON = sys.executable


def python(text: str) -> list[str]:
    return [PYTHON, "-c", text]


def send_tcp(address: str, port: int, text: str = "stolen") -> list[str]:
    return python(
        f"import socket\n"
        f"s = socket.create_connection(({address!r}, {port}), timeout=5)\n"
        f"s.sendall({text.encode()!r})\n"
        f"s.settimeout(5)\n"
        f"print(s.recv(4096))\n"
    )


def send_udp(address: str, port: int) -> list[str]:
    return python(
        f"import socket\n"
        f"s = socket.socket(socket.AF_INET6 if ':' in {address!r} else socket.AF_INET, socket.SOCK_DGRAM)\n"
        f"s.sendto(b'stolen', ({address!r}, {port}))\n"
    )


def ask_name(server: str, name: str, *, tcp: bool = False, kind: str = "TXT") -> list[str]:
    how = "tcp" if tcp else "udp"
    return python(
        f"import dns.message, dns.query\n"
        f"print(dns.query.{how}(dns.message.make_query({name!r}, {kind!r}), {server!r}, timeout=4))\n"
    )


def raw_http(address: str, port: int, head: str, *, tls: str = "", then: str = "") -> list[str]:
    """Bytes as they are, over TCP or TLS with this server name; ``then``: a second request on the same connection."""
    return python(
        f"import socket, ssl, sys\n"
        f"s = socket.create_connection(({address!r}, {port}), timeout=5)\n"
        f"if {tls!r}:\n"
        f"    c = ssl.create_default_context()\n"
        f"    c.check_hostname = False\n"
        f"    c.verify_mode = ssl.CERT_NONE\n"
        f"    s = c.wrap_socket(s, server_hostname={tls!r} if {tls!r} != 'none' else None)\n"
        f"s.settimeout(5)\n"
        f"s.sendall({head.encode()!r})\n"
        f"print(s.recv(65536).decode())\n"
        f"if {then!r}:\n"
        f"    s.sendall({then.encode()!r})\n"
        f"    print(s.recv(65536).decode())\n"
    )


def request(host: str, *, method: str = "GET", path: str = "/", extra: str = "", body: str = "") -> str:
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{extra}{length}\r\n{body}"
