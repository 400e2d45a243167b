"""The downloader against a server on this machine that does everything wrong. No test reaches a network."""

import hashlib
import http.server
import io
import socket
import struct
import threading
import time

import pytest

from mnp.data import download as dl
from mnp.errors import MnpError

DATA = bytes(range(256)) * 1200  # 307,200 bytes: a few blocks
CHECK = dl.sha256_is(hashlib.sha256(DATA).hexdigest())


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address):  # broken pipes are what the tests are about
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    """Asks the test's list of behaviours what to do; the last one stays."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range")))
        plan = self.server.plans.setdefault(self.path, [good])
        self.close_connection = True
        (plan.pop(0) if len(plan) > 1 else plan[0])(self)

    def begin(self, status=200, length=None, kind="application/octet-stream", **headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def start(self):
        """The first byte asked for."""
        asked = self.headers.get("Range")
        return int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0

    def reset(self):
        """End with a reset instead of a goodbye."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.wfile, self.rfile = io.BytesIO(), io.BytesIO()


def ranged(h, data):
    start = h.start()
    if start:
        h.begin(206, len(data) - start, Content_Range=f"bytes {start}-{len(data) - 1}/{len(data)}")
    else:
        h.begin(200, len(data))
    return data[start:]


def good(h):
    h.wfile.write(ranged(h, DATA))


def without_ranges(h):
    h.begin(200, len(DATA))
    h.wfile.write(DATA)


def wrong_bytes(h):
    h.wfile.write(ranged(h, DATA[:-1] + b"x"))


def breaks_after(count):
    """Announce everything, send `count` bytes, hang up."""

    def behave(h):
        h.wfile.write(ranged(h, DATA)[:count])

    return behave


def resets_after(count):
    def behave(h):
        h.wfile.write(ranged(h, DATA)[:count])
        h.wfile.flush()
        h.server.released.wait(0.05)  # let the client read what came: a reset throws away what it has not
        h.reset()

    return behave


def stalls_after(count):
    def behave(h):
        h.wfile.write(ranged(h, DATA)[:count])
        h.wfile.flush()
        h.server.released.wait(10)

    return behave


def crawls(h):
    rest = ranged(h, DATA)
    for byte in rest[:1000]:
        h.wfile.write(bytes([byte]))
        h.wfile.flush()
        if h.server.released.wait(0.02):
            return


def status(code, **headers):
    def behave(h):
        h.begin(code, 5, kind="text/plain", **headers)
        h.wfile.write(b"sorry")

    return behave


def redirects_to(path):
    def behave(h):
        h.begin(302, 0, Location=path)

    return behave


def page(h):
    text = b"<!DOCTYPE html><html>Please log in</html>"
    h.begin(200, len(text), kind="text/html; charset=utf-8")
    h.wfile.write(text)


def page_in_disguise(h):
    text = b"<!DOCTYPE html><html>Please log in</html>"
    h.begin(200, len(text))
    h.wfile.write(text)


def too_much(h):
    h.begin(200)  # no length: the end is where the connection ends
    for _ in range(40):
        h.wfile.write(DATA)


def too_much_announced(h):
    h.begin(200, 10**12)


