"""What the server lets in and gives out, spoken to directly and not as our page does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the page needs the extra 'web'")
import httpx
from starlette.testclient import TestClient

from safa.errors import SafaError
from safa.web import guard
from safa.web.guard import BROWSER
from safa.web.job_record import DRAFT
from safa.web.job_store import MOST_DRAFTS, JobStore
from safa.web.server import ROOM, ServerSettings, application
from safa.web.worker import Workers
from tests.media import write_clip
from tests.web.making import LIMITS, ME, OTHER, make_job, tiny_weights, write_picture

HERE = "http://localhost"


class Server:
    """An application that is not behind a socket, and its store."""

    def __init__(self, folder: Path, weights: Path, **options: Any) -> None:
        self.folder = folder
        settings = ServerSettings(folder / "jobs", LIMITS, {"tiny": str(weights)}, **options)
        self.store = JobStore(settings.folder, 3600)
        self.workers = Workers(self.store, settings.weights, device="cpu")
        self.app = application(settings, self.store, self.workers)

    def client(self, owner: str | None = ME, at: str = HERE) -> TestClient:
        cookies = {BROWSER: owner} if owner else {}
        return TestClient(self.app, base_url=at, cookies=cookies, follow_redirects=False)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    folder = tmp_path_factory.mktemp("server")
    return Server(folder, tiny_weights(folder))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=3)


def test_a_browser_gets_an_id_that_scripts_cannot_read(server: Server) -> None:
    answer = server.client(None).get("/")
    assert answer.status_code == 200
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert len(answer.cookies[BROWSER]) == 32
    assert "set-cookie" not in server.client().get("/").headers


def test_an_upload_lands_in_a_draft_under_our_name(server: Server, clip: Path) -> None:
    answer = server.client().post("/upload", params={"name": "../../etc/my clip.mp4"}, content=clip.read_bytes())
    job = server.store.get(ME, answer.json()["draft"])
    assert job is not None
    assert (job.state, job.names) == (DRAFT, ["my clip.mp4"])
    assert (server.store.place(job) / "input").read_bytes() == clip.read_bytes()


def test_an_upload_that_is_too_large_leaves_nothing(server: Server) -> None:
    before = set(server.store.folder.iterdir())
    stated = server.client().post("/upload", params={"name": "a.mp4"}, content=b"x" * 300_000)
    streamed = server.client().post("/upload", params={"name": "a.mp4"}, content=(b"x" * 50_000 for _ in range(6)))
    assert stated.status_code == streamed.status_code == 413
    assert stated.json()["error"] == "a.mp4 is 300 KB; this server takes at most 200 KB."
    assert streamed.json()["error"] == "a.mp4 is more than 200 KB; this server takes at most 200 KB."
    assert set(server.store.folder.iterdir()) == before


@pytest.fixture
def almost_full(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with room for 100,000 bytes of uploads."""

    def taken() -> int:
        return sum(path.stat().st_size for path in server.store.folder.glob("*/input*"))

    free = ROOM + 100_000 + taken()
    monkeypatch.setattr("safa.web.job_store.shutil.disk_usage", lambda folder: SimpleNamespace(free=free - taken()))


@pytest.mark.usefixtures("almost_full")
def test_uploads_of_unknown_size_leave_room_on_the_disk(server: Server) -> None:
    before, owner = set(server.store.folder.iterdir()), "d" * 32
    answer = server.client(owner).post("/upload", params={"name": "a"}, content=(b"x" * 50_000 for _ in range(3)))
    assert (answer.status_code, "disk is full" in answer.json()["error"]) == (507, True)
    assert set(server.store.folder.iterdir()) == before
    fits = server.client(owner).post("/upload", params={"name": "a"}, content=(b"x" * 50_000 for _ in range(2)))
    assert fits.status_code == 200


@pytest.mark.usefixtures("almost_full")
def test_uploads_at_once_share_the_room_on_the_disk(server: Server) -> None:
    found = []

    async def send() -> None:
        transport = httpx.ASGITransport(app=server.app)
        async with httpx.AsyncClient(transport=transport, base_url=HERE, cookies={BROWSER: "e" * 32}) as client:

            async def post(content: Any, size: int) -> None:
                headers = {"Content-Length": str(size)}
                answer = await client.post("/upload", params={"name": "a"}, content=content, headers=headers)
                found.append((size, answer.status_code))

            async def slowly() -> AsyncIterator[bytes]:
                yield b"x" * 30_000
                for size in (50_000, 30_000):
                    await post(b"x" * size, size)
                yield b"x" * 30_000

            await post(slowly(), 60_000)

    asyncio.run(send())
    assert found == [(50_000, 507), (30_000, 200), (60_000, 200)]


