"""`sirenbook detect`, `listen` and `train detector`: answers, inputs, speed, memory and endings."""
import io, json, os, select, shutil, signal, subprocess, sys, time, types
from pathlib import Path

import numpy as np
import pytest
from shared import PACKAGE, ROOT, fresh, is_sentence, write
from sirenbook import cli, files, sources
from sirenbook.cli import main
from sirenbook.detector import Detector
from sirenbook.errors import SirenbookFileError
from sirenbook.files import read_csv
from sirenbook.signals import tone
from sirenbook.sirens import siren

PROGRAM = [sys.executable, "-c", "import sys; from sirenbook.cli import main; sys.exit(main())"]
ENV = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
SR = 16000

def program(*words, **kwargs):
    return subprocess.run([*PROGRAM, *map(str, words)], env=ENV, capture_output=True, timeout=120,
                          **kwargs)

def start(words, folder, **kwargs):
    "The command in a process and a group of its own, ready to be interrupted as from a terminal."
    return subprocess.Popen([*PROGRAM, *map(str, words)], cwd=folder, env=ENV,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
                            **kwargs)

def hush(seconds, seed=0):
    return np.random.default_rng(seed).normal(0, .003, round(seconds * SR)).astype(np.float32)

def wail(before=3, seconds=4, after=3):
    "A clear wail between two stretches of faint noise."
    wav = hush(before + seconds + after)
    wav[before * SR:(before + seconds) * SR] += .3 * siren("wail", seconds,
        np.random.default_rng(0))
    return wav

def sparse(path, seconds, sr=SR):
    "A wav file of silence that takes no room on the disk."
    write(path, np.zeros(0, np.int16), sr, subtype="PCM_16")
    n = 2 * seconds * sr
    with open(path, "r+b") as f:
        f.seek(4); f.write((36 + n).to_bytes(4, "little"))
        f.seek(40); f.write(n.to_bytes(4, "little"))
        f.truncate(44 + n)
    return path

@pytest.fixture(scope="module")
def detector(): return Detector.pretrained()

@pytest.fixture(scope="module")
def between(detector):
    "A threshold between our siren and our noise, whatever the weights: the middle of the two."
    loud, quiet = detector.score(wail()).probability.max(), detector.score(hush(10,
        1)).probability.max()
    assert loud > quiet + .1, "these weights miss a siren that is plain to hear"
    return str(round(float(loud + quiet) / 2, 4))

@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch): monkeypatch.chdir(tmp_path)

@pytest.fixture
def sounds(tmp_path):
    "Two recordings, one with a siren."
    return [write(Path("wail.wav"), wail()), write(Path("hush.flac"), hush(10, 1))]

def answers(capsys, *words, code=0):
    "What `detect --json` says."
    assert main(["detect", *map(str, words), "--json"]) == code
    return json.loads(capsys.readouterr().out)

def complaint(capsys):
    "The one sentence on stderr."
    out, err = capsys.readouterr()
    assert err.startswith("sirenbook: ") and err.endswith("\n") and not out, (out, err)
    assert is_sentence(err.strip()), err
    return err


# ---- detect: answers

def test_a_line_a_file_in_their_order(sounds, between, capsys):
    for paths in (sounds, sounds[::-1]):
        assert main(["detect", *map(str, paths), "--threshold", between]) == 0
        out, err = capsys.readouterr()
        lines = dict(line.split(": ") for line in out.splitlines())
        assert [*lines] == [str(p) for p in paths] and not err
        assert lines["wail.wav"].startswith("siren ")
        assert lines["hush.flac"].startswith("no siren (highest 0.")

def test_it_says_what_the_detector_says(sounds, detector, between, capsys):
    for words, threshold in (([], detector.threshold), (["--threshold", between], float(between)),
                             (["--operating-point", k := min(detector.card["operating_points"])],
                              detector.threshold_at(k))):
        for file, a in zip(sounds, answers(capsys, *sounds, *words), strict=True):
            assert a["file"] == str(file) and a["seconds"] == 10 and a["threshold"] == threshold
            assert a["score"] == detector.score(file).probability.max()
            wanted = detector.events(file, threshold)
            assert [(e["start"], e["end"]) for e in a["events"]] == [(round(e.start, 3),
                round(e.end, 3)) for e in wanted] and [e["peak"] for e in a["events"]] == [e.peak
                for e in wanted]

def test_json(sounds, between, capsys):
    Path("text.wav").write_text("buy milk")
    found = answers(capsys, "wail.wav", "text.wav", "hush.flac", "nowhere.wav", "--threshold",
                    between, code=1)
    assert [set(a) for a in found] == [{"file", "seconds", "score", "threshold", "events"},
                                       {"file", "error"}] * 2
    [event] = found[0]["events"]
    assert set(event) == {"start", "end", "peak"} and 2 < event["start"] < event["end"] < 8
    assert event["peak"] >= float(between)
    assert found[2]["events"] == [] and found[2]["score"] < float(between)

