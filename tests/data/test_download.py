"""The downloader against a server on this machine that makes every mistake. No test reaches a network."""

import hashlib
import http.server
import io
import socket
import struct
import threading

import pytest
from one_line import one_line

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
    """Takes its behaviour from the test's list for the path; the last one stays."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.asked.append(self.path)
        plan = self.server.plans.setdefault(self.path, [good])
        self.close_connection = True
        (plan.pop(0) if len(plan) > 1 else plan[0])(self)

    def begin(self, status=200, length=None, **headers):
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


def sends(data, length=None):
    """Announce a length, that of the data if none is given, and send the data."""

    def behave(h):
        h.begin(200, len(data) if length is None else length)
        h.wfile.write(data)

    return behave


good = sends(DATA)


def without_length(h):
    h.begin(200)
    h.wfile.write(DATA)


def resets(h):
    h.begin(200, len(DATA))
    h.wfile.write(DATA[:100])
    h.wfile.flush()
    h.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    h.connection.close()
    h.wfile, h.rfile = io.BytesIO(), io.BytesIO()


def stalls(h):
    h.begin(200, len(DATA))
    h.wfile.write(DATA[:1000])
    h.wfile.flush()
    h.server.released.wait(10)


def status(code):
    def behave(h):
        h.begin(code, 5)
        h.wfile.write(b"sorry")

    return behave


def redirects_to(address):
    def behave(h):
        h.begin(302, 0, Location=address)

    return behave


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
    """The waits between rounds, recorded instead of slept."""
    recorded = []
    monkeypatch.setattr(dl.time, "sleep", recorded.append)
    return recorded


@pytest.fixture
def fetch(server, tmp_path, waits, monkeypatch):
    monkeypatch.setattr(dl, "TIMEOUT", 0.4)
    monkeypatch.setattr(dl, "ATTEMPTS", 3)

    def run(*plans, paths=("/a",), **options):
        for path, plan in zip(paths, plans, strict=False):
            server.plans[path] = list(plan)
        urls = [server.address + path for path in paths]
        dl.download(urls, tmp_path / "to" / "file.bin", CHECK, **{"progress": False} | options)
        return (tmp_path / "to" / "file.bin").read_bytes()

    return run


@pytest.mark.parametrize("behaviour", [good, without_length, redirects_to("/elsewhere")])
def test_a_file_is_downloaded(fetch, tmp_path, waits, behaviour):
    assert fetch([behaviour]) == DATA
    assert waits == [] and [p.name for p in (tmp_path / "to").iterdir()] == ["file.bin"]


BAD = [
    (sends(DATA[:-1] + b"x"), "the wrong file: its sha256 is"),
    (sends(DATA[:5000], length=len(DATA)), "the wrong file"),
    (sends(b"<!DOCTYPE html><html>Please log in</html>"), "the wrong file"),
    (resets, "reset"),
    (stalls, "timed out"),
    (status(404), "HTTP Error 404"),
    (redirects_to("file:///etc/hostname"), "302"),
    (redirects_to("http://["), "Invalid"),
    (not_http, "220 smtp ready"),
]


@pytest.mark.parametrize(("behaviour", "says"), BAD)
def test_after_a_mistake_the_same_mirror_or_the_next_one_helps(fetch, server, waits, behaviour, says):
    assert fetch([behaviour, good]) == DATA and waits == [1]
    server.plans.clear()
    assert fetch([behaviour], [good], paths=("/b", "/c")) == DATA and waits == [1]


@pytest.mark.parametrize(("behaviour", "says"), BAD)
def test_without_help_there_is_one_clear_line_and_no_file(fetch, server, tmp_path, waits, behaviour, says):
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "file.bin").write_bytes(b"old")
    with one_line(says, "file.bin could not be downloaded (127.0.0.1"):
        fetch([behaviour])
    assert [path.read_bytes() for path in (tmp_path / "to").iterdir()] == [b"old"]
    assert waits == [1, 2]


def test_waits_grow(fetch, waits, monkeypatch):
    monkeypatch.setattr(dl, "ATTEMPTS", 5)
    with pytest.raises(MnpError):
        fetch([status(503)])
    assert waits == [1, 2, 4, 8]


def test_no_more_than_the_limit_is_written(fetch, tmp_path):
    with pytest.raises(MnpError, match="more than 1000 bytes"):
        fetch([good], limit=1000)
    assert not list((tmp_path / "to").iterdir())


def test_nobody_listens(tmp_path, waits, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/a"
    with pytest.raises(MnpError, match="refused"):
        dl.download([url], tmp_path / "a", CHECK, progress=False)


def test_progress_goes_to_stderr(fetch, capsys):
    fetch([good], progress=True)
    captured = capsys.readouterr()
    assert captured.out == "" and "file.bin" in captured.err and "307k" in captured.err


@pytest.mark.parametrize("at", ["write", "close"])
def test_a_full_disk_ends_it_at_once(fetch, server, monkeypatch, waits, at):
    class Full(io.BytesIO):
        def fail(self, *args):
            raise OSError(28, "No space left on device")

        def write(self, block):
            return self.fail() if at == "write" else super().write(block)

        def __exit__(self, *args):
            return self.fail() if at == "close" else None

    monkeypatch.setattr(dl, "open", lambda path, mode: Full(), raising=False)
    with pytest.raises(MnpError, match=r"cannot be written \(No space left on device\)"):
        fetch([good])
    assert len(server.asked) == 1 and waits == []


def test_a_folder_that_cannot_be_made_and_a_name_that_is_a_folder(fetch, server, tmp_path):
    (tmp_path / "to" / "file.bin").mkdir(parents=True)
    with pytest.raises(MnpError, match="is a folder"):
        fetch([good])
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(MnpError, match="cannot be written"):
        dl.download([server.address], tmp_path / "taken" / "a", CHECK, progress=False)


def test_copy_file(tmp_path):
    (tmp_path / "mine").write_bytes(DATA)
    dl.copy_file(tmp_path / "mine", tmp_path / "new" / "copy", CHECK)
    assert (tmp_path / "new" / "copy").read_bytes() == DATA
    dl.copy_file(tmp_path / "mine", tmp_path / "mine", CHECK)  # onto itself
    assert (tmp_path / "mine").read_bytes() == DATA


def test_copy_file_rejects_the_wrong_file(tmp_path):
    (tmp_path / "mine").write_bytes(b"other")
    (tmp_path / "copy").write_bytes(b"old")
    with pytest.raises(MnpError, match="mine: its sha256 is"):
        dl.copy_file(tmp_path / "mine", tmp_path / "copy", CHECK)
    assert (tmp_path / "copy").read_bytes() == b"old"
    with pytest.raises(MnpError, match="absent: cannot be read"):
        dl.copy_file(tmp_path / "absent", tmp_path / "copy", CHECK)
