"""The `sirenbook` command: what it says, what it leaves, and how it ends."""
import os, select, signal, subprocess, sys, time
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace

import pytest
from shared import ROOT, complains, fresh, is_sentence
from sirenbook import __version__, recordings, rendering
from sirenbook.cli import main
from sirenbook.errors import SirenbookFileError, warn
from sirenbook.recordings import load_dataset
from sirenbook.rendering import render_dataset

PROGRAM = [sys.executable, "-c", "import sys; from sirenbook.cli import main; sys.exit(main())"]

def ask(n=4, seed=5, seconds=2, out="set", *more):
    "The words that ask for `n` scenes."
    return ["dataset", "roadside", "--hours", str(n * seconds / 3600), "--seed", str(seed),
            "--seconds", str(seconds), "--out", str(out), *more]

def content(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*")
            if p.is_file()}

@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch): monkeypatch.chdir(tmp_path)

@pytest.fixture
def said(capsys):
    "What went to stderr, which is one sentence of the command."
    def said():
        text = capsys.readouterr().err
        assert text.startswith("sirenbook: ") and text.endswith("\n"), text
        assert is_sentence(text.strip()), text
        return text
    return said


# ---- done

def test_it_is_installed():
    [command] = entry_points(group="console_scripts", name="sirenbook")
    assert command.load() is main
    program = Path(sys.executable).with_name("sirenbook")
    if not program.exists():
        pytest.skip(f"the command is not installed in this environment: there is no {program}")
    assert subprocess.run([program, "--version"], capture_output=True,
                          text=True).stdout == f"sirenbook {__version__}\n"

def test_version(capsys):
    with pytest.raises(SystemExit) as end: main(["--version"])
    assert end.value.code == 0 and capsys.readouterr().out == f"sirenbook {__version__}\n"

def test_the_package_is_a_program(tmp_path):
    def run(*words):
        return subprocess.run([sys.executable, "-m", "sirenbook", *words], cwd=tmp_path, text=True,
                              env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True)
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"sirenbook {__version__}\n")
    done = run("detect", "nowhere.wav")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "sirenbook: nowhere.wav: there is no such file\n"
    assert fresh("import sirenbook.__main__; print('imported')") == "imported"

def test_version_is_quick():
    code = """import sys
from sirenbook.cli import main
try: main(['--version'])
finally: print(*{'numpy', 'tqdm', 'soundfile', 'tensorflow'} & set(sys.modules))"""
    starts = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True,
                              text=True)
        starts.append(time.perf_counter() - start)
    lines = done.stdout.splitlines()
    assert lines == [f"sirenbook {__version__}", ""], "--version loads what it does not need"
    assert min(starts) < .5

def test_roadside(capsys, tmp_path):
    assert main(ask()) == 0
    out, err = capsys.readouterr()
    assert out == "set: 4 scenes of 2 s with their truth, 0.1 minutes in all\n" and not err
    assert len(load_dataset(tmp_path/"set").recordings) == 4
    assert content(tmp_path/"set") == content(render_dataset("other", 8 / 3600, 5, seconds=2,
        workers=1))

def test_a_world_of_sirens(capsys, tmp_path):
    assert main("dataset roadside --world --hours 0.001 --seconds 1 --out set".split()) == 0
    assert content(tmp_path/"set") == content(render_dataset("other", 0.001, 0, seconds=1,
        world=True, workers=1))

def test_scenes_are_of_fifteen_seconds_unless_told(capsys):
    assert main("dataset roadside --hours 0.001 --out set".split()) == 0
    assert capsys.readouterr().out.startswith("set: 2 scenes of 15 s")

def test_a_bar_where_somebody_watches(tmp_path):
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 80))
    done = subprocess.run([*PROGRAM, *ask()], stderr=end, stdout=subprocess.PIPE, text=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT), "TQDM_DISABLE": "0"})
    shown = os.read(terminal, 10_000).decode() if select.select([terminal], [], [], 1)[0] else ""
    for f in (terminal, end): os.close(f)
    assert "rendering set:" in shown and done.stdout.startswith("set: 4 scenes")
    assert done.stdout.count("\n") == 1

def test_help_of_every_command(capsys):
    experiments = (["experiment", *name] for name in ([], *([name] for name in NAMES)))
    for words in ([], ["dataset"], ["dataset", "roadside"], ["download"], *experiments):
        with pytest.raises(SystemExit) as end: main([*words, "--help"])
        assert end.value.code == 0 and "usage: sirenbook" in capsys.readouterr().out


# ---- not done