def test_nothing_is_added_to_what_others_sent(server: Server, clip: Path) -> None:
    draft = server.client().post("/upload", params={"name": "a"}, content=b"abc").json()["draft"]
    assert server.client(OTHER).post("/upload", params={"name": "b", "draft": draft}, content=b"b").status_code == 409
    assert server.client(None).post("/upload", params={"name": "b"}, content=b"b").status_code == 403


def test_what_has_been_looked_at_stays_as_it_is(server: Server, tmp_path: Path) -> None:
    picture = write_picture(tmp_path / "a.png", 20).read_bytes()
    draft = server.client().post("/upload", params={"name": "a.png"}, content=picture).json()["draft"]
    job = server.store.get(ME, draft)
    assert job is not None
    assert server.client().get(f"/jobs/{draft}/source").status_code == 404
    server.store.change(job, kind="pictures", facts={"width": 20, "height": 14, "count": 1})
    assert server.client().post("/upload", params={"name": "b", "draft": draft}, content=picture).status_code == 409


@pytest.mark.parametrize("path", ["/gradio_api/run/predict", "/gradio_api/queue/join"])
def test_other_requests_are_small(server: Server, path: str) -> None:
    kind = {"Content-Type": "application/json"}
    stated = server.client().post(path, content=b"x" * (guard.MOST_BODY + 1), headers=kind)
    streamed = server.client().post(path, content=(b"x" * 100_000 for _ in range(12)), headers=kind)
    assert (stated.status_code, streamed.status_code) == (413, 413)


def test_a_result_is_given_to_its_owner_only(server: Server, clip: Path) -> None:
    job = make_job(server.store, clip)
    server.workers._do(server.store.claim(0), {})  # type: ignore[arg-type]
    address = f"/jobs/{job.id}/result"
    answer = server.client().get(address + "?save")
    assert answer.content == (server.store.place(job) / "result.mp4").read_bytes()
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''clip-4x.mp4"
    assert server.client().get(address, headers={"Range": "bytes=0-9"}).status_code == 206
    assert server.client(OTHER).get(address).status_code == 404
    for name in ("job.json", "..", "%2e%2e", "input", "result.mp4"):
        assert server.client().get(f"/jobs/{job.id}/{name}").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/proxy=http://localhost/",
        "/gradio_api/stream/a/b/1/playlist-file",
        "/monitoring",
        "/gradio_api/runs",
        "/docs",
    ],
)
def test_what_the_page_does_not_need_is_not_there(server: Server, path: str) -> None:
    assert server.client().get(path).status_code == 404
    assert server.client().post("/gradio_api/upload", files={"files": b"x"}).status_code == 404


def upload_event(server: Server, **values: Any) -> dict[str, Any]:
    """What our page sends once a file has arrived, with other values."""
    config = server.client().get("/config").json()
    event = next(one for one in config["dependencies"] if any(target[1] == "upload" for target in one["targets"]))
    choices = ["2", "1", "mp4", "high", True, True, False, "7", "tiny", "0"]
    return {"fn_index": event["id"], "session_hash": "s", "event_data": None, "data": choices, **values}


