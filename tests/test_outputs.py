"""What `detect` is given and what it writes: outputs that destroy nothing, pipes, damaged files."""
import errno, io, json, os, subprocess, sys, threading
from pathlib import Path

import numpy as np
import pytest
from shared import ROOT, complains, is_sentence, write
from sirenbook import files
from sirenbook.cli import main
from sirenbook.detector import Detector
from sirenbook.errors import SirenbookFileError, SirenbookWarning, warn
from sirenbook.files import atomic_write, check_output, run_workers, special_file
from sirenbook.recordings import load_dataset
from test_sounds import CUT, SECONDS, START, corpus

PROGRAM = [sys.executable, "-m", "sirenbook"]
ENV = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

def program(*words, **kwargs):
    "The command in a process of its own."
    usual = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    return subprocess.run([*PROGRAM, *map(str, words)], env=ENV, timeout=60, **usual | kwargs)

@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch): monkeypatch.chdir(tmp_path)

@pytest.fixture
def sound(): return write(Path("a.wav"))

def content(): return {p.name: p.read_bytes() for p in Path().iterdir() if p.is_file()}

def complaint(capsys):
    "The one sentence on stderr."
    out, err = capsys.readouterr()
    assert err.startswith("sirenbook: ") and is_sentence(err.strip()) and not out, (out, err)
    return err


# ---- an output never destroys

@pytest.mark.parametrize("option, name", [("--csv", "out.csv"), ("--plot", "out.png")])
def test_a_link_stays_and_its_target_is_written(option, name, sound):
    if option == "--plot": pytest.importorskip("matplotlib")
    Path("deep").mkdir()
    (target := Path("deep", name)).write_text("old")
    Path(name).symlink_to(target)
    Path("new" + name).symlink_to(Path("deep", "new" + name))   # to a file that is not there yet
    for link in (name, "new" + name):
        assert main(["detect", "a.wav", option, link]) == 0
        assert Path(link).is_symlink() and Path("deep", link).stat().st_size > 50
    assert sorted(p.name for p in Path("deep").iterdir()) == sorted((name, "new" + name))

@pytest.mark.parametrize("target", ["street.mp3", "phone.m4a", "take.AIF", "b.flac"])
def test_a_recording_behind_a_link_is_never_overwritten(target, sound, capsys):
    "Whatever its kind, and whether or not it is scored."
    Path(target).write_bytes(b"precious")
    Path("link.csv").symlink_to(target)
    for path in ("link.csv", target):
        assert main(["detect", "a.wav", "--csv", path]) == 2
        assert "is a recording" in complaint(capsys)
    assert Path(target).read_bytes() == b"precious" and Path("link.csv").is_symlink()

def test_a_link_in_a_circle_is_refused(sound, capsys):
    Path("loop.csv").symlink_to("loop.csv")
    assert main(["detect", "a.wav", "--csv", "loop.csv"]) == 2
    assert "loop.csv: is not a file" in complaint(capsys)
    with complains("loop.csv", kind=SirenbookFileError): atomic_write("loop.csv", b"")
    assert Path("loop.csv").is_symlink()

def test_a_file_that_its_owner_made_read_only_is_kept(sound, capsys):
    Path("done.csv").write_text("precious")
    Path("done.csv").chmod(0o444)
    Path("link.csv").symlink_to("done.csv")                     # as git annex has them
    for path in ("done.csv", "link.csv"):
        assert main(["detect", "a.wav", "--csv", path]) == 2
        assert "is read-only" in complaint(capsys)
        with complains(path, "read-only", kind=SirenbookFileError): atomic_write(path, b"")
    assert Path("done.csv").read_text() == "precious"

@pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "device"])
def test_what_is_no_file_is_refused_and_stays(kind, sound, capsys):
    import socket
    path = Path("out.csv") if kind != "device" else Path(os.devnull)
    if kind == "pipe": os.mkfifo(path)
    elif kind == "socket": socket.socket(socket.AF_UNIX).bind(str(path))
    elif kind == "folder": path.mkdir()
    before = path.stat().st_mode
    Path("link.csv").symlink_to(path)
    for name in (path, "link.csv"):
        assert main(["detect", "a.wav", "--csv", str(name)]) == 2
        assert "is not a file" in complaint(capsys)
        with complains(name, kind=SirenbookFileError): atomic_write(name, b"x")
    assert path.stat().st_mode == before and Path("link.csv").is_symlink()