def test_json_of_nothing_good(capsys):
    [a] = answers(capsys, "nowhere.wav", code=1)
    assert a == {"file": "nowhere.wav", "error": "nowhere.wav: there is no such file"}

def test_a_folder(between, capsys):
    for name in ("street/b.wav", "street/a.FLAC", "street/deep/c.ogg"):
        write(Path(name), hush(3), format=name.rpartition(".")[2].upper())
    for name in ("street/notes.txt", "street/.hidden.wav"): Path(name).write_text("buy milk")
    assert [a["file"] for a in answers(capsys, "street", "street/b.wav")] == ["street/a.FLAC",
        "street/b.wav", "street/deep/c.ogg", "street/b.wav"]

def test_what_a_folder_holds_beside_is_named(between, capsys):
    write(Path("street/a.wav"), hush(3))
    Path("street/phone.m4a").write_bytes(b"not decoded here")
    good, bad = answers(capsys, "street", code=1)
    assert good["file"] == "street/a.wav" and "error" not in good
    assert bad["file"] == "street/phone.m4a" and "ffmpeg" in bad["error"]

@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_depths(subtype, between, capsys):
    [a] = answers(capsys, write(Path("a.wav"), wail(), subtype=subtype), "--threshold", between)
    assert len(a["events"]) == 1

@pytest.mark.parametrize("sr", [4000, 8000, 11025, 22050, 44100, 48000, 96000, 192000])
def test_rates(sr, between, capsys):
    import soxr
    [a] = answers(capsys, write(Path("a.wav"), soxr.resample(wail(), SR, sr), sr), "--threshold",
                  between)
    assert abs(a["seconds"] - 10) < .01
    if sr > SR: assert len(a["events"]) == 1

@pytest.mark.parametrize("channels", range(1, 9))
def test_channels(channels, between, capsys):
    [a] = answers(capsys, write(Path("a.wav"), np.repeat(wail()[:, None], channels, 1)),
                  "--threshold", between)
    assert len(a["events"]) == 1 and a["seconds"] == 10

@pytest.mark.parametrize("wav", [np.zeros(1), tone(440, 1), np.zeros(SR * 3), np.ones(SR * 3),
                                 np.sign(wail()), wail() * .5 + .4],
                                 ids=["one sample", "a second", "silent", "constant", "clipped",
                                      "offset"])
def test_odd_sounds(wav, capsys):
    [a] = answers(capsys, write(Path("a.wav"), wav))
    assert 0 <= a["score"] <= 1 and abs(a["seconds"] - len(wav) / SR) < .001
    assert all(0 <= e["start"] <= e["end"] <= a["seconds"] for e in a["events"])

def test_another_suffix(between, capsys):
    write(Path("a.flac"), wail(), format="FLAC")
    Path("a.flac").rename("a.wav")
    Path("b.dat").write_bytes(Path("a.wav").read_bytes())
    assert [len(a["events"]) for a in answers(capsys, "a.wav", "b.dat", "--threshold",
                                              between)] == [1, 1]

def test_weights_of_your_own(sounds, capsys):
    shutil.copytree(PACKAGE/"weights", "mine")
    card = json.loads(Path("mine/detector.json").read_text())
    Path("mine/detector.json").write_text(json.dumps(card
        | {"operating_points": {"7/h": .625}, "default": "7/h"}))
    for more in ([], ["--workers", "2"], ["--operating-point", "7/h"]):
        assert {a["threshold"] for a in answers(capsys, *sounds, "--weights", "mine",
                                                *more)} == {.625}
    clean = json.loads((PACKAGE/"weights"/"clean"/"detector.json").read_text())
    for more in ([], ["--workers", "2"]):
        assert {a["threshold"] for a in answers(capsys, *sounds, "--weights", "clean", *more)} == {
            clean["operating_points"][clean["default"]]}
    model = Path("mine")/card["files"]["float"]["file"]
    model.write_bytes(model.read_bytes()[:-1])
    assert main(["detect", "wail.wav", "--weights", "mine"]) == 1
    assert str(model) in complaint(capsys)


# ---- detect: one bad file does not stop the rest

def bad(kind):
    "A file that cannot be scored."
    path = Path(f"{kind}.wav")
    if kind == "text": path.write_text("buy milk")
    elif kind == "empty": path.touch()
    elif kind == "samples": write(path, np.zeros(0))
    elif kind == "header": path.write_bytes(write(path).read_bytes()[:20])
    elif kind == "nan": write(path, np.full(SR, np.nan), subtype="FLOAT")
    elif kind == "slow": write(path, np.zeros(1000), 100)
    elif kind == "folder": path.mkdir()
    elif kind == "loop": path.symlink_to(path.name)
    elif kind == "x" * 300: pass
    return path

