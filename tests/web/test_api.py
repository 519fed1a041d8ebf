"""The JSON API: what it accepts, refuses and gives out, without our page."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import threading
import urllib.request
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the page needs the extra 'web'")
import uvicorn

from safa.web import uploads
from safa.web.jobs import CANCELLED, DRAFT, MOST_DRAFTS, QUEUED
from safa.web.uploads import RESERVED_ROOM, DiskRoom, UploadError, save_upload
from tests.media import write_clip
from tests.web.making import LIMITS, ME, OTHER, Server, make_draft, make_job, tiny_weights, write_picture

PATIENCE = 120  # seconds; only a broken server takes so long
FULL = "This server's disk is full; try again when older jobs have been deleted."


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def server(tmp_path: Path, weights: Path) -> Server:
    return Server(tmp_path, weights)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=3)


@pytest.fixture
def live(server: Server) -> Iterator[str]:
    """Address of the application behind a socket."""
    listening = socket.create_server(("127.0.0.1", 0))
    runner = uvicorn.Server(uvicorn.Config(server.app, log_level="critical", timeout_graceful_shutdown=5))
    thread = threading.Thread(target=runner.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.is_stopping = runner.should_exit = True
    thread.join(PATIENCE)
    assert not thread.is_alive()
    listening.close()


def test_from_upload_to_deletion(server: Server, clip: Path) -> None:
    client = server.client()
    draft = server.upload(("clip.mp4", clip.read_bytes())).json()
    assert (draft["state"], draft["kind"], draft["title"]) == ("draft", "video", "clip.mp4")
    assert draft["summary"] == "48 x 32, 0.3 s, 10 frames per second, with sound"
    address = f"/api/jobs/{draft['id']}"
    forecast = client.post(f"{address}/forecast", json={"smoothness": "4"}).json()
    assert (forecast["width"], forecast["height"], forecast["frames"]) == (192, 128, 9)
    assert forecast["rows"][0] == {"label": "Size", "value": "192 x 128", "note": "four times"}
    assert forecast["rows"][1] == {"label": "Frames", "value": "9", "note": "40 a second"}
    started = client.post(f"{address}/start", json={"smoothness": "4", "sound": False}).json()
    assert (started["state"], started["status"]) == ("queued", "Waiting, starts next")
    assert (started["options"]["smoothness"], started["options"]["sound"]) == ("4", False)
    assert client.post(f"{address}/start").json()["error"] == "This job was started already."
    assert client.post(f"{address}/cancel").json()["state"] == "cancelled"
    assert client.post(f"{address}/resume").json()["state"] == "queued"
    server.workers._run(server.store.claim(0), {})  # type: ignore[arg-type]
    done = client.get(address).json()
    assert (done["state"], done["error"], done["plays"], done["actions"]) == ("done", "", True, ["delete"])
    assert done["result"]["frames"] == 9
    assert client.post(f"{address}/resume").status_code == 409
    assert [job["id"] for job in client.get("/api/jobs").json()["jobs"]] == [draft["id"]]
    assert client.delete(address).status_code == 204
    assert client.get(address).json() == {"error": "This job is no longer there."}
    assert client.get("/api/jobs").json()["jobs"] == []
    assert list(server.store.folder.glob("*/")) == []


def test_a_second_is_tried_beside_the_draft(server: Server, clip: Path, tmp_path: Path) -> None:
    draft = make_draft(server.store, clip)
    answer = server.client().post(f"/api/jobs/{draft.id}/try")
    assert (answer.status_code, answer.json()["trial"], draft.state) == (201, True, DRAFT)
    picture = make_draft(server.store, write_picture(tmp_path / "a.png", 20))
    assert server.client().post(f"/api/jobs/{picture.id}/try").status_code == 422


def test_two_pictures_are_one_draft(server: Server, tmp_path: Path) -> None:
    pictures = [(f"{shade}.png", write_picture(tmp_path / f"{shade}.png", shade).read_bytes()) for shade in (20, 90)]
    draft = server.upload(*pictures).json()
    assert (draft["kind"], draft["title"], draft["source"]["count"]) == ("pictures", "20.png and 90.png", 2)
    rows = server.client().post(f"/api/jobs/{draft['id']}/forecast", json={"count": "3"}).json()["rows"]
    assert rows[1] == {"label": "Pictures", "value": "5", "note": "both of yours, enlarged, and 3 between"}


def test_a_running_job_is_stopped_before_it_is_deleted(server: Server, clip: Path) -> None:
    job = make_job(server.store, clip)
    assert server.store.claim(0) is job
    answer = server.client().delete(f"/api/jobs/{job.id}")
    assert (answer.status_code, answer.json()["error"]) == (409, "This job is running; cancel it first.")
    stopping = server.client().post(f"/api/jobs/{job.id}/cancel").json()
    assert (stopping["status"], stopping["actions"]) == ("Stopping", [])


def test_options_that_cannot_be_are_refused_with_a_sentence(server: Server, clip: Path) -> None:
    draft = make_draft(server.store, clip)
    client, address = server.client(), f"/api/jobs/{draft.id}"
    for options, sentence in (
        ({"smoothness": "3"}, "'3' is not a choice of smoothness; choose of 1, 2, 4, 8, 30fps, 60fps."),
        ({"weights": "/etc/passwd"}, "'/etc/passwd' is not a choice of weights; choose of tiny."),
        ({"owner": OTHER}, "'owner' is not an option;"),
    ):
        for action in ("forecast", "start", "try"):
            answer = client.post(f"{address}/{action}", json=options)
            assert answer.status_code == 422
            assert answer.json()["error"].startswith(sentence)
    for body in (b"[", b"[1]", b'"x"'):
        answer = client.post(f"{address}/start", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, list(answer.json())) == (422, ["error"])
    assert draft.state == DRAFT


def test_uploads_are_stored_under_our_names(server: Server, clip: Path) -> None:
    draft = server.upload(("../../etc/my clip.mp4", clip.read_bytes())).json()
    job = server.store.get(ME, draft["id"])
    assert job is not None
    assert job.names == ["my clip.mp4"]
    assert sorted(path.name for path in server.store.folder_of(job).iterdir()) == ["input", "job.json"]
    assert server.store.input_of(job, 1).read_bytes() == clip.read_bytes()


def test_an_upload_that_is_too_large_leaves_nothing(server: Server) -> None:
    client = server.client()
    stated = client.post("/api/jobs", json={"files": [{"name": "a.mp4", "size": 300_000}]})
    sent = server.upload(("a.mp4", b"x" * 300_000))
    streamed = server.upload(("a.mp4", (b"x" * 50_000 for _ in range(6))))
    assert [answer.status_code for answer in (stated, sent, streamed)] == [413] * 3
    assert stated.json() == sent.json() == {"error": "a.mp4 is 300 KB; this server takes at most 200 KB."}
    assert streamed.json() == {"error": "a.mp4 is more than 200 KB; this server takes at most 200 KB."}
    assert list(server.store.folder.glob("*/")) == []


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "letter.mp4 is empty."),
        (b"a letter" * 99, "letter.mp4 is not a video or picture that can be read, or it is damaged."),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "letter.mp4 is not a video or picture that can be read, or it"),
    ],
)
def test_an_upload_that_is_no_clip_leaves_nothing(server: Server, content: bytes, sentence: str) -> None:
    answer = server.upload(("letter.mp4", content))
    assert answer.is_client_error
    assert answer.json()["error"].startswith(sentence)
    assert list(server.store.folder.glob("*/")) == []


def test_no_upload_makes_the_server_open_an_address(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.setblocking(False)
        address = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/a"
        manifest = (
            '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet><Representation '
            f'mimeType="video/mp4"><BaseURL>{address}</BaseURL></Representation></AdaptationSet></Period></MPD>'
        )
        for playlist in (
            f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}.ts\n#EXT-X-ENDLIST\n",
            f"ffconcat version 1.0\nfile '{address}'\n",
            f'<?xml version="1.0"?>{manifest}',
            f"v=0\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\na=control:{address}\nm=video 0 RTP/AVP 96\n",
        ):
            assert server.upload(("list.mp4", playlist.encode())).status_code == 422
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


@pytest.mark.parametrize(
    "files",
    [None, "a", [], ["a"], [{"name": "a"}] * 3, [{"name": "a", "size": -1}], [{"name": "a", "size": "many"}]],
)
def test_a_draft_is_of_one_or_two_files(server: Server, files: object) -> None:
    answer = server.client().post("/api/jobs", json={"files": files})
    assert (answer.status_code, list(answer.json())) == (422, ["error"])
    assert list(server.store.folder.glob("*/")) == []


def test_nothing_is_added_to_what_others_sent_or_to_a_complete_upload(server: Server, clip: Path) -> None:
    picture = {"files": [{"name": "a"}, {"name": "b"}]}
    draft = server.client().post("/api/jobs", json=picture).json()["id"]
    assert server.client(OTHER).put(f"/api/jobs/{draft}/uploads/1", content=b"b").status_code == 404
    assert server.client(None).put(f"/api/jobs/{draft}/uploads/1", content=b"b").status_code == 403
    assert server.client().put(f"/api/jobs/{draft}/uploads/1", content=b"b").status_code == 200
    assert server.client().post(f"/api/jobs/{draft}/start").status_code == 404
    for number, status in (("1", 409), ("0", 409), ("3", 409), ("-1", 409), ("x", 422)):
        assert server.client().put(f"/api/jobs/{draft}/uploads/{number}", content=b"b").status_code == status
    whole = make_draft(server.store, clip)
    assert server.client().put(f"/api/jobs/{whole.id}/uploads/1", content=b"b").status_code == 409
    assert server.store.input_of(whole, 1).read_bytes() == clip.read_bytes()


def test_uploads_that_are_never_started_give_way(server: Server) -> None:
    client, file = server.client(), {"files": [{"name": "a"}]}
    drafts = [server.store.get(ME, client.post("/api/jobs", json=file).json()["id"]) for _ in range(MOST_DRAFTS + 2)]
    kept = [draft for draft in drafts if draft is not None and server.store.contains(draft)]
    assert kept == drafts[2:]
    for draft in kept:
        draft.is_arriving = True
    refused = client.post("/api/jobs", json=file)
    assert (refused.status_code, "are arriving already" in refused.json()["error"]) == (429, True)
    assert client.put(f"/api/jobs/{kept[0].id}/uploads/1", content=b"b").status_code == 409
    assert server.client(OTHER).post("/api/jobs", json=file).status_code == 201


@pytest.fixture
def small_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with room for 100 bytes."""
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=RESERVED_ROOM + 100))


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_takes_no_upload(server: Server) -> None:
    stated = server.client().post("/api/jobs", json={"files": [{"name": "a", "size": 60}, {"name": "b", "size": 60}]})
    sent, streamed = (server.upload(("a", content)) for content in (b"x" * 101, (b"x" * 101 for _ in range(1))))
    assert [answer.status_code for answer in (stated, sent, streamed)] == [507] * 3
    assert stated.json() == sent.json() == streamed.json() == {"error": FULL}
    assert list(server.store.folder.glob("*/")) == []


