"""Downloads from a slow, faulty or lying server on this computer: nothing is lost or wrong."""

import collections, csv, gzip, hashlib, json, os, re, select, shutil, signal, socket, subprocess
import sys, tempfile, time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from shared import ROOT, Server, complains, fresh, is_sentence, real, write
from sirenbook import downloads, recordings
from sirenbook.cli import main
from sirenbook.downloads import ADDRESSES, Published, download, published
from sirenbook.recordings import CLASSES, class_index, load_dataset
from sirenbook.errors import SirenbookFileError

SIZE = 200_044  # of each file, bytes
GIVEN = os.environ.get("SIRENBOOK_DATA")  # before the tests have a place of their own

def really(name):
    "`real`, as if these tests had no place of their own."
    with pytest.MonkeyPatch.context() as m:
        m.setenv("SIRENBOOK_DATA", GIVEN or "")
        return real(name)

class Handler(BaseHTTPRequestHandler):
    "Follows `server.faults` for a path, each once and the last for ever; else serves well."

    def log_message(self, *args): pass

    def do_GET(self):
        server, self.file = self.server, self.path.split("/", 2)[-1]
        content = server.content.get(self.file, b"")
        asked = self.headers.get("Range")
        server.asked.append((self.path, asked))
        start = int(asked[6:-1]) if asked else 0
        todo = server.faults.get(self.path, server.faults.get(self.path.split("/")[1], []))
        fault = todo.pop(0) if len(todo) > 1 else todo[0] if todo else "good"
        if asked and start >= len(content): fault = "status 416"
        try: getattr(self, fault.split()[0])(content, start, *map(int, fault.split()[1:]))
        except (BrokenPipeError, ConnectionResetError): pass

    def head(self, status, length=None, **more):
        self.send_response(status)
        if length is not None: self.send_header("Content-Length", str(length))
        for k, v in more.items(): self.send_header(k.replace("_", "-"), v)
        self.end_headers()

    def part(self, content, start):
        more = (
            {"Content_Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        )
        self.head(206 if start else 200, len(content) - start, **more)
        return content[start:]

    def good(self, content, start): self.wfile.write(self.part(content, start))
    def whole(self, content, start): self.good(content, 0)
    def cut(self, content, start, n): self.wfile.write(self.part(content, start)[:n])
    def whole_cut(self, content, start, n): self.cut(content, 0, n)
    def stall(self, content, start, n):
        self.wfile.write(self.part(content, start)[:n])
        time.sleep(1)
    def slow(self, content, start):
        rest = self.part(content, start)
        for i in range(0, len(rest), 5000):
            self.wfile.write(rest[i:i + 5000])
            time.sleep(.02)
    def silent(self, content, start): time.sleep(1)
    def hang_up(self, content, start): self.connection.close()

    def bad_ranges(self, content, start):
        self.other_range(content, start) if start else self.good(content, 0)

    def wrong(self, content, start): self.wfile.write(self.part(bytes(len(content)), start))
    def pointer(self, content, start):  # what a store of large files sends instead of them
        self.head(200, 100)
        self.wfile.write(b"v" * 100)
    def says_less(self, content, start):
        self.head(200, 1000)
        self.wfile.write(content)
    def says_more(self, content, start):
        self.head(200, len(content) + 1000)
        self.wfile.write(content)
    def says_nonsense(self, content, start):
        self.head(200, "many")
        self.wfile.write(content)
    def says_nothing(self, content, start):
        self.head(200)
        self.wfile.write(content)
    def says_nothing_cut(self, content, start, n):
        self.head(200)
        self.wfile.write(content[:n])
    def endless(self, content, start):
        self.head(200)
        for _ in range(1000): self.server.sent += self.wfile.write(bytes(100_000))
    def squeezed(self, content, start):
        squeezed = gzip.compress(content)
        self.head(200, len(squeezed), Content_Encoding="gzip")
        self.wfile.write(squeezed)
    def other_range(self, content, start):
        self.head(
            206,
            len(content) - start,
            Content_Range=f"bytes {start + 1}-{len(content) - 1}/{len(content)}",
        )
        self.wfile.write(content[start:])

    def status(self, content, start, n):
        self.head(n, 0, **{"Location": self.path} if n == 302 else {})

    def moved(self, content, start): self.head(302, 0, Location=f"/third/{self.file}")
    def moved_to_disk(self, content, start): self.head(302, 0, Location="file:///etc/hostname")

@pytest.fixture
def server():
    with Server(Handler) as server:
        server.content, server.faults, server.asked, server.sent = {}, {}, [], 0
        yield server

@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    "An empty home for data sets; short waits; no proxy but those of a test."
    for name in list(os.environ):
        if name.lower().endswith("_proxy"): monkeypatch.delenv(name)
    monkeypatch.setenv("SIRENBOOK_DATA", str(tmp_path/"data"))
    monkeypatch.setattr(
        recordings.platformdirs, "user_cache_dir", lambda *args: str(tmp_path / "cache")
    )
    monkeypatch.setattr(downloads, "_PAUSE_S", 0)
    monkeypatch.setattr(downloads, "_TIMEOUT_S", (1, .3))
    monkeypatch.chdir(tmp_path)
    return tmp_path/"data"/"esvs"

def offer(server, name="esvs"):
    "Small files that take the place of a data set's, at two addresses each."
    files = []
    for i, c in enumerate(CLASSES):
        for k in range(2):
            path, n = f"{c}/sound_{2 * i + k + 1}.wav", 4 * i + 2 * k
            if name == "article": path, n = recordings.ARTICLE_FILES[c].replace(" ", "%20"), 4 * i
            wav = np.random.default_rng(n).integers(-9999, 9999, (SIZE - 44) // 4, "<i2").repeat(2)
            with tempfile.TemporaryFile() as f:
                sf.write(f, wav, 44100, format="WAV", subtype="PCM_16")
                f.seek(0)
                content = server.content[path] = f.read()
            assert len(content) == SIZE
            files.append(
                Published(
                    name,
                    path.replace("%20", " "),
                    c,
                    f"group-{i}",
                    SIZE,
                    hashlib.sha256(content).hexdigest(),
                    tuple(
                        f"{server.at.replace('127.0.0.1', host)}/{at}/{path}"
                        for at, host in (("first", "127.0.0.1"), ("mirror", "localhost"))
                    ),
                )
            )
    return files if name != "article" else files[::2]

@pytest.fixture
def files(server, monkeypatch):
    files = offer(server)
    monkeypatch.setattr(
        downloads, "published", lambda name: files if name == "esvs" else published(name)
    )
    return files

@pytest.fixture
def said(capsys):
    def said():
        text = capsys.readouterr().err
        assert (
            text.startswith("sirenbook: ") and text.count("\n") == 1 and is_sentence(text.strip())
        ), text
        return text
    return said

def sums(folder):
    "The checksums of the files in a folder, without the one that locks it."
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}

def is_whole(folder, files, *more):
    "The folder holds the files, the manifest, and nothing else."
    found = sums(folder)
    assert {f.file: found.get(f.file) for f in files} == {f.file: f.sha256 for f in files}
    assert found.keys() == {f.file for f in files} | {"manifest.csv", *more}

def holds_nothing_wrong(folder, files):
    "Each sound file is the published one, and only part files are half-written."
    right = {f.file: f.sha256 for f in files}
    assert {
        name: s
        for name, s in sums(folder).items()
        if Path(name).suffix in recordings.SUFFIXES and right.get(name) != s
    } == {}
    assert all(p.suffix in (".part", "") for p in (folder / ".download").glob("*")) and not list(
        folder.rglob("tmp*")
    )


# ---- done

def test_downloaded_and_loaded(files, server, place, capsys):
    assert main(["download", "esvs"]) == 0
    out, err = capsys.readouterr()
    assert (
        out == f"{place}: the 4 files of esvs, 0.8 MB, each with its published SHA-256\n"
        and not err
    )
    is_whole(place, files)
    for data in (load_dataset("esvs"), load_dataset(place)):
        assert data.name == "esvs" and [class_index(r.label) for r in data.recordings] == [
            0,
            0,
            1,
            1,
        ]
        assert [(r.label, r.group, r.path) for r in data.recordings] == [
            (f.label, f.group, place / f.file) for f in files
        ]
        assert all(
            r.sr == 16000 and r.wav.dtype == np.float32 and r.wav.ndim == 1 for r in data.recordings
        )
    assert (
        len(server.asked) == 4
        and (place / files[0].file).stat().st_mode & 0o044
        == (place / "manifest.csv").stat().st_mode & 0o044
    )


def test_what_is_there_is_not_asked_for(files, server, place):
    download("esvs")
    (place/files[1].file).unlink()
    server.asked.clear()
    with complains(place, "1 file ", "sirenbook download esvs", kind=SirenbookFileError):
        load_dataset("esvs")
    assert not server.asked, "loading went to the network"
    download("esvs")
    assert [path for path, _ in server.asked] == [f"/first/{files[1].file}"]
    is_whole(place, files)
    shutil.rmtree(place/".download", ignore_errors=True)
    server.shutdown()
    assert download("esvs") == place and len(load_dataset("esvs").recordings) == 4

def test_into_a_folder(files, tmp_path, capsys):
    assert main(["download", "esvs", "--out", "my recordings"]) == 0
    is_whole(tmp_path/"my recordings", files)
    assert not (tmp_path/"data").exists() and len(load_dataset("my recordings").recordings) == 4
    (tmp_path/"my recordings"/files[0].file).unlink()
    with complains("--out 'my recordings'"): load_dataset("my recordings")

def test_the_article(server, monkeypatch, tmp_path, capsys):
    files = offer(server, "article")
    monkeypatch.setattr(downloads, "published", lambda name: files)
    with complains(
        tmp_path / "data" / "article", "sirenbook download article", kind=SirenbookFileError
    ):
        load_dataset("article")
    assert main(["download", "article"]) == 0
    is_whole(tmp_path/"data"/"article", files)
    for name in ("article", tmp_path / "data" / "article"):
        assert [r.label for r in load_dataset(name).recordings] == list(CLASSES)
    (tmp_path/"data"/"article"/"non emergency.wav").unlink()
    with complains("1 file ", "sirenbook download article", kind=SirenbookFileError):
        load_dataset("article")


def test_where_the_platform_keeps_such_things(files, tmp_path, monkeypatch):
    monkeypatch.delenv("SIRENBOOK_DATA")
    assert download("esvs") == tmp_path/"cache"/"esvs"
    monkeypatch.setenv("SIRENBOOK_DATA", str(tmp_path/"elsewhere"))
    assert len(load_dataset("esvs").recordings) == 4
    monkeypatch.undo()
    import pooch
    assert recordings.data_dirs()[-1] == pooch.os_cache("sirenbook")

def test_a_bar_where_somebody_watches(files, server, tmp_path):
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    server.faults["first"] = ["slow"]
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 80))
    run = start(files, tmp_path, stderr=end, TQDM_DISABLE="0")
    out, _ = run.communicate(timeout=30)
    shown = os.read(terminal, 100_000).decode() if select.select([terminal], [], [], 1)[0] else ""
    for f in (terminal, end): os.close(f)
    assert "downloading esvs:" in shown and "800k" in shown and out.count("\n") == 1