def too_little(h):
    h.begin(200)
    h.wfile.write(DATA[: len(DATA) // 2])


def another_range(h):
    h.begin(206, 10, Content_Range=f"bytes 7-16/{len(DATA)}")
    h.wfile.write(DATA[7:17])


def no_such_range(h):
    if h.start():
        status(416)(h)
    else:
        good(h)


def not_http(h):
    h.wfile.write(b"220 smtp ready\r\n")


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server(("127.0.0.1", 0), Handler) as running:
        running.plans, running.asked, running.released = {}, [], threading.Event()
        running.address = f"http://127.0.0.1:{running.server_address[1]}"
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield running
        running.released.set()
        running.shutdown()


@pytest.fixture
def waits(monkeypatch):
    """The waits between rounds, noted instead of slept."""
    noted = []
    monkeypatch.setattr(dl.time, "sleep", noted.append)
    return noted


@pytest.fixture
def fetch(server, tmp_path, waits):
    def run(*plans, paths=("/a",), check=CHECK, **options):
        for path, plan in zip(paths, plans, strict=False):
            server.plans[path] = list(plan)
        urls = [server.address + path for path in paths]
        options = {"attempts": 3, "stall": 0.4, "progress": False} | options
        return dl.download(urls, tmp_path / "to" / "file.bin", check, **options)

    return run


def left(tmp_path):
    return sorted(p.name for p in (tmp_path / "to").iterdir())


def test_a_good_server(fetch, server, tmp_path, waits):
    assert fetch([good]).read_bytes() == DATA
    assert left(tmp_path) == ["file.bin"] and waits == [] and server.asked == [("/a", None)]


def test_what_is_there_already_is_not_fetched(fetch, server):
    fetch([good])
    assert fetch([status(503)]).read_bytes() == DATA
    assert len(server.asked) == 1


def test_a_wrong_file_is_replaced_only_by_the_right_one(fetch, tmp_path):
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "file.bin").write_bytes(b"old")
    with pytest.raises(MnpError):
        fetch([wrong_bytes])
    assert (tmp_path / "to" / "file.bin").read_bytes() == b"old"
    fetch([good])
    assert (tmp_path / "to" / "file.bin").read_bytes() == DATA


@pytest.mark.parametrize("behaviour", [breaks_after, resets_after, stalls_after])
def test_what_came_is_not_fetched_again(fetch, server, waits, behaviour):
    assert fetch([behaviour(100_000), behaviour(100_000), good]).read_bytes() == DATA
    ranges = [asked for _, asked in server.asked]
    assert ranges[0] is None and len(ranges) == 3
    if behaviour is not resets_after:  # a reset may lose what was on its way
        assert ranges[1:] == ["bytes=100000-", "bytes=200000-"]
    assert waits == [1.0, 1.0]  # both rounds brought something: the waits do not grow


def test_a_slow_server_is_left(fetch, waits):
    """A byte now and then keeps a socket alive; it must not keep the user waiting for days."""
    begun = time.monotonic()
    assert fetch([crawls], [good], paths=("/slow", "/quick"), stall=0.3).read_bytes() == DATA
    assert time.monotonic() - begun < 5 and waits == []


def test_a_server_without_ranges_begins_again(fetch, server):
    assert fetch([breaks_after(5000), without_ranges]).read_bytes() == DATA
    assert server.asked[1] == ("/a", "bytes=5000-")


def test_wrong_ranges(fetch):
    assert fetch([breaks_after(5000), another_range, good]).read_bytes() == DATA
    with pytest.raises(MnpError, match="another range than was asked for"):
        fetch([breaks_after(5000), another_range], paths=("/b",), check=dl.sha256_is("00"))


def test_a_part_that_does_not_fit_is_thrown_away(fetch, server, tmp_path):
    (tmp_path / "to").mkdir()
    part = tmp_path / "to" / "file.bin.part"
    part.write_bytes(b"x" * 5000)  # of another file: the whole will have the wrong sum
    assert fetch([good]).read_bytes() == DATA
    (tmp_path / "to" / "file.bin").unlink()
    part.write_bytes(b"x" * 400_000)  # longer than the file
    assert fetch([no_such_range]).read_bytes() == DATA
    (tmp_path / "to" / "file.bin").unlink()
    part.write_bytes(b"x" * 400_000)
    server.asked.clear()
    assert fetch([good], size=len(DATA)).read_bytes() == DATA
    assert server.asked == [("/a", None)]


def test_a_complete_part_is_only_checked(fetch, server, tmp_path):
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "file.bin.part").write_bytes(DATA)
    assert fetch([status(503)], size=len(DATA)).read_bytes() == DATA
    assert server.asked == []


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        (status(403), "HTTP 403"),
        (status(503), "HTTP 503"),
        (page, "a web page instead of the file"),
        (redirects_to("/page"), "a web page instead of the file"),
        (redirects_to("/loop"), "HTTP 302"),
        (page_in_disguise, "the wrong file: its sha256"),
        (wrong_bytes, "the wrong file: its sha256"),
        (too_little, "the wrong file: its sha256"),
        (breaks_after(0), "ended after 0 of 307200 bytes"),
        (stalls_after(0), "stalled"),
        (not_http, "220 smtp ready"),
    ],
)
def test_the_next_mirror_helps_and_without_one_there_is_one_clear_line(
    fetch, server, tmp_path, waits, behaviour, says
):
    server.plans |= {"/page": [page], "/loop": [redirects_to("/loop")]}
    assert fetch([behaviour], [good], paths=("/bad", "/good")).read_bytes() == DATA
    assert waits == []  # the next mirror is asked at once
    (tmp_path / "to" / "file.bin").unlink()
    with pytest.raises(MnpError, match=says) as caught:
        fetch([behaviour], paths=("/bad",), by_hand="do it so")
    message = str(caught.value)
    assert "\n" not in message and "could not fetch file.bin" in message and "By hand: do it so" in message
    assert server.address.removeprefix("http://") in message
    assert waits == [1.0, 2.0]  # three rounds, growing waits
    assert "file.bin" not in left(tmp_path)


def test_waits_grow_to_a_minute_and_no_further(fetch, waits):
    with pytest.raises(MnpError):
        fetch([status(503)], attempts=9)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_server_may_ask_for_a_longer_wait(fetch, waits):
    assert (
        fetch([status(503, Retry_After="7"), status(429, Retry_After="Wed, 21 Oct 2015"), good]).read_bytes()
        == DATA
    )
    assert waits == [7.0, 2.0]