@pytest.mark.parametrize("kind", ["text", "empty", "samples", "header", "nan", "slow",
                                  "folder", "missing", "loop", "x" * 300], ids=lambda k: k[:10])
def test_one_bad_among_good(kind, sounds, capsys):
    path = bad(kind)
    assert main(["detect", "hush.flac", str(path), "wail.wav"]) == 1
    out, err = capsys.readouterr()
    assert [line.partition(":")[0] for line in out.splitlines()] == ["hush.flac", "wail.wav"]
    assert err.startswith(f"sirenbook: {path}") and err.count("\n") == 1, err
    assert is_sentence(err.strip()[:300]), err
    [_, a, _] = answers(capsys, "hush.flac", path, "wail.wav", code=1)
    assert f"sirenbook: {a['error']}\n" == err

@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_cut_file_is_heard_to_its_end(workers, detector, capsys):
    "The siren is before the cut; the answer is the one of what is there, with a sentence."
    Path("cut.wav").write_bytes(write(Path("whole.wav"), wail()).read_bytes()[:256_044])
    write(Path("there.wav"), wail()[:128_000])
    words = ["whole.wav", "cut.wav", "there.wav", "--workers", workers]
    assert main(["detect", *words]) == 1
    out, err = capsys.readouterr()
    assert out.count("\n") == 3 and err.startswith("sirenbook: cut.wav: the file is cut off")
    assert err.count("\n") == 1 and is_sentence(err.strip())
    whole, cut, there = answers(capsys, *words, code=1)
    assert cut["seconds"] == 8 and cut["events"] == there["events"]
    assert cut["warnings"] == [err.strip().removeprefix("sirenbook: ")]
    assert "warnings" not in whole and "warnings" not in there

def test_bad_among_good_in_several_processes(sounds, capsys):
    paths = [bad("text"), *sounds, bad("folder"), bad("missing"), "wail.wav"]
    assert main(["detect", *map(str, paths), "--workers", "2"]) == 1
    out, err = capsys.readouterr()
    assert [line.partition(":")[0] for line in out.splitlines()] == ["wail.wav", "hush.flac",
        "wail.wav"]
    assert [line.split(":")[1] for line in err.splitlines()] == [" text.wav", " folder.wav",
        " missing.wav"]