def test_nothing_heavy_is_imported_before_it_is_used():
    assert (
        fresh(
            "import sys, sirenbook.recordings, sirenbook.cli\n"
            "print(*[m for m in ('requests', 'pooch', 'urllib3') if m in sys.modules])"
        )
        == ""
    )


# ---- a server with faults

MENDED = [
    "slow",
    "whole",
    "cut 100000",
    "whole_cut 100000",
    "stall 50000",
    "silent",
    "hang_up",
    "status 503",
    "status 429",
    "status 408",
    "says_nothing",
    "says_nothing_cut 70000",
    "squeezed",
    "says_nonsense",
    "moved",
]
HOPELESS = [
    "wrong",
    "pointer",
    "says_less",
    "says_more",
    "endless",
    "other_range",
    "status 404",
    "status 403",
    "status 416",
    "status 302",
    "moved_to_disk",
]
names = dict(ids=lambda fault: fault.replace(" ", "-"))

@pytest.mark.parametrize("fault", MENDED, **names)
def test_a_fault_that_passes(fault, files, server, place):
    "The first address is enough: it is tried again."
    server.faults[f"/first/{files[0].file}"] = [fault, "good"]
    download("esvs")
    is_whole(place, files)
    assert {path.split("/")[1] for path, _ in server.asked} <= {"first", "third"}