def test_a_temporary_name_that_nobody_has(sound, monkeypatch):
    "Every name that could be guessed is taken by a file of the user, which stays."
    mine = [f"out.csv{end}" for end in (".part", ".tmp", "~", ".part.csv")] + [
        f".{os.getpid()}.part", f".{os.getpid()}-{threading.get_ident()}.part.out.csv",
        ".out.csv.part", ".out.csv.tmp"]
    for name in mine: Path(name).write_text("precious")
    assert main(["detect", "a.wav", "--csv", "out.csv"]) == 0
    atomic_write("out.csv", b"again")
    assert content() == {"a.wav": Path("a.wav").read_bytes(), "out.csv": b"again",
                         **dict.fromkeys(mine, b"precious")}
    monkeypatch.setattr(os, "urandom", bytes)                   # even where chance would meet one
    Path(f".{bytes(8).hex()}.part.out.csv").write_text("precious")
    with complains("out.csv", kind=SirenbookFileError): atomic_write("out.csv", b"third")
    assert Path(f".{bytes(8).hex()}.part.out.csv").read_text() == "precious"
    assert Path("out.csv").read_bytes() == b"again"

def test_a_second_name_of_a_recording_is_no_output(sound, capsys):
    before = sound.read_bytes()
    os.link(sound, "a.csv")
    assert main(["detect", "a.wav", "--csv", "a.csv"]) == 2
    assert "is a recording" in complaint(capsys)
    assert sound.read_bytes() == Path("a.csv").read_bytes() == before

def test_two_names_of_one_file_are_not_two_outputs(sound, capsys):
    Path("a.csv").write_text("old")
    os.link("a.csv", "a.png")
    assert main(["detect", "a.wav", "--csv", "a.csv", "--plot", "a.png"]) == 2
    assert "at once" in complaint(capsys) and Path("a.csv").read_text() == "old"

@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot reserve room")
def test_where_the_disk_is_full_a_file_with_two_names_stays(monkeypatch):
    def full(fd, start, n):
        os.truncate(fd, n - 1)
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(os, "posix_fallocate", full)
    Path("a.csv").write_text("old")
    os.link("a.csv", "b.csv")
    with complains("a.csv", "disk is full"): atomic_write("a.csv", b"new and longer")
    assert Path("a.csv").read_text() == Path("b.csv").read_text() == "old" and len(content()) == 2

def test_links_that_lead_nowhere_are_named(sound, capsys):
    "Such as to a drive that is not mounted."
    Path("street").mkdir()
    sound.rename("street/a.wav")
    Path("street/usb").symlink_to("/no/such/drive")
    assert main(["detect", "street"]) == 1
    out, err = capsys.readouterr()
    assert "a.wav: " in out and "street/usb: there is no such file" in err

def test_a_file_with_two_names_keeps_both(sound):
    "A hard link: whoever opens it by the other name finds the new table too."
    Path("a.csv").write_text("old, and longer than what comes" * 99)
    os.link("a.csv", "b.csv")
    os.link("a.csv", "c.csv")
    before = Path("a.csv").stat().st_ino
    assert main(["detect", "a.wav", "--csv", "a.csv"]) == 0
    assert Path("a.csv").stat().st_ino == Path("b.csv").stat().st_ino == before
    text = Path("b.csv").read_text()
    assert text.startswith("file,start,") and "longer" not in text and len(content()) == 4
    atomic_write("c.csv", lambda part: part.write_bytes(b"of a function"))
    assert Path("a.csv").read_bytes() == b"of a function"
    def interrupted(part): part.write_bytes(b"ha"); raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): atomic_write("a.csv", interrupted)
    assert Path("a.csv").read_bytes() == b"of a function"       # the last step was not reached

@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0,
                    reason="only root can give files away, so nothing was tried")
