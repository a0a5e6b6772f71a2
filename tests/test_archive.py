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
from shared import ROOT, Server, complains, is_sentence, write

from sirenbook import archive, scans, stores
from sirenbook.archive import (KEPT_FROM, JOB_BYTES, JOB_FILES, archive_events, make_jobs,
                               read_format, read_start, read_zone, scan_job)
from sirenbook.audio import SR
from sirenbook.detector import Detector, Scores, find_events
from sirenbook.errors import SirenbookWarning
from sirenbook.noises import noise
from sirenbook.scans import load_events, rescore, scan, scan_status
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
    "Four recorders, seven jobs, ten files: with a siren across a border, empty, bad, silent."
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

@pytest.fixture
def begin():
    "`begin(source, out, workers=2)` starts `sirenbook scan`; what is left of it is killed."
    begun, children = [], []
    def begin(source, out, *, limit=None, before=(), **how):
        options = [f"--{k.replace('_', '-')}={v}" for k, v in how.items()]
        size = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "sirenbook", "scan", source, "--out", out, *options],
            text=True, cwd=ROOT, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=size if limit else None)
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
        if "Range" not in self.headers:
            shelf.asked_whole += 1                           # as fsspec asks for a size
            if shelf.asked_whole <= shelf.busy: return self.send_error(shelf.says, "No")
        code, head = 200, {}
        if path.is_dir():
            data = "".join(f'<a href="{quote(p.name)}{"/" * p.is_dir()}">{p.name}</a>\n'
                           for p in sorted(path.iterdir())).encode()
            head["Content-Type"] = "text/html"
        elif not path.is_file(): return self.send_error(404)
        else:
            if body:
                shelf.pass_gate(path.name, self.client_address[1])
                shelf.n += 1
                if shelf.refuses and shelf.n % 3 == 0: return self.send_error(503, "Slow Down")
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
        self.refuses, self.n, self.busy, self.asked_whole, self.says = False, 0, 0, 0, 503
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

def test_a_scan_that_is_killed_resumes_and_a_worker_that_is_killed_is_replaced(
        begin, shelf, tmp_path):
    source, out = f"{shelf.at}/city", tmp_path / "out"
    scan(source, tmp_path / "none", workers=0)
    shelf.shut(free=4)
    process = begin(source, out, workers=2)
    until(lambda: shelf.waiting == 2 and len(rows(out)) >= 2)           # each is within a job
    done, children = tables(out), psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    for p in alive: p.kill()
    assert not alive, "its workers live on"
    assert len(done) < 7 and tables(out) == done and not load_events(out)
    kept = {p: (out / p).stat().st_mtime_ns for p in done}

    process = begin(source, out, workers=2)                             # the same command again
    until(lambda: shelf.waiting == 4)                                   # two who wait are dead
    workers_of(process)[0].kill()
    until(lambda: shelf.waiting == 5)
    shelf.open()
    code, said, err = ended(process)
    assert code == 1 and not err and "7 done" in said and "0 to do" in said   # one is no sound
    assert tables(out) == tables(tmp_path / "none")
    assert {p: (out / p).stat().st_mtime_ns for p in done} == kept, "what was done is done again"

def test_half_a_table_that_a_kill_left_is_passed_over(city, undisturbed, tmp_path):
    "atomic_write removes its temporary file itself, but not where the process was killed."
    shutil.copytree(undisturbed, out := tmp_path / "out")
    table = next(out.glob("scores/*/*/*.parquet"))
    half = table.with_name(f".0123456789abcdef.part.{table.name}")
    half.write_bytes(table.read_bytes()[:99])
    table.unlink()
    assert scan(city, out, workers=0)[1:] == scan_status(undisturbed)[1:]
    half.unlink(missing_ok=True)
    assert tables(out) == tables(undisturbed)

def test_a_file_that_kills_its_workers_fails_alone(begin, shelf, tmp_path, monkeypatch):
    "As a decoder that crashes does: the other jobs are done, and the next command resumes."
    source, out, deaths = f"{shelf.at}/city", tmp_path / "out", []
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "1")
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
    assert code == 1 and len(deaths) == 2
    missing = {k[-1] for k in rows(tmp_path / "none").keys() - rows(out).keys()}
    assert missing == {"north/20260302_080000.wav"}
    shelf.asked = lambda name, port: None
    scan(source, out, workers=0)
    assert tables(out) == tables(tmp_path / "none")
    [line] = [line for line in said.splitlines() if "their worker failed" in line]
    assert "north/20260302_080000.wav" in line
    assert is_sentence(line.strip()), line