def test_no_permission(sounds, capsys):
    if os.geteuid() == 0:
        pytest.skip("the superuser may read everything, so no file could be closed to the test")
    Path("hush.flac").chmod(0)
    assert main(["detect", "hush.flac", "wail.wav"]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("wail.wav: ") and "hush.flac" in err

@pytest.mark.parametrize("name", ["two\nlines.wav", "ä, \"ö\" $^$.wav", "\x1b[31mred.wav",
                                  os.fsdecode(b"latin\xe4.wav"), "-dash.wav"])
def test_names_of_files(name, capsys):
    write(Path("sounds/a.wav"), hush(3))
    try: Path("sounds/a.wav").rename(f"sounds/{name}")
    except OSError: pytest.skip(f"this file system takes no file called {name!r}")
    words = ["detect", f"sounds/{name}", "--csv", "a.csv", "--plot", "a.png"]
    assert main(words) in (0, int("latin" in name))
    out = "".join(capsys.readouterr())
    assert out.count("\n") == 1 and "\x1b" not in out and ".wav: " in out
    assert Path("a.csv").read_text(encoding="utf-8").count("\n") == 2 and Path("a.png").exists()
    assert main(["detect", f"sounds/{name}", "--json"]) in (0, 1)
    assert json.loads(capsys.readouterr().out)[0]["file"] == f"sounds/{name}"

def test_a_terminal_without_unicode(tmp_path):
    write(Path("ä.wav"), hush(3))
    done = subprocess.run([*PROGRAM, "detect", "ä.wav"], env=ENV | {"PYTHONIOENCODING": "ascii"},
                          capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("\\xe4.wav: ") and not done.stderr


# ---- detect: tables and pictures

def test_table(sounds, between, capsys):
    Path("text.wav").write_text("buy milk")
    assert main(["detect", "wail.wav", "text.wav", "hush.flac", "--csv", "out.csv", "--threshold",
                 between]) == 1
    found = answers(capsys.readouterr() and capsys, "wail.wav", "hush.flac", "--threshold", between)
    either = lambda text: float(text) if text else ""
    rows = read_csv("out.csv", {"file": str, **dict.fromkeys(("start", "end", "peak", "score",
        "seconds", "threshold"), either), "error": str, "warnings": str})
    assert [r["file"] for r in rows] == ["wail.wav", "text.wav", "hush.flac"]
    assert {k: rows[0][k] for k in ("start", "end", "peak")} == found[0]["events"][0]
    assert rows[0]["score"] == found[0]["score"] and rows[0]["seconds"] == 10
    assert rows[2] == {"file": "hush.flac", "start": "", "end": "", "peak": "",
                       "score": found[1]["score"], "seconds": 10, "threshold": float(between),
                       "error": "", "warnings": ""}
    assert "text.wav" in rows[1]["error"] and rows[1]["score"] == ""
    assert not list(Path().glob("*.part"))

def test_a_table_touches_no_other_file(sounds):
    Path("a.csv.part").write_text("precious")
    assert main(["detect", "hush.flac", "--csv", "a.csv"]) == 0
    assert Path("a.csv.part").read_text() == "precious" and Path("a.csv").exists()

def test_a_picture_that_fails_keeps_no_table_from_being_written(sounds, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    def full(*args): raise SirenbookFileError("a.png: the disk is full")
    monkeypatch.setattr(cli, "_plot", full)
    assert main(["detect", "hush.flac", "--json", "--csv", "a.csv", "--plot", "a.png"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)[0]["file"] == "hush.flac" and Path("a.csv").exists()
    assert err == "sirenbook: a.png: the disk is full\n"

def test_a_table_is_written_though_nobody_reads_the_lines(sounds, tmp_path):
    run = start(["detect", *["hush.flac"] * 3, "--csv", "a.csv"], tmp_path)
    run.stdout.close()
    assert run.wait(60) == 0 and run.stderr.read() == b""
    assert Path("a.csv").read_text().count("\n") == 4

def test_picture(sounds, between, capsys):
    pytest.importorskip("matplotlib")
    Path("text.wav").write_text("buy milk")
    pictures = []
    for n, words in enumerate((["wail.wav"], ["wail.wav", "text.wav", "hush.flac"], ["hush.flac"])):
        assert main(["detect", *words, "--plot", f"{n}.png", "--threshold",
                     between]) == int("text.wav" in words)
        pictures.append(Path(f"{n}.png").read_bytes())
    assert all(p.startswith(b"\x89PNG") and p.endswith(b"IEND\xaeB`\x82") for p in pictures)
    high = [int.from_bytes(p[20:24], "big") for p in pictures]
    assert high[0] == high[2] < high[1] and pictures[0] != pictures[2]
    assert main(["detect", *map(str, sounds), "--plot", "shared.png", "--workers", "2",
                 "--threshold", between]) == 0
    assert main(["detect", *map(str, sounds), "--plot", "alone.png", "--workers", "1",
                 "--threshold", between]) == 0
    assert Path("shared.png").read_bytes() == Path("alone.png").read_bytes()
    assert not list(Path().glob(".*"))

def test_a_picture_without_matplotlib(sounds, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["detect", "wail.wav", "--plot", "a.png"]) == 2
    assert "matplotlib" in (text := complaint(capsys)) and "pip install" in text
    assert main(["detect", "wail.wav"]) == 0

def never(*args, **kwargs): raise AssertionError("it began to work before it was found out")

@pytest.mark.parametrize("words, named", [("--threshold 1.5", "1.5"), ("--threshold -0.1", "-0.1"),
    ("--threshold nan", "nan"), ("--threshold 0", "0"), ("--operating-point 9/s", "9/s"),
                                          ("--workers 0", "workers"),
                                          ("--csv none/a.csv", "none/a.csv"),
                                          ("--plot none/a.png", "none/a.png"),
                                          ("--csv folder", "folder"),
                                          ("--csv wail.wav", "wail.wav"),
                                          ("--csv other.flac", "other.flac"),
                                          ("--csv hush.flac/a.csv", "hush.flac/a.csv"),
                                          ("--plot a.jpg", "a.jpg"),
                                          ("--csv a.png --plot a.png", "a.png"),
                                          ("--csv /dev/null", "/dev/null"),
                                          ("--csv link.csv", "link.csv"),
                                          ("--plot a.png", "12 files at most, not 13")])
def test_wrong_usage(words, named, sounds, monkeypatch, capsys):
    Path("folder").mkdir()
    Path("link.csv").symlink_to("wail.wav")
    before = {p: p.read_bytes() for p in sounds}
    monkeypatch.setattr(cli, "_answer", never)
    assert main(["detect", *["wail.wav"] * (13 if "13" in named else 1), *words.split()]) == 2
    assert named in complaint(capsys)
    assert {p.name for p in Path().iterdir()} == {"wail.wav", "hush.flac", "folder", "link.csv"}
    assert before == {p: p.read_bytes() for p in sounds}

@pytest.mark.parametrize("words", ["detect", "detect a.wav --threshold high",
                                   "detect a.wav --threshold 0.5 --operating-point 1/h",
                                   "listen --format s8", "listen a.wav", "listen --raw --sr fast",
                                   "train", "train network", "train detector",
                                   "train detector --out x --hours many",
                                   "train detector --out x --seed 1.5"])
def test_usage_is_shown(words, capsys):
    with pytest.raises(SystemExit) as end: main(words.split())
    assert end.value.code == 2 and "usage: sirenbook" in capsys.readouterr().err
    assert not list(Path().iterdir())

def test_a_full_disk(sounds, capsys, monkeypatch):
    def full(*args): raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "replace", full)
    assert main(["detect", "wail.wav", "--json", "--csv", "a.csv"]) == 1
    assert "a.csv" in capsys.readouterr().err and not list(Path().glob("a.csv*"))

def test_help(capsys):
    for words in (["detect"], ["listen"], ["train"], ["train", "detector"]):
        with pytest.raises(SystemExit) as end: main([*words, "--help"])
        assert end.value.code == 0 and "usage: sirenbook" in capsys.readouterr().out


# ---- detect: processes, speed, memory, endings

def test_both_cores_give_the_same(capsys, between):
    files = [write(Path(f"{k}.wav"), wail(k % 3, 1 + k % 4, 8 - k)) for k in range(7)]
    said = {}
    for workers in ("1", "2"):
        assert main(["detect", *map(str, files), "--json", "--workers", workers, "--threshold",
                     between]) == 0
        said[workers] = capsys.readouterr().out
    assert said["1"] == said["2"] and sum(bool(a["events"]) for a in json.loads(said["1"])) > 3

def test_processes_are_started_where_they_pay(sounds, monkeypatch, capsys):
    calls = []
    def run_workers(make, arguments, items, *, workers, note):
        calls.append(workers)
        return (({"file": p, "error": "x"}, []) for p in items)
    monkeypatch.setattr(files, "n_cores", lambda: 2)
    monkeypatch.setattr(files, "run_workers", run_workers)
    assert main(["detect", *map(str, sounds)]) == 0 and not calls
    monkeypatch.setattr(cli, "_WORTH_BYTES", 1000)
    assert main(["detect", "wail.wav"]) == 0 and not calls
    assert main(["detect", *map(str, sounds)]) == 1 and calls == [2]

@pytest.mark.parametrize("worker", ["import os; os._exit(1)",
                                    "import sys; sys.stdin.readline(); print('[]'[:1])",
                                    "import sys\nfor _ in sys.stdin: raise SystemExit"])
def test_a_process_that_dies_costs_its_file_only(worker, sounds, monkeypatch, capsys):
    monkeypatch.setattr(files, "_WORKER", worker)
    found = answers(capsys, *sounds, "wail.wav", "--workers", "2", code=1)
    assert [a["file"] for a in found] == ["wail.wav", "hush.flac", "wail.wav"]
    assert all("ended early" in a["error"] for a in found)

def test_what_it_does_not_load(sounds):
    code = "main(['detect', sys.argv[1]]); print(*sys.modules)"
    code = f"import sys; from sirenbook.cli import main; {code}"
    loaded = fresh(code, sounds[0].resolve()).split("\n")[-1].split()
    assert "sirenbook.detector" in loaded
    assert not {"tensorflow", "keras", "scipy", "matplotlib", "librosa", "sklearn", "pandas",
                "multiprocessing.pool"} & set(loaded)

def cost(*command):
    "Processor seconds of a command, the least of some runs."
    def once():
        spent = lambda: sum(os.times()[2:4])   # of children
        before = spent()
        subprocess.run([sys.executable, "-c", *command], env=ENV, check=True,
                       stdout=subprocess.DEVNULL)
        return spent() - before
    return min(once() for _ in range(4))

def test_start_to_answer(sounds):
    "Processor time, as the machine may be busy, beside that of a bare Python that can read sound."
    assert cost(PROGRAM[2], "detect", "wail.wav") < 4 * cost("import numpy, soundfile")

# from /proc where there is one: getrusage would count the memory of the test process too
PEAK = """
import re, resource, sys
from pathlib import Path
from sirenbook.cli import main
code, status = main(), Path("/proc/self/status")
if status.exists(): kb = int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1])
else:
    kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if sys.platform == "darwin": kb //= 1024
print(kb, file=sys.stderr)
sys.exit(code)
"""

def peak_mb(*words, **kwargs):
    done = subprocess.run([sys.executable, "-c", PEAK, *map(str, words)], env=ENV,
                          capture_output=True, timeout=120, **kwargs)
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split()[-1]) / 1024, done.stdout.decode()

def test_an_hour_takes_no_more_memory_than_a_minute():
    minute, _ = peak_mb("detect", sparse(Path("minute.wav"), 60, 8000))
    hour, out = peak_mb("detect", sparse(Path("hour.wav"), 3600, 8000), "--json")
    assert json.loads(out)[0]["seconds"] == 3600
    assert hour < minute + 12, f"{minute:.0f} MB for a minute, {hour:.0f} MB for an hour"
    assert minute < 200

def seen(words, folder):
    "What a terminal of stderr shows."
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 100))
    done = subprocess.run([*PROGRAM, *words], cwd=folder, stderr=end, stdout=subprocess.PIPE,
                          text=True, env=ENV | {"TQDM_DISABLE": "0"})
    shown = os.read(terminal, 10_000).decode() if select.select([terminal], [], [], 1)[0] else ""
    for f in (terminal, end): os.close(f)
    return done.stdout, shown

