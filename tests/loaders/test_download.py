"""Downloads, against a server on this machine that misbehaves on request."""

import errno
import gzip
import hashlib
import io
import os
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from neurosig.core.errors import ChecksumError, DownloadError, ManifestError, StorageError, UsageError
from neurosig.loaders import download
from neurosig.loaders.download import download_file, extract_archive
from neurosig.loaders.manifest import read_manifest

BODY = bytes(range(256)) * 4000  # about 1 MB
SUM = hashlib.sha256(BODY).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves ``server.files`` with ranges; ``drop_after`` cuts connections, ``failures`` are answered first."""

    def do_GET(self):
        server = self.server
        server.requests.append((self.path, self.headers.get("Range")))
        if server.failures:
            self.send_error(server.failures.pop(0))
            return
        body = server.files.get(self.path)
        if body is None:
            self.send_error(404, "Not Found")
            return
        start = 0
        if (wanted := self.headers.get("Range")) and server.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        stop = len(body)
        if server.drop_after:
            stop = min(stop, start + server.drop_after.pop(0))
        server.sent += stop - start  # counted before it leaves: the client may be done before this thread goes on
        self.wfile.write(body[start:stop])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """A local server; nothing waits between attempts."""
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.files, httpd.requests, httpd.failures, httpd.drop_after = {"/x.bin": BODY}, [], [], []
    httpd.ranges, httpd.sent, httpd.closing = True, 0, threading.Event()
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    httpd.url = f"http://127.0.0.1:{httpd.server_address[1]}"
    yield httpd
    httpd.closing.set()
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def folder_of(path):
    return sorted(item.name for item in Path(path).iterdir())


def test_plain_download(server, tmp_path):
    assert download_file(f"{server.url}/x.bin", tmp_path / "x.bin", sha256=SUM, size=len(BODY)).read_bytes() == BODY
    assert folder_of(tmp_path) == ["x.bin"]


def test_dropped_connections_are_resumed(server, tmp_path):
    server.drop_after = [300_000, 200_000, 1]
    assert download_file(f"{server.url}/x.bin", tmp_path / "x.bin", sha256=SUM).read_bytes() == BODY
    starts = [int((wanted or "bytes=0-")[6:-1]) for _, wanted in server.requests]
    assert starts == sorted(starts)
    assert [start > bound for start, bound in zip(starts[1:], (280_000, 460_000, 460_000), strict=True)] == [True] * 3
    assert server.sent < len(BODY) + 4 * download._CHUNK


def test_next_call_goes_on_from_the_piece(server, tmp_path):
    (tmp_path / "x.bin.part").write_bytes(BODY[:700_000])
    download_file(f"{server.url}/x.bin", tmp_path / "x.bin", sha256=SUM)
    assert server.sent == len(BODY) - 700_000


def test_whole_piece_needs_nothing_more(server, tmp_path):
    (tmp_path / "x.bin.part").write_bytes(BODY)
    assert download_file(f"{server.url}/x.bin", tmp_path / "x.bin", sha256=SUM).read_bytes() == BODY
    assert server.sent == 0


def test_piece_longer_than_the_file_is_thrown_away(server, tmp_path):
    (tmp_path / "x.bin.part").write_bytes(BODY + b"more")
    assert download_file(f"{server.url}/x.bin", tmp_path / "x.bin", sha256=SUM).read_bytes() == BODY


def test_server_without_ranges_begins_again(server, tmp_path):
    server.ranges, server.drop_after = False, [300_000]
    assert download_file(f"{server.url}/x.bin", tmp_path / "x.bin", sha256=SUM).read_bytes() == BODY


def test_without_a_sum_an_old_piece_is_not_trusted(server, tmp_path):
    (tmp_path / "x.bin.part").write_bytes(b"of another version")
    assert download_file(f"{server.url}/x.bin", tmp_path / "x.bin").read_bytes() == BODY


def test_broken_off_for_good_says_how_to_go_on(server, tmp_path):
    server.drop_after = [100_000] + [0] * 20
    with pytest.raises(DownloadError, match=r"broke off after \d{5} bytes of x.bin; run the same command again"):
        download_file(f"{server.url}/x.bin", tmp_path / "x.bin", sha256=SUM)
    assert folder_of(tmp_path) == ["x.bin.part"]
    server.drop_after = []
    assert download_file(f"{server.url}/x.bin", tmp_path / "x.bin", sha256=SUM).read_bytes() == BODY


def test_wrong_content_is_refused_and_kept_aside(server, tmp_path):
    with pytest.raises(
        ChecksumError, match=r"x.bin from http.* is not what the manifest promises.*kept as .*x\.bin\.bad"
    ):
        download_file(f"{server.url}/x.bin", tmp_path / "x.bin", sha256="0" * 64)
    assert folder_of(tmp_path) == ["x.bin.bad"]


def test_file_longer_than_promised_is_not_swallowed(server, tmp_path):
    server.files["/x.bin"] = BODY * 4
    with pytest.raises(ChecksumError):
        download_file(f"{server.url}/x.bin", tmp_path / "x.bin", sha256=SUM, size=1000)
    assert (tmp_path / "x.bin.bad").stat().st_size < len(BODY)


@pytest.mark.parametrize(("size", "got"), [(1000, "more"), (len(BODY) + 1, str(len(BODY)))])
def test_size_alone_refuses_longer_and_shorter_files(server, tmp_path, size, got):
    with pytest.raises(ChecksumError, match=rf"expected {size} bytes, got {got}; it is kept as .*x\.bin\.bad"):
        download_file(f"{server.url}/x.bin", tmp_path / "x.bin", size=size)
    assert folder_of(tmp_path) == ["x.bin.bad"]


def test_limit(server, tmp_path):
    assert download_file(f"{server.url}/x.bin", tmp_path / "x.bin", limit=2_000_000).read_bytes() == BODY
    with pytest.raises(ChecksumError, match="expected at most 1000 bytes"):
        download_file(f"{server.url}/x.bin", tmp_path / "x.bin", limit=1000)


def test_missing_file_is_not_retried(server, tmp_path):
    with pytest.raises(DownloadError, match=r"the server answers 404 Not Found for .*check the manifest"):
        download_file(f"{server.url}/y.bin", tmp_path / "y.bin", sha256=SUM)
    assert len(server.requests) == 1
    assert folder_of(tmp_path) == []


def test_busy_server_is_retried(server, tmp_path):
    server.failures = [503, 429]
    assert download_file(f"{server.url}/x.bin", tmp_path / "x.bin", sha256=SUM).read_bytes() == BODY
    server.failures = [503] * 10
    with pytest.raises(DownloadError, match=r"the server answers 503 .*try again later"):
        download_file(f"{server.url}/x.bin", tmp_path / "z.bin", sha256=SUM)


def test_offline_is_said_clearly(tmp_path, monkeypatch):
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    with pytest.raises(
        DownloadError, match=r"no connection to 127\.0\.0\.1:9: connect, or put the files in .* and pass --data"
    ):
        download_file("http://127.0.0.1:9/x.bin", tmp_path / "x.bin", sha256=SUM)


def test_silent_server_times_out(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_TIMEOUT", (0.2, 0.2))
    monkeypatch.setattr(Handler, "do_GET", lambda self: self.server.closing.wait())  # without the limit, for ever
    waits = []
    monkeypatch.setattr(download.time, "sleep", waits.append)
    with pytest.raises(DownloadError, match="no connection to"):
        download_file(f"{server.url}/x.bin", tmp_path / "x.bin", sha256=SUM)
    assert len(waits) == download._RETRIES - 1


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x", "x.bin"])
def test_only_http(url, tmp_path):
    with pytest.raises(DownloadError, match="only http and https"):
        download_file(url, tmp_path / "x.bin")


def test_full_disk(server, tmp_path, monkeypatch):
    def full(self, mode):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(StorageError, match="the disk is full; free space and run again, it goes on from there"):
        download_file(f"{server.url}/x.bin", tmp_path / "x.bin", sha256=SUM)


# ---------------------------------------------------------------------------- whole manifests


def write_manifest(tmp_path, server, **source):
    import yaml

    fields = {
        "name": "remote",
        "title": "Remote",
        "paradigm": "imagery",
        "events": ["a", "b"],
        "processing": {"tmin": 0, "tmax": 1},
        "source": {"base_url": f"{server.url}/", **source},
    }
    (tmp_path / "remote.yml").write_text(yaml.safe_dump(fields))
    return read_manifest(tmp_path / "remote.yml")


def test_fetch_checks_skips_and_repairs(server, tmp_path):
    server.files = {"/p/1.bin": b"one", "/p/2.bin": b"two"}
    sums = {name: hashlib.sha256(body).hexdigest() for name, body in server.files.items()}
    files = [{"path": f"{n}.bin", "url": f"p/{n}.bin", "subject": n, "sha256": sums[f"/p/{n}.bin"]} for n in ("1", "2")]
    manifest = write_manifest(tmp_path, server, files=files)
    folder = manifest.fetch(tmp_path / "data", progress=False, subjects=["2"])
    assert folder_of(folder) == ["2.bin"]
    manifest.fetch(folder, progress=False)
    assert [path for path, _ in server.requests] == ["/p/2.bin", "/p/1.bin"]
    assert {row.status for row in manifest.verify(folder)} == {"ok"}
    (folder / "1.bin").write_bytes(b"damaged")
    assert [row.status for row in manifest.verify(folder)] == ["corrupt", "ok"]
    manifest.fetch(folder, progress=False)
    assert folder_of(folder) == ["1.bin", "1.bin.bad", "2.bin"]
    assert {row.status for row in manifest.verify(folder)} == {"ok"}
    with pytest.raises(UsageError, match="remote has no subject '3'; it has 1, 2"):
        manifest.fetch(folder, subjects=["3"])


def test_publishers_sums_are_used(server, tmp_path):
    good, wrong = hashlib.sha256(b"one").hexdigest(), "0" * 64
    server.files = {"/S/1.bin": b"one", "/S/2.bin": b"two", "/sums": f"{good}  S/1.bin\n{wrong} *S/2.bin\n".encode()}
    patterns = [{"path": "{subject:02d}.bin", "url": "S/{subject}.bin", "subjects": "1-2"}]
    manifest = write_manifest(tmp_path, server, patterns=patterns, checksums_url=f"{server.url}/sums")
    folder = manifest.fetch(tmp_path / "data", progress=False, subjects=["1"])
    assert (folder / "01.bin").read_bytes() == b"one"
    with pytest.raises(ChecksumError, match=r"02\.bin"):
        manifest.fetch(folder, progress=False)


def test_publishers_sums_are_used_for_files_already_there(server, tmp_path):
    server.files = {"/1.bin": b"one", "/sums": f"{hashlib.sha256(b'one').hexdigest()}  1.bin\n".encode()}
    manifest = write_manifest(tmp_path, server, files=[{"path": "1.bin"}], checksums_url=f"{server.url}/sums")
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "1.bin").write_bytes(b"junk!")
    assert [row.status for row in manifest.verify(folder)] == ["unverified"]
    manifest.fetch(folder, progress=False)
    assert (folder / "1.bin").read_bytes() == b"one"
    assert (folder / "1.bin.bad").read_bytes() == b"junk!"
    assert [row.status for row in manifest.verify(folder)] == ["ok"]
    (folder / "1.bin").write_bytes(b"junk!")
    assert [row.status for row in manifest.verify(folder)] == ["corrupt"]


def test_whole_folder_needs_no_connection_for_the_publishers_sums(server, tmp_path, caplog):
    manifest = write_manifest(tmp_path, server, files=[{"path": "1.bin"}], checksums_url=f"{server.url}/sums")
    (tmp_path / "1.bin").write_bytes(b"one")
    assert manifest.fetch(tmp_path, progress=False) == tmp_path
    assert "their sums are not checked: the server answers 404" in caplog.text
    (tmp_path / "1.bin").unlink()
    with pytest.raises(DownloadError, match="404 Not Found"):
        manifest.fetch(tmp_path, progress=False)


def rot(path, body):
    """Change a file's bytes as a failing disk does: neither size nor time tell."""
    before = path.stat()
    assert len(body) == before.st_size
    path.write_bytes(body)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_verify_and_fetch_read_the_bytes(server, tmp_path):
    server.files = {"/1.bin": b"one"}
    entry = {"path": "1.bin", "sha256": hashlib.sha256(b"one").hexdigest()}
    manifest = write_manifest(tmp_path, server, files=[entry])
    manifest.fetch(tmp_path, progress=False)
    assert [row.status for row in manifest.verify(tmp_path)] == ["ok"]
    rot(tmp_path / "1.bin", b"two")
    assert [row.status for row in manifest.verify(tmp_path)] == ["corrupt"]
    manifest.fetch(tmp_path, progress=False)
    assert (tmp_path / "1.bin").read_bytes() == b"one"