@pytest.mark.parametrize("fault", HOPELESS + ["silent", "hang_up", "status 500"], **names)
def test_a_fault_that_stays_leads_to_the_mirror(fault, files, server, place):
    server.faults["first"] = [fault]
    download("esvs")
    is_whole(place, files)
    asked = collections.Counter(path.split("/")[1] for path, _ in server.asked)
    assert asked["mirror"] == 4 and asked["first"] <= (
        3
        if fault in ("silent", "hang_up")
        else 12
        if "500" in fault
        else 4 * 31
        if "302" in fault
        else 4
    )


@pytest.mark.parametrize(
    "fault", HOPELESS + ["whole_cut 100000", "cut 0", "silent", "hang_up", "status 503"], **names
)
def test_a_fault_everywhere(fault, files, server, place, said):
    "One file cannot be fetched; the others can, and the error names where to put it by hand."
    f = files[0]
    for at in ("first", "mirror"): server.faults[f"/{at}/{f.file}"] = [fault]
    assert main(["download", "esvs"]) == 1
    text = said()
    assert (
        str(place / f.file) in text
        and f.addresses[0] in text
        and "by hand" in text
        and "localhost" in text
    )
    assert fault.startswith("status 302") or not fault.startswith("status") or fault[7:] in text
    holds_nothing_wrong(place, files)
    mute = fault in ("silent", "hang_up", "cut 0")
    assert mute or sorted(p.name for p in place.rglob("*.wav")) == [
        "sound_2.wav",
        "sound_3.wav",
        "sound_4.wav",
    ]
    with complains(place, "file", "sirenbook download esvs", kind=SirenbookFileError):
        load_dataset("esvs")
    (place/f.file).write_bytes(server.content[f.file])  # by hand
    server.faults.clear()
    assert main(["download", "esvs"]) == 0
    is_whole(place, files)