@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_bar_where_somebody_watches(workers, tmp_path):
    for name in ("a.wav", "b.wav"): sparse(Path(name), 140, 8000 * 2)
    (out, shown) = seen(["detect", "a.wav", "b.wav", "--workers", workers], tmp_path)
    assert "scoring:" in shown and "/280" in shown and out.count("\n") == 2
    assert out.startswith("a.wav: ")
    assert "%" in shown and program("detect", "a.wav").stderr == b""

def test_no_bar_for_little(sounds, tmp_path):
    assert seen(["detect", "wail.wav"], tmp_path)[1] == ""

@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c(workers, tmp_path):
    write(Path("first.wav"), hush(3))
    for k in range(4): sparse(Path(f"long{k}.wav"), 3 * 3600)
    run = start(["detect", "first.wav", *(f"long{k}.wav" for k in range(4)), "--csv", "a.csv",
                 "--workers", workers], tmp_path)
    assert run.stdout.readline().startswith(b"first.wav: ")
    time.sleep(.3)
    os.killpg(run.pid, signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 130 and err == b"sirenbook: stopped after 1 of 5 files\n" and not out
    assert {p.name for p in tmp_path.iterdir()} == {"first.wav",
        *(f"long{k}.wav" for k in range(4))}
    with pytest.raises(ProcessLookupError):
        for _ in range(50):
            os.killpg(run.pid, 0)
            time.sleep(.1)

def test_json_is_whole_or_nothing(tmp_path):
    run = start(["detect", "nowhere.wav", sparse(Path("long.wav"), 6 * 3600), "--json"], tmp_path)
    assert b"nowhere.wav" in run.stderr.readline()
    run.send_signal(signal.SIGINT)
    assert run.communicate(timeout=60)[0] == b"" and run.returncode == 130

def test_nobody_reads(sounds, tmp_path):
    run = start(["detect", *["hush.flac"] * 30], tmp_path)
    assert run.stdout.readline().startswith(b"hush.flac: ")
    run.stdout.close()
    assert run.wait(60) == 0 and run.stderr.read() == b""


# ---- listen

def pcm(wav, format="s16", channels=1):
    wav = np.repeat(np.asarray(wav)[:, None], channels, 1)
    return (np.round(wav * 32767).astype("<i2") if format == "s16" else wav.astype("<f4")).tobytes()

def hears(monkeypatch, capsys, data, *words):
    "What `listen --raw --json` says of bytes."
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert main(["listen", "--raw", "--json", *map(str, words)]) == 0
    out, err = capsys.readouterr()
    assert not err
    return [json.loads(line) for line in out.splitlines()]

def test_the_alarm_comes_while_the_sound_does(tmp_path, between):
    run = start(["listen", "--raw", "--sr", "16000", "--threshold", between], tmp_path,
                stdin=subprocess.PIPE)
    try:
        run.stdin.write(pcm(hush(6)))
        run.stdin.flush()
        assert not select.select([run.stdout], [], [], 2.5)[0], "there was no siren yet"
        run.stdin.write(pcm(wail(0, 4, 0)))
        run.stdin.flush()
        assert select.select([run.stdout], [], [], 60)[0], "there is no alarm"
        assert run.poll() is None, "the alarm waits for the end of the sound"
        line = run.stdout.readline().decode()
        at, _, p = line.partition(" s: siren ")
        assert 6 < float(at) < 10.1 and float(between) - .01 <= float(p.strip("()\n")) <= 1
        out, err = run.communicate(timeout=60)
        assert run.returncode == 0 and not err and not out, "one line an event"
    finally: run.kill()

def test_listen_finds_what_detect_finds(monkeypatch, capsys, between, detector):
    wav = np.concatenate([wail(), hush(5, 2), wail(2, 3, 4), hush(5, 3)])
    events = detector.events(wav, float(between))
    scores = detector.score(wav)
    assert len(events) == 2
    for format, channels, odd in (("s16", 1, b""), ("s16", 2, b"x"), ("f32", 1, b"abc"),
                                  ("f32", 6, b"x" * 23)):
        alarms = hears(monkeypatch, capsys, pcm(wav, format, channels) + odd, "--sr", SR,
                       "--format", format, "--channels", channels, "--threshold", between)
        assert [set(a) for a in alarms] == [{"time", "probability"}] * 2
        for a, e in zip(alarms, events):
            timing = detector.timing
            assert e.start - .01 <= a["time"] <= e.start + timing.first_s + timing.onset_s
            assert float(between) - 1e-4 <= a["probability"] <= e.peak + 1e-4
            k = np.abs(scores.times - a["time"]).argmin()
            assert abs(scores.probability[k] - a["probability"]) < 1e-3

def test_bytes_may_be_cut_anywhere(monkeypatch, capsys, between):
    class Trickle(io.BytesIO):
        def read1(self, n=-1): return self.read([1, 1027, 4001, 3003][self.tell() % 4])
    whole = hears(monkeypatch, capsys, data := pcm(wail(), channels=2), "--sr", SR, "--channels", 2,
                  "--threshold", between)
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=Trickle(data),
        isatty=lambda: False))
    assert main(["listen", "--raw", "--json", "--sr", "16000", "--channels", "2", "--threshold",
                 between]) == 0
    cut = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(cut) == 1 and [a["time"] for a in cut] == [a["time"] for a in whole]
    assert abs(cut[0]["probability"] - whole[0]["probability"]) < 1e-4

