"""Checks on every request: which browser it is from, whether it is allowed, and security headers of the answer."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import json
import re
import secrets
import time
from collections import OrderedDict
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from safa.web.markup import login_page

LOCAL = ("127.0.0.1", "localhost", "::1")
"""Names of this machine."""

BROWSER = "safa_browser"
PASS = "safa_pass"
YEAR = 365 * 24 * 3600
# All that our page asks for. Gradio answers many more requests, some of which name files; they are refused.
OPEN = re.compile(
    r"/|/favicon\.ico|/theme\.css|/config/?|/(assets|static|svelte)/.+|/upload|/login|/jobs/[^/]+/[^/]+"
    r"|/gradio_api/(run/predict|queue/(join|data)|heartbeat/.+|app_id|startup-events|info|theme\.css)/?"
)
# Gradio builds functions from templates and puts styles and scripts into the page; nothing may come from elsewhere.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
WRONG_PASSWORD_SECONDS = 1.0
# So many wrong passwords may come from one address within so many seconds.
MOST_WRONG, WRONG_WINDOW = 10, 15 * 60.0
# Addresses that are remembered; the longest quiet ones are forgotten first.
MOST_ADDRESSES = 10_000
LONGEST_FORM = 4096
# Bytes of any other request but an upload: the page sends back the list of jobs that it shows.
MOST_BODY = 1 << 20
# Names of values by which Gradio knows a file. It fetches what they name, be it a file or any address, before it looks
# whether the component takes files; none of ours does.
FILE_KEYS = ("path", "url")


def browser_of(connection: HTTPConnection) -> str:
    """The random id of the browser that asks; empty if it has none yet."""
    value = connection.cookies.get(BROWSER, "")
    return value if re.fullmatch("[0-9a-f]{32}", value) else ""


class WrongPasswords:
    """Counts wrong passwords by where they come from."""

    def __init__(self) -> None:
        self._times: OrderedDict[str, list[float]] = OrderedDict()

    def are_too_many(self, address: str) -> bool:
        """Whether further attempts from there are refused for a while."""
        return len(self._recent(address)) >= MOST_WRONG

    def note(self, address: str) -> None:
        """Count one more."""
        key = _network_of(address)
        self._times[key] = [*self._recent(address), time.monotonic()]
        self._times.move_to_end(key)
        if len(self._times) > MOST_ADDRESSES:
            self._times.popitem(last=False)

    def _recent(self, address: str) -> list[float]:
        now = time.monotonic()
        return [then for then in self._times.get(_network_of(address), []) if now - then < WRONG_WINDOW]


def _network_of(address: str) -> str:
    """The address; of IPv6 the part that one customer gets, who may use any address below it."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address


class Guard:
    """ASGI middleware around the whole application.

    Args:
        password: asked for once per browser, if given.
        local_only: answer only to names of this machine, which protects against DNS rebinding.
    """

    def __init__(self, app: ASGIApp, password: str | None, local_only: bool) -> None:
        self.app, self.password, self.local_only = app, password, local_only
        self._wrong = WrongPasswords()
        # Derived from the password, so that browsers stay logged in when the server is started again.
        self._pass = hashlib.scrypt((password or "").encode(), salt=b"safa serve", n=2**14, r=8, p=1).hex()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or pass on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        new_browser = "" if browser_of(request) else secrets.token_hex(16)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = POLICY
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "same-origin"
                if new_browser and scope["path"] == "/":
                    headers.append("Set-Cookie", _cookie(BROWSER, new_browser, scope))
            await send(message)

        try:
            answer = await self._answer(request)
            if answer is None and scope["path"] != "/upload" and scope["method"] not in ("GET", "HEAD"):
                body = await _whole_body(request)
                answer = _body_refusal(body)
                receive = _replayed(body, receive)
        except ClientDisconnect:
            return
        await (answer or self.app)(scope, receive, send_with_headers)

    async def _answer(self, request: Request) -> Response | None:
        """The answer to a request that goes no further."""
        host = re.sub(r":\d+$", "", request.headers.get("host", ""))
        if self.local_only and host.strip("[]") not in LOCAL:
            return PlainTextResponse(
                f"This server answers only as localhost, not as {host!r}. Start it with --password or --public to "
                "use it under another name.\n",
                421,
            )
        path = request.scope["path"]  # the URL is put together from the Host header
        if not OPEN.fullmatch(path):
            return PlainTextResponse("Not found.\n", 404)
        claimed = request.headers.get("content-length", "")
        if path != "/upload" and claimed.isdigit() and int(claimed) > MOST_BODY:
            return PlainTextResponse("That is too much.\n", 413)
        if self.password is None:
            return None if path != "/login" else RedirectResponse("/", 303)
        if path == "/login" and request.method == "POST":
            return await self._log_in(request)
        if hmac.compare_digest(request.cookies.get(PASS, "").encode(), self._pass.encode()):
            return None if path != "/login" else RedirectResponse("/", 303)
        if path in ("/", "/login"):
            return HTMLResponse(login_page(wrong=False), 401)
        return PlainTextResponse("Log in first.\n", 401)

    async def _log_in(self, request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > LONGEST_FORM:
                return PlainTextResponse("That is not a password.\n", 413)
        address = request.client.host if request.client is not None else ""
        if self._wrong.are_too_many(address):
            return PlainTextResponse(
                f"Too many wrong passwords came from here; try again in {WRONG_WINDOW / 60:.0f} minutes.\n", 429
            )
        given = parse_qs(body.decode("utf-8", "replace")).get("password", [""])[0]
        if not hmac.compare_digest(given.encode(), (self.password or "").encode()):
            self._wrong.note(address)  # before the wait: others may come meanwhile
            await asyncio.sleep(WRONG_PASSWORD_SECONDS)
            return HTMLResponse(login_page(wrong=True), 401)
        response = RedirectResponse("/", 303)
        response.headers.append("Set-Cookie", _cookie(PASS, self._pass, request.scope))
        return response


async def _whole_body(request: Request) -> bytes:
    """The body of a request; of one that is too large, a little more than ``MOST_BODY``."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BODY:
            break
    return bytes(body)


def _body_refusal(body: bytes) -> Response | None:
    """The answer to a body that no request of the page has."""
    if len(body) > MOST_BODY:
        return PlainTextResponse("That is too much.\n", 413)

    def checked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if any(name in FILE_KEYS for name, _ in pairs):
            raise _NamesFile
        return dict(pairs)

    try:
        json.loads(body, object_pairs_hook=checked)
    except _NamesFile:
        return PlainTextResponse("This page takes no files or addresses in such a request.\n", 400)
    except (ValueError, RecursionError):
        return PlainTextResponse("This is not JSON.\n", 400)
    return None


class _NamesFile(Exception):
    """A request's body names a file or an address."""


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Give a body that has been read once more, then what comes after it."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed


def _cookie(name: str, value: str, scope: Scope) -> str:
    secure = "; Secure" if scope["scheme"] == "https" else ""
    return f"{name}={value}; Path=/; Max-Age={YEAR}; HttpOnly; SameSite=Lax{secure}"