def test_an_interrupt_is_one_sentence(begin, shelf, tmp_path):
    shelf.shut()
    process = begin(f"{shelf.at}/city", tmp_path / "out", workers=0)
    until(lambda: shelf.waiting == 1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and err.endswith("out: stopped; the same command resumes\n")

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
        after = rows(tmp_path / k)
        assert [before[k][key] == after[key] for key in sorted(after)] == [True, False]

def test_a_store_that_refuses_each_third_request_is_read(bucket, between, city, undisturbed,
                                                         tmp_path):
    bucket(city)
    between.mode = "throttle"
    scan(bucket.at, tmp_path, workers=0)
    assert between.refused >= 3
    assert same_but_for(tmp_path, bucket.at, undisturbed, city)

@pytest.mark.parametrize("mode", ("half", "hang"))
def test_a_store_that_never_recovers_is_tried_again_by_the_next_scan(
        bucket, between, city, tmp_path, monkeypatch, mode):
    monkeypatch.setattr(stores, "TRIES", 2)
    bucket(city / "east", "east/")
    scan(bucket.at, tmp_path / "none", workers=0)
    between.mode = mode
    with monkeypatch.context() as patch:
        if mode == "hang": patch.setattr(stores, "TIMEOUT_S", 0.2)
        status = scan(bucket.at, tmp_path / "out", workers=0)
    assert status.counts == {"done": 0, "empty": 0, "failed": 2} and not status.complete
    for text in rows(tmp_path / "out").values():
        r = json.loads(text)
        assert r["status"] == "failed" and r["retry"] and not r["step"] and is_sentence(r["reason"])
        assert r["file"] in r["reason"] and "its store failed 2 times" in r["reason"]
    assert not load_events(tmp_path / "out")
    between.mode = ""
    between.over.set()
    assert scan(bucket.at, tmp_path / "out", workers=0).complete
    assert same_but_for(tmp_path / "none", bucket.at, tmp_path / "out", bucket.at)
    assert tables(tmp_path / "out") == tables(tmp_path / "none")

def test_buckets_that_cannot_be_listed_are_one_sentence(bucket, tmp_path, monkeypatch):
    with complains("no sound file"): scan(bucket.at, tmp_path / "a", workers=0)
    with complains("s3://there-is-none"): scan("s3://there-is-none/x", tmp_path / "b", workers=0)
    with complains("nosuch://x"): scan("nosuch://x/y", tmp_path / "c", workers=0)

def test_http_with_ranges_gives_the_rows_of_the_folder(shelf, city, undisturbed, tmp_path,
                                                       monkeypatch):
    monkeypatch.setattr(stores, "RANGE_BYTES", 1 << 14)      # many of them
    scan(f"{shelf.at}/city", tmp_path, workers=0)
    assert same_but_for(tmp_path, f"{shelf.at}/city", undisturbed, city)

def test_http_that_refuses_each_third_request_is_read(shelf, city, undisturbed, tmp_path):
    shelf.refuses = True
    scan(f"{shelf.at}/city", tmp_path, workers=0)
    assert shelf.n >= 10 and same_but_for(tmp_path, f"{shelf.at}/city", undisturbed, city)

@pytest.mark.parametrize("busy", (2, 99))
def test_http_that_does_not_state_a_size_at_once_is_asked_again(shelf, city, tmp_path, busy):
    "A list of one file; fsspec asks for its size twice, HEAD and GET, before it gives up."
    file = f"{shelf.at}/city/west/wail.wav"
    (tmp_path / "list.txt").write_text(file)
    shelf.busy = busy
    status = scan(tmp_path / "list.txt", tmp_path / "out", workers=0)
    assert 2 < shelf.asked_whole < 20
    if busy == 99:
        [(kind, reason, n)] = status.reasons
        assert kind == "failed" and n == 1 and is_sentence(reason) and "503" in reason
        assert reason.startswith(file) and "failed 3 times" in reason
        shelf.busy = 0
        status = scan(tmp_path / "list.txt", tmp_path / "out", workers=0)
    assert status.complete and status.counts["done"] == 1

@pytest.mark.parametrize("says, words", ((404, "no such file"), (410, "no such file"),
                                         (403, "403"), (416, "416")))
def test_http_that_answers_for_good_is_asked_once(shelf, city, tmp_path, says, words):
    (tmp_path / "list.txt").write_text(f"{shelf.at}/city/west/wail.wav")
    shelf.busy, shelf.says = 99, says
    [(_, reason, _)] = scan(tmp_path / "list.txt", tmp_path / "out", workers=0).reasons
    assert words in reason and is_sentence(reason) and shelf.asked_whole == 2

@pytest.mark.parametrize("says", (503, 429))
def test_a_store_that_does_not_answer_costs_no_result(shelf, city, tmp_path, says):
    "A list whose sizes are not to be had keeps what was done; what was not is a matter of later."
    one, two = (f"{shelf.at}/city/{name}" for name in ("west/wail.wav",
                                                       "east/20260301_080000.flac"))
    (tmp_path / "list.txt").write_text(one)
    assert scan(tmp_path / "list.txt", tmp_path / "out", workers=0).complete
    before = row(tmp_path / "out", one)
    (tmp_path / "list.txt").write_text(f"{one}\n{two}")
    shelf.busy, shelf.says, shelf.asked_whole = 99, says, 0
    status = scan(tmp_path / "list.txt", tmp_path / "out", workers=0)
    assert status.counts == {"done": 1, "empty": 0, "failed": 1}
    assert row(tmp_path / "out", one) == before and row(tmp_path / "out", two)["retry"]
    shelf.busy = 0
    assert scan(tmp_path / "list.txt", tmp_path / "out", workers=0).counts["done"] == 2
    assert row(tmp_path / "out", one) == before

@pytest.mark.parametrize("cause", (TimeoutError(), OSError("reset"), None, ValueError()))
def test_what_a_store_says_of_a_file_that_is_not_there(monkeypatch, cause):
    "A cause that may pass is asked again; FileNotFoundError alone is the answer."
    monkeypatch.setattr(stores.time, "sleep", lambda s: None)
    asked = []
    def ask():
        asked.append(1)
        raise FileNotFoundError("a") from cause
    passes = isinstance(cause, OSError)
    with pytest.raises(stores.StoreError if passes else FileNotFoundError): stores._tried(
        ask, "a", 3)
    assert len(asked) == (3 if passes else 1)

def test_a_file_whose_size_is_not_to_be_had_is_the_stores_fault(shelf, city):
    shelf.busy = 99
    with pytest.raises(stores.StoreError, match="failed 3 times"): stores.open_stored(
        "", StoredFile(f"{shelf.at}/city/west/wail.wav", 0, ""))

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

def test_a_scheduler_that_is_not_there_is_one_sentence(begin, shelf, city, tmp_path):
    "Nothing listens at the first address; at the second it is a web server, as Dask's own is."
    there = ["tcp://127.0.0.1:9", shelf.at.replace("http", "tcp")]
    scans = [begin(city, tmp_path / str(i), scheduler=at) for i, at in enumerate(there)]
    for at in ("bad://127.0.0.1:9", "127.0.0.1"):
        with complains(at, "no Dask scheduler"): scan(city, tmp_path / "a", scheduler=at)
    for process, at in zip(scans, there):
        code, _, err = ended(process, 20)
        assert code == 1 and is_sentence(err.strip()) and at in err and not tables(tmp_path)

def test_a_scheduler_with_a_certificate_is_refused_in_words(city, tmp_path):
    with complains("tls://127.0.0.1:9"):
        scan(city, tmp_path, scheduler="tls://127.0.0.1:9")

@pytest.fixture
def cluster():
    with distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0",
            silence_logs=100) as cluster: yield cluster

