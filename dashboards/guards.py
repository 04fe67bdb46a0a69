"""What every request passes: whom this server answers to, and what a browser may do with an answer.

A page of another site can make a browser ask a server on this machine. It is refused where the name that was asked for
is not ours (DNS rebinding), and where a change is asked for from another site.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL = ("localhost", "127.0.0.1", "[::1]")
EVERYWHERE = ("0.0.0.0", "::", "")
# Plotly writes style attributes; scripts come from files of this server alone.
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' data: blob:",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def policy(webgl: bool = False) -> str:
    """The content security policy. webgl: Plotly compiles what it draws by WebGL, such as parallel coordinates."""
    given = {**POLICY, "script-src": "'self' 'unsafe-eval'"} if webgl else POLICY
    return "; ".join(f"{name} {value}" for name, value in given.items())


class Guard:
    """The server behind its checks. host: what it is bound to."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self.app, self.host = app, host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        why = refused(headers, self.host, scope["method"])
        app = self.app if why is None else PlainTextResponse(f"{why}\n", status_code=403)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = MutableHeaders(scope=message)
                for name, value in {**HEADERS, "Content-Security-Policy": policy()}.items():
                    given.setdefault(name, value)
            await send(message)

        await app(scope, receive, answer)


def refused(headers: Mapping[str, str], host: str, method: str) -> str | None:
    """Why a request is not answered, in one line; None where it is."""
    asked = headers.get("host", "")
    if not _is_ours(_name(asked), host):
        return f"this server does not answer to {asked[:200]!r}; ask for {_shown(host)}"
    if method not in ("GET", "HEAD") and not _from_here(headers, asked):
        return "a page of another site can't change anything here"
    return None


def _name(asked: str) -> str:
    """The host of a Host header, without its port."""
    return re.sub(r":\d+$", "", asked).lower()


def _is_ours(name: str, host: str) -> bool:
    if name in (*LOCAL, host.lower(), f"[{host.lower()}]"):
        return bool(name)
    if host in EVERYWHERE:  # an address can't be rebound, only a name can
        return name == socket.gethostname().lower() or _is_address(name.strip("[]"))
    return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _shown(host: str) -> str:
    if host in EVERYWHERE:  # localhost is the reader's own machine, who may sit at another
        return (
            f"{socket.gethostname().lower()} or an address of this machine; where it is called by another name, "
            "host=NAME lets that one in"
        )
    names: Collection[str] = dict.fromkeys([*LOCAL, host])
    return " or ".join(names)


def _from_here(headers: Mapping[str, str], asked: str) -> bool:
    """Whether a page of this server asks, or no page at all. Every browser says which."""
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != asked:
        return False
    return headers.get("sec-fetch-site", "none") in ("same-origin", "none")
