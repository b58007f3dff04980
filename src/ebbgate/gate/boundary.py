"""The fail-closed boundary around every hook: any exception denies, ends the connection and is reported as a defect.

mitmproxy catches what an addon raises, logs it and lets the flow go on. So no addon is given to it directly: ``guarded``
wraps each hook, and the wrapped addon is what mitmproxy sees. On an exception

1. the client connection is marked refused: ``server_connect`` dials nothing for it any more;
2. the data of the hook is set to a refusal, for whatever step follows;
3. both ends are aborted, with what is still buffered;
4. the defect goes to the warden, which makes the verdict ``broken``.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, Protocol  # Any: hooks take whatever mitmproxy gives them

from mitmproxy import flow
from mitmproxy.connection import Client
from mitmproxy.proxy.layer import NextLayer
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from mitmproxy.tls import ClientHelloData, TlsData

from ebbgate.events.types import Defect
from ebbgate.gate import layers

HOOKS = (
    "client_connected",
    "client_disconnected",
    "server_connect",
    "server_connected",
    "server_disconnected",
    "server_connect_error",
    "next_layer",
    "tls_clienthello",
    "tls_start_client",
    "tls_start_server",
    "tls_established_client",
    "tls_established_server",
    "tls_failed_client",
    "tls_failed_server",
    "requestheaders",
    "request",
    "responseheaders",
    "response",
    "error",
    "http_connect",
    "websocket_start",
    "websocket_message",
    "websocket_end",
    "tcp_start",
    "tcp_message",
    "tcp_end",
    "tcp_error",
)


class Refuser(Protocol):
    """What the boundary needs to close a connection."""

    def refuse_connection(self, client_id: str) -> None:
        """Permit nothing more for this client connection and abort it."""

    def report_defect(self, defect: Defect) -> None:
        """Tell the warden."""


def guarded(addon: object, refuser: Refuser) -> object:
    """An object with the addon's hooks, each inside the boundary."""
    wrapped = type(f"Guarded{type(addon).__name__}", (), {})()
    for name in HOOKS:
        hook = getattr(addon, name, None)
        if hook is not None:
            setattr(wrapped, name, _wrap(type(addon).__name__, name, hook, refuser))
    return wrapped


def _wrap(component: str, name: str, hook: Callable[..., Any], refuser: Refuser) -> Callable[[Any], Awaitable[None]]:
    async def inside(data: Any) -> None:
        try:
            result = hook(data)
            if inspect.isawaitable(result):
                await result
        except Exception as problem:
            refuse(data, component, name, problem, refuser)

    return inside


def refuse(data: object, component: str, operation: str, problem: BaseException, refuser: Refuser) -> None:
    """Deny whatever a hook was about, after an exception."""
    client = _client_of(data)
    try:
        refuser.report_defect(defect(component, operation, problem))
    finally:
        _refuse_data(data)
        if client is not None:
            refuser.refuse_connection(client)


def defect(component: str, operation: str, problem: BaseException) -> Defect:
    """The record of an exception: its class and place, never its text, which may hold what was being judged."""
    frames = traceback.extract_tb(problem.__traceback__)
    place = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
    return Defect(component, operation, type(problem).__name__, place)


def _client_of(data: object) -> str | None:
    if isinstance(data, Client):
        return data.id
    if isinstance(data, flow.Flow):
        return data.client_conn.id
    if isinstance(data, ServerConnectionHookData):
        return data.client.id
    if isinstance(data, ClientHelloData | TlsData | NextLayer):
        return data.context.client.id
    return None


def _refuse_data(data: object) -> None:
    if isinstance(data, Client):
        data.error = "refused"
    elif isinstance(data, flow.Flow):
        layers.kill_flow(data)
    elif isinstance(data, ServerConnectionHookData):
        data.server.error = "refused"
    elif isinstance(data, NextLayer) and data.layer is None:
        data.layer = layers.Sink(data.context, lambda _data, _truncated: None)