def test_a_cluster_that_exists_gives_the_same_tables(cluster, city, undisturbed, tmp_path):
    scan(city, tmp_path, scheduler=cluster.scheduler_address)
    assert tables(tmp_path) == tables(undisturbed)
    with distributed.Client(cluster) as client: assert client.submit(abs, -3).result() == 3

def test_a_cluster_without_workers_says_so_and_is_waited_for(city, undisturbed, tmp_path):
    with distributed.LocalCluster(n_workers=0, threads_per_worker=1, silence_logs=100,
                                  dashboard_address="127.0.0.1:0") as cluster:
        late = threading.Timer(3, cluster.scale, [1])
        late.start()
        with pytest.warns(SirenbookWarning, match="no workers yet"):
            scan(city, tmp_path, scheduler=cluster.scheduler_address)
        late.join()
    assert tables(tmp_path) == tables(undisturbed)

def test_workers_that_join_later_get_work_as_well():
    "From one to three: more than the first four jobs are then under way."
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, silence_logs=100,
                                  dashboard_address="127.0.0.1:0") as cluster, \
            distributed.Client(cluster) as client:
        jobs, under_way, done = [(str(i), 0.2) for i in range(60)], [], []
        for key, _ in scans._shared(jobs, time.sleep, client):
            done.append(key)
            under_way.append(len(cluster.scheduler.tasks))
            if len(done) == 3: cluster.scale(3)
    assert sorted(done) == sorted(key for key, _ in jobs)
    assert max(under_way[:3]) <= 5 and max(under_way) > 8

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

# ---- 6. the same tables, and what is done again

@pytest.mark.parametrize("threads", (1, 2, 5))
def test_threads_of_matrix_products_do_not_change_a_byte(city, undisturbed, tmp_path, threads):
    from threadpoolctl import threadpool_info, threadpool_limits
    with threadpool_limits(threads, "blas"):
        before = threadpool_info()
        scan(city, tmp_path, workers=0)
        assert threadpool_info() == before, "those who call it keep theirs"
    assert tables(tmp_path) == tables(undisturbed)

@pytest.mark.parametrize("workers", (1, 2))
def test_workers_do_not_change_a_byte(city, undisturbed, tmp_path, workers):
    scan(city, tmp_path, workers=workers)
    assert tables(tmp_path) == tables(undisturbed)

def test_the_order_of_a_list_does_not_change_a_byte(city, tmp_path):
    names = [f"city/{p.relative_to(city)}" for p in sorted(city.rglob("*.*"))]
    mixed = [*names, *(f"./{n}" for n in names[:4]), names[0], "", "# no file", "city/gone.wav"]
    random.Random(1).shuffle(mixed)
    for k, lines in (("a", [*names, "city/gone.wav"]), ("b", mixed)):
        (city.parent / f"{k}.txt").write_text("\n".join(lines))
        status = scan(city.parent / f"{k}.txt", tmp_path / k, workers=0)
        assert status.counts == {"done": 7, "empty": 2, "failed": 2} and status.files == 11
    assert tables(tmp_path / "a") == tables(tmp_path / "b")
    assert [e["start"] for e in load_events(tmp_path / "a")] and "gone.wav: there is no such" in (
        row(tmp_path / "a", str(city / "gone.wav"))["reason"])

def test_an_archive_may_move_and_another_is_refused(city, undisturbed, tmp_path):
    shutil.copytree(city, tmp_path / "moved")
    write(tmp_path / "other" / "north" / "20260301_080000.flac", street(3))
    shutil.copytree(undisturbed, out := tmp_path / "out")
    scan(tmp_path / "moved", out, workers=0)
    assert tables(out) == tables(undisturbed)
    with complains(out, "another folder"): scan(tmp_path / "other", out, workers=0)
    assert tables(out) == tables(undisturbed)

def test_tables_within_the_archive_are_no_part_of_it(city, undisturbed, tmp_path):
    shutil.copytree(city, mine := tmp_path / "city")
    for _ in range(2):
        scan(mine, mine / "out", workers=0)
        write(mine / "out" / "report" / "20260301_080000.wav")
    assert same_but_for(mine / "out", mine, undisturbed, city)

def test_a_changed_file_is_scanned_again_and_only_its_unit(city, tmp_path):
    shutil.copytree(city, mine := tmp_path / "city")
    scan(mine, out := tmp_path / "out", workers=0)
    times_of = lambda: {p: p.stat().st_mtime_ns for p in out.glob("scores/*/*/*.parquet")}
    before = times_of()
    write(mine / "north" / "20260301_080000.flac", street(12, (6, 9), seed=8))
    scan(mine, out, workers=0)
    gone, new = before.keys() - times_of().keys(), times_of().keys() - before.keys()
    assert [p.parent.parent.name for p in (*gone, *new)] == ["recorder=north"] * 2
    assert {p: t for p, t in times_of().items() if p not in new} == {
        p: t for p, t in before.items() if p not in gone}
    scan(mine, tmp_path / "none", workers=0)
    assert tables(out) == tables(tmp_path / "none")

def test_another_threshold_reads_no_sound(city, undisturbed, tmp_path):
    shutil.copytree(undisturbed, out := tmp_path / "out")
    before = tables(out / "scores")
    counts = [scan(city, out, workers=0, threshold=t).events for t in (0.12, 0.9)]
    assert len({*counts, 6}) == 3 and tables(out / "scores") == before
    high = tables(out)
    assert rescore(out, 0.12).events == counts[0] and rescore(out, 0.9).events == counts[1]
    assert tables(out) == high
    scan(city, out, workers=0)
    assert tables(out) == tables(undisturbed)

def test_a_file_that_was_moved_away_keeps_its_row(city, undisturbed, tmp_path):
    shutil.copytree(city, mine := tmp_path / "city")
    scan(mine, out := tmp_path / "out", workers=0)
    before = {k: json.loads(r) for k, r in rows(out).items()}
    for gone in ("east/20260301_080000.flac", "north/20260302_080000.wav"): (mine / gone).unlink()
    status = scan(mine, out, workers=0)
    after = {k: json.loads(r) for k, r in rows(out).items()}
    assert {k: r["probability"] for k, r in before.items()} == {
        k: r["probability"] for k, r in after.items()}
    assert load_events(out) == load_events(undisturbed) and status.events == 6
    kept = tables(out)
    scan(mine, out, workers=0)
    assert tables(out) == kept