@pytest.mark.usefixtures("small_disk")
def test_uploads_that_arrive_at_the_same_time_share_the_room(tmp_path: Path) -> None:
    room = DiskRoom(tmp_path)
    with room.reserve(60), pytest.raises(UploadError, match="disk is full"), room.reserve(60):
        pass
    with room.reserve(60) as first, room.reserve(0) as second:  # the length of the second is unknown
        first.admit(60)
        second.admit(40)
        with pytest.raises(UploadError, match="disk is full"):
            second.admit(41)
    with room.reserve(100):
        pass


def save(tmp_path: Path, chunks: AsyncIterator[bytes], is_wanted: bool = True) -> None:
    target = tmp_path / "input"
    asyncio.run(save_upload(chunks, None, target, "a.mp4", LIMITS, DiskRoom(tmp_path), lambda: is_wanted))


async def one_chunk_and_silence() -> AsyncIterator[bytes]:
    yield b"x"
    await asyncio.Event().wait()


def test_an_upload_that_stalls_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "STALL_SECONDS", 0.01)
    with pytest.raises(UploadError, match=r"a.mp4 did not arrive whole; try again."):
        save(tmp_path, one_chunk_and_silence())
    assert list(tmp_path.iterdir()) == []


def test_an_upload_that_is_deleted_stops(tmp_path: Path) -> None:
    with pytest.raises(UploadError, match="was deleted while it was arriving"):
        save(tmp_path, one_chunk_and_silence(), is_wanted=False)
    assert list(tmp_path.iterdir()) == []