@pytest.mark.parametrize("sr", [8000, 44100])
def test_rates_of_a_pipe(sr, monkeypatch, capsys, between):
    import soxr
    found = hears(monkeypatch, capsys, pcm(soxr.resample(wail(), SR, sr)), "--sr", sr,
                  "--threshold", between)
    assert sr == 8000 or len(found) == 1 and 3 < found[0]["time"] < 8

def test_nothing_to_hear(monkeypatch, capsys):
    for data in (b"", b"x", pcm(hush(.1))):
        assert hears(monkeypatch, capsys, data, "--sr", SR, "--threshold", "0.9999") == []
    found = hears(monkeypatch, capsys, pcm(hush(.1)), "--sr", SR, "--threshold", "1e-9")
    assert len(found) == 1, "what is left when the sound ends is scored as well"

def test_nan_in_a_pipe(monkeypatch, capsys, between):
    wav = wail()
    wav[100] = np.nan
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(pcm(wav, "f32"))))
    assert main(["listen", "--raw", "--sr", "16000", "--format", "f32", "--threshold",
                 between]) == 0
    out, err = capsys.readouterr()
    assert out.count("siren") == 1 and err.count("\n") == 1 and "not finite" in err

def test_hours_of_a_pipe_take_no_memory():
    def raw(seconds): return open(sparse(Path(f"{seconds}.raw"), seconds, 8000), "rb")
    with raw(60) as minute, raw(3000) as long:
        words = "listen", "--raw", "--sr", "8000", "--threshold", "0.9999"
        a, b = peak_mb(*words, stdin=minute)[0], peak_mb(*words, stdin=long)[0]
    assert b < a + 5, f"{a:.0f} MB for a minute, {b:.0f} MB for fifty"