def test_a_siren_is_one_after_the_file_where_it_begins_was_moved_away(tmp_path):
    pieces(tmp_path / "in", street(30, (8, 16)), (0, 12), (12, 24), (24, 30))
    assert scan(tmp_path / "in", tmp_path / "out", workers=0).events == 1
    (tmp_path / "in" / named(0)).unlink()
    assert scan(tmp_path / "in", tmp_path / "out", workers=0).events == 1

def test_files_without_a_row_are_left_whatever_was_moved_away(tmp_path, monkeypatch):
    for name in (named(0), named(3600)): write(tmp_path / "in" / name, street(4))
    assert scan(tmp_path / "in", tmp_path / "out", workers=0).complete
    for name in (named(0), named(3600)): (tmp_path / "in" / name).unlink()
    write(tmp_path / "in" / named(7200), street(4))
    def ill(*args): raise MemoryError("none left")
    monkeypatch.setattr(scans, "scan_job", ill)
    assert "none left" in str(scan(tmp_path / "in", tmp_path / "out", workers=0))
    status = scan_status(tmp_path / "out")
    assert status.left == 1 and not status.complete

def test_a_table_stays_until_the_one_that_replaces_it_is_there(tmp_path, monkeypatch):
    for name in (named(0), named(60)): write(tmp_path / "in" / name, street(4))
    scan(tmp_path / "in", tmp_path / "out", workers=0)
    before = tables(tmp_path / "out")
    write(tmp_path / "in" / named(60), street(4, (0, 4)))
    def ill(*args): raise MemoryError("none left")
    monkeypatch.setattr(scans, "scan_job", ill)
    assert "none left" in str(scan(tmp_path / "in", tmp_path / "out", workers=0))
    assert tables(tmp_path / "out") == before

def test_a_list_that_grows_gives_the_tables_of_the_whole_list(city, tmp_path):
    names = [f"{city / p.relative_to(city)}" for p in sorted(city.rglob("2026*.*"))]
    for lines, out in ((names[:2], "grown"), (names, "grown"), (names, "whole")):
        (tmp_path / "list.txt").write_text("\n".join(lines))
        scan(tmp_path / "list.txt", tmp_path / out, workers=0)
    assert tables(tmp_path / "grown") == tables(tmp_path / "whole")

def spoil(path, how):
    "Another table, or half of it, in the place of one of ours."
    data = path.read_bytes()
    if how == "column":
        table = pq.ParquetFile(path).read()
        pq.write_table(table.append_column("mine", pa.array([1] * len(table))), path)
    else: path.write_bytes({"cut": data[:-9], "none": b"", "text": b"no table" * 99}[how])

@pytest.mark.parametrize("how", ("column", "cut", "none", "text"))
@pytest.mark.parametrize("kind", ("scores", "events"))
def test_a_table_that_is_not_ours_is_refused_in_words(city, undisturbed, tmp_path, kind, how):
    shutil.copytree(undisturbed, out := tmp_path / "out")
    spoil(path := next((out / kind).glob("*/*/*.parquet")), how)
    with complains(path): scan_status(out)
    if kind == "scores":
        with complains(path): scan(city, out, workers=0)
        path.unlink()
    scan(city, out, workers=0)
    assert tables(out) == tables(undisturbed)

@pytest.mark.parametrize("name", ("scores", "a.b", "recorder=x"))
def test_a_folder_of_any_name_takes_a_scan(city, undisturbed, tmp_path, name):
    scan(city, tmp_path / name / "out", workers=0)
    assert tables(tmp_path / name / "out") == tables(undisturbed)

# ---- 7. time

def utc(text): return datetime.fromisoformat(text).timestamp()

@pytest.mark.parametrize("name, recorder, at", (
    ("20260301_081500.WAV", "all", "2026-03-01T08:15:00+01:00"),                  # AudioMoth
    ("20260301_081500T.WAV", "all", "2026-03-01T08:15:00+01:00"),                 # by its trigger
    ("5E90A4D4.WAV", "all", "2020-04-10T16:54:44+00:00"),                         # until 2020
    ("north/SMM01234_20260301_081500.wav", "north/SMM01234", "2026-03-01T08:15:00+01:00"),
    ("SM304472_0+1_20260701_081500.wav", "SM304472_0+1", "2026-07-01T08:15:00+02:00"),
    ("b827eb0fead4_1498752000.08.flac", "b827eb0fead4", "2017-06-29T16:00:00.080000+00:00"),
    ("2026-03-01T08:15:00Z.flac", "all", "2026-03-01T08:15:00+00:00"),
    ("quai_2026-03-01T08-15-00-0530.ogg", "quai", "2026-03-01T08:15:00-05:30"),
    ("2026-03-01T081500.25+05:45.flac", "all", "2026-03-01T08:15:00.250000+05:45"),
    ("2026-03-01 08.15.00.mp3", "all", "2026-03-01T08:15:00+01:00"),
    ("202603010815.mp3", "all", "2026-03-01T08:15:00+01:00"),
    ("2026/03/01/quai/20260301_081500.wav", "quai", "2026-03-01T08:15:00+01:00"),
    ("20280229_000000.wav", "all", "2028-02-29T00:00:00+01:00"),
    ("20260329_015959.wav", "all", "2026-03-29T00:59:59+00:00"),                  # before a change
    ("20260329_023000.wav", "all", "2026-03-29T01:30:00+00:00"),                  # never; no change
    ("20260329_030000.wav", "all", "2026-03-29T01:00:00+00:00"),                  # after it
    ("20261025_023000.wav", "all", "2026-10-25T00:30:00+00:00"),                  # twice; the first
    ("20261025_030000.wav", "all", "2026-10-25T02:00:00+00:00"),
    ("20260631_080000.wav", "all", None), ("20250229_080000.wav", "all", None),
    ("20261301_080000.wav", "all", None), ("20260301_240000.wav", "all", None),
    ("20260301.wav", "all", None), ("north/wail.wav", "north", None),
    ("20260301_081500-0075.wav", "all", "2026-03-01T08:15:00+01:00"),             # no zones
    ("20260301_081500+9900.wav", "all", "2026-03-01T08:15:00+01:00")))