def test_broken_off_again_and_again(files, server, place):
    "As long as each try brings something, it goes on: and asks only for what is missing."
    server.faults["first"] = ["cut 30000"]
    download("esvs")
    is_whole(place, files)
    starts = [int(r[6:-1]) if r else 0 for path, r in server.asked if files[0].file in path]
    assert (
        len(starts) > 5
        and starts == sorted(set(starts))
        and all(path.startswith("/first") for path, _ in server.asked)
    )


def test_the_mirror_goes_on_where_the_first_broke_off(files, server, place):
    server.faults[f"/first/{files[0].file}"] = ["cut 150000", "status 404"]
    download("esvs")
    is_whole(place, files)
    [(_, asked)] = [a for a in server.asked if a[0].startswith("/mirror")]
    assert int(asked[6:-1]) > 100_000

@pytest.mark.parametrize("then, n", [("whole", 2), ("says_nothing", 2), ("bad_ranges", 3)])
def test_a_server_that_cannot_go_on(then, n, files, server, place):
    "It is asked for all of it again, and not more often than that takes."
    f = files[0]
    server.faults[f"/first/{f.file}"] = ["cut 100000", then]
    download("esvs")
    is_whole(place, files)
    assert [path for path, _ in server.asked if f.file in path] == [f"/first/{f.file}"] * n

def test_what_never_ends_is_not_listened_to(files, server, place):
    server.faults["first"] = ["endless"]
    download("esvs")
    assert 0 < server.sent < 100_000_000