def test_a_file_of_another_owner_stays_theirs(sound):
    Path("a.csv").write_text("old")
    os.chown("a.csv", 12345, 54321)
    Path("a.csv").chmod(0o640)
    assert main(["detect", "a.wav", "--csv", "a.csv"]) == 0
    now = Path("a.csv").stat()
    assert (now.st_uid, now.st_gid, now.st_mode & 0o777) == (12345, 54321, 0o640)
    assert Path("a.csv").read_text().startswith("file,start,")

def test_a_file_keeps_its_permissions():
    Path("a.csv").write_text("old")
    for mode in (0o600, 0o664, 0o755):
        Path("a.csv").chmod(mode)
        atomic_write("a.csv", b"new")
        assert Path("a.csv").stat().st_mode & 0o777 == mode

def test_a_file_that_this_user_may_not_write_is_kept(sound, monkeypatch, capsys):
    "Though its owner may, and though the folder would let it be replaced."
    Path("theirs.csv").write_text("precious")
    usual = os.access
    monkeypatch.setattr(os, "access", lambda path, mode, **how: (
        False if Path(path).name == "theirs.csv" else usual(path, mode, **how)))
    assert main(["detect", "a.wav", "--csv", "theirs.csv"]) == 2
    assert "is read-only" in complaint(capsys)
    with complains("read-only", kind=SirenbookFileError): atomic_write("theirs.csv", b"")
    assert Path("theirs.csv").read_text() == "precious"

def test_new_files_have_the_permissions_of_new_files():
    Path("plain").write_text("")
    atomic_write("ours", b"")
    assert Path("ours").stat().st_mode == Path("plain").stat().st_mode

@pytest.mark.parametrize("words", ["dataset roadside --hours 0.001", "train detector",
                                   "experiment transfer", "download esvs"])
def test_out_is_a_folder_or_refused(words, sound, capfd):
    "On a device, a pipe or a file nothing is replaced, and the command ends with a sentence."
    if words.split()[0] in ("train", "experiment"): pytest.importorskip("tensorflow")
    os.mkfifo("pipe")
    Path("loop").symlink_to("loop")
    names = "loop", "pipe", "a.wav", os.devnull, "/dev/stdout"
    before = [os.lstat(p).st_mode for p in names]
    capfd.readouterr()
    for out in names:
        assert main([*words.split(), "--out", out]) in (1, 2)
        text = capfd.readouterr().err.strip()
        assert is_sentence(text) and out in text, text
    assert before == [os.lstat(p).st_mode for p in names]
    assert {p.name for p in Path().iterdir()} == {"a.wav", "loop", "pipe"}


# ---- standard output

@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
@pytest.mark.parametrize("redirected", [False, True])
def test_the_table_on_standard_output(name, redirected, sound):
    "Through a pipe and into a file; the device stays, and the table stands alone."
    before = os.lstat("/dev/stdout")
    with open("kept.txt", "wb") as file:
        done = program("detect", "a.wav", "--csv", name,
                       stdout=file if redirected else subprocess.PIPE)
    table = (Path("kept.txt").read_bytes() if redirected else done.stdout).decode().splitlines()
    assert done.returncode == 0 and not done.stderr and os.lstat("/dev/stdout") == before
    assert table[0].startswith("file,start,") and table[1].startswith("a.wav,") and len(table) == 2
    assert {p.name for p in Path().iterdir()} == {"a.wav", "kept.txt"}

@pytest.mark.skipif(not os.path.exists("/dev/fd/1"), reason="there is no /dev/fd/1 here")
@pytest.mark.parametrize("name", ["/dev/fd/1", "/proc/self/fd/1", "/dev/fd/2", "kept.txt",
                                  "link.txt"])