def test_names_state_when_a_file_begins(name, recorder, at):
    start = read_start(name, read_zone("Europe/Paris"))
    assert start == (recorder, at and utc(at))

@pytest.mark.parametrize("given, name, at", (
    ("rec-%d%m%Y-%H%M", "rec-01032026-0815.wav", "2026-03-01T08:15:00+00:00"),
    ("%y%j_%H", "x_26060_08.wav", "2026-03-01T08:00:00+00:00"),
    ("%Y.%m.%d (%H.%M)", "2026.03.01 (08.15).wav", "2026-03-01T08:15:00+00:00"),
    ("%Y%m%d%H%M%S.%f%z", "20260301081500.5+0100.wav", "2026-03-01T08:15:00.500000+01:00"),
    ("t%s", "t1498752000.wav", "2017-06-29T16:00:00+00:00"),
    ("rec-%d%m%Y-%H%M", "20260301_081500.wav", None), ("%Y%m%d%H", "2026023008.wav", None),
    ("%Y%j_%H", "2026000_08.wav", None),
    ("%Y%j_%H", "2026366_08.wav", None), ("%Y%j_%H", "2026399_08.wav", None)))
def test_names_in_a_format_of_their_own(given, name, at):
    assert read_start(name, pattern=read_format(given)).time == (at and utc(at))

@pytest.mark.parametrize("wrong", ("", "%d.%m.", "%Y", "%H%M", "%Y %Y %H", "%Y%H%Q", "%A %Y %H"))
def test_formats_that_state_no_time_are_refused(wrong):
    with complains(repr(wrong)): read_format(wrong)

def test_zones_that_are_none_are_refused():
    assert read_start(named(), read_zone("-03:30")).time == DAY + 3.5 * 3600
    for wrong in ("Paris", "", "../UTC", "Europe", None, "+1", "+25:00", "+01:99"):
        with complains(repr(str(wrong))): read_zone(wrong)

def test_days_are_those_of_the_zone(tmp_path):
    for name in ("20260301_233000.wav", "20260302_003000.wav"):
        write(tmp_path / "in" / name, street(12, (3, 8)))
    scan(tmp_path / "in", tmp_path / "out", workers=0, zone="America/New_York")
    assert [e["day"] for e in load_events(tmp_path / "out")] == ["2026-03-01", "2026-03-02"]
    assert [f"{e['start']:%d %H}" for e in load_events(tmp_path / "out")] == ["02 04", "02 05"]

APART = pytest.mark.parametrize("apart", (False, True), ids=("one job", "a job each"))

def heard(folder, out, monkeypatch, apart=False, **how):
    "The events of a folder, from one job or from a job for each file."
    with monkeypatch.context() as patch:
        if apart: patch.setattr(archive, "JOB_BYTES", 1)
        scan(folder, out, workers=0, **how)
    assert len([*out.glob("scores/*/*/*.parquet")]) == (len(rows(out)) if apart else 1)
    return load_events(out)

def as_in(found, detector, wav, most=1e-3):
    "Whether events are those of a whole sound that began at 8 o'clock."
    wanted = detector.events(np.round(wav * 32767).astype(np.float32) / 32768)
    np.testing.assert_allclose(
        [(e["start"].timestamp() - DAY, e["end"].timestamp() - DAY) for e in found],
        [(w.start, w.end) for w in wanted], atol=most)
    return True

@APART
def test_a_siren_across_a_border_is_one_event(detector, tmp_path, monkeypatch, apart):
    wav = street(50, (16, 24), (38.5, 46))
    pieces(tmp_path / "in", wav, (0, 20), (20, 40), (40, 50))
    found = heard(tmp_path / "in", tmp_path / "out", monkeypatch, apart)
    assert len(found) == 2 and as_in(found, detector, wav, 0.5 if apart else 2e-3)
    assert [e["file"] for e in found] == [named(0), named(20)]
    for e, (a, b) in zip(found, ((16, 24), (18.5, 26))):
        assert abs(e["start_s"] - a) < 1 and abs(e["end_s"] - b) < 1.5

@APART
def test_a_siren_through_many_short_files_is_one_event(detector, tmp_path, monkeypatch, apart):
    wav = street(16, (5, 11))
    pieces(tmp_path / "in", wav, *((a, a + 0.5) for a in np.arange(0, 16, 0.5)))
    [e] = heard(tmp_path / "in", tmp_path / "out", monkeypatch, apart)
    assert as_in([e], detector, wav, 1 if apart else 2e-3)
    assert e["file"] == named(math.floor(2 * (e["start"].timestamp() - DAY)) / 2)
    assert 0 <= e["start_s"] < 0.5

@APART
@pytest.mark.parametrize("gap_s, n", ((0.4, 1), (1.5, 1), (5, 2)))
def test_a_gap_in_a_siren(tmp_path, monkeypatch, apart, gap_s, n):
    wav = street(44, (12, 34))
    pieces(tmp_path / "in", wav, (0, 20), (20 + gap_s, 44))
    found = heard(tmp_path / "in", tmp_path / "out", monkeypatch, apart)
    assert len(found) == n
    ends = [t.timestamp() - DAY for e in found for t in (e["start"], e["end"])]
    wanted = (12, 34) if n == 1 else (12, 20, 25, 34)
    np.testing.assert_allclose(ends, wanted, atol=1.6)
    assert len({(r["stream"], r["continues"]) for r in map(json.loads, rows(
        tmp_path / "out").values())}) == (1 if (n == 1) != apart else 2)
    missed = gap_s if gap_s <= archive.JITTER_S else 0                # names of whole seconds
    assert abs(sum(e["end_s"] - e["start_s"] for e in found) + missed - sum(
        (e["end"] - e["start"]).total_seconds() for e in found)) < 0.01