@pytest.mark.parametrize(
    "part",
    [b"damaged" * 9999, bytes(SIZE), bytes(SIZE + 1), b""],
    ids=["wrong", "wrong and whole", "too long", "empty"],
)
def test_a_part_that_is_of_no_use(part, files, server, place):
    (place/".download").mkdir(parents=True)
    (place/".download"/f"{files[0].sha256}.part").write_bytes(part)
    download("esvs")
    is_whole(place, files)
    assert not [path for path, _ in server.asked if path.startswith("/mirror")]

def test_fetched_but_not_yet_in_its_place(files, server, place):
    "Killed between check and move, beside pooch's rest: not fetched again, and tidied up."
    (place/".download").mkdir(parents=True)
    (place/".download"/files[0].sha256).write_bytes(server.content[files[0].file])
    (place/".download"/"tmp1234").write_bytes(b"half")
    server.faults["first"] = server.faults["mirror"] = ["status 404"]
    with complains("404"): download("esvs")
    holds_nothing_wrong(place, files)
    server.faults.clear()
    server.asked.clear()
    download("esvs")
    is_whole(place, files)
    assert len(server.asked) == 3


# ---- no way to a server

def closed():
    "An address where nobody listens."
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{s.getsockname()[1]}"

def test_no_network(files, monkeypatch, place, said):
    away = [
        Published(
            *[*vars(f).values()][:-1],
            (f"http://{closed()}/{f.file}", f"http://no.such.host.invalid/{f.file}"),
        )
        for f in files
    ]
    monkeypatch.setattr(downloads, "published", lambda name: away)
    asked, ask = [], downloads._get
    monkeypatch.setattr(
        downloads, "_get", lambda session, url, *more: (asked.append(url), ask(session, url, *more))
    )
    assert main(["download", "esvs"]) == 1
    text = said()
    assert (
        str(place / files[0].file) in text
        and "no connection" in text
        and "nor 3 more" in text
        and "same command again" in text
    )
    assert len(asked) == 6, "went on asking where nobody answers"
    assert not list(place.rglob("*.wav"))

@pytest.mark.parametrize(
    "proxy", ["http://{}", "{}", "socks5://{}", "nonsense://{}", "http://:0", "http://["]
)
def test_a_dead_proxy(proxy, files, monkeypatch, place, said):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, proxy.format(closed()))
    assert main(["download", "esvs"]) == 1
    text = said()
    assert str(place / files[0].file) in text and "proxy" in text.replace(str(place), "").lower(), (
        text
    )
    assert not list(place.rglob("*.wav"))

def test_a_proxy_that_refuses(files, server, monkeypatch, place, said):
    server.faults["127.0.0.1"] = server.faults[""] = ["status 407"]
    monkeypatch.setenv("http_proxy", server.at)
    assert main(["download", "esvs"]) == 1
    assert "407" in said()


# ---- the disk

def test_a_full_disk_is_noticed_before(files, server, monkeypatch, place, said):
    monkeypatch.setattr(
        downloads.shutil,
        "disk_usage",
        lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 300_000, 300_000),
    )
    assert main(["download", "esvs"]) == 1
    text = said()
    assert str(place) in text and "0.8 MB" in text and "0.3 MB" in text and not server.asked
    (place/".download").mkdir(exist_ok=True)
    for f in files[:3]: (place/".download"/f"{f.sha256}.part").write_bytes(server.content[f.file])
    assert main(["download", "esvs"]) == 0, "what is there already was counted twice"

@pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="there is no device here that is always full"
)
def test_a_full_disk_midway(files, place, said):
    (place/".download").mkdir(parents=True)
    part = place/".download"/f"{files[2].sha256}.part"
    part.symlink_to("/dev/full")
    assert main(["download", "esvs"]) == 1
    text = said()
    assert str(place) in text and "disk is full" in text and "same command again" in text
    holds_nothing_wrong(place, files)
    assert (place/files[1].file).exists()
    part.unlink()
    assert main(["download", "esvs"]) == 0
    is_whole(place, files)

@pytest.fixture
def locked():
    "A folder that may be read but not written to, even if the tests are run by root."
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    (folder/"esvs").mkdir()
    (folder/"esvs").chmod(0o555)
    folder.chmod(0o555)
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    if root: os.seteuid(65534)
    yield folder
    if root: os.seteuid(0)
    folder.chmod(0o755)
    shutil.rmtree(folder)

