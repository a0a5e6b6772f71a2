"""An archive scanned: the same tables whatever happens, on a disk, over HTTP, in an S3 store."""
import functools, http.client, json, math, os, random, re, resource, shutil, signal, subprocess
import sys, threading, time
from collections import Counter
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import numpy as np
import pytest
import soundfile as sf
from shared import ROOT, Server, complains, is_sentence, write

from sirenbook import archive, scans, stores
from sirenbook.archive import (KEPT_FROM, UNIT_BYTES, UNIT_FILES, archive_events, make_units,
                               read_format, read_start, read_zone, scan_unit)
from sirenbook.audio import SR
from sirenbook.detector import Detector, Scores, find_events
from sirenbook.errors import SirenbookError
from sirenbook.files import folder_lock
from sirenbook.noises import noise
from sirenbook.scans import load_events, scan, scan_status
from sirenbook.sirens import PRESETS, render
from sirenbook.stores import StoredFile, list_sounds

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
psutil = pytest.importorskip("psutil")
distributed = pytest.importorskip("distributed")

DAY = datetime(2026, 3, 1, 8, tzinfo=timezone.utc).timestamp()     # 8 o'clock

@pytest.fixture(scope="module")
def detector(): return Detector.pretrained()

@functools.cache
def _sound(seconds, sirens, seed, sr):
    wav = noise("traffic", seconds, np.random.default_rng(seed)) / 30
    for start, stop in sirens:
        part = slice(round(start * SR), round(stop * SR))
        wav[part] += 0.1 * render(PRESETS["PA300 yelp"], stop - start, SR)[:len(wav[part])]
    return np.clip(wav, -1, 1)[::SR // sr].astype(np.float32)

def street(seconds, *sirens, seed=0, sr=SR):
    "Traffic, with a siren from each start to each stop, s."
    return _sound(seconds, sirens, seed, sr)

def named(seconds=0.0, suffix="flac"):
    "The name of a file that begins so many seconds after 8 o'clock."
    at = datetime.fromtimestamp(DAY + seconds, timezone.utc)
    return f"{at:%Y%m%d_%H%M%S}" + f".{at:%f}" * bool(at.microsecond) + f".{suffix}"

def pieces(folder, wav, *parts, starts=None):
    "Save parts of a sound, from start to stop in s, as files whose names state when they begin."
    for i, (a, b) in enumerate(parts):
        write(folder / named(starts[i] if starts else a), wav[round(a * SR):round(b * SR)])
    return folder

# ---- what a scan has written

def rows(out, *without):
    "Each row as text, by recorder, day and file; a file that has two is an error."
    found = {}
    for path in sorted(Path(out).glob("scores/*/*/*.parquet")):
        if path.name[0] == ".": continue
        for r in pq.ParquetFile(path).read().to_pylist():
            key = *path.parts[-3:-1], r["file"]
            assert key not in found, f"{key} is there twice"
            found[key] = json.dumps({k: v for k, v in r.items() if k not in without})
    return found

def row(out, file):
    "The row of a file."
    [text] = [text for key, text in rows(out).items() if key[-1] == file]
    return json.loads(text)

def same_but_for(out, root, other, other_root):
    "Whether two folders hold the same rows and events, but for versions and the source's name."
    a, b = ({k: text.replace(str(at), "") for k, text in rows(o, "version").items()}
            for o, at in ((out, root), (other, other_root)))
    assert a == b
    assert load_events(out) == load_events(other)
    return True

def tables(out):
    "All bytes of all tables; what has been left half written as well."
    return {str(p.relative_to(out)): p.read_bytes() for p in Path(out).rglob("*.parquet")}

def times(events): return [(round(e["start_s"], 6), round(e["end_s"], 6)) for e in events]

# ---- one archive, and its undisturbed tables

@pytest.fixture(scope="module")
def city(tmp_path_factory):
    "Four recorders, seven units, ten files: with a siren across a border, empty, bad, silent."
    folder = tmp_path_factory.mktemp("archive") / "city"
    north = street(24, (2, 6), (9, 15))
    pieces(folder / "north", north, (0, 12), (12, 24))
    write(folder / "north" / "20260302_080000.wav", street(12, seed=1))
    write(folder / "south" / "SMM01_20260301_090000.wav", street(12, (4, 9), seed=2))
    write(folder / "south" / "SMM01_20260301_100000.wav", street(12, (4, 9), seed=3, sr=8000), 8000)
    (folder / "south" / "SMM01_20260302_100000.wav").write_bytes(b"")
    (folder / "south" / "SMM01_20260303_100000.wav").write_bytes(b"no sound" * 100)
    write(folder / "east" / "20260301_080000.flac", street(12, (5, 12), seed=4))
    write(folder / "east" / "20260301_080100.wav", np.zeros(5 * SR))
    write(folder / "west" / "wail.wav", street(8, (0, 4), seed=5))
    return folder

@pytest.fixture(scope="module")
def undisturbed(city, tmp_path_factory):
    "The tables of its scan without Dask."
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    status = scan(city, out, workers=0)
    assert status.counts == {"done": 7, "empty": 2, "failed": 1} and status.left == 0
    assert len(load_events(out)) == status.events == 6 and len(rows(out)) == 10
    return out

# ---- scans in other processes

SCAN = """
import json, sys
from sirenbook.errors import SirenbookError
from sirenbook.scans import scan

if __name__ == "__main__":
    source, out, how = sys.argv[1:]
    try: status = scan(source, out, **json.loads(how))
    except SirenbookError as e: sys.exit(f"sirenbook: {e}")
    print(status)
    sys.exit(not status.complete)
"""

@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("script") / "a_scan.py"
    path.write_text(SCAN)
    return path

@pytest.fixture
def begin(script):
    "`begin(source, out, workers=2)` starts a scan in a process; what is left of it is killed."
    begun, children = [], []
    def begin(source, out, limit=None, **how):
        size = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        process = subprocess.Popen(
            [sys.executable, script, str(source), str(out), json.dumps(how)], text=True, cwd=ROOT,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, preexec_fn=size if limit else None)
        begun.append(process)
        return process
    yield begin
    for process in begun:
        if process.poll() is None: children += workers_of(process)
        process.kill()
        process.communicate()
    for child in children:
        try: child.kill()
        except psutil.NoSuchProcess: pass

def workers_of(process):
    "The worker processes of a scan."
    def is_worker(p):
        try: return "spawn_main" in " ".join(p.cmdline())
        except psutil.Error: return False
    try: return [*filter(is_worker, psutil.Process(process.pid).children(recursive=True))]
    except psutil.NoSuchProcess: return []

def ended(process, seconds=60):
    "What a process prints, and its exit code."
    out, err = process.communicate(timeout=seconds)
    assert "Traceback" not in err, err
    return process.returncode, out, err

def until(true, seconds=30):
    "Wait until something is true."
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)