def test_an_upload_that_breaks_off_is_removed(server: Server, live: str) -> None:
    draft = server.store.draft(ME, ["a.mp4"])
    host, port = live.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), PATIENCE) as connection:
        head = f"PUT /api/jobs/{draft.id}/uploads/1 HTTP/1.1\r\nHost: {host}:{port}\r\nCookie: safa_browser={ME}\r\n"
        connection.sendall(f"{head}Content-Length: 1000\r\n\r\nhalf".encode())
        with server.store._changed:
            assert server.store._changed.wait_for(lambda: draft.is_arriving, PATIENCE)
    with server.store._changed:
        assert server.store._changed.wait_for(lambda: not server.store.contains(draft), PATIENCE)
    assert not server.store.folder_of(draft).exists()


def events_of(lines: Iterable[bytes]) -> Iterator[list[dict[str, Any]]]:
    """Lists of jobs as they are sent."""
    for line in lines:
        if line.startswith(b"data: "):
            yield json.loads(line.removeprefix(b"data: "))["jobs"]


def test_events_tell_what_changes(server: Server, live: str, clip: Path) -> None:
    job = make_job(server.store, clip)
    make_job(server.store, clip, owner=OTHER)
    request = urllib.request.Request(f"{live}/api/events", headers={"Cookie": f"safa_browser={ME}"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = events_of(answer)
        assert [(one["id"], one["state"]) for one in next(events)] == [(job.id, QUEUED)]
        server.store.cancel(job)
        assert [one["state"] for one in next(events)] == [CANCELLED]
        server.is_stopping = True
        assert list(events) == []


def test_files_are_given_to_their_owner_only(server: Server, clip: Path) -> None:
    job = make_job(server.store, clip)
    server.workers._run(server.store.claim(0), {})  # type: ignore[arg-type]
    client, address = server.client(), f"/api/jobs/{job.id}/files"
    content = (server.store.folder_of(job) / "result.mp4").read_bytes()
    answer = client.get(f"{address}/result?save")
    assert (answer.content, answer.headers["content-type"]) == (content, "video/mp4")
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''clip-4x.mp4"
    part = client.get(f"{address}/result", headers={"Range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, content[5:10])
    assert part.headers["content-range"] == f"bytes 5-9/{len(content)}"
    assert client.get(f"{address}/result", headers={"Range": f"bytes={len(content)}-"}).status_code == 416
    assert client.head(f"{address}/result").headers["content-length"] == str(len(content))
    assert client.get(f"{address}/source").content == clip.read_bytes()
    assert client.get(f"{address}/after").headers["content-type"] == "image/webp"
    for name in ("job.json", "input", "result.mp4", "loop", "sheet", "..%2fjob.json"):
        assert client.get(f"{address}/{name}").status_code == 404
    for stranger in (server.client(OTHER), server.client(None)):
        assert stranger.get(f"{address}/result").status_code in (403, 404)
        assert stranger.get(f"/api/jobs/{job.id}").status_code in (403, 404)
        assert stranger.post(f"/api/jobs/{job.id}/resume").status_code in (403, 404)
    assert ME not in client.get("/api/jobs").text


def test_offers_and_limits_are_listed(server: Server) -> None:
    offer = server.client(None).get("/api/options").json()
    assert offer["limits"] == {"bytes": 200_000, "seconds": 5, "pixels": 10_000, "files": 2}
    assert offer["options"]["weights"] == {"tiny": "tiny"}
    assert offer["defaults"]["smoothness"] == "2"


@pytest.mark.parametrize("identifier", ["..", "%2e%2e%2f", "0" * 32, "A" * 32, "x"])
def test_ids_are_looked_up_and_never_opened(server: Server, identifier: str) -> None:
    for address in (f"/api/jobs/{identifier}", f"/api/jobs/{identifier}/files/result"):
        assert server.client().get(address).status_code == 404
    assert server.client().post(f"/api/jobs/{identifier}/start").status_code == 404
