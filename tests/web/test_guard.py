"""Requests that are refused before the application sees them, and the headers of every answer."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the page needs the extra 'web'")

from safa.errors import SafaError
from safa.web import guard
from safa.web.guard import BROWSER_COOKIE
from safa.web.server import ServerSettings
from tests.web.making import HERE, LIMITS, Server, tiny_weights

PASSWORD = "open sesame"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    folder = tmp_path_factory.mktemp("server")
    return Server(folder, tiny_weights(folder))


@pytest.fixture
def locked(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(guard, "WRONG_PASSWORD_SECONDS", 0)
    return Server(tmp_path, Path(server.workers.weights["tiny"]), password=PASSWORD)


@pytest.mark.parametrize("path", ["/", "/api/options", "/api/nothing", "/nothing", "/static/app.js", "/favicon.ico"])
def test_every_answer_has_a_strict_policy(server: Server, path: str) -> None:
    headers = server.client().get(path).headers
    policy = headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "*" not in policy
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers


def test_a_browser_gets_an_id_that_scripts_and_other_sites_do_not_have(server: Server) -> None:
    client = server.client(None)
    assert "set-cookie" not in client.get("/").headers  # a link from another site comes without the cookie
    answer = client.post("/api/session")
    attributes = answer.headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(attributes)
    assert "Secure" not in attributes
    assert len(answer.cookies[BROWSER_COOKIE]) == 32
    assert "set-cookie" not in client.post("/api/session").headers
    assert "Secure" in server.client(None, at="https://localhost").post("/api/session").headers["set-cookie"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://localhost:8000"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://localhost"}, 201),
        ({"Origin": HERE}, 201),
        ({}, 201),
    ],
)
def test_other_sites_change_nothing(server: Server, headers: dict[str, str], status: int) -> None:
    before = set(server.store.folder.iterdir())
    client = server.client("e" * 32)
    answer = client.post("/api/jobs", json={"files": [{"name": "a"}]}, headers=headers)
    assert answer.status_code == status
    assert (set(server.store.folder.iterdir()) == before) == (status == 403)
    if status == 403:
        assert "another site" in answer.json()["error"]
        assert client.put("/api/jobs/x/uploads/1", content=b"x", headers=headers).status_code == 403
        assert client.delete("/api/jobs/x", headers=headers).status_code == 403
    else:
        assert client.delete(f"/api/jobs/{answer.json()['id']}", headers=headers).status_code == 204


@pytest.mark.parametrize("path", ["/api/jobs", "/api/jobs/x/start", "/api/session", "/"])
def test_requests_that_are_no_uploads_are_small(server: Server, path: str) -> None:
    json = {"Content-Type": "application/json"}
    for content in (b"x" * (guard.MOST_BODY + 1), (b"x" * 10_000 for _ in range(7))):
        assert server.client().post(path, content=content, headers=json).status_code == 413


@pytest.mark.parametrize(
    "path",
    ["/static/../server.py", "/static/%2e%2e/server.py", "/static//etc/passwd", "/templates/index.html", "/docs"],
)
def test_files_that_are_not_of_the_page_are_not_there(server: Server, path: str) -> None:
    assert server.client().get(path).status_code == 404


def test_another_name_for_this_machine_is_refused(server: Server) -> None:
    answer = server.client(at="http://evil.example").get("/api/options")
    assert (answer.status_code, "answers only as localhost" in answer.json()["error"]) == (421, True)
    for name in ("127.0.0.1:7860", "[::1]:7860", "localhost"):
        assert server.client(at=f"http://{name}").get("/").status_code == 200


def test_the_password_stands_before_everything(locked: Server) -> None:
    client = locked.client(at="http://films.example")
    paths = ("/", "/api/jobs", "/api/events", "/api/options", "/nothing")
    assert [client.get(path).status_code for path in paths] == [401] * 5
    assert client.put("/api/jobs/x/uploads/1", content=b"a").json() == {"error": "Log in first."}
    assert client.get("/static/style.css").status_code == 200
    assert 'type="password"' in client.get("/").text
    assert "not the password" in client.post("/login", data={"password": "wrong"}).text
    assert client.post("/login", content=b"\xff\x00=&password").status_code == 401
    answer = client.post("/login", data={"password": PASSWORD})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert {"HttpOnly", "SameSite=Strict"} <= set(answer.headers["set-cookie"].split("; "))
    assert PASSWORD not in answer.headers["set-cookie"]
    assert client.get("/api/options").status_code == 200
    assert client.get("/login").headers["location"] == "/"


def test_another_site_cannot_log_a_browser_in(locked: Server) -> None:
    answer = locked.client().post("/login", data={"password": PASSWORD}, headers={"Origin": "http://evil.example"})
    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


def test_a_forged_pass_opens_nothing(locked: Server) -> None:
    for value in ("", "x", PASSWORD, "0" * 128):
        client = locked.client()
        client.cookies.set(guard.PASSWORD_COOKIE, value)
        assert client.get("/api/jobs").status_code == 401


def test_wrong_passwords_are_limited_by_where_they_come_from(locked: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MOST_WRONG", 3)

    def log_in(password: str, address: str) -> int:
        client = locked.client(client=(address, 5000))
        return int(client.post("/login", data={"password": password}).status_code)

    for near, as_near, elsewhere in (("1.2.3.4", "1.2.3.4", "1.2.3.5"), ("2001:db8::1", "2001:db8::ff", "2001:db9::1")):
        assert [log_in("wrong", near) for _ in range(4)] == [401, 401, 401, 429]
        assert log_in(PASSWORD, as_near) == 429
        assert log_in(PASSWORD, elsewhere) == 303
    monkeypatch.setattr(guard, "WRONG_WINDOW", 0)  # time passes
    assert log_in(PASSWORD, "1.2.3.4") == 303


def test_other_addresses_need_a_password_or_consent(tmp_path: Path) -> None:
    for options in ({"password": "x"}, {"public": True}):
        ServerSettings(tmp_path, LIMITS, {}, host="0.0.0.0", **options)  # type: ignore[arg-type]
    with pytest.raises(SafaError, match="--password, or --public"):
        ServerSettings(tmp_path, LIMITS, {}, host="0.0.0.0")
    with pytest.raises(SafaError, match="empty"):
        ServerSettings(tmp_path, LIMITS, {}, password="")
