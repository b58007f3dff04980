"""Armed means proven: from the workload's side, every road must end at the gate before the command may run.

The gate answers on addresses that only it can answer for (``host.links.SELFTEST_*``) with a nonce of this run. A packet
that left by any other way would find nobody; an answer with the nonce can only come from the gate behind the redirect.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

from ebbgate.errors import IntegrityError
from ebbgate.host import links

_TIMEOUT = 10.0  # seconds; an answer takes a few milliseconds on an idle machine
_A, _TXT, _IN = 1, 16, 1


def prove(nonce: str) -> None:
    """Ask over TCP and DNS (UDP and TCP), IPv4 and IPv6. IntegrityError names the road that did not lead to the gate."""
    for road, answer in _answers():
        if answer != nonce:
            raise IntegrityError(
                "the enclosure's self-test failed",
                f"{road} does not lead to the gate",
                "nothing was run; please report this with the kernel version",
            )


def _answers() -> Iterator[tuple[str, str]]:
    yield "TCP over IPv4", _tcp(socket.AF_INET, links.SELFTEST_V4)
    yield "DNS over UDP", _dns_udp(links.GATEWAY_V4)
    yield "DNS over TCP", _dns_tcp(links.GATEWAY_V4)
    if links.has_ipv6():
        yield "TCP over IPv6", _tcp(socket.AF_INET6, links.SELFTEST_V6)
        yield "DNS over UDP and IPv6", _dns_udp(links.GATEWAY_V6)


def _tcp(family: int, address: str) -> str:
    with socket.socket(family) as probe:
        probe.settimeout(_TIMEOUT)
        try:
            probe.connect((address, links.SELFTEST_PORT))
            return probe.recv(256).decode(errors="replace")
        except OSError:
            return ""


def _dns_udp(server: str) -> str:
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.settimeout(_TIMEOUT)
        try:
            probe.connect((server, 53))
            probe.send(_question())
            return _text_answer(probe.recv(1024))
        except OSError:
            return ""


def _dns_tcp(server: str) -> str:
    with socket.socket() as probe:
        probe.settimeout(_TIMEOUT)
        try:
            probe.connect((server, 53))
            question = _question()
            probe.sendall(len(question).to_bytes(2, "big") + question)
            return _text_answer(probe.recv(1024)[2:])
        except OSError:
            return ""


def _question(name: str = links.SELFTEST_NAME, kind: int = _TXT) -> bytes:
    """A DNS query (RFC 1035, section 4.1), made by hand: no import before the command."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    return b"\xeb\xb6\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + labels + bytes([0, kind, 0, _IN])


def _text_answer(message: bytes) -> str:
    """The text of the answer's last character-string; the answer has exactly one TXT record, and it comes last."""
    start = len(_question())
    record = message[start:]
    return record[13 : 13 + record[12]].decode(errors="replace") if len(record) > 13 else ""


def prove_job(nonce: str, *, enforce: bool) -> None:
    """The same from a step's side of a whole machine, run as the steps' user; and that what is denied is refused.

    IntegrityError names the road that is open or leads elsewhere.
    """
    for road, answer in _job_answers():
        if answer != nonce:
            raise IntegrityError("the enclosure's self-test failed", f"{road} does not lead to the gate", "")
    if enforce:
        for road, refused in _refusals():
            if not refused:
                raise IntegrityError("the enclosure's self-test failed", f"{road} was not refused", "")


def _job_answers() -> Iterator[tuple[str, str]]:
    yield "TCP over IPv4", _tcp(socket.AF_INET, links.SELFTEST_V4)
    yield "DNS over UDP", _dns_udp(links.GATEWAY_V4)
    yield "DNS over TCP", _dns_tcp(links.GATEWAY_V4)
    if _has_route(links.SELFTEST_V6):
        yield "TCP over IPv6", _tcp(socket.AF_INET6, links.SELFTEST_V6)
        yield "DNS over UDP and IPv6", _dns_udp(links.GATEWAY_V6)


def _refusals() -> Iterator[tuple[str, bool]]:
    yield "a denied address", _is_refused_http(links.DENIED_V4)
    yield "a denied name", _is_refused_http(_address_of(links.DENIED_NAME), links.DENIED_NAME)
    yield "QUIC", _is_refused_datagram(links.DENIED_V4, 443)


def _has_route(address: str) -> bool:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 9))
        except OSError:
            return False
    return True


def _is_refused_http(address: str, host: str = "") -> bool:
    """Whether the gate itself answers that the request is refused; anything else, silence too, is no proof."""
    try:
        with socket.create_connection((address, 80), timeout=_TIMEOUT) as probe:
            probe.sendall(f"GET /selftest HTTP/1.1\r\nHost: {host or address}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while piece := probe.recv(4096):
                answer += piece
    except OSError:
        return False
    return answer.startswith(b"HTTP/1.1 403 ") and b"via: ebbgate" in answer.lower()


def _is_refused_datagram(address: str, port: int) -> bool:
    """Whether a datagram is refused at once, as an error of this or the next send."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(_TIMEOUT)
        try:
            probe.connect((address, port))
            probe.send(b"selftest")
            probe.recv(1)
        except TimeoutError:
            return False
        except OSError:
            return True
    return False


def _address_of(name: str) -> str:
    """The IPv4 address that the resolver gives a name, asked on the wire so that no cache answers; "" when it gives none."""
    question = _question(name, _A)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(_TIMEOUT)
        try:
            probe.connect((links.GATEWAY_V4, 53))
            probe.send(question)
            answer = probe.recv(1024)
        except OSError:
            return ""
    return socket.inet_ntoa(answer[-4:]) if len(answer) == len(question) + 16 else ""