@APART
def test_a_siren_in_files_that_overlap_is_one(tmp_path, monkeypatch, apart):
    "As after a clock was set back."
    wav = street(45, (4, 9), (18, 26), (36, 41))
    pieces(tmp_path / "in", wav, (0, 30), (15, 45))
    found = heard(tmp_path / "in", tmp_path / "out", monkeypatch, apart)
    starts = [e["start"].timestamp() - DAY for e in found]
    np.testing.assert_allclose(starts, (4, 18, 36), atol=1.3)
    assert all(e["end"] <= f["start"] for e, f in zip(found, found[1:]))

@APART
def test_a_copy_is_empty_and_says_of_what(tmp_path, monkeypatch, apart):
    one = write(tmp_path / "in" / "20260301" / named(), street(12, (3, 8)))
    for day in ("2026-03-01", "2026/03/01"):                   # all are of one recorder
        (tmp_path / "in" / day).mkdir(parents=True)
        shutil.copy(one, tmp_path / "in" / day)
    write(tmp_path / "in" / "20260302" / named(), street(12, (3, 8), seed=9))     # no copy
    for s in (60, 120): shutil.copy(one, one.with_name(named(s)))               # of other times
    assert len(heard(tmp_path / "in", tmp_path / "out", monkeypatch, apart)) == 3
    found = [json.loads(r) for r in rows(tmp_path / "out").values()]
    assert Counter(r["status"] for r in found) == {"done": 4, "empty": 2}
    for r in found:
        if r["status"] == "empty":
            assert re.search(rf"the same bytes as .*/{named()}, which is counted", r["reason"])
            assert not r["step"] and not r["retry"] and not r["seconds"]

def test_a_copy_of_what_cannot_be_read_is_not_said_to_count(tmp_path, monkeypatch):
    for day in ("20260301", "2026-03-01"):
        (tmp_path / "in" / day).mkdir(parents=True)
        (tmp_path / "in" / day / named(0, "wav")).write_bytes(b"no sound" * 99)
    heard(tmp_path / "in", tmp_path / "out", monkeypatch)
    for text in rows(tmp_path / "out").values(): assert "is counted" not in text

@APART
def test_two_sample_rates_in_one_recorder(detector, tmp_path, monkeypatch, apart):
    for i, sr in enumerate((16000, 8000, 16000)):
        write(tmp_path / "in" / named(12 * i), street(12, (3, 8), seed=i, sr=sr), sr)
    found = heard(tmp_path / "in", tmp_path / "out", monkeypatch, apart)
    paths = sorted((tmp_path / "in").iterdir())
    wanted = [(p.name, e.start, e.end) for p in paths for e in detector.events(p)]
    assert [e["file"] for e in found] == [w[0] for w in wanted] and len(found) == 3
    np.testing.assert_allclose(times(found), [w[1:] for w in wanted], atol=1e-6)

# ---- 8. the same events as Detector.events

SOUNDS = {
    "start": street(12, (0, 4)), "end": street(12, (8, 12)), "both": street(14, (0, 3), (11, 14)),
    "all of it": street(6, (0, 6)), "traffic": street(12),
    "pauses": street(60, *((5 + i * 4 + 0.12 * i * i, 6.5 + i * 4 + 0.12 * i * i)
                           for i in range(10))),
    **{f"{s} s": street(2, (0, 2))[:round(s * SR)]
       for s in (0.01, 0.1, 0.15, 0.19, 0.5, 0.99, 1.3)}}

@pytest.mark.parametrize("name", SOUNDS)
def test_a_file_has_the_events_that_a_detector_finds_in_it(detector, tmp_path, name):
    path = write(tmp_path / "north.flac", SOUNDS[name])
    root, files = list_sounds(tmp_path)
    [job] = make_jobs(files)
    found = [r | {"job": 0} for r in scan_job(detector, root, job)]
    assert [r["status"] for r in found] == ["done"]
    for threshold in (0.1033, 0.2, *detector.card["operating_points"].values(), 0.92):
        wanted = detector.events(path, threshold)
        events = archive_events(found, threshold, detector.timing)
        np.testing.assert_allclose(np.reshape(times(events), (-1, 2)),
                                   np.reshape([w[:2] for w in wanted], (-1, 2)), atol=2e-6)
        assert [e["peak"] for e in events] == [w.peak for w in wanted]
        assert all(-60 < e["level_dbfs"] < 0 for e in events)

def probabilities(rng):
    "Scores of many shapes: walks, single ones after long silence, blocks with pauses near 3 s."
    n = int(rng.integers(1, 400))
    kind = rng.integers(3)
    if kind == 0: return 1 / (1 + np.exp(-np.cumsum(rng.normal(0, 0.7, n)) + rng.normal()))
    p = np.full(n, 0.01)
    if kind == 1: p[rng.integers(0, n, rng.integers(1, 8))] = rng.uniform(0.05, 1)
    else:
        at = int(rng.integers(0, 30))
        while at < n:
            stop = at + int(rng.integers(1, 12))
            p[at:stop] = rng.uniform(0.05, 1, len(p[at:stop]))
            at = stop + int(rng.integers(20, 29))                # 3 s are 23.4 steps
    return p

def rows_by_hand(p, borders, timing):
    "The rows of a job with such scores, cut into files."
    p, t = np.asarray(p, np.float32), (np.arange(len(p)) + 1) * timing.hop_s
    borders, rows = [0.0, *borders, len(p) * timing.hop_s + 0.05], []
    for i, (a, b) in enumerate(zip(borders, borders[1:])):
        here = (t > a) & (t <= b)
        k = np.flatnonzero(p[here] >= KEPT_FROM)
        rows.append({
            "file": str(i), "start": DAY + a, "seconds": b - a, "status": "done", "job": "u",
            "stream": 0, "offset_s": a, "continues": False, "n_scores": int(here.sum()),
            "first_s": float(t[here][0] - a) if here.any() else 0.0, "step": k,
            "probability": p[here][k], "level_db": np.full(len(k), -20, np.float32),
            "snr_db": np.full(len(k), np.nan, np.float32)})
    return rows, borders[:-1]