def test_listening_stops(tmp_path, between):
    run = start(["listen", "--raw", "--sr", "16000", "--threshold", between], tmp_path,
                stdin=subprocess.PIPE)
    run.stdin.write(pcm(wail()))
    run.stdin.flush()
    assert b"siren" in run.stdout.readline()
    time.sleep(.5)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130 and err == b"sirenbook: stopped after 10.0 s\n"

def test_nobody_reads_the_alarms(tmp_path, between):
    run = start(["listen", "--raw", "--sr", "16000", "--threshold", between], tmp_path,
                stdin=subprocess.PIPE)
    run.stdout.close()
    try: run.stdin.write(pcm(wail()) * 20); run.stdin.close()
    except BrokenPipeError: pass
    assert run.wait(60) == 0 and run.stderr.read() == b""

@pytest.mark.parametrize("words, named", [("--raw", "--sr"), ("--sr 16000", "--raw"),
    ("--channels 2", "--raw"), ("--raw --sr 16000 --device 1", "--device"),
    ("--raw --sr 100", "100"), ("--raw --sr 0", "0"),
                                          ("--raw --sr -5", "-5"),
                                          ("--raw --sr 16000 --channels 0", "channels"),
                                          ("--raw --sr 16000 --channels 65", "channels"),
                                          ("--raw --sr 16000 --threshold 7", "7"),
                                          ("--raw --sr 16000 --operating-point 9/s", "9/s")])
def test_wrong_usage_of_listen(words, named, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(pcm(hush(3)))))
    assert main(["listen", *words.split()]) == 2
    assert named in complaint(capsys)

def test_no_pipe(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(isatty=lambda: True))
    assert main("listen --raw --sr 16000".split()) == 2
    assert "pipe" in complaint(capsys)