@pytest.mark.parametrize("out", ["esvs", "new"])
def test_a_folder_that_may_not_be_written_to(out, locked, files, server, said):
    assert main(["download", "esvs", "--out", str(locked/out)]) == 1
    text = said()
    assert str(locked/out) in text and "cannot be written" in text and not server.asked

def test_a_cache_that_may_not_be_written_to(locked, files, server, monkeypatch, said):
    monkeypatch.setenv("SIRENBOOK_DATA", str(locked/"below"))
    monkeypatch.setattr(
        recordings.platformdirs, "user_cache_dir", lambda *args: str(locked / "cache")
    )
    assert main(["download", "esvs"]) == 1
    assert "SIRENBOOK_DATA" in said() and not server.asked

def test_a_place_that_cannot_be_written_to_gives_way_to_the_cache(files, tmp_path, monkeypatch):
    (tmp_path/"file").write_text("in the way")
    monkeypatch.setenv("SIRENBOOK_DATA", str(tmp_path/"file"/"data"))
    assert download("esvs") == tmp_path/"cache"/"esvs"

@pytest.mark.parametrize("out", ["file", "file/below", "taken"])
def test_folders_that_cannot_be(out, files, server, tmp_path, said):
    (tmp_path/"file").write_text("mine")
    (tmp_path/"taken"/files[0].file).mkdir(parents=True)
    assert main(["download", "esvs", "--out", out]) == 1
    assert out in said() and (tmp_path/"file").read_text() == "mine"

@pytest.mark.parametrize(
    "name", ["emergency/mine.wav", "emergency/sound_1.flac", "non-emergency/deep/a.mp3"]
)
def test_a_folder_with_other_sounds(name, files, server, place, said):
    write(place/name, format="FLAC")
    before = sums(place)
    assert main(["download", "esvs"]) == 1
    assert str(place/name) in said() and sums(place) == before and not server.asked

def test_a_folder_with_a_manifest_of_its_own(files, server, place, said):
    write(place/"emergency"/"sound_1.wav")
    (place/"manifest.csv").write_text("file,label,group\nemergency/sound_1.wav,emergency,mine\n")
    before = sums(place)
    assert main(["download", "esvs"]) == 1
    assert str(place/"manifest.csv") in said() and sums(place) == before and not server.asked

def test_a_file_that_was_changed(files, server, place):
    "It is not loaded, not lost, and fetched anew."
    download("esvs")
    path = place/files[0].file
    path.write_bytes(mine := path.read_bytes()[:-2] + b"me")
    with complains(path, "SHA-256", "sirenbook download esvs", kind=SirenbookFileError):
        load_dataset("esvs")
    server.faults["first"] = server.faults["mirror"] = ["status 404"]
    with complains(path, "404", kind=SirenbookFileError): download("esvs")
    assert not path.exists()
    aside, = path.parent.glob("*.wrong")
    assert aside.read_bytes() == mine
    server.faults.clear()
    download("esvs")
    is_whole(place, files, aside.relative_to(place).as_posix())
    assert len(load_dataset("esvs").recordings) == 4


# ---- interrupted, and two at once

RUN = """import json, sys
from sirenbook import downloads
from sirenbook.cli import main
files = [downloads.Published(*row[:-1], tuple(row[-1])) for row in json.loads(sys.argv[1])]
downloads.published = lambda name: files
sys.exit(main(["download", "esvs", *sys.argv[2:]]))"""