@pytest.mark.parametrize("cut", (False, True), ids=("one file", "many files"))
def test_scores_that_were_kept_give_the_events_of_all_scores(detector, cut):
    rng, timing, n = np.random.default_rng(3), detector.timing, 0
    for _ in range(400):
        p = probabilities(rng)
        seconds = len(p) * timing.hop_s + 0.05
        borders = np.sort(rng.uniform(0, seconds, rng.integers(1, 30))).tolist() if cut else []
        found, begins = rows_by_hand(p, borders, timing)
        all_scores = Scores((np.arange(len(p)) + 1) * timing.hop_s, p.astype(np.float32))
        for threshold in (0.1033, 0.401312, 0.768525):
            wanted = find_events(all_scores, threshold, seconds, timing)
            events = archive_events(found, threshold, timing)
            ends = [(e["start"] - DAY, e["end"] - DAY) for e in events]
            np.testing.assert_allclose(np.reshape(ends, (-1, 2)),
                                       np.reshape([w[:2] for w in wanted], (-1, 2)), atol=1e-5)
            for e in events:
                at = begins[int(e["file"])]
                assert e["start_s"] > -1e-9, "it begins in a file before"
                assert abs(at + e["start_s"] - (e["start"] - DAY)) < 1e-5
                assert abs(e["end_s"] - e["start_s"] - (e["end"] - e["start"])) < 1e-5
            n += len(events)
    assert n > 1000

# ---- 9. bad files, bad folders, wrong words