def test_verify_knows_sizes_without_sums(server, tmp_path):
    files = [{"path": name, "subject": name, "size": 3} for name in ("a", "b", "c", "d")]
    manifest = write_manifest(tmp_path, server, files=files)
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"three")
    (tmp_path / "c.gz").write_bytes(gzip.compress(b"one"))
    (tmp_path / "d.gz").write_bytes(gzip.compress(b"one")[:-9])
    rows = manifest.verify(tmp_path)
    assert [row.status for row in rows] == ["unverified", "corrupt", "unverified", "corrupt"]
    assert rows[1].detail == "expected 3 bytes, has 5"


def test_damaged_gzip_is_put_aside(server, tmp_path):
    server.files = {"/1.bin": b"one"}
    entry = {"path": "1.bin", "sha256": hashlib.sha256(b"one").hexdigest()}
    (tmp_path / "1.bin.gz").write_bytes(b"no gzip")
    write_manifest(tmp_path, server, files=[entry]).fetch(tmp_path, progress=False)
    assert folder_of(tmp_path) == ["1.bin", "1.bin.gz.bad", "remote.yml"]


def test_derived_collection_cannot_be_fetched(tmp_path, monkeypatch):
    monkeypatch.delenv("NEUROSIG_DATA", raising=False)
    with pytest.raises(
        DownloadError, match=r"eegmmidb-trials cannot be fetched: cut from the EDF files.*--data FOLDER"
    ):
        read_manifest("eegmmidb-trials").fetch(progress=False)