@pytest.mark.parametrize("code", [404, 410])
def test_some_answers_are_final(fetch, server, waits, code):
    with pytest.raises(MnpError, match=f"HTTP {code}"):
        fetch([status(code)])
    assert len(server.asked) == 1 and waits == []


@pytest.mark.parametrize(
    ("behaviour", "options", "says"),
    [
        (too_much, {"limit": len(DATA)}, "more bytes than the file has"),
        (too_much, {"size": len(DATA)}, "more bytes than the file has"),
        (too_much_announced, {}, "1000000000000 bytes announced, more than the limit of 1073741824"),
        (too_much_announced, {"size": len(DATA)}, "more than the limit"),
        (good, {"size": 5, "limit": 1 << 20}, "307200 bytes announced, where the file has 5"),
        (too_little, {"size": len(DATA)}, "HTTP|ended after 153600 of 307200 bytes"),
    ],
)
def test_sizes(fetch, tmp_path, behaviour, options, says):
    with pytest.raises(MnpError, match=says):
        fetch([behaviour], **options)
    assert all((tmp_path / "to" / name).stat().st_size <= len(DATA) for name in left(tmp_path))


def test_redirects_lead_to_http_only(fetch, tmp_path):
    (tmp_path / "secret").write_bytes(DATA)
    for place in (f"file://{tmp_path}/secret", "ftp://127.0.0.1/x", "http://[broken"):
        with pytest.raises(MnpError, match="could not fetch"):
            fetch([redirects_to(place)])
    assert left(tmp_path) == []


def test_nobody_listens(tmp_path, waits):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/x"
        with pytest.raises(
            MnpError, match=r"refused.*By hand: fetch http://127.*with a browser and put it at"
        ):
            dl.download([url], tmp_path / "x", CHECK, attempts=2, progress=False)
    assert waits == [1.0]


def test_progress_is_told_on_stderr(fetch, capsys):
    fetch([good], progress=True)
    captured = capsys.readouterr()
    assert "file.bin" in captured.err and captured.out == ""


# ---- the disk


def test_a_folder_that_cannot_be_made(tmp_path, waits):
    (tmp_path / "to").write_text("a file")
    with pytest.raises(MnpError, match="cannot be written"):
        dl.download(["http://127.0.0.1:1/x"], tmp_path / "to" / "x", CHECK, progress=False)
    assert waits == []


def test_a_full_disk_ends_it_at_once(fetch, monkeypatch, waits):
    class Full(io.BytesIO):
        def write(self, block):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(dl, "open", lambda *_: Full(), raising=False)
    with pytest.raises(MnpError, match=r"cannot be written \(No space left on device\)"):
        fetch([good])
    assert waits == []


def test_a_disk_that_is_full_when_the_file_is_closed(fetch, monkeypatch):
    class Full(io.BytesIO):
        def close(self):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(dl, "open", lambda *_: Full(), raising=False)
    with pytest.raises(MnpError, match="No space left on device"):
        fetch([good])


def test_a_part_that_cannot_be_opened(fetch, tmp_path, monkeypatch):
    (tmp_path / "to" / "file.bin.part").mkdir(parents=True)
    with pytest.raises(MnpError, match=r"file\.bin\.part: cannot be written"):
        fetch([good])


def test_a_final_name_that_is_taken_by_a_folder(fetch, tmp_path):
    (tmp_path / "to" / "file.bin" / "in the way").mkdir(parents=True)
    with pytest.raises(MnpError, match=r"file\.bin: cannot be written"):
        fetch([good])


# ---- a file that the user has


def test_take_local(tmp_path):
    (tmp_path / "mine").write_bytes(DATA)
    target = dl.take_local(tmp_path / "mine", tmp_path / "to" / "file.bin", CHECK)
    assert target.read_bytes() == DATA and left(tmp_path) == ["file.bin"]
    assert dl.take_local(target, target, CHECK) == target and target.read_bytes() == DATA


def test_take_local_refuses_the_wrong_file(tmp_path):
    (tmp_path / "mine").write_bytes(DATA + b"x")
    with pytest.raises(MnpError, match=r"mine: its sha256 is .*, not"):
        dl.take_local(tmp_path / "mine", tmp_path / "to" / "file.bin", CHECK)
    with pytest.raises(MnpError, match="absent: cannot be read"):
        dl.take_local(tmp_path / "absent", tmp_path / "to" / "file.bin", CHECK)
    assert not (tmp_path / "to").exists()


def test_take_local_checks_what_it_copied(tmp_path, monkeypatch):
    (tmp_path / "mine").write_bytes(DATA)
    monkeypatch.setattr(dl.shutil, "copyfile", lambda source, aside: aside.write_bytes(b"half"))
    with pytest.raises(MnpError, match="changed while it was copied"):
        dl.take_local(tmp_path / "mine", tmp_path / "to" / "file.bin", CHECK)
    assert left(tmp_path) == []