def test_each_bad_file_is_one_sentence_and_spoils_no_other(detector, tmp_path):
    good = street(12, (3, 8))
    folder = tmp_path / "in"
    whole = write(folder / "cut.flac", good).read_bytes()
    (folder / "cut.flac").write_bytes(whole[:len(whole) // 2])
    write(folder / "nan.wav", np.where(np.arange(len(good)) == 99_999, np.nan, good),
          subtype="FLOAT")
    (folder / "text.wav").write_text("no sound")
    (folder / "no bytes.wav").touch()
    write(folder / "no samples.wav", np.zeros(0))
    write(folder / "silence.wav", np.zeros(3 * SR))
    write(folder / "slow.wav", good[::8], 2000)
    write(folder / "wide.wav", np.tile(good[:SR, None], 65))
    write(folder / "loud.wav", good * 3e4, subtype="FLOAT")
    (folder / "link.wav").symlink_to("gone.wav")
    os.mkfifo(folder / "pipe.wav")
    (folder / "folder.wav").mkdir()
    write(folder / "good.wav", good)
    status = scan(folder, tmp_path / "out", workers=0)
    found = {k[-1]: json.loads(r) for k, r in rows(tmp_path / "out").items()}
    assert {k: r["status"] for k, r in found.items()} == {
        "cut.flac": "done", "good.wav": "done", "link.wav": "failed", "loud.wav": "failed",
        "nan.wav": "failed", "no bytes.wav": "empty", "no samples.wav": "empty",
        "pipe.wav": "failed", "silence.wav": "empty", "slow.wav": "failed", "text.wav": "failed",
        "wide.wav": "failed"} and not status.complete and not status.left
    assert "cut off or damaged" in found["cut.flac"]["reason"]
    assert 3 < found["cut.flac"]["seconds"] < 9 and not found["good.wav"]["reason"]
    assert "not finite" in found["nan.wav"]["reason"]
    for r in found.values():
        assert r["retry"] is False and is_sentence(r["reason"])
        if r["status"] != "done": assert not r["step"]
    [event] = [e for e in load_events(tmp_path / "out") if e["file"] == "good.wav"]
    [wanted] = detector.events(folder / "good.wav")
    np.testing.assert_allclose(times([event]), [wanted[:2]], atol=1e-6)
    for name, r in found.items():
        if name not in ("good.wav", "silence.wav"):
            assert str(folder / name) in r["reason"]

def test_bad_files_between_good_ones_break_no_sound_but_their_own(detector, tmp_path):
    wav = street(36, (3, 8), (28, 33))
    pieces(tmp_path / "in", wav, (0, 12), (12, 24), (24, 36))
    (tmp_path / "in" / named(12)).write_bytes(b"no sound" * 99)
    scan(tmp_path / "in", tmp_path / "out", workers=0)
    first, _, last = (json.loads(r) for _, r in sorted(rows(tmp_path / "out").items()))
    assert first["stream"] != last["stream"]
    alone = [(p, e) for p in (named(0), named(24)) for e in detector.events(tmp_path / "in" / p)]
    found = load_events(tmp_path / "out")
    assert [e["file"] for e in found] == [p for p, _ in alone]
    np.testing.assert_allclose(times(found), [e[:2] for _, e in alone], atol=1e-6)

@pytest.mark.parametrize("name", (
    b"a=b, c%20d/20260301_080000.wav", b"rue \xe9troite/20260301_080000.wav",
    b"20260301_080000 \xe9.wav", "橋".encode() * 40 + b"/20260301_080000.wav",
    b"/".join([b"a folder of thirty letters, 30"] * 9) + b"/20260301_080000.wav"))
def test_names_of_any_bytes(tmp_path, name):
    "Among them Latin-1, and a recorder whose name is long."
    sound = write(tmp_path / "sound.wav", street(4, (1, 4)))
    for at in (os.fsdecode(name), "north/20260301_080000.wav"):
        (tmp_path / "in" / at).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(sound, tmp_path / "in" / at)
    status = scan(tmp_path / "in", tmp_path / "out", workers=0)
    assert not status.left and status.counts["done"] + status.counts["failed"] == 2
    found = {e["recorder"] for e in load_events(tmp_path / "out")}
    assert "north" in found and len(found) == status.counts["done"]
    for _, reason, _ in status.reasons: assert is_sentence(reason)

def test_a_file_that_may_not_be_read_is_read_once_it_may(begin, tmp_path):
    for name in (named(0), named(3600)): write(tmp_path / "in" / name, street(4))
    (shut := tmp_path / "in" / named(0)).chmod(0)
    before = []
    if os.geteuid() == 0:
        if not shutil.which("setpriv"): pytest.skip("root may read every file here")
        before = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    code, said, err = ended(begin(tmp_path / "in", tmp_path / "out", before=before, workers=0))
    assert code == 1 and "1 done" in said and "1 failed" in said and not err
    assert is_sentence(row(tmp_path / "out", named(0))["reason"])
    shut.chmod(0o644)
    status = scan(tmp_path / "in", tmp_path / "out", workers=0)
    assert status.complete

def test_a_missing_file_spoils_no_file_of_the_next_day(tmp_path):
    day = 16 * 3600                                                # from 8 o'clock to midnight
    write(tmp_path / named(day), street(12, (3, 8)))
    (tmp_path / "list.txt").write_text(f"{named(day - 12)}\n{named(day)}\n")
    status = scan(tmp_path / "list.txt", tmp_path / "out", workers=0)
    assert status.counts == {"done": 1, "empty": 0, "failed": 1}
    assert status.events == 1

def test_a_pipe_is_not_waited_for(begin, tmp_path):
    "Nor where it precedes a unit, whose sound it may continue."
    day = 16 * 3600
    write(tmp_path / "in" / named(day), street(4))
    os.mkfifo(tmp_path / "in" / named(day - 12))
    code, said, err = ended(begin(tmp_path / "in", tmp_path / "out", workers=0), 12)
    assert code == 1 and "1 done" in said and "1 failed" in said

def test_sources_that_hold_nothing_are_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("")
    for name, content in (("none.txt", b""), ("remarks.txt", b"# none\n\n"),
                          ("binary.txt", b"\xff\xfe\0\0"), ("latin.txt", b"rue\xe9.wav\n")):
        (tmp_path / name).write_bytes(content)
    for name in ("folder", "gone", "none.txt", "remarks.txt", "binary.txt", "latin.txt"):
        with complains(tmp_path / name): scan(tmp_path / name, tmp_path / "out", workers=0)
    assert not (tmp_path / "out").exists()

def test_what_a_folder_of_tables_may_be(city, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    (tmp_path / "empty").mkdir()
    for wrong in (tmp_path / "file", tmp_path / "file" / "x", tmp_path / "other"):
        with complains(wrong): scan(city, wrong, workers=0)
    assert [p.name for p in (tmp_path / "other").iterdir() if p.name != ".lock"] == ["mine.txt"]
    for wrong in (tmp_path / "none", tmp_path / "other", tmp_path / "file"):
        with complains(wrong): scan_status(wrong)
    for text in ("", "[]", '{"format": 99}', "{"):
        (tmp_path / "empty" / "scan.json").write_text(text)
        with complains("scan.json"): scan(city, tmp_path / "empty", workers=0)
    assert not tables(tmp_path)

def test_a_journal_without_its_keys_is_refused(city, tmp_path):
    (tmp_path / "scan.json").write_text('{"format": 1}')
    with complains("scan.json"): scan_status(tmp_path)
    with complains("scan.json"): scan(city, tmp_path, workers=0)

def test_other_settings_are_refused_and_change_nothing(city, undisturbed, tmp_path):
    shutil.copytree(undisturbed, out := tmp_path / "out")
    before = tables(out), (out / "scan.json").read_text()
    for how, words in ((dict(weights="clean"), "other weights"), (dict(zone="Asia/Tokyo"), "Tokyo"),
                       (dict(time_format="%Y%m%d_%H%M%S"), "time format"),
                       (dict(threshold=0.05), "0.05"), (dict(threshold=1.5), "1.5"),
                       (dict(operating_point="7/h"), "7/h"), (dict(workers=-1), "-1"),
                       (dict(zone="Nowhere"), "Nowhere"), (dict(time_format="%H"), "%H"),
                       (dict(weights=tmp_path), "detector.json")):
        with complains(words): scan(city, out, **({"workers": 0} | how))
        assert (tables(out), (out / "scan.json").read_text()) == before
    assert scan(city, out, workers=0, operating_point="10/h")[1:] == scan_status(undisturbed)[1:]

def test_a_threshold_has_one_name(city, tmp_path):
    with complains("not both"):
        scan(city, tmp_path, workers=0, threshold=0.5, operating_point="1/h")

@pytest.mark.parametrize("how, code", (
    ({"workers": -1}, 2), ({"workers": "two"}, 2), ({"workers": 0, "timezone": "Nowhere"}, 2),
    ({"workers": 0, "scheduler": "tcp://x:1"}, 2), ({"workers": 0}, 1)))
def test_the_command_ends_with_a_code(begin, city, tmp_path, how, code):
    ends = ended(begin(tmp_path / "gone" if code == 1 else city, tmp_path / "out", **how))
    assert ends[0] == code and not ends[1] and ends[2].count("\n") >= 1

# ---- 10. a million names

def test_a_million_files_are_each_in_one_unit():
    "Twenty thousand minutes at fifty places."
    minutes = [f"{datetime.fromtimestamp(DAY + 60 * i, timezone.utc):%Y%m%d_%H%M%S}.flac"
               for i in range(20_000)]
    sizes = lambda i: 100_000 + i % 7 * 150_000 if i % 2 else 9000
    files = [StoredFile(f"site{i % 50}/{minutes[i // 50]}", sizes(i), "1")
             for i in range(1_000_000)]
    jobs = make_jobs(files)
    listed = [f.file for u in jobs for f, _ in u.files]
    assert len(listed) == len(files) and {*listed} == {f.file for f in files}
    assert len({u.key("") for u in jobs}) == len(jobs)
    for u in jobs:
        sizes = [f.size for f, _ in u.files]
        assert len(sizes) <= JOB_FILES and sum(sizes[:-1]) < JOB_BYTES
        assert {f.file.partition("/")[0] for f, _ in u.files} == {u.recorder}
        at = [t for _, t in u.files]
        assert at == sorted(at) and {str(datetime.fromtimestamp(t, timezone.utc).date()) for t in (
            at[0], at[-1])} == {u.day}
    days, full = len(minutes) / 1440, sum(f.size for f in files) / JOB_BYTES
    assert len(jobs) < 75 * (days + 2) + full, "they are nearly full"