def test_simulated_needs_no_fetch(caplog):
    caplog.set_level("INFO", logger="neurosig")
    read_manifest("simulated-imagery").fetch(progress=False)
    assert "nothing to fetch" in caplog.text


# ---------------------------------------------------------------------------- archives


def zip_of(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as box:
        for name, body in members.items():
            box.writestr(name, body)
    return path


def tar_of(path, members):
    with tarfile.open(path, "w:gz") as box:
        for item, body in members:
            info = item if isinstance(item, tarfile.TarInfo) else tarfile.TarInfo(item)
            info.size = len(body)
            box.addfile(info, io.BytesIO(body))
    return path


def test_fetch_archive(server, tmp_path):
    archive = zip_of(tmp_path / "a.zip", {"sub/1.bin": b"one"})
    server.files = {"/a.zip": archive.read_bytes()}
    manifest = write_manifest(
        tmp_path,
        server,
        files=[{"path": "sub/1.bin", "sha256": hashlib.sha256(b"one").hexdigest()}],
        archives=[{"url": f"{server.url}/a.zip", "sha256": hashlib.sha256(archive.read_bytes()).hexdigest()}],
    )
    folder = manifest.fetch(tmp_path / "data", progress=False)
    assert [row.status for row in manifest.verify(folder)] == ["ok"]


def archive_manifest(tmp_path, server, body, *, content=b"one", promised=None):
    """A manifest of one file in an archive of the given bytes; `content` is what the file must hold."""
    server.files = {"/a.zip": body}
    archive = {"url": f"{server.url}/a.zip"} | ({} if promised is None else {"sha256": promised})
    entry = {"path": "sub/1.bin", "sha256": hashlib.sha256(content).hexdigest()}
    return write_manifest(tmp_path, server, files=[entry], archives=[archive])


def test_member_of_another_content_is_refused(server, tmp_path):
    body = zip_of(tmp_path / "a.zip", {"sub/1.bin": b"two"}).read_bytes()
    manifest = archive_manifest(tmp_path, server, body)
    for _ in range(2):
        with pytest.raises(ChecksumError, match=r"1\.bin is not what the manifest promises.*kept as 1\.bin\.bad"):
            manifest.fetch(tmp_path / "data", progress=False)
    assert folder_of(tmp_path / "data/sub") == ["1.bin.bad"]


def test_archive_without_the_promised_file_is_refused(server, tmp_path):
    manifest = archive_manifest(tmp_path, server, zip_of(tmp_path / "a.zip", {"2.bin": b"one"}).read_bytes())
    with pytest.raises(DownloadError, match=r"the archive of remote does not hold sub/1\.bin"):
        manifest.fetch(tmp_path / "data", progress=False)


def test_archive_that_lies_there_is_checked(server, tmp_path):
    body = zip_of(tmp_path / "good.zip", {"sub/1.bin": b"one"}).read_bytes()
    manifest = archive_manifest(tmp_path, server, body, promised=hashlib.sha256(body).hexdigest())
    folder = tmp_path / "data"
    folder.mkdir()
    zip_of(folder / "a.zip", {"sub/1.bin": b"one", "more": b""})
    manifest.fetch(folder, progress=False)
    assert folder_of(folder) == ["a.zip", "a.zip.bad", "sub"]
    assert (folder / "a.zip").read_bytes() == body


def damaged(kind):
    """An archive whose index is fine and whose stream is not."""
    out = io.BytesIO()
    noise = hashlib.shake_256(b"").digest(50_000)
    if kind.startswith("zip"):
        method = {"zip": zipfile.ZIP_DEFLATED, "zip-bz2": zipfile.ZIP_BZIP2, "zip-lzma": zipfile.ZIP_LZMA}[kind]
        with zipfile.ZipFile(out, "w", method) as box:
            box.writestr("sub/1.bin", noise)
    else:
        with tarfile.open(fileobj=out, mode=f"w:{kind.removeprefix('tar-')}") as box:
            info = tarfile.TarInfo("sub/1.bin")
            info.size = len(noise)
            box.addfile(info, io.BytesIO(noise))
    body = bytearray(out.getvalue())
    body[20_000:20_400] = b"\xff" * 400
    return bytes(body)


@pytest.mark.parametrize("kind", ["zip", "zip-bz2", "zip-lzma", "tar-gz", "tar-bz2", "tar-xz"])
def test_damaged_stream_is_kept_aside_and_fetched_again(server, tmp_path, kind):
    noise = hashlib.shake_256(b"").digest(50_000)
    manifest = archive_manifest(tmp_path, server, damaged(kind), content=noise)
    with pytest.raises((DownloadError, ChecksumError), match=r"fetch it again.*a\.zip\.bad|1\.bin\.bad") as caught:
        manifest.fetch(tmp_path / "data", progress=False)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data/sub/1.bin").exists()
    if isinstance(caught.value, DownloadError):
        assert "a.zip" not in folder_of(tmp_path / "data")
        server.files["/a.zip"] = zip_of(tmp_path / "good.zip", {"sub/1.bin": noise}).read_bytes()
        manifest.fetch(tmp_path / "data", progress=False)
        assert [row.status for row in manifest.verify(tmp_path / "data")] == ["ok"]


def test_good_archives_unpack(tmp_path):
    extract_archive(zip_of(tmp_path / "a.zip", {"x/1": b"one"}), tmp_path / "z")
    extract_archive(tar_of(tmp_path / "a.tar.gz", [("x/1", b"one")]), tmp_path / "t")
    assert (tmp_path / "z/x/1").read_bytes() == (tmp_path / "t/x/1").read_bytes() == b"one"


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "C:/evil", "..\\evil"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archive_members_that_lead_out_are_refused(tmp_path, kind, name):
    if kind == "zip":
        archive = zip_of(tmp_path / "a.zip", {"good": b"x", name: b"x"})
        if "\\" in name:
            pytest.skip("zipfile turns this separator into '/' by itself")
    else:
        archive = tar_of(tmp_path / "a.tar.gz", [("good", b"x"), (name, b"x")])
    with pytest.raises(ManifestError, match="nothing was unpacked"):
        extract_archive(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_archives_are_refused(tmp_path, kind):
    link = tarfile.TarInfo("link")
    link.type, link.linkname = kind, "/etc/passwd"
    with pytest.raises(ManifestError, match="a link or device: only plain files"):
        extract_archive(tar_of(tmp_path / "a.tar.gz", [(link, b"")]), tmp_path / "out")


def test_exploding_archive_is_refused(tmp_path):
    archive = zip_of(tmp_path / "a.zip", {"zeros": b"\0" * 30_000_000})
    with pytest.raises(ManifestError, match="would grow to 30 MB, 200 times its size"):
        extract_archive(archive, tmp_path / "out")


def test_no_archive(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"<html>not here</html>")
    with pytest.raises(DownloadError, match="not a readable zip or tar archive"):
        extract_archive(tmp_path / "a.zip", tmp_path / "out")