def test_other_names_of_standard_output(name, sound):
    "What leads to the file into which the lines go is standard output: nothing in it is lost."
    if not os.path.exists(name) and name[0] == "/": pytest.skip(f"there is no {name} here")
    Path("kept.txt").write_text("before\n")
    Path("link.txt").symlink_to("kept.txt")
    with open("kept.txt", "ab") as file: done = program(
        "detect", "a.wav", "nowhere.wav", "--csv", name, stdout=file, stderr=subprocess.STDOUT)
    first, *lines = Path("kept.txt").read_text().splitlines()
    assert done.returncode == 1 and first == "before" and len(lines) == 4, lines
    assert lines[0] == "sirenbook: nowhere.wav: there is no such file"
    assert lines[1].startswith("file,start,") and lines[2].startswith("a.wav,")
    assert {p.name for p in Path().iterdir()} == {"a.wav", "kept.txt", "link.txt"}
    if name[0] == "/" and name[-1] == "1":                     # also through a pipe
        assert program("detect", "a.wav", "--csv", name).stdout.startswith(b"file,start,")

def test_the_file_of_the_messages_is_refused(sound):
    "Of standard error, where that is a file of its own."
    with open("err.txt", "wb") as file:
        done = program("detect", "a.wav", "--csv", "err.txt", stderr=file)
    assert done.returncode == 2 and not done.stdout
    [line] = Path("err.txt").read_text().splitlines()
    assert line.startswith("sirenbook: err.txt: ") and "standard error" in line

def test_the_picture_on_standard_output(sound):
    pytest.importorskip("matplotlib")
    done = program("detect", "a.wav", "--plot", "-")
    assert done.returncode == 0 and done.stdout.startswith(b"\x89PNG") and not done.stderr
    assert done.stdout.rstrip().endswith(b"IEND\xaeB`\x82")

@pytest.mark.parametrize("words", ["--csv - --json", "--plot - --json", "--csv - --plot -",
                                   "--csv - --plot /dev/stdout"])
def test_one_result_on_standard_output(words, sound, capsys):
    assert main(["detect", "a.wav", *words.split()]) == 2
    assert "standard output" in complaint(capsys) and {*content()} == {"a.wav"}