@pytest.fixture
def nothing_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where an upload is looked at or Gradio takes what a request names."""

    def never(*arguments: object, **options: object) -> None:
        raise AssertionError("something was opened")

    monkeypatch.setattr("safa.web.page.describe_upload", never)
    for name in ("async_ssrf_protected_download", "ssrf_protected_download", "save_file_to_cache"):
        monkeypatch.setattr(f"gradio.processing_utils.{name}", never)


@pytest.mark.parametrize("forged", ["../../../etc/passwd", "/etc/passwd", "http://films.example/", None])
def test_a_forged_draft_opens_nothing(server: Server, forged: object, nothing_is_opened: None) -> None:
    body = upload_event(server, event_data={"draft": forged})
    answer = server.client().post("/gradio_api/run/predict", json=body)
    assert (answer.status_code, "drop it again" in answer.text) == (200, True)


FILE = {"path": "http://films.example/big.bin", "meta": {"_type": "gradio.FileData"}}


@pytest.mark.parametrize("path", ["/gradio_api/run/predict", "/gradio_api/queue/join/"])
@pytest.mark.parametrize(
    "forged",
    [
        {"data": [FILE] * 10},
        {"data": ["2", "1", "mp4", "high", True, True, False, "7", "tiny", [[{"value": FILE}]]]},
        {"data": [{"path": "/etc/passwd"}] * 10},
        {"data": [{"url": "http://films.example/"}] * 10},
        {"event_data": {"draft": FILE}},
    ],
)
def test_a_request_that_names_a_file_or_an_address_is_refused(
    server: Server, path: str, forged: dict[str, Any], nothing_is_opened: None
) -> None:
    body = upload_event(server, **forged)
    for content in (json.dumps(body).encode(), json.dumps(body).encode("utf-16"), doubled(body)):
        answer = server.client().post(path, content=content, headers={"Content-Type": "application/json"})
        assert (answer.status_code, "takes no files or addresses" in answer.text) == (400, True)


def doubled(body: dict[str, Any]) -> bytes:
    """JSON in which every file has its name twice."""
    return json.dumps(body).replace('"path":', '"path": 1, "path":').encode()


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b"1" * 10_000, b"path=/etc/passwd"])
def test_a_body_that_is_no_json_is_refused(server: Server, body: bytes) -> None:
    answer = server.client().post("/gradio_api/run/predict", content=body)
    assert (answer.status_code, answer.text) == (400, "This is not JSON.\n")


def test_files_named_in_requests_are_checked_by_gradio_too(server: Server) -> None:
    mounted = next(route.app for route in server.app.app.routes if hasattr(getattr(route, "app", None), "get_blocks"))
    assert mounted.get_blocks().has_launched


def test_another_name_for_this_machine_is_refused(server: Server) -> None:
    assert server.client(at="http://evil.example").get("/").status_code == 421
    assert server.client(at="http://127.0.0.1:7860").get("/config").status_code == 200


def test_the_password_stands_before_everything(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "WRONG_PASSWORD_SECONDS", 0)
    locked = Server(tmp_path, server.folder / "tiny.safetensors", password="open sesame")
    client = locked.client(at="http://films.example")
    assert [client.get(path).status_code for path in ("/", "/config", "/jobs/a/b")] == [401] * 3
    assert client.post("/upload", params={"name": "a"}, content=b"a").status_code == 401
    assert "not the password" in client.post("/login", data={"password": "wrong"}).text
    assert client.post("/login", data={"password": "open sesame"}).status_code == 303
    assert client.get("/config").status_code == 200


def test_wrong_passwords_are_limited_by_where_they_come_from(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "WRONG_PASSWORD_SECONDS", 0)
    monkeypatch.setattr(guard, "MOST_WRONG", 3)
    locked = Server(tmp_path, server.folder / "tiny.safetensors", password="open sesame")

    def log_in(password: str, address: str) -> int:
        client = TestClient(locked.app, base_url=HERE, client=(address, 5000), follow_redirects=False)
        return client.post("/login", data={"password": password}).status_code

    for near, as_near, elsewhere in (("1.2.3.4", "1.2.3.4", "1.2.3.5"), ("2001:db8::1", "2001:db8::ff", "2001:db9::1")):
        assert [log_in("wrong", near) for _ in range(4)] == [401, 401, 401, 429]
        assert log_in("open sesame", as_near) == 429
        assert log_in("open sesame", elsewhere) == 303
    monkeypatch.setattr(guard, "WRONG_WINDOW", 0)  # time passes
    assert log_in("open sesame", "1.2.3.4") == 303


def test_uploads_that_are_never_started_give_way(server: Server) -> None:
    owner = "c" * 32
    sent = [server.client(owner).post("/upload", params={"name": "a"}, content=b"abc") for _ in range(MOST_DRAFTS + 2)]
    assert {answer.status_code for answer in sent} == {200}
    drafts = [server.store.get(owner, answer.json()["draft"]) for answer in sent]
    assert [draft is None for draft in drafts] == [True, True, *[False] * MOST_DRAFTS]
    for draft in drafts[2:]:
        draft.is_arriving = True  # type: ignore[union-attr]
    refused = server.client(owner).post("/upload", params={"name": "a"}, content=b"abc")
    assert (refused.status_code, "are arriving already" in refused.json()["error"]) == (429, True)
    more = server.client(owner).post("/upload", params={"name": "b", "draft": drafts[2].id}, content=b"b")  # type: ignore[union-attr]
    assert more.status_code == 409
    assert server.client(OTHER).post("/upload", params={"name": "a"}, content=b"abc").status_code == 200


def test_other_addresses_need_a_password_or_consent(tmp_path: Path) -> None:
    for options in ({"password": "x"}, {"public": True}):
        ServerSettings(tmp_path, LIMITS, {}, host="0.0.0.0", **options)  # type: ignore[arg-type]
    with pytest.raises(SafaError, match="--password, or --public"):
        ServerSettings(tmp_path, LIMITS, {}, host="0.0.0.0")
    with pytest.raises(SafaError, match="empty"):
        ServerSettings(tmp_path, LIMITS, {}, password="")
