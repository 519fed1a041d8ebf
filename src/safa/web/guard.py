"""Checks on every request before the application sees it, and security headers on every answer."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL = ("127.0.0.1", "localhost", "::1")
"""Names of this machine."""

BROWSER_COOKIE = "safa_browser"
PASSWORD_COOKIE = "safa_pass"
YEAR = 365 * 24 * 3600
# Nothing inline, nothing evaluated, nothing from elsewhere; the page is in no frame and its script writes no HTML.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
WRONG_PASSWORD_SECONDS = 1.0
# So many wrong passwords may come from one address within so many seconds.
MOST_WRONG, WRONG_WINDOW = 10, 15 * 60.0
# Addresses that are remembered; the ones without a wrong password for the longest are forgotten first.
MOST_ADDRESSES = 10_000
# Largest body of a request that is not an upload, in bytes, and the seconds in which it must arrive.
MOST_BODY, BODY_SECONDS = 1 << 16, 30.0
UPLOAD = re.compile(r"/api/jobs/[^/]+/uploads/[^/]+")
WITHOUT_PASSWORD = re.compile(r"/favicon\.ico|/static/[a-z.]+")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def browser_of(connection: HTTPConnection) -> str:
    """Return the random id of the browser; empty if it has none yet."""
    value = connection.cookies.get(BROWSER_COOKIE, "")
    return value if re.fullmatch("[0-9a-f]{32}", value) else ""


def cookie(name: str, value: str, scope: Scope) -> str:
    """Return a cookie that scripts cannot read and other sites' requests do not carry."""
    secure = "; Secure" if scope["scheme"] == "https" else ""
    return f"{name}={value}; Path=/; Max-Age={YEAR}; HttpOnly; SameSite=Strict{secure}"


def is_same_origin(request: Request) -> bool:
    """Return whether a request is from a page of this server, or from a program that is no browser.

    Browsers state where a request is from: in Sec-Fetch-Site on HTTPS and localhost, and in Origin with all methods
    that change something.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host", "")


class WrongPasswords:
    """Wrong passwords of the last minutes, counted by address."""

    def __init__(self) -> None:
        self._times: OrderedDict[str, list[float]] = OrderedDict()

    def are_too_many(self, address: str) -> bool:
        """Return whether further passwords from there are refused for a while."""
        return len(self._recent(address)) >= MOST_WRONG

    def add(self, address: str) -> None:
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
    """Return the address, or for IPv6 the /64 network, any address of which one customer may use."""
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
        login_page: HTML of the form for the password, with an error in it if there is one.
    """

    def __init__(self, app: ASGIApp, password: str | None, local_only: bool, login_page: Callable[[str], str]) -> None:
        self.app, self.password, self.local_only, self.login_page = app, password, local_only, login_page
        self._wrong = WrongPasswords()
        # Derived from the password, so that browsers stay logged in when the server is started again.
        self._pass = hashlib.scrypt((password or "").encode(), salt=b"safa serve", n=2**14, r=8, p=1).hex()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or pass on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-cache" if scope["path"].startswith("/static/") else "no-store")
            await send(message)

        request = Request(scope, receive)
        answer = await self._answer(request)
        if answer is None and request.method not in SAFE_METHODS and not UPLOAD.fullmatch(scope["path"]):
            body = await _small_body(request)  # uploads are counted where they are written
            if body is None:
                answer = _refusal(request, "The request is too large.", 413)
            else:
                receive = _replayed(body, receive)
        await (answer or self.app)(scope, receive, send_with_headers)

    async def _answer(self, request: Request) -> Response | None:
        """Return the answer to a request that goes no further."""
        host = re.sub(r":\d+$", "", request.headers.get("host", ""))
        if self.local_only and host.strip("[]") not in LOCAL:
            return _refusal(
                request,
                f"This server answers only as localhost, not as {host!r}. Start it with --password or --public to "
                "use it under another name.",
                421,
            )
        if request.method not in SAFE_METHODS and not is_same_origin(request):
            return _refusal(request, "This request is from another site; use the server's own page.", 403)
        path = request.scope["path"]  # the URL is put together from the Host header
        if path == "/login" and (self.password is None or self._is_logged_in(request)):
            return RedirectResponse("/", 303)
        if self.password is None or WITHOUT_PASSWORD.fullmatch(path) or self._is_logged_in(request):
            return None
        if path == "/login" and request.method == "POST":
            return await self._log_in(request)
        if path in ("/", "/login"):
            return HTMLResponse(self.login_page(""), 401)
        return _refusal(request, "Log in first.", 401)

    def _is_logged_in(self, request: Request) -> bool:
        return hmac.compare_digest(request.cookies.get(PASSWORD_COOKIE, "").encode(), self._pass.encode())

    async def _log_in(self, request: Request) -> Response:
        body = await _small_body(request)
        if body is None:
            return HTMLResponse(self.login_page("That is too long for a password."), 413)
        address = request.client.host if request.client is not None else ""
        if self._wrong.are_too_many(address):
            minutes = f"{WRONG_WINDOW / 60:.0f} minutes"
            return HTMLResponse(
                self.login_page(f"Too many wrong passwords came from your address; try again in {minutes}."), 429
            )
        given = parse_qs(body.decode("utf-8", "replace")).get("password", [""])[0]
        if not hmac.compare_digest(given.encode("utf-8", "replace"), (self.password or "").encode()):
            self._wrong.add(address)  # before the wait: others may come meanwhile
            await asyncio.sleep(WRONG_PASSWORD_SECONDS)
            return HTMLResponse(self.login_page("That is not the password."), 401)
        response = RedirectResponse("/", 303)
        response.headers.append("Set-Cookie", cookie(PASSWORD_COOKIE, self._pass, request.scope))
        return response


def _refusal(request: Request, sentence: str, status: int) -> Response:
    if request.scope["path"].startswith("/api/"):
        return JSONResponse({"error": sentence}, status)
    return PlainTextResponse(sentence + "\n", status)


async def _small_body(request: Request) -> bytes | None:
    """Read a request's body; None where it is larger than ``MOST_BODY`` or does not arrive in ``BODY_SECONDS``."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MOST_BODY:
                    return None
    except (TimeoutError, ClientDisconnect):
        return None
    return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that starts with a body that has been read already."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