@pytest.mark.parametrize("words", ["datasets", "dataset", "dataset sirens", "dataset roadside",
                                   "dataset roadside --out x", "dataset roadside --hours 1",
                                   "dataset roadside --hours many --out x",
                                   "dataset roadside --hours 1 --seed 1.5 --out x",
                                   "dataset roadside --hours 1 --out x --workers two"])
def test_wrong_usage(words, capsys, tmp_path):
    with pytest.raises(SystemExit) as end: main(words.split())
    assert end.value.code == 2 and "usage: sirenbook" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

def test_nothing_asked_is_answered_with_what_there_is_to_ask(capsys):
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert not out and "usage: sirenbook" in err
    commands = "detect", "listen", "dataset", "download", "train", "experiment"
    assert all(f"\n    {command}" in err for command in commands)

@pytest.mark.parametrize("given, word", [("--hours 0", "hours"), ("--hours -1", "hours"),
    ("--hours nan", "hours"), ("--hours inf", "hours"), ("--seed -1", "seed"),
                                         ("--seconds 0", "seconds"), ("--workers 0", "workers")])
def test_numbers_that_cannot_be(given, word, said, tmp_path):
    assert main(ask() + given.split()) == 2
    assert word in said() and not list(tmp_path.iterdir())

def test_folders_that_cannot_be(said, tmp_path):
    (tmp_path/"file").write_text("mine")
    (tmp_path/"other").mkdir()
    (tmp_path/"other"/"thesis.txt").write_text("mine")
    for out in ("file", "file/below", "other"):
        assert main(ask(out=out)) == 1
        assert out in said()
    assert content(tmp_path) == {"file": b"mine", "other/thesis.txt": b"mine"}

def test_another_seed(said):
    assert main(ask(2)) == 0
    assert main(ask(2, seed=6)) == 1
    text = said()
    assert "seed 5" in text and "seed 6" in text

def test_a_full_disk(said, monkeypatch):
    def full(*args): raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "replace", full)
    assert main(ask(2, 5, 2, "set", "--workers", "1")) == 1
    text = said()
    assert text.startswith("sirenbook: set") and "the disk is full" in text

def test_ctrl_c(said, monkeypatch):
    def stop(*args, **kwargs): raise KeyboardInterrupt
    monkeypatch.setattr(rendering, "render_scene", stop)
    assert main(ask(2, 5, 2, "set", "--workers", "1")) == 130
    assert "0 of 2 scenes" in said()
    monkeypatch.setattr(rendering, "render_dataset", stop)
    assert main(ask(2)) == 130
    assert said() == "sirenbook: stopped\n"

def start(words, folder):
    "The command in a process and a group of its own, ready to be interrupted as from a terminal."
    return subprocess.Popen([*PROGRAM, *words], cwd=folder,
                            env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True,
                            start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT,
        signal.SIG_DFL))

def rows(folder):
    journal = folder/recordings.JOURNAL
    return journal.read_text().count("\n") - 1 if journal.exists() else 0