def start(files, folder, *words, stderr=subprocess.PIPE, **env):
    "The command in a process of its own, ready to be interrupted as from a terminal."
    env = os.environ | {"PYTHONPATH": str(ROOT), "SIRENBOOK_DATA": str(folder/"data")} | env
    return subprocess.Popen(
        [sys.executable, "-c", RUN, json.dumps([[*vars(f).values()] for f in files]), *words],
        env=env,
        cwd=folder,
        stderr=stderr,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_interrupted_midway(how, files, server, place, tmp_path):
    server.faults[f"/first/{files[1].file}"] = ["slow", "good"]
    run = start(files, tmp_path)
    part, until = place/".download"/f"{files[1].sha256}.part", time.time() + 30
    while (
        (not part.exists() or part.stat().st_size < 60_000)
        and run.poll() is None
        and time.time() < until
    ):
        time.sleep(0.002)
    run.send_signal(how)
    out, err = run.communicate(timeout=30)
    if how == signal.SIGINT:
        assert (
            run.returncode == 130
            and "stopped with 1 of 4 files" in err
            and is_sentence(err.strip())
        ), err
    else: assert run.returncode == -how
    assert (
        sorted(p.name for p in place.rglob("*.wav")) == ["sound_1.wav"]
        and part.stat().st_size < SIZE
    )
    with complains(place, "3 files", "sirenbook download esvs", kind=SirenbookFileError):
        load_dataset("esvs")
    had = part.stat().st_size
    server.asked.clear()
    again = start(files, tmp_path)
    assert again.communicate(timeout=30)[1] == "" and again.returncode == 0
    assert (
        server.asked[0] == (f"/first/{files[1].file}", f"bytes={had}-") and len(server.asked) == 3
    )
    is_whole(place, files)

def test_two_at_once(files, server, place, tmp_path):
    pytest.importorskip("fcntl")
    server.faults["first"] = ["slow"]
    runs = [start(files, tmp_path) for _ in range(2)]
    told = [run.communicate(timeout=60) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], told
    assert sum("waiting for another program" in err for _, err in told) == 1
    assert len(server.asked) == 4, "a file was fetched twice"
    is_whole(place, files)


# ---- names

@pytest.mark.parametrize("name", ["roadside", "sirens", "", "../esvs", "ESVS"])
def test_a_set_that_cannot_be_downloaded(name, said, tmp_path):
    assert main(["download", name]) == 2
    text = said()
    assert repr(name) in text and "article and esvs" in text and not list(tmp_path.iterdir())

@pytest.mark.parametrize(
    "words", ["download", "download esvs article", "download esvs --out", "download esvs --to x"]
)
def test_wrong_usage(words, capsys, tmp_path):
    with pytest.raises(SystemExit) as end: main(words.split())
    assert (
        end.value.code == 2
        and "usage: sirenbook" in capsys.readouterr().err
        and not list(tmp_path.iterdir())
    )


def test_help(capsys):
    with pytest.raises(SystemExit) as end: main(["download", "--help"])
    out = capsys.readouterr().out
    assert end.value.code == 0 and all(
        f"{name} ({sum(f.n_bytes for f in published(name)) / 1e6:.0f} MB)" in out
        for name in ADDRESSES
    )


# ---- the list

def test_the_list():
    assert [len(published(name)) for name in ("article", "esvs")] == [2, 600]
    for f in (f for name in ADDRESSES for f in published(name)):
        assert (
            re.fullmatch("[0-9a-f]{64}", f.sha256)
            and f.label in CLASSES
            and f.group
            and f.n_bytes > 44
        )
        assert re.fullmatch(r"((non-)?emergency/)?[\w ]+\.wav", f.file), (
            "may write elsewhere, or is an archive"
        )
        assert all(
            a.startswith("https://")
            and re.search(r"/[0-9a-f]{40}/", a)
            and " " not in a
            and "{" not in a
            for a in f.addresses
        )
    assert {f.file: f.label for f in published("article")} == {
        v: k for k, v in recordings.ARTICLE_FILES.items()
    }
    assert all(
        f.file.startswith(f"{f.label}/") and len(f.addresses) == 2 for f in published("esvs")
    )


def test_copies_share_a_group():
    "A recording that was published under two names must not be in two parts of a split."
    groups = collections.defaultdict(set)
    for f in published("esvs"): groups[f.sha256].add((f.group, f.label))
    assert len(groups) == 596 and all(len(g) == 1 for g in groups.values())

def test_the_list_agrees_with_what_is_known():
    folder = really("esvs")
    with open(folder / "manifest.csv", newline="", encoding="utf-8") as f:
        known = {Path(r["file"]).with_suffix(""): r for r in csv.DictReader(f)}
    ours = {Path(f.file).with_suffix(""): f for f in published("esvs")}
    assert {k: (r["label"], r["group"]) for k, r in known.items()} == {
        k: (ours[k].label, ours[k].group) for k in known
    }
    if not (table := folder.parent/"downloads.csv").exists(): return
    with open(table, newline="", encoding="utf-8") as f: rows = list(csv.DictReader(f))
    told = {
        (
            r["dataset"],
            r["class"],
            r["sha256"],
            int(r["bytes"]),
            *filter(None, (r["url"], r["mirror"])),
        )
        for r in rows
    }
    assert told == {
        (f.dataset, f.label, f.sha256, f.n_bytes, *f.addresses)
        for name in ADDRESSES
        for f in published(name)
    }


def test_the_converted_copies_load(monkeypatch):
    monkeypatch.setenv("SIRENBOOK_DATA", str(really("esvs").parent))
    data, known = load_dataset("esvs"), {Path(f.file).with_suffix(""): f for f in published("esvs")}
    assert len(data.recordings) == 596 and data.name == "esvs"
    for r in data.recordings:
        assert (r.label, r.group) == ((f := known[Path(r.label) / r.path.stem]).label, f.group)


def test_files_as_published(server, monkeypatch, place):
    "Real ones, in all their formats: fetched, checked against the packaged list, loaded."
    folder = really("originals")
    files = [f for f in published("esvs") if (folder/Path(f.file).name).exists()]
    assert len(files) == 4
    for f in files: server.content[f.file] = (folder/Path(f.file).name).read_bytes()
    there = [Published(*[*vars(f).values()][:-1], (f"{server.at}/first/{f.file}",)) for f in files]
    monkeypatch.setattr(downloads, "published", lambda name: there)
    download("esvs")
    is_whole(place, files)
    data = load_dataset("esvs")
    assert sorted(class_index(r.label) for r in data.recordings) == [0, 0, 0, 1] and all(
        abs(r.seconds - 3) < 0.01 for r in data.recordings
    )
    assert {r.path.name: r.group for r in data.recordings} == {
        Path(f.file).name: f.group for f in files
    }


def test_a_manifest_of_ones_own_with_the_same_columns(tmp_path):
    "A column `dataset` or `sha256` alone does not make a download."
    for c in CLASSES: write(tmp_path/"mine"/c/"0.wav", np.full(16000, .1 + .1 * class_index(c)))
    for column in ("dataset", "sha256"):
        (tmp_path / "mine" / "manifest.csv").write_text(
            f"file,label,group,{column}\nemergency/0.wav,emergency,a,esvs\n"
        )
        assert load_dataset(tmp_path/"mine").recordings[0].group == "a"
    (tmp_path / "mine" / "manifest.csv").write_text(
        "file,label,group,dataset\nemergency/1.wav,emergency,a,esvs\n"
    )
    with complains("emergency/1.wav", kind=SirenbookFileError): load_dataset(tmp_path/"mine")

def test_put_there_by_hand(files, place):
    "In any format, without a manifest: the package knows the groups, and names missing files."
    for i, f in enumerate(files[1:]):
        write((place / f.file).with_suffix(".flac"), np.random.default_rng(i).normal(0, 0.1, 16000))
    with complains(place, "1 file ", "sirenbook download esvs", kind=SirenbookFileError):
        load_dataset("esvs")
    write((place/files[0].file).with_suffix(".flac"))
    assert [(r.label, r.group) for r in load_dataset("esvs").recordings] == [
        (f.label, f.group) for f in files
    ]


def test_the_wheel_has_the_list(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "setup.py",
            "-q",
            "egg_info",
            "--egg-base",
            tmp_path,
            "build_py",
            "--build-lib",
            tmp_path / "lib",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if "No module named 'setuptools'" in done.stderr:
        pytest.skip("setuptools is not installed, so no wheel can be made here")
    assert not done.returncode, done.stderr
    assert (tmp_path / "lib" / "sirenbook" / "downloads.csv").read_bytes() == (
        ROOT / "sirenbook" / "downloads.csv"
    ).read_bytes()