def test_nobody_reads_standard_output(sound):
    run = subprocess.Popen([*PROGRAM, "detect", "a.wav", "--csv", "-"], env=ENV,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    run.stdout.close()
    assert run.wait(60) == 0 and run.stderr.read() == b""

def test_a_full_disk_behind_standard_output(sound):
    if not os.path.exists("/dev/full"): pytest.skip("there is no /dev/full on this machine")
    with open("/dev/full", "wb") as full: done = program("detect", "a.wav", "--csv", "-",
                                                         stdout=full)
    assert done.returncode == 1 and b"sirenbook: -: " in done.stderr and b"full" in done.stderr
    assert done.stderr.count(b"\n") == 1

def test_standard_output_takes_bytes_and_not_a_function(capsys, monkeypatch):
    atomic_write("-", b"a,b\n")
    assert capsys.readouterr().out == "a,b\n" and check_output("-") and not check_output("new")
    with complains("needs a file", kind=SirenbookFileError): atomic_write("-", Path.touch)
    assert not content()
    monkeypatch.setattr(sys, "stdout", io.StringIO())          # as in a notebook: text only
    atomic_write("-", b"a,b\n")
    assert sys.stdout.getvalue() == "a,b\n"
    with complains("no bytes", kind=SirenbookFileError): atomic_write("-", b"\x89PNG")
    monkeypatch.setattr(sys, "stdout", None)
    with complains("no standard output", kind=SirenbookFileError): atomic_write("-", b"x")


# ---- what is no file is named

def test_a_pipe_is_a_pipe(sound, capsys):
    os.mkfifo("live.wav")
    for path, kind in (("live.wav", "a pipe"), ("-", "standard input"), ("/dev/zero", "a device")):
        assert main(["detect", path]) == 1
        text = complaint(capsys)
        assert text.startswith(f"sirenbook: {path}: is {kind}, ") and "listen --raw" in text
    assert main(["detect", ".", "--json"]) == 1                # the same pipe, found in a folder
    good, bad = json.loads(capsys.readouterr().out)
    assert good["file"] == "a.wav" and "events" in good and "is a pipe" in bad["error"]

def test_standard_input_is_a_pipe(sound):
    for name in ("-", "/dev/stdin"):
        done = program("detect", name, stdin=None, input=sound.read_bytes())
        text = done.stderr.decode()
        assert done.returncode == 1 and text.startswith(f"sirenbook: {name}: is ")
        assert "listen --raw" in text and is_sentence(text.strip())
    with open("a.wav", "rb") as file: done = program("detect", "/dev/stdin", stdin=file)
    assert done.returncode == 0 and done.stdout.startswith(b"/dev/stdin: no siren"), done.stderr

def test_what_things_are():
    os.mkfifo("p")
    Path("f").touch()
    assert [special_file(p) for p in ("p", "f", ".", "none", "x" * 300, "a\0b", os.devnull)] == [
        "a pipe", "", "", "", "", "", "a device"]
    Path("-").touch()
    assert special_file("-") == ""                             # a file of this name is a file


# ---- what a folder holds beside

@pytest.mark.parametrize("path", [os.environ["PATH"], ""], ids=["with ffmpeg, if any", "without"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_kinds_that_are_not_heard_are_counted(workers, path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", path)
    for name in ("a", "b", "deep/c"): write(Path(f"street/{name}.wav"))
    for name in ("1", "2", "deep/3"): Path(f"street/{name}.m4a").write_bytes(b"not decoded here")
    Path("street/4.WMA").write_bytes(b"not decoded here")
    Path("street/notes.txt").write_text("buy milk")
    assert main(["detect", "street", "--workers", workers]) == 1
    out, err = capsys.readouterr()
    assert out.count("\n") == 3 and err.count("\n") == 2, err
    wma, m4a = err.splitlines()[::-1] if "m4a" in err.splitlines()[0] else err.splitlines()
    assert m4a.startswith("sirenbook: 3 m4a files were not heard, such as street/1.m4a: ")
    assert wma.startswith("sirenbook: 1 wma file was not heard, street/4.WMA: ")
    assert is_sentence(m4a) and is_sentence(wma)
    assert main(["detect", "street", "--workers", workers, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert len(found) == 7 and sum("error" in a for a in found) == 4

def test_a_file_that_was_named_gets_its_own_sentence(capsys):
    for name in ("1", "2"): Path(f"{name}.m4a").write_bytes(b"not decoded here")
    assert main(["detect", "1.m4a", "2.m4a"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["1.m4a", "2.m4a"]

@pytest.mark.parametrize("name", ["", "notes.txt", ".hidden.wav", ".git/annex/a.wav"])
def test_a_folder_without_sounds_says_so(name, capsys):
    Path("street").mkdir()
    if name: write(Path("street") / name, format="WAV")
    assert main(["detect", "street"]) == 1
    assert "street: holds no sound file" in complaint(capsys)
    assert main(["detect", "street", "--json", "--csv", "a.csv"]) == 1
    [a] = json.loads(capsys.readouterr().out)
    assert all("holds no sound file" in x for x in (a["error"], Path("a.csv").read_text()))


@pytest.fixture
def unreadable(monkeypatch):
    "Two folders that may not be read, in one that may."
    for name in ("a", "b/secret/c", "deep/private/d", "deep/e"): write(Path(f"street/{name}.wav"))
    usual = os.scandir
    def scandir(path="."):
        if os.path.basename(os.fspath(path)) in ("secret", "private"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return usual(path)
    monkeypatch.setattr(os, "scandir", scandir)                 # root may read everything
    return ["street/b/secret", "street/deep/private"]

@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_folder_that_may_not_be_read_costs_its_files_only(workers, unreadable, capsys):
    assert main(["detect", "street", "--workers", workers]) == 1
    out, err = capsys.readouterr()
    assert [line.split(": ")[0] for line in out.splitlines()] == ["street/a.wav",
                                                                  "street/deep/e.wav"]
    for line, folder in zip(err.splitlines(), unreadable, strict=True):
        assert line == f"sirenbook: {folder}: cannot be read (Permission denied); "\
                       "no file in it is heard"
    assert main(["detect", "street", "--json"]) == 1
    found = {a["file"]: a for a in json.loads(capsys.readouterr().out)}
    assert {*found} == {*unreadable, "street/a.wav", "street/deep/e.wav"}
    assert all(("error" in a) == (name in unreadable) for name, a in found.items())
    assert main(["detect", unreadable[0]]) == 1                 # named itself
    assert complaint(capsys).startswith(f"sirenbook: {unreadable[0]}: cannot be read")

def test_a_data_set_with_a_folder_that_may_not_be_read_is_refused(unreadable):
    Path("street").rename("emergency")
    write(Path("non-emergency/z.wav"))
    with complains("emergency/b/secret", "cannot be read"): load_dataset(".")

def test_a_link_to_a_folder_above_is_followed(capsys):
    "Its other folders are heard, each file once, and the circle ends."
    for name in ("day1/a", "day2/b", "day2/deep/c", "d"): write(Path(f"all/{name}.wav"))
    Path("all/day1/up").symlink_to("..")
    Path("all/day2/deep/back").symlink_to(Path("all").resolve())
    assert main(["detect", "all/day1"]) == 0
    out, err = capsys.readouterr()
    heard = [line.split(": ")[0] for line in out.splitlines()]
    assert not err and sorted(os.path.realpath(p) for p in heard) == sorted(
        str(p.resolve()) for p in Path("all").glob("**/*.wav"))
    assert main(["detect", "all"]) == 0 and len(capsys.readouterr().out.splitlines()) == 4


# ---- a damaged file is heard to its end, with a sentence

DAMAGE = "{}: 2.0 s are missing at its end"
DAMAGED = """
import sys
from pathlib import Path
from sirenbook import audio, detector
from sirenbook.errors import warn
whole = detector.read_blocks
def damaged(path, *args):
    yield from whole(path, *args)
    if Path(path).name.startswith("cut"): warn(f"{path}: 2.0 s are missing at its end")
detector.read_blocks = damaged
"""

@pytest.fixture
def damaged(monkeypatch, tmp_path):
    "Files whose names begin with `cut` give a warning at their end, in every process."
    from sirenbook import detector
    usual = detector.read_blocks
    def read_blocks(path, *args):
        yield from usual(path, *args)
        if Path(path).name.startswith("cut"): warn(DAMAGE.format(path))
    monkeypatch.setattr(detector, "read_blocks", read_blocks)
    monkeypatch.setattr(files, "_WORKER", DAMAGED + files._WORKER)
    return [write(Path(f"{name}.wav")) for name in ("cut1", "good", "cut2")]

@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_damaged_file_is_answered_with_a_sentence(workers, damaged, capsys):
    words = ["detect", *map(str, damaged), "--workers", workers]
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert [line.split(": ")[0] for line in out.splitlines()] == ["cut1.wav", "good.wav",
                                                                  "cut2.wav"]
    assert err == "".join(f"sirenbook: {DAMAGE.format(f'{n}.wav')}\n" for n in ("cut1", "cut2"))
    assert main([*words, "--json", "--csv", "a.csv"]) == 1
    out, err = capsys.readouterr()
    answers = json.loads(out)
    assert err.count("\n") == 2 and all("events" in a and "error" not in a for a in answers)
    assert [a.get("warnings") for a in answers] == [[DAMAGE.format("cut1.wav")], None,
                                                    [DAMAGE.format("cut2.wav")]]
    first, good, second = Path("a.csv").read_text().splitlines()[1:]
    assert first.endswith(DAMAGE.format("cut1.wav")) and good.endswith(",")
    assert main(["detect", "good.wav", "--workers", workers]) == 0

def test_a_note_on_sound_that_was_heard_is_no_failure(monkeypatch, capsys):
    "Nor is it printed for each of the three blocks."
    write(Path("a.wav"), np.zeros(25 * 16000))
    from sirenbook import detector
    usual = detector.Stream.push
    def push(self, *args): warn("this sound: its channels cancel"); return usual(self, *args)
    monkeypatch.setattr(detector.Stream, "push", push)
    assert main(["detect", "a.wav", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)[0]["warnings"] == ["this sound: its channels cancel"]
    assert err == "sirenbook: this sound: its channels cancel\n"

def test_a_picture_of_a_damaged_file_says_so(damaged, monkeypatch):
    pytest.importorskip("matplotlib")
    from matplotlib.axes import Axes
    titles, usual = [], Axes.set_title
    def set_title(ax, text, **kwargs): titles.append(text); return usual(ax, text, **kwargs)
    monkeypatch.setattr(Axes, "set_title", set_title)
    assert main(["detect", "cut1.wav", "good.wav", "--plot", "a.png"]) == 1
    cut, good = filter(None, titles)
    assert cut.endswith("\n" + DAMAGE.format("cut1.wav")) and "\n" not in good

def test_warnings_in_a_worker_reach_its_parent(monkeypatch):
    Path("work.py").write_text("""
import warnings
from sirenbook.errors import warn
def make():
    def work(item, note):
        warnings.warn("of another package")
        for _ in range(item): warn("the same words")
        if item == 2: raise ValueError("two")
        return item
    return work
""")
    monkeypatch.syspath_prepend(".")
    with pytest.warns(SirenbookWarning) as caught:
        results = list(run_workers("work:make", [], [0, 1, 2, 3], workers=2))
    assert [str(r) for r in results] == ["0", "1", "ValueError('two')", "3"]
    assert [str(w.message) for w in caught] == ["the same words"] * 6

@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_error_that_nobody_foresaw_costs_its_file_only(workers, sound, monkeypatch, capsys):
    broken = ("from sirenbook import detector\ndef read_blocks(path, *args):\n"
              "    if 'b.' in path.name: raise ZeroDivisionError('odd')\n"
              "    return usual(path, *args)\n"
              "usual, detector.read_blocks = detector.read_blocks, read_blocks\n")
    from sirenbook import detector
    monkeypatch.setattr(detector, "read_blocks", detector.read_blocks)
    exec(broken, {})
    monkeypatch.setattr(files, "_WORKER", broken + files._WORKER)
    write(Path("b.wav"))
    assert main(["detect", "b.wav", "a.wav", "--workers", workers]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("a.wav: ") and err == "sirenbook: b.wav: ZeroDivisionError('odd')\n"


# ---- C libraries print nothing

def mp3_with_zeros(path):
    "An mp3 with a stretch of zeros in its middle, at which libmpg123 prints notes."
    noise = np.random.default_rng(0).normal(0, .1, 80_000)
    data = write(path, noise, format="MP3").read_bytes()
    path.write_bytes(data[:9000] + bytes(9000) + data[9000:])
    return path

def test_c_lines_stay_off_stderr():
    done = program("detect", mp3_with_zeros(Path("zeros.mp3")), "nowhere.wav")
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 1 and 1 <= len(lines) <= 2, lines
    assert all(line.startswith("sirenbook: ") for line in lines), lines

def test_a_closed_stderr_is_no_trouble(sound):
    done = subprocess.run([*PROGRAM, "detect", "a.wav"], env=ENV, stdout=subprocess.PIPE,
                          preexec_fn=lambda: os.close(2), timeout=60)
    assert done.returncode == 0 and done.stdout.startswith(b"a.wav: no siren")


# ---- ten thousand files

@pytest.fixture
def many():
    "Two hundred tiny files, a few of them bad, in folders."
    for k in range(200):
        path = write(Path(f"many/{k % 7}/{k:03}.wav"), np.full(800 + k, k / 400), 8000)
        if k % 50 == 7: path.write_bytes(b"buy milk")
    return "many"

def test_many_files_whatever_the_number_of_workers(many, capsys):
    found = {}
    for workers in ("1", "2", "3"):
        assert main(["detect", many, "--json", "--csv", "a.csv", "--workers", workers]) == 1
        out, err = capsys.readouterr()
        found[workers] = out, err, Path("a.csv").read_bytes()
    assert found["1"] == found["2"] == found["3"]
    answers = json.loads(found["1"][0])
    assert len(answers) == 200 and sum("error" in a for a in answers) == 4
    assert [a["file"] for a in answers] == sorted(map(str, Path(many).rglob("*.wav")))

PEAK = """
import re, resource, sys
from pathlib import Path
from sirenbook.cli import main
code, status = main(), Path("/proc/self/status")
if status.exists(): kb = int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1])
else: kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (
    1024 if sys.platform == "darwin" else 1)
print(kb, file=sys.stderr)
"""

def test_many_files_take_no_more_memory_than_few():
    for k in range(600): write(Path(f"many/{k:04}.wav"), np.full(800, k / 600), 8000)
    def peak_mb(*words):
        done = subprocess.run([sys.executable, "-c", PEAK, "detect", *words], env=ENV,
                              capture_output=True, timeout=120)
        assert done.stdout.count(b"no siren") in (20, 600), done.stderr
        return int(done.stderr.split()[-1]) / 1024
    few, many = peak_mb(*(f"many/{k:04}.wav" for k in range(20))), peak_mb("many")
    assert many < few + 4, f"{few:.0f} MB for 20 files, {many:.0f} MB for 600"


# ---- a microphone that opens in stereo only

@pytest.mark.parametrize("channels", [1, 2, 6])
def test_a_microphone_of_several_channels(channels, monkeypatch, capsys):
    "It opens with its own number of channels and no other; they are averaged."
    class Card:
        PortAudioError = type("PortAudioError", (Exception,), {})
        left, opened = 3, []
        def query_devices(self, device, kind):
            return {"default_samplerate": 16000.0, "max_input_channels": channels}
        def InputStream(self, sr, *, device, channels, dtype):
            self.opened.append(channels)
            if channels != only: raise self.PortAudioError("Invalid number of channels")
            return self
        def __enter__(self): return self
        def __exit__(self, *e): pass
        def read(self, n):
            self.left -= 1
            if self.left < 0: raise KeyboardInterrupt
            return np.tile(np.arange(only, dtype=np.float32) / 10, (n, 1)), False
    only, seen, card = channels, [], Card()
    monkeypatch.setitem(sys.modules, "sounddevice", card)
    stream = Detector.pretrained().stream(16000)
    scores = type(stream)._scores
    def _scores(self, wav, *args, **kwargs): seen.append(wav); return scores(self, wav, *args,
                                                                            **kwargs)
    monkeypatch.setattr(type(stream), "_scores", _scores)
    assert main(["listen"]) == 130
    assert complaint(capsys) == "sirenbook: stopped after 0.3 s\n"
    assert card.opened == sorted({1, min(2, channels), channels})
    mean = np.arange(channels).mean() / 10
    assert all(w.ndim == 1 and np.allclose(w, mean) for w in seen if len(w)) and len(seen) >= 3
    only = 7                                                   # no number of channels opens it
    assert main(["listen"]) == 1
    assert "Invalid number of channels" in complaint(capsys)


# ---- the corpus of sound files, through the command

def answers_of(files, *words):
    "What `detect --json` answers to files of these names and bytes."
    for name, data in files.items(): Path(name).write_bytes(data)
    done = program("detect", *files, "--json", "--threshold", .3, *words)
    answers = json.loads(done.stdout)
    assert [a["file"] for a in answers] == [*files]
    lines = done.stderr.decode().splitlines()
    assert all(x.startswith("sirenbook: ") and is_sentence(x) for x in lines), lines
    return done.returncode, answers, lines

def test_every_kind_is_heard_at_its_second():
    code, answers, lines = answers_of(corpus(), "--workers", "2")
    assert code == 0 and not lines, lines
    for a in answers:
        assert abs(a["seconds"] - SECONDS) < .15 and "warnings" not in a, a
        [event] = a["events"]
        assert abs(event["start"] - START) < 1 and START < event["end"] <= a["seconds"], a

def test_after_a_cut_or_an_extension_never_nothing_without_a_word():
    whole, junk = corpus(), np.random.default_rng(0).bytes(9000)
    files = {f"cut {name}": whole[name][:int(.8 * len(whole[name]))] for name in CUT}
    files |= {f"more {name}": whole[name] + junk for name in CUT}
    code, answers, lines = answers_of(files, "--workers", "2")
    said = [a["file"] for a in answers if {"error", "warnings"} & a.keys()]
    assert code == 1 and len(lines) == len(said) and {f"cut {name}" for name in CUT} <= {*said}
    assert all(a.get("events") or a["file"] in said for a in answers)