def test_no_sounddevice(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert main(["listen"]) == 2
    assert "pip install" in (text := complaint(capsys)) and "[listen]'" in text

class PortAudioError(Exception): pass

class Microphone:
    "A stand-in for sounddevice with a sound of ours; `lost`: seconds lost before a block."
    def __init__(self, wav, sr=48000, lost={}, late={}):
        self.wav, self.sr, self.lost, self.late, self.now, self.asked = wav, sr, lost, late, 0.0, []
        self.PortAudioError = PortAudioError
    def query_devices(self, device, kind):
        self.asked.append((device, kind))
        if device == "none": raise ValueError("No input device matching 'none'")
        if device == 9: raise PortAudioError("Error querying device 9\n[PaErrorCode -9996].")
        return {"default_samplerate": float(self.sr)}
    def InputStream(self, samplerate, *, device, channels, dtype):
        assert samplerate == self.sr and channels == 1 and dtype == "float32"
        return self
    def __enter__(self): return self
    def __exit__(self, *e): self.closed = True
    def read(self, n):
        if not len(self.wav): raise KeyboardInterrupt
        block, self.wav = self.wav[:n, None], self.wav[n:]
        lost = self.lost.get(k := round(self.now, 1), 0)
        self.now += lost + len(block) / self.sr + self.late.get(k, 0)
        return block, k in self.lost

def plug_in(monkeypatch, *args, **kwargs):
    mic = Microphone(*args, **kwargs)
    monkeypatch.setitem(sys.modules, "sounddevice", mic)
    monkeypatch.setattr(sources, "time", types.SimpleNamespace(monotonic=lambda: mic.now))
    return mic

def test_a_microphone(monkeypatch, capsys, between):
    for device, asked in ((None, None), ("3", 3), ("usb", "usb")):
        mic = plug_in(monkeypatch, wail(), SR)
        assert main(["listen", "--threshold", between, *(["--device", device] if device
            else [])]) == 130
        out, err = capsys.readouterr()
        assert out.count("\n") == 1 and 3 < float(out.split(" s: siren")[0]) < 8
        assert err == "sirenbook: stopped after 10.0 s\n"
        assert mic.asked == [(asked, "input")] and mic.closed

@pytest.mark.parametrize("lost_s", [.7, 30.])
def test_a_microphone_that_loses_sound(lost_s, monkeypatch, capsys, between):
    "After an overflow the clock is right again, and time that passed without one is no gap."
    alarm = {}
    for lost in ({}, {1.: lost_s}, {1.: 0.}):
        plug_in(monkeypatch, wail(), SR, lost=lost)
        assert main(["listen", "--threshold", between, "--json"]) == 130
        out, err = capsys.readouterr()
        alarm[sum(lost.values()), len(lost)] = json.loads(out)["time"]
        assert err == f"sirenbook: stopped after {10 + sum(lost.values()):.1f} s\n"
    plug_in(monkeypatch, wail(), SR, late={1.: lost_s})
    assert main(["listen", "--threshold", between, "--json"]) == 130
    assert json.loads(capsys.readouterr().out)["time"] == alarm[0, 0]
    assert abs(alarm[lost_s, 1] - alarm[0, 0] - lost_s) < .6 and alarm[0, 1] == alarm[0, 0]

@pytest.mark.parametrize("device", ["none", "9"])
def test_no_such_microphone(device, monkeypatch, capsys):
    plug_in(monkeypatch, wail(), SR)
    assert main(["listen", "--device", device]) == 1
    assert f"device {device} " in complaint(capsys)

def test_a_microphone_is_pulled_out(monkeypatch, capsys):
    mic = plug_in(monkeypatch, hush(3), SR)
    def gone(n): raise PortAudioError("Error reading: Device unavailable [PaErrorCode -9985]")
    mic.read = gone
    assert main(["listen"]) == 1
    assert "the microphone" in complaint(capsys)

def test_a_library_is_missing(monkeypatch, capsys, tmp_path):
    Path("sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    assert main(["listen"]) == 1
    assert "PortAudio library not found" in complaint(capsys)


# ---- train detector

@pytest.fixture
def training(monkeypatch):
    "A training that only notes what was asked."
    module, calls = types.ModuleType("sirenbook.detector_training"), []
    def train_detector(out, recorded=(), teacher=None, hours=0, seed=0, *, fold=0, scenes=None,
                       licensed=False):
        calls.append((out, list(recorded), teacher, hours, seed, fold, scenes, licensed))
        return f"{out}/weights"
    module.train_detector = train_detector
    monkeypatch.setitem(sys.modules, "sirenbook.detector_training", module)
    return calls

def test_train_passes_its_options_on(training, capsys):
    assert main(["train", "detector", "--out", "mine"]) == 0
    assert "--weights mine/weights" in capsys.readouterr().out
    words = "--out mine --recorded e w --teacher t --scenes s --hours 0.5 --seed 3 --fold 1"
    assert main(["train", "detector", "--licensed", *words.split()]) == 0
    assert training == [("mine", [], None, 11, 0, 4, None, False),
                        ("mine", ["e", "w"], "t", .5, 3, 1, "s", True)]

@pytest.mark.parametrize("words, named", [("--hours 0", "hours"), ("--hours -1", "hours"),
    ("--hours nan", "hours"), ("--hours inf", "hours"), ("--seed -1", "seed")])
def test_train_of_nothing(words, named, training, capsys):
    assert main(["train", "detector", "--out", "mine", *words.split()]) == 2
    assert named in complaint(capsys) and not training