class _Shelf(BaseHTTPRequestHandler):
    def log_message(self, *args): pass

    def do_HEAD(self): self._answer(body=False)
    def do_GET(self): self._answer()

    def _answer(self, body=True):
        "A folder as links, or a file, whole or a range of it."
        shelf, path = self.server, self.server.folder / unquote(urlsplit(self.path).path[1:])
        code, head = 200, {}
        if path.is_dir():
            data = "".join(f'<a href="{quote(p.name)}{"/" * p.is_dir()}">{p.name}</a>\n'
                           for p in sorted(path.iterdir())).encode()
            head["Content-Type"] = "text/html"
        elif not path.is_file(): return self.send_error(404)
        else:
            if body: shelf.pass_gate(path.name, self.client_address[1])
            data, head["ETag"] = path.read_bytes(), f'"{path.stat().st_mtime_ns}"'
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if shelf.ranges and wanted:
                a, b = map(int, wanted.groups())
                head["Content-Range"] = f"bytes {a}-{min(b, len(data) - 1)}/{len(data)}"
                code, data = 206, data[a:b + 1]
            if shelf.ranges: head["Accept-Ranges"] = "bytes"
        self.send_response(code)
        for name, value in {**head, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body: self.wfile.write(data)

class Shelf(Server):
    "A folder over HTTP, with ranges or without; while it is shut, requests for sound wait."

    def __init__(self, folder, ranges=True):
        super().__init__(_Shelf)
        self.folder, self.ranges, self.asked = Path(folder), ranges, lambda name, port: None
        self._gate, self.is_shut, self.free, self.waiting = threading.Condition(), False, 0, 0

    def shut(self, free=0):
        "Let so many requests pass, and then no more."
        with self._gate: self.is_shut, self.free = True, free

    def open(self):
        with self._gate:
            self.is_shut = False
            self._gate.notify_all()

    def pass_gate(self, name, port):
        self.asked(name, port)
        with self._gate:
            if self.is_shut and self.free: self.free -= 1; return
            self.waiting += 1
            self._gate.wait_for(lambda: not self.is_shut, timeout=60)
            self.waiting -= 1

    def __exit__(self, *args):
        self.open()
        super().__exit__(*args)

@pytest.fixture
def shelf(city):
    with Shelf(city.parent) as shelf: yield shelf

# ---- 1. whatever is killed, the tables are those of an undisturbed scan

def test_a_worker_that_is_killed_is_replaced(begin, shelf, tmp_path):
    scan(f"{shelf.at}/city", tmp_path / "none", workers=0)
    shelf.shut()
    process = begin(f"{shelf.at}/city", tmp_path / "out", workers=2)
    until(lambda: shelf.waiting == 2)                    # each is within a unit
    first, second = workers_of(process)
    first.send_signal(signal.SIGKILL)
    psutil.wait_procs([first], 10)
    until(lambda: shelf.waiting == 3)                    # that of the dead one, and two who live
    shelf.open()
    code, out, err = ended(process)
    assert code == 1 and "7 done" in out and "0 to do" in out         # one file is no sound
    assert tables(tmp_path / "out") == tables(tmp_path / "none")

def test_a_scan_that_is_killed_resumes(begin, shelf, tmp_path):
    source, out = f"{shelf.at}/city", tmp_path / "out"
    scan(source, tmp_path / "none", workers=0)
    shelf.shut(free=4)
    process = begin(source, out, workers=2)
    until(lambda: shelf.waiting == 2 and len(rows(out)) >= 2)
    done, children = tables(out), psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    for p in alive: p.kill()
    assert not alive, "its workers live on"
    assert len(done) < 7 and tables(out) == done and not load_events(out)
    kept = {p: (out / p).stat().st_mtime_ns for p in done}
    shelf.open()
    assert ended(begin(source, out, workers=2))[0] == 1
    assert tables(out) == tables(tmp_path / "none")
    assert {p: (out / p).stat().st_mtime_ns for p in done} == kept, "what was done is done again"

def test_half_a_table_that_a_kill_left_is_passed_over(city, undisturbed, tmp_path):
    "atomic_write removes its temporary file itself, but not where the process was killed."
    shutil.copytree(undisturbed, out := tmp_path / "out")
    table = next(out.glob("scores/*/*/*.parquet"))
    half = table.with_name(f".0123456789abcdef.part.{table.name}")
    half.write_bytes(table.read_bytes()[:99])
    table.unlink()
    assert scan(city, out, workers=0)[1:] == scan_status(undisturbed)[1:]   # FAULT in rows()
    half.unlink(missing_ok=True)
    assert tables(out) == tables(undisturbed)

def test_a_file_that_kills_its_workers_fails_alone(begin, shelf, tmp_path):
    "As a decoder that crashes does: the other units are done, and the next command resumes."
    source, out, deaths = f"{shelf.at}/city", tmp_path / "out", []
    scan(source, tmp_path / "none", workers=0)
    def kill(name, port):
        if name != "20260302_080000.wav": return
        for p in workers_of(process):
            if any(c.laddr.port == port for c in p.net_connections()):
                deaths.append(p)
                p.kill()
    shelf.asked = kill
    process = begin(source, out, workers=1)
    code, said, err = ended(process)
    print(said, len(deaths), [(p.pid) for p in deaths], err)
    assert code == 1 and len(deaths) >= 3
    assert "north/20260302_080000.wav and the files after it: their worker failed" in said
    missing = {k[-1] for k in rows(tmp_path / "none").keys() - rows(out).keys()}
    assert missing == {"north/20260302_080000.wav"}      # FAULT: units beside it are failed as well
    shelf.asked = lambda name, port: None
    scan(source, out, workers=0)
    assert tables(out) == tables(tmp_path / "none")

def test_an_interrupt_is_one_sentence(begin, shelf, tmp_path):
    shelf.shut()
    process = begin(f"{shelf.at}/city", tmp_path / "out", workers=0)
    until(lambda: shelf.waiting == 1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode and err.strip().endswith("stopped; the same command resumes")

# ---- 2. stores

@pytest.fixture(scope="module")
def moto():
    "An S3 store on this computer."
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()

def forget_stores():
    "The next question to a store opens it again, at the address that the environment states."
    import s3fs
    s3fs.S3FileSystem.clear_instance_cache()

@pytest.fixture
def bucket(moto, monkeypatch):
    "A new bucket that `put` fills: its client, its address and how to fill it."
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("s3fs")
    for name, value in dict(
            AWS_ENDPOINT_URL=moto, AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b",
            AWS_DEFAULT_REGION="us-east-1", AWS_CONFIG_FILE=os.devnull,
            AWS_SHARED_CREDENTIALS_FILE=os.devnull, no_proxy="127.0.0.1").items():
        monkeypatch.setenv(name, value)
    client, name = boto3.client("s3", endpoint_url=moto), f"b{random.getrandbits(48):012x}"
    client.create_bucket(Bucket=name)
    def put(folder, under=""):
        for p in sorted(Path(folder).rglob("*.*")):
            client.put_object(Bucket=name, Key=under + p.relative_to(folder).as_posix(),
                              Body=p.read_bytes())
    put.client, put.name, put.at = client, name, f"s3://{name}"
    forget_stores()
    yield put
    forget_stores()

class _Between(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *args): pass

    def do_GET(self):
        proxy, ranged = self.server, "Range" in self.headers
        proxy.n += 1
        if proxy.mode == "throttle" and proxy.n % 3 == 0:
            proxy.refused += 1
            return self._send(503, {"Content-Type": "application/xml"}, b"<Error><Code>SlowDown"
                              b"</Code><Message>Please reduce your request rate.</Message></Error>")
        if proxy.mode == "hang" and ranged: proxy.over.wait(60)
        moto = http.client.HTTPConnection(proxy.moto)
        moto.request(self.command, self.path, headers=dict(self.headers))
        answer = moto.getresponse()
        data = answer.read()
        moto.close()
        head = {k: v for k, v in answer.getheaders()
                if k.lower() not in ("content-length", "connection", "transfer-encoding")}
        if proxy.mode == "half" and ranged:
            data = data[:len(data) // 2]
            head = {k: v for k, v in head.items() if "checksum" not in k.lower()}
        self._send(answer.status, head, data, answer.getheader("Content-Length"))

    do_HEAD = do_GET

    def _send(self, code, head, data, length=None):
        self.send_response(code)
        for name, value in head.items(): self.send_header(name, value)
        is_head = self.command == "HEAD"
        self.send_header("Content-Length", length if is_head and length else str(len(data)))
        self.end_headers()
        if not is_head: self.wfile.write(data)

class Between(Server):
    "Stands in front of a store: passes all on, refuses each third request, halves, or hangs."
    def __init__(self, moto):
        super().__init__(_Between)
        self.moto, self.mode, self.n, self.refused = urlsplit(moto).netloc, "", 0, 0
        self.over = threading.Event()

    def __exit__(self, *args):
        self.over.set()
        super().__exit__(*args)

@pytest.fixture
def between(moto, bucket, monkeypatch):
    with Between(moto) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.at)
        forget_stores()
        yield proxy

@pytest.mark.parametrize("workers", (0, 2))
def test_a_bucket_gives_the_rows_of_the_folder(bucket, city, undisturbed, tmp_path, workers):
    bucket(city, "streets/")
    status = scan(f"{bucket.at}/streets", tmp_path, workers=workers)
    assert status.counts == scan_status(undisturbed).counts
    assert same_but_for(tmp_path, f"{bucket.at}/streets", undisturbed, city)

def test_names_in_a_bucket_are_any_text(bucket, tmp_path):
    name = "rue de l'Église #3 100%/20260301_080000.flac"
    write(tmp_path / "in" / name, street(4, (1, 3)))
    bucket(tmp_path / "in")
    for source in (tmp_path / "in", bucket.at):
        scan(source, tmp_path / "out" / Path(source).name, workers=0)
    assert same_but_for(*(x for s in (tmp_path / "in", bucket.at)
                          for x in (tmp_path / "out" / Path(s).name, s)))

def test_an_object_that_changed_is_scanned_again_in_the_same_process(bucket, tmp_path):
    one, two = ("20260301_080000.flac", "20260302_080000.flac")
    for name in (one, two): write(tmp_path / "in" / name, street(4))
    bucket(tmp_path / "in")
    (tmp_path / "list.txt").write_text(f"{bucket.at}/{one}\n{bucket.at}/{two}\n")
    sources = {"list": tmp_path / "list.txt", "whole": bucket.at}
    for k, source in sources.items(): assert scan(source, tmp_path / k, workers=0).complete
    before = {k: rows(tmp_path / k) for k in sources}
    write(tmp_path / "in" / two, street(4, (0, 4), seed=7))
    bucket(tmp_path / "in")
    for k, source in sources.items():
        scan(source, tmp_path / k, workers=0)
        assert [a == b for (_, a), (_, b) in zip(sorted(before[k].items()),
                                                 sorted(rows(tmp_path / k).items()))] == [True, False]

def test_a_store_that_refuses_each_third_request_is_read(bucket, between, city, undisturbed,
                                                         tmp_path):
    bucket(city)
    between.mode = "throttle"
    scan(bucket.at, tmp_path, workers=0)
    assert between.refused >= 3
    assert same_but_for(tmp_path, bucket.at, undisturbed, city)

@pytest.mark.parametrize("mode", ("half", "hang"))
def test_a_store_that_never_recovers_is_tried_again_by_the_next_scan(
        bucket, between, city, undisturbed, tmp_path, monkeypatch, mode):
    monkeypatch.setattr(stores, "TRIES", 2)
    bucket(city / "north", "north/")
    bucket(city / "east", "east/")
    scan(bucket.at, tmp_path / "none", workers=0)
    between.mode = mode
    with monkeypatch.context() as patch:
        if mode == "hang": patch.setattr(stores, "TIMEOUT_S", 0.2)
        status = scan(bucket.at, tmp_path / "out", workers=0)
    assert status.counts == {"done": 0, "empty": 0, "failed": 5} and not status.complete
    for text in rows(tmp_path / "out").values():
        r = json.loads(text)
        assert r["status"] == "failed" and r["retry"] and not r["step"] and is_sentence(r["reason"])
        assert r["file"] in r["reason"] and "its store failed 2 times" in r["reason"]
    assert not load_events(tmp_path / "out")
    between.mode = ""
    between.over.set()
    assert scan(bucket.at, tmp_path / "out", workers=0).complete
    assert tables(tmp_path / "out") == tables(tmp_path / "none")

def test_buckets_that_cannot_be_listed_are_one_sentence(bucket, tmp_path, monkeypatch):
    with complains("no sound file"): scan(bucket.at, tmp_path / "a", workers=0)
    with complains("s3://there-is-none"): scan("s3://there-is-none/x", tmp_path / "b", workers=0)
    with complains("nosuch://x"): scan("nosuch://x/y", tmp_path / "c", workers=0)

@pytest.mark.parametrize("workers", (0, 2))
def test_http_with_ranges_gives_the_rows_of_the_folder(shelf, city, undisturbed, tmp_path, workers,
                                                       monkeypatch):
    if not workers: monkeypatch.setattr(stores, "RANGE_BYTES", 1 << 14)      # many of them
    scan(f"{shelf.at}/city", tmp_path, workers=workers)
    assert same_but_for(tmp_path, f"{shelf.at}/city", undisturbed, city)

def test_http_without_ranges_is_never_wrong_data(city, undisturbed, tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "TRIES", 2)
    with Shelf(city.parent, ranges=False) as shelf:
        scan(f"{shelf.at}/city", tmp_path / "whole", workers=0)         # a range holds the file
        assert same_but_for(tmp_path / "whole", f"{shelf.at}/city", undisturbed, city)
        monkeypatch.setattr(stores, "RANGE_BYTES", 1 << 14)
        status = scan(f"{shelf.at}/city/north", tmp_path / "parts", workers=0)
        assert status.counts == {"done": 0, "empty": 0, "failed": 3}
        for text in rows(tmp_path / "parts").values():
            r = json.loads(text)
            assert is_sentence(r["reason"]) and r["file"] in r["reason"] and not r["step"]
            assert "bytes came where 16384 were asked for" in r["reason"] and r["retry"]

# ---- 3. a full disk

def test_a_full_disk_is_one_sentence_and_leaves_no_half_table(begin, city, undisturbed, tmp_path):
    least = min(len(b) for b in tables(undisturbed).values())
    out = tmp_path / "out"
    code, said, err = ended(begin(city, out, limit=least - 1, workers=0))
    assert code == 1 and not said
    last = err.strip().splitlines()[-1].removeprefix("sirenbook: ")
    assert is_sentence(last) and str(out) in last and "cannot be written" in last
    assert not [p for p in out.rglob("*") if "part" in p.name or p.suffix == ".parquet"]
    assert ended(begin(city, out, workers=0))[0] == 1
    assert tables(out) == tables(undisturbed)

def test_a_disk_without_room_for_events_keeps_those_before(begin, city, undisturbed, tmp_path):
    shutil.copytree(undisturbed, out := tmp_path / "out")
    before = load_events(out)
    code, _, err = ended(begin(city, out, limit=1500, workers=0, threshold=0.2))
    assert code == 1 and "cannot be written" in err
    assert load_events(out) == before
    scan(city, out, workers=0)
    assert tables(out) == tables(undisturbed)

# ---- 4. two at once

def test_two_scans_into_one_folder_take_turns(begin, shelf, tmp_path):
    source, out = f"{shelf.at}/city", tmp_path / "out"
    scan(source, tmp_path / "none", workers=0)
    shelf.shut()
    one = begin(source, out, workers=0)
    until(lambda: shelf.waiting == 1)
    two = begin(source, out, workers=0)
    said = two.stderr.readline()
    assert "waiting for another program" in said
    shelf.open()
    ends = ended(one), ended(two)
    assert [e[0] for e in ends] == [1, 1] and ends[0][1] == ends[1][1]
    assert tables(out) == tables(tmp_path / "none")

# ---- 5. clusters

def test_a_scheduler_that_is_not_there_is_one_sentence(city, tmp_path):
    with complains("bad://127.0.0.1:9"): scan(city, tmp_path / "a", scheduler="bad://127.0.0.1:9")
    with complains("tcp://127.0.0.1:9"): scan(city, tmp_path / "b", scheduler="tcp://127.0.0.1:9")
    assert not tables(tmp_path)

@pytest.fixture
def cluster():
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None,
                                  silence_logs=100) as cluster: yield cluster

def test_a_cluster_that_exists_gives_the_same_tables(cluster, city, undisturbed, tmp_path):
    scan(city, tmp_path, scheduler=cluster.scheduler_address)
    assert tables(tmp_path) == tables(undisturbed)
    with distributed.Client(cluster) as client: assert client.submit(abs, -3).result() == 3

def test_a_cluster_that_goes_is_one_sentence_and_the_scan_resumes(begin, cluster, shelf, tmp_path):
    source, out = f"{shelf.at}/city", tmp_path / "out"
    scan(source, tmp_path / "none", workers=0)
    shelf.shut(free=3)
    process = begin(source, out, scheduler=cluster.scheduler_address)
    until(lambda: shelf.waiting == 1 and rows(out))
    cluster.close(timeout=5)
    code, _, err = ended(process)
    assert code == 1 and is_sentence(err.strip()) and "resumes" in err, err
    shelf.open()
    scan(source, out, workers=0)
    assert tables(out) == tables(tmp_path / "none")