@pytest.mark.parametrize("whom", ["it alone", "its group", "killed"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_interrupted_midway(whom, workers, tmp_path):
    words = ask(N := 100, 5, .5, "set", "--workers", workers)
    run = start(words, tmp_path)
    until = time.time() + 60
    while rows(tmp_path/"set") < 3 and time.time() < until and run.poll() is None: time.sleep(.005)
    if whom == "it alone": os.kill(run.pid, signal.SIGINT)
    elif whom == "its group": os.killpg(run.pid, signal.SIGINT)
    else: os.kill(run.pid, signal.SIGKILL)
    _, err = run.communicate(timeout=30)
    if whom != "killed":
        assert run.returncode == 130 and is_sentence(err.strip()), err
        assert err.startswith("sirenbook: set: stopped with "), err
        assert {p.name for p in (tmp_path/"set").rglob(".*")} <= {".lock"}
    names, before = lambda: {p.name for p in (tmp_path/"set").rglob("*")}, None
    while before != (before := names()): time.sleep(.5)  # what the killed one started ends later
    done = {name: (tmp_path/"set"/name).stat().st_mtime_ns for name in content(tmp_path/"set")
            if name.endswith(".flac")}
    assert 3 <= len(done) < N and not (tmp_path/"set"/"manifest.csv").exists()
    with complains("set", "unfinished", f"--hours {N * .5 / 3600}", kind=SirenbookFileError):
        load_dataset(tmp_path/"set")
    again = start(words, tmp_path)
    assert again.communicate(timeout=60)[1] == "" and again.returncode == 0
    kept = sum((tmp_path/"set"/name).stat().st_mtime_ns == t for name, t in done.items())
    assert kept >= len(done) - int(workers), "what was finished was made again"
    assert content(tmp_path/"set") == content(render_dataset(tmp_path/"other", N * .5 / 3600, 5,
        seconds=.5, workers=1))

# ---- experiments

NAMES = ("verdict", "ablations", "shortcuts", "hyperparameters", "pretrained", "duplicates",
         "transfer", "detector")

@pytest.fixture
def experiment(monkeypatch):
    "`experiment(name, run)` puts a stand-in with this `run` in the place of an experiment."
    def experiment(name, run):
        monkeypatch.setitem(sys.modules, f"sirenbook.experiments.{name}", SimpleNamespace(run=run))
    return experiment

@pytest.mark.parametrize("name", NAMES)
def test_experiment_calls_run_with_what_was_given(name, experiment, capsys):
    calls = []
    experiment(name, lambda datasets=None, out="?", **options: calls.append((datasets, out,
        options)))
    assert main(["experiment", name]) == 0
    assert capsys.readouterr().out == f"data: holds the results of {name} that were asked for\n"
    assert main(["experiment", name, "--datasets", "roadside", "esvs", "--out", "mine"]) == 0
    assert calls == [(None, "data", {}), (["roadside", "esvs"], "mine", {})]

@pytest.mark.parametrize("words, options", [
    ("verdict --folds 0 2", {"fold_ids": [0, 2]}),
    ("verdict --split grouped", {"splits": ["grouped"]}),
    ("verdict --across --folds 1", {"across": True, "fold_ids": [1]}),
    ("ablations --folds 4", {"fold_ids": [4]}),
    ("shortcuts --folds 0 1", {"fold_ids": [0, 1]}),
    ("pretrained --seeds 1 --weights nets", {"seeds": [1], "weights": "nets"}),
    ("transfer --seeds 3 4 --tested-on mine", {"seeds": [3, 4], "tested_on": "mine"}),
    ("detector --folder work --hours 2.5", {"folder": "work", "hours": 2.5})])
def test_options_of_experiments(words, options, experiment):
    calls, (name, *_) = [], words.split()
    experiment(name, lambda datasets, out, **options: calls.append(options))
    assert main(["experiment", *words.split()]) == 0 and calls == [options]

@pytest.mark.parametrize("words", [
    "", "lottery", "verdict --folds 5", "verdict --folds", "verdict --split all",
    "transfer --folds 1", "detector --hours many", "verdict roadside", "verdict --datasets"])
def test_wrong_usage_of_experiment(words, experiment, capsys):
    for name in NAMES: experiment(name, lambda *args, **options: pytest.fail("it was run"))
    with pytest.raises(SystemExit) as end: main(["experiment", *words.split()])
    assert end.value.code == 2 and "usage: sirenbook " in capsys.readouterr().err

def test_errors_of_experiments(experiment, said):
    def refuse(datasets, out): raise SirenbookFileError(f"{out}: there is no such folder")
    experiment("transfer", refuse)
    assert main("experiment transfer --out nowhere".split()) == 1
    assert said() == "sirenbook: nowhere: there is no such folder\n"
    def stop(datasets, out): raise KeyboardInterrupt("stopped with 3 of 9 runs done")
    experiment("transfer", stop)
    assert main("experiment transfer".split()) == 130
    assert said() == "sirenbook: stopped with 3 of 9 runs done\n"

def test_warnings_are_sentences(experiment, said):
    experiment("verdict", lambda datasets, out: warn(f"{datasets[0]}: two recordings are alike"))
    assert main("experiment verdict --datasets twice".split()) == 0
    assert said() == "sirenbook: twice: two recordings are alike\n"


# ---- what an experiment would stumble over, or leave out, after hours

@pytest.mark.parametrize("words, said", [
    (["detector", "--datasets", "one"], "judged on street and world"),
    (["detector", "--hours", "nan"], "hours"),
    (["detector", "--hours", "0"], "hours"),
    (["transfer", "--seeds", "-1"], "a seed is"),
    (["transfer", "--datasets", "a/set", "b/set"], "same name"),
    (["duplicates", "--datasets", "a/set", "b/set"], "same name")])
def test_what_no_experiment_can_do(words, said, capfd, tmp_path):
    pytest.importorskip("tensorflow")
    capfd.readouterr()                           # what it greets with
    assert main(["experiment", *words, "--out", str(tmp_path)]) == 2
    err = capfd.readouterr().err
    assert said in err and err.count("\n") == 1 and not list(tmp_path.iterdir())

def test_tensorflow_does_not_greet(tmp_path):
    pytest.importorskip("tensorflow")
    done = subprocess.run([*PROGRAM, "experiment", "verdict", "--out", "nowhere"], cwd=tmp_path,
                          env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True,
                          text=True)
    assert done.returncode == 1
    assert done.stderr == "sirenbook: nowhere: there is no such folder\n"
