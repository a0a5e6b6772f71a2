"""Files and folders, good and bad: good ones load, bad ones are refused in one sentence."""
import os, shutil, sys, threading, warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from shared import complains, is_sentence, real, write, write_folder
from sirenbook.chunks import chunk, chunk_dataset, group_split
from sirenbook.networks import inputs
from sirenbook.audio import SUFFIXES, read_blocks
from sirenbook import recordings, rendering
from sirenbook.recordings import CLASSES, Dataset, load_dataset, load_folder, load_wav
from sirenbook.errors import SirenbookFileError, SirenbookWarning
from sirenbook.files import atomic_write, folder_lock, read_csv, sha256, write_csv
from sirenbook.runs import RunTable
from sirenbook.signals import tone
from sirenbook.spectrograms import frames, log_spectrogram
from sirenbook.training import load_model

def pitch_hz(wav):
    return np.abs(np.fft.rfft(wav * np.hanning(len(wav)))).argmax() * 16000 / len(wav)

def noise(seconds=3, channels=1, sr=16000):
    return np.random.default_rng(0).normal(0, .1, (round(seconds * sr), channels))

@pytest.fixture
def mine(tmp_path): return write_folder(tmp_path/"mine")


# ---- formats that load

@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_wav_of_any_depth(tmp_path, subtype):
    wav = load_wav(write(tmp_path/"a.wav", subtype=subtype))
    assert wav.dtype == np.float32
    atol = 1 / 100 if subtype == "PCM_U8" else 1 / 30000
    np.testing.assert_allclose(wav, tone(440, 1), atol=atol)

@pytest.mark.parametrize("sr", [8000, 11025, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_any_format_at_any_rate(tmp_path, suffix, sr):
    wav = load_wav(write(tmp_path/f"a{suffix}", tone(440, 3, sr), sr))
    slack = {".mp3": 4000, ".ogg": 200}.get(suffix, 1)  # mp3 pads to whole frames
    assert wav.ndim == 1 and wav.dtype == np.float32 and abs(len(wav) - 48000) <= slack
    assert abs(pitch_hz(wav) - 440) < 1
    middle = wav[16000:32000]
    assert abs(np.sqrt(2 * np.mean(middle ** 2)) - .5) < .02 and np.abs(wav).max() <= 1

@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_channels_are_averaged(tmp_path, suffix, channels):
    x = noise(channels=channels)
    wav = load_wav(write(tmp_path/f"a{suffix}", x))
    assert wav.shape == (48000,)
    np.testing.assert_allclose(wav, x.mean(1), atol=1e-4)

def test_as_librosa_loads(tmp_path):
    librosa = pytest.importorskip("librosa")
    path = write(tmp_path/"a.wav", noise(channels=2, sr=44100), 44100)
    np.testing.assert_allclose(load_wav(path), librosa.load(path, sr=16000)[0], atol=1e-4)
    np.testing.assert_allclose(load_wav(path, sr=22050), librosa.load(path, sr=22050)[0], atol=1e-4)

def test_published_files_as_librosa_loads():
    librosa = pytest.importorskip("librosa")
    files = sorted(real("originals").glob("*.wav"))
    assert files
    for path in files:
        np.testing.assert_allclose(load_wav(path), librosa.load(path, sr=16000)[0], atol=1e-4,
                                   err_msg=path.name)

@pytest.mark.parametrize("name", ["A.WAV", "b.Flac", "c.Ogg", "d.MP3", "ä ö, ü.wav", "e.f.wav"])
def test_names_of_files(mine, name):
    write(mine/"emergency"/name, tone(300, 3), format=name.rpartition(".")[2].upper())
    data = load_dataset(mine)
    assert name in [r.path.name for r in data.recordings] and len(data.recordings) == 5

@pytest.mark.parametrize("size", [0xFFFFFFFF, 0xFFFFFFFF - 36, 0x7FFFF000, 0x80000000], ids=hex)
def test_wav_from_a_pipe(tmp_path, size):
    "Programs that write to a pipe do not know how long the sound will be: they write a huge size."
    path = write(tmp_path/"a.wav")
    raw = bytearray(path.read_bytes())
    raw[40:44] = size.to_bytes(4, "little")
    path.write_bytes(raw)
    assert len(load_wav(path)) == 16000

def test_loud_samples_are_cut_at_full_scale(tmp_path):
    wav = load_wav(write(tmp_path/"a.wav", 3 * tone(440, 1), subtype="FLOAT"))
    assert np.abs(wav).max() == 1

def test_other_files_are_passed_over(mine):
    for name in ("readme.txt", "emergency/cover.jpg", "emergency/.DS_Store"):
        (mine/name).write_bytes(b"whatever")
    (mine/"notes").mkdir()
    assert len(load_dataset(mine).recordings) == 4


# ---- files that do not

def test_missing_file(tmp_path):
    with complains("none.wav", kind=SirenbookFileError): load_wav(tmp_path/"none.wav")

def test_folder_for_a_file(tmp_path):
    with complains(tmp_path, kind=SirenbookFileError): load_wav(tmp_path)

@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [
    b"", b"\0", b"not a sound " * 999, bytes(range(256)) * 64, b"RIFF\x24\0\0\0WAVE", b"fLaC",
    b"OggS", b"ID3\4"], ids=["empty", "one byte", "words", "bytes", "RIFF", "fLaC", "OggS", "ID3"])
def test_not_a_sound(tmp_path, suffix, content):
    path = tmp_path/f"bad{suffix}"
    path.write_bytes(content)
    with complains(path.name, kind=SirenbookFileError): load_wav(path)

def test_a_sound_without_samples(tmp_path):
    path = write(tmp_path/"a.wav", np.zeros(0))
    with complains("a.wav", "no samples", kind=SirenbookFileError): load_wav(path)

def heard(path):
    "How many seconds of a file are heard, and the sentence on what is not; 0 where it is refused."
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try: seconds = len(load_wav(path)) / 16000
        except SirenbookFileError as e: return 0, str(e)
    texts = [str(w.message) for w in caught]
    assert all(w.category is SirenbookWarning for w in caught) and len(texts) <= 1
    return seconds, "".join(texts)

@pytest.mark.parametrize("share", [.001, .03, .3, .5, .7, .9, .99])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_truncated(tmp_path, suffix, channels, share):
    "It is heard to its end, and a sentence says where that is."
    path = write(tmp_path/f"cut{suffix}", noise(6, channels))
    whole = path.read_bytes()
    path.write_bytes(whole[:int(len(whole) * share)])
    seconds, text = heard(path)
    assert share * 6 - (1.3 if suffix == ".ogg" else .5) < seconds < share * 6 + .6
    assert str(path) in text and is_sentence(text) or seconds > 5.9
    assert not seconds or seconds > 5.9 or f"the {seconds:.1f} s that can be decoded" in text

@pytest.mark.parametrize("suffix", SUFFIXES)
def test_truncated_by_a_few_bytes(tmp_path, suffix):
    "Less than 0.1 s is not worth a word, and a page of Ogg is more."
    path = write(tmp_path/f"cut{suffix}", tone(440, 6))
    path.write_bytes(path.read_bytes()[:-40])
    seconds, text = heard(path)
    assert 4.9 < seconds <= 6.1 and (seconds > 5.9 or str(path) in text)

@pytest.mark.parametrize("suffix", [".ogg", ".mp3"])
@pytest.mark.parametrize("share", [.2, .4, .6, .8])
def test_damaged_within(tmp_path, suffix, share):
    "A decoder may skip the damaged part without an error."
    path = write(tmp_path/f"x{suffix}", np.random.default_rng(0).normal(0, .1, 16000 * 8))
    content, at = path.read_bytes(), int(share * path.stat().st_size)
    path.write_bytes(content[:at] + content[at + 2000:])
    for read in (load_wav, lambda path: np.concatenate([b for b, _ in read_blocks(path, 1)])):
        with pytest.warns(SirenbookWarning, match="damaged; the [67].. s that can"):
            assert 6 < len(read(path)) / 16000 < 8

def test_a_file_of_another_kind(tmp_path):
    for name, advised in (("street.m4a", True), ("street.wav", False)):
        path = tmp_path/name
        path.write_bytes(bytes(range(256)) * 20)
        with complains(path, "decoded", kind=SirenbookFileError) as caught: load_wav(path)
        assert ("ffmpeg" in str(caught.value)) == advised

@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every file name has an encoding")
def test_a_name_in_no_encoding(tmp_path):
    path = write(tmp_path/"cafe.wav").rename(tmp_path/os.fsdecode(b"caf\xe9.wav"))
    with complains("rename", kind=SirenbookFileError): load_wav(path)

def test_unreadable(tmp_path):
    path = write(tmp_path/"shut.wav")
    path.chmod(0)
    if os.access(path, os.R_OK): pytest.skip("this user may read every file (root?)")
    with complains("shut.wav", "read", kind=SirenbookFileError): load_wav(path)

def test_unreadable_as_the_system_says_it(tmp_path, monkeypatch):
    path = write(tmp_path/"shut.wav")
    def refuse(*args, **kwargs): raise PermissionError(13, "Permission denied", str(path))
    monkeypatch.setattr("sirenbook.audio.open", refuse, raising=False)
    with complains("shut.wav", "read", kind=SirenbookFileError): load_wav(path)

@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(tmp_path, value):
    wav = tone(440, 1)
    wav[777] = value
    path = write(tmp_path/"odd.wav", wav, subtype="FLOAT")
    with complains("odd.wav", "finite", kind=SirenbookFileError): load_wav(path)


# ---- folders

def test_bad_file_in_a_folder(mine):
    (mine/"emergency"/"0.wav").write_bytes(b"nothing")
    with complains("0.wav", kind=SirenbookFileError): load_dataset(mine)

def test_missing_folder(tmp_path):
    with complains("nowhere", kind=SirenbookFileError): load_dataset(tmp_path/"nowhere")

def test_a_file_for_a_folder(mine):
    with complains("0.wav", kind=SirenbookFileError): load_dataset(mine/"emergency"/"0.wav")

def test_no_class_folders(tmp_path):
    write(tmp_path/"mine"/"a.wav")
    with complains("mine", *CLASSES, kind=SirenbookFileError): load_dataset(tmp_path/"mine")

@pytest.mark.parametrize("label", CLASSES)
def test_one_class(mine, label):
    shutil.rmtree(mine/label)
    with complains("mine", label, kind=SirenbookFileError): load_dataset(mine)

@pytest.mark.parametrize("label", CLASSES)
def test_empty_class(mine, label):
    for p in (mine/label).iterdir(): p.unlink()
    with complains(mine/label, kind=SirenbookFileError): load_dataset(mine)

def test_a_class_that_nobody_knows(mine):
    write(mine/"ambulance"/"a.wav")
    with complains("mine", "ambulance", kind=SirenbookFileError): load_dataset(mine)

@pytest.mark.parametrize("second", ["0.flac", "0.WAV", "0.mp3"])
def test_two_files_of_one_name(mine, second):
    if (mine/"emergency"/second).exists(): pytest.skip("file names ignore case here")
    write(mine/"emergency"/second, noise(3, 1), format=second.rpartition(".")[2].upper())
    with complains("0", "emergency", kind=SirenbookFileError): load_dataset(mine)

def test_one_recording_under_both_classes(mine):
    shutil.copy(mine/"emergency"/"0.wav", mine/"non-emergency"/"copy.wav")
    with complains("copy.wav", "0.wav", kind=SirenbookFileError): load_dataset(mine)

def test_recordings_alike_in_length_and_middle(mine):
    "They differ at the end only, so they are two recordings."
    wav = noise(3, 1)[:, 0]
    for label, end in (("emergency", 0.1), ("non-emergency", 0.2)):
        wav[-1] = end
        write(mine/label/"nearly.wav", wav)
    assert len(load_dataset(mine).recordings) == 6

def test_short_recording(mine):
    write(mine/"emergency"/"short.wav", tone(300, 1.9))
    data = load_dataset(mine)
    with complains("short.wav", "1.90"): chunk_dataset(data)
    assert len(chunk_dataset(data, short="drop")) == 8
    assert chunk(data.recordings[2].wav).shape == (0, 32000)

def test_nothing_but_short_recordings(tmp_path):
    data = load_dataset(write_folder(tmp_path/"mine", seconds=1))
    with complains("mine"): chunk_dataset(data, short="drop")


# ---- manifests

def manifest(folder, *rows, head="file,label,group"):
    (folder/"manifest.csv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return folder

ROW = "emergency/0.wav,emergency,a"

@pytest.mark.parametrize("rows, names", [
    (["emergency/9.wav,emergency,a"], ["9.wav"]),
    (["../mine/emergency,emergency,a"], ["emergency"]),
    ([ROW, ROW], ["0.wav", "2"]),
    (["emergency/0.wav,non-emergency,a"], ["0.wav", "non-emergency"]),
    (["emergency/0.wav,ambulance,a"], ["0.wav"]),
    (["emergency/0.wav,emergency,"], ["0.wav", "group"]),
    (["emergency/0.wav,emergency"], ["0.wav", "group"]),
    (["emergency/0.wav"], ["0.wav"]),
], ids=["missing file", "not a file", "twice", "wrong label", "unknown label", "empty group",
        "no group", "no label"])
def test_bad_manifest(mine, rows, names):
    with complains(*names, kind=SirenbookFileError): load_dataset(manifest(mine, *rows))

@pytest.mark.parametrize("head", ["file,label", "name,label,group", "file;label;group"])
def test_manifest_with_wrong_columns(mine, head):
    folder = manifest(mine, ROW, head=head)
    with complains("manifest.csv", "file, label and group", kind=SirenbookFileError):
        load_dataset(folder)

def test_manifest_with_a_header_only(mine):
    folder = manifest(mine, head="name,label")
    with complains("manifest.csv", kind=SirenbookFileError): load_dataset(folder)

@pytest.mark.parametrize("content", [
    "file,label,group\nemergency/0.wav,emergency,ä\n".encode("latin-1"), bytes(range(256)),
    b"file,label,group\n\0\n"], ids=["latin-1", "bytes", "a null"])
def test_manifest_that_is_not_text(mine, content):
    (mine/"manifest.csv").write_bytes(content)
    with complains("manifest.csv", kind=SirenbookFileError): load_dataset(mine)

def test_manifest_of_a_spreadsheet(mine):
    "Spreadsheets begin a file with a mark, and end lines their own way."
    (mine/"manifest.csv").write_bytes(f"file,label,group\r\n{ROW}\r\n".encode("utf-8-sig"))
    assert load_dataset(mine).recordings[0].group == "a"


# ---- arguments

@pytest.mark.parametrize("name", ["roadsid", "", "ESVS", "no such set"])
def test_unknown_data_set(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with complains(repr(name), "roadside", "article", "esvs"): load_dataset(name)

@pytest.mark.parametrize("name", ["article", "esvs"])
def test_data_set_that_is_not_here(name, tmp_path, monkeypatch):
    monkeypatch.setenv("SIRENBOOK_DATA", str(tmp_path))
    monkeypatch.setattr("sirenbook.recordings.platformdirs.user_cache_dir",
                        lambda *a: str(tmp_path/"cache"))
    with complains(tmp_path, name, kind=SirenbookFileError): load_dataset(name)
    assert not list(tmp_path.iterdir()), "something was left behind"

def test_the_article_when_it_is_here(tmp_path, monkeypatch):
    monkeypatch.setenv("SIRENBOOK_DATA", str(tmp_path))
    for i, name in enumerate(("emergency", "non emergency")):
        write(tmp_path/"article"/f"{name}.wav", tone(300 + 100 * i, 5, 44100), 44100)
    data = load_dataset("article")
    assert [r.label for r in data.recordings] == [r.group for r in data.recordings] == [*CLASSES]
    assert [len(r.wav) for r in data.recordings] == [80000] * 2
    with complains("group"): c = chunk_dataset(data); group_split(c.y, c.groups)

@pytest.mark.parametrize("call, names", [
    (lambda: chunk(np.zeros((2, 48000))), ["(2, 48000)"]),
    (lambda: chunk(np.zeros(48000), hop=0), ["hop"]),
    (lambda: chunk(np.zeros(48000), seconds=-1), ["seconds"]),
    (lambda: log_spectrogram(np.zeros(32000)), ["(32000,)"]),
    (lambda: log_spectrogram(np.zeros((3, 100))), ["320"]),
    (lambda: log_spectrogram(np.zeros((3, 32000)), noverlap=320), ["320"]),
    (lambda: frames(np.zeros((3, 32001))), ["160"]),
    (lambda: inputs(np.zeros((3, 100)), (32000, 1)), ["(3, 100)"]),
    (lambda: inputs(np.zeros((3, 32000)), (7, 7)), ["(7, 7)"]),
    (lambda: load_model("nothing.keras"), ["nothing.keras"]),
], ids=lambda o: "" if callable(o) else "-".join(o))
def test_bad_arguments(call, names):
    with complains(*names): call()

def test_model_file_that_was_cut_off(tmp_path):
    path = tmp_path/"cut.keras"
    path.write_bytes(b"PK\3\4 and then nothing")
    with complains("cut.keras", kind=SirenbookFileError): load_model(path)


# ---- manifests and tables that people made

@pytest.mark.parametrize("rows, words", [
    ("/data/emergency/0.wav,emergency,a", "path within the folder"),
    ("../set/emergency/0.wav,emergency,a", "path within the folder"),
    ("./emergency/0.wav,emergency,a\nemergency/0.wav,emergency,b", "names emergency/0.wav 2 times"),
    ('emergency/0.wav,emergency,"a', "not a CSV file"),
    ("emergency/0.wav,emergency,Main St, north", "too many values"),
    ("emergency/0.wav,emergency, ", "needs a group"),
])
def test_rows_of_a_manifest_that_would_be_misread(tmp_path, rows, words):
    write_folder(tmp_path/"set")
    (tmp_path/"set"/"manifest.csv").write_text(f"file,label,group\n{rows}\n")
    with complains("manifest.csv", words, kind=SirenbookFileError): load_dataset(tmp_path/"set")

def test_spaces_around_a_group_are_nothing(tmp_path):
    write_folder(tmp_path/"set")
    (tmp_path/"set"/"manifest.csv").write_text(
        "file,label,group\nemergency/0.wav,emergency,g\nemergency/1.wav,emergency,g \n")
    assert [r.group for r in load_dataset(tmp_path/"set").recordings][:2] == ["g", "g"]

def test_an_empty_manifest(tmp_path):
    write_folder(tmp_path/"set")
    (tmp_path/"set"/"manifest.csv").write_text("")
    with complains("manifest.csv", "columns file, label and group", kind=SirenbookFileError):
        load_dataset(tmp_path/"set")

def test_tables(tmp_path):
    path, columns = tmp_path/"t.csv", {"name": str, "n": int}
    with complains("no rows"): write_csv(path, [])
    with complains("nowhere", kind=SirenbookFileError):
        write_csv(tmp_path/"nowhere"/"t.csv", [{"name": "a"}])
    for name in ('a, "b"\nü', "a\rb", "\r", "a\r\nb", "\0"):
        rows = [{"name": name, "n": 3}]
        write_csv(path, rows)
        assert read_csv(path, columns) == rows
    assert path.read_bytes().startswith(b"name,n\n")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_csv(path, columns) == rows, "a mark that spreadsheets leave is no damage"
    path.write_text("name,n,n\na,1,2\n")
    with complains("t.csv", kind=SirenbookFileError): read_csv(path, columns)

@pytest.mark.parametrize("text, words", [
    ("name,x,name\na,1,b\n", "two columns are called name"),
    ("name,x,note,note\na,1,b,c\n", "two columns are called note"),
    ("name,x,note\na,1,\nb,nan,\n", "line 3, x is nan"),
    ("name,x\na,inf\n", "line 2, x is inf"),
    ("name,x\na,\n", "line 2"),
])
def test_tables_with_more_columns(tmp_path, text, words):
    (tmp_path/"t.csv").write_text(text)
    with complains("t.csv", words, kind=SirenbookFileError):
        read_csv(tmp_path/"t.csv", {"name": str, "x": float}, more=True)

@pytest.mark.parametrize("use", [sha256, lambda path: atomic_write(path, b""),
                                 lambda path: folder_lock(path).__enter__()])
def test_a_path_with_a_null(tmp_path, use):
    with complains("is no path", kind=SirenbookFileError): use(tmp_path/"a\0b")

def test_checksum_of_what_cannot_be_read(tmp_path):
    with complains("none.wav", "no such file", kind=SirenbookFileError): sha256(tmp_path/"none.wav")
    with complains(tmp_path, "cannot be read", kind=SirenbookFileError): sha256(tmp_path)

def test_a_folder_that_cannot_be_reserved(tmp_path, monkeypatch):
    (tmp_path/"file").touch()
    (tmp_path/"mine"/".lock").mkdir(parents=True)
    for name, words in (("file", "a file is in its place"), ("file/in", "a file is in its place"),
                        ("mine", "cannot be written")):
        with complains(tmp_path/name, words, kind=SirenbookFileError):
            with folder_lock(tmp_path/name): pass
    def refuse(*args, **kwargs): raise PermissionError(13, "Permission denied")
    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with complains("new", "Permission denied", kind=SirenbookFileError):
        with folder_lock(tmp_path/"new"): pass

def test_what_fails_inside_a_lock_stays_as_it_is(tmp_path):
    with pytest.raises(ZeroDivisionError):
        with folder_lock(tmp_path): 1 / 0

def test_two_threads_write_one_file(tmp_path):
    "Each has a temporary file of its own: the barrier holds both between writing and renaming."
    both = threading.Barrier(2, timeout=20)
    def save(letter):
        def content(part):
            part.write_bytes(letter * 9)
            both.wait()
        atomic_write(tmp_path/"a.txt", content)
    with ThreadPoolExecutor(2) as pool: list(pool.map(save, (b"a", b"b")))
    assert (tmp_path/"a.txt").read_bytes() in (b"a" * 9, b"b" * 9)
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


# ---- what must not get lost or be left out

def test_a_file_that_is_replaced_keeps_its_permissions_and_its_link(tmp_path):
    target, link = tmp_path/"target.csv", tmp_path/"link.csv"
    target.write_text("old")
    target.chmod(0o600)
    link.symlink_to(target)
    atomic_write(link, b"new")
    assert link.is_symlink() and target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o600
    atomic_write(tmp_path/("n" * 250 + ".csv"), b"long")
    for path in ("", tmp_path, os.devnull):
        with complains("is not a file", kind=SirenbookFileError): atomic_write(path, b"")

@pytest.mark.parametrize("sr", [0, -1, 16000.5, float("nan"), float("inf"), "x", None, [16000]])
def test_sample_rates_that_are_none(sr, mine):
    for load in (lambda: load_wav(mine/"emergency"/"0.wav", sr),
                 lambda: load_dataset("roadside", sr), lambda: load_dataset(mine, sr)):
        with complains("sr is a whole number"): load()

def test_a_manifest_whose_file_would_be_left_out(mine):
    (mine/"emergency"/"0.wav").rename(mine/"emergency"/"0.m4a")
    (mine/"manifest.csv").write_text("file,label,group\nemergency/0.m4a,emergency,a\n")
    with complains("0.m4a", "not a sound file", kind=SirenbookFileError): load_dataset(mine)

def test_a_link_to_nowhere_is_not_left_out(mine):
    (mine/"emergency"/"z.wav").symlink_to("nowhere.wav")
    with complains("z.wav", "no such file", kind=SirenbookFileError): load_dataset(mine)

def left_out(folder):
    "The one warning that loading a folder gives, and how many recordings were loaded."
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        n = len(load_dataset(folder).recordings)
    texts = [str(w.message) for w in caught if w.category is SirenbookWarning]
    [text] = [t for t in texts if "the article's file " not in t]   # of another length
    assert is_sentence(text) and str(folder) in text
    return text, n

@pytest.mark.parametrize("name", [
    "loose.wav", "emergency/phone.m4a", "emergency/a/b/x.AAC", "non-emergency/web.opus",
    "web.webm", "emergency/old.wma", "ambulance/x.m4a"])
def test_a_sound_that_is_left_out_is_said(mine, name):
    (mine/name).parent.mkdir(parents=True, exist_ok=True)
    (mine/name).write_bytes(b"sound")
    text, n = left_out(mine)
    kind = name.rpartition(".")[2].lower()
    assert f"1 {kind} file is left out, such as {name};" in text and n == 4

def test_sounds_that_are_left_out_are_said_once(mine):
    for name in ("b.wav", "a.flac", "emergency/c.m4a", "emergency/.d.m4a"): (mine/name).touch()
    text, n = left_out(mine)
    assert "1 flac, 1 m4a, 1 wav files are left out, such as a.flac; only wav, " in text and n == 4

def test_a_third_file_beside_the_article(tmp_path):
    for name in ("emergency", "non emergency", "more"):
        write(tmp_path/f"{name}.wav", tone(300 + 100 * len(name), 3))
    text, n = left_out(tmp_path)
    assert "such as more.wav; only the two files that the article names" in text and n == 2

def test_folders_by_link(mine, tmp_path):
    "A linked folder is read like any other, and one in a circle is read once."
    write(tmp_path/"elsewhere"/"more.wav", tone(500, 3))
    (mine/"emergency"/"linked").symlink_to(tmp_path/"elsewhere")
    (mine/"emergency"/"circle").symlink_to(mine/"emergency")
    names = [r.path.name for r in load_dataset(mine).recordings]
    assert names == ["0.wav", "1.wav", "more.wav", "0.wav", "1.wav"]

@pytest.mark.parametrize("shut", ["mine", "emergency", "deep"])
def test_a_folder_that_may_not_be_read(mine, shut, monkeypatch):
    write(mine/"emergency"/"deep"/"x.wav", tone(500, 3))
    scandir, listdir = os.scandir, os.listdir
    def refusing(list_folder):
        def listed(path="."):
            if os.path.basename(path) == shut: raise PermissionError(13, "Permission denied", path)
            return list_folder(path)
        return listed
    monkeypatch.setattr(os, "scandir", refusing(scandir))
    monkeypatch.setattr(os, "listdir", refusing(listdir))
    with complains(shut, "cannot be read (Permission denied)", kind=SirenbookFileError):
        load_dataset(mine)

@pytest.mark.parametrize("what", [None, 7, b"roadside", ["roadside"], np.zeros((9, 9))])
def test_what_is_no_name_of_a_data_set(what, mine):
    for load in (load_dataset, load_folder):
        with complains("given by its name", type(what).__name__): load(what)
    with complains("given by its path", type(what).__name__): load_wav(what)

def test_scenes_that_vanished_from_the_embedded_data_set_with_their_rows(tmp_path, monkeypatch):
    "The manifest agrees with the folder, and the data set is not whole."
    shutil.copytree(recordings.ROADSIDE, tmp_path/"roadside")
    table = tmp_path/"roadside"/"manifest.csv"
    rows = table.read_text().splitlines(keepends=True)
    gone = rows.pop(4).split(",")[0]
    (tmp_path/"roadside"/gone).unlink()
    table.write_text("".join(rows))
    whole = load_dataset("roadside")
    monkeypatch.setattr(recordings, "ROADSIDE", tmp_path/"roadside")
    monkeypatch.setattr(rendering, "cached_roadside", lambda: whole)
    number = os.path.basename(gone)[:6]
    with pytest.warns(SirenbookWarning, match=f"lacks 1 of 60 recordings.*scene {number}; .*cache"):
        assert load_dataset("roadside") is whole

def test_a_scene_that_was_added_to_the_embedded_data_set(tmp_path, monkeypatch):
    shutil.copytree(recordings.ROADSIDE, tmp_path/"roadside")
    sounds, table = tmp_path/"roadside"/"emergency", tmp_path/"roadside"/"manifest.csv"
    write(sounds/"000060-wail.flac", np.zeros(16000))
    table.write_text(table.read_text() + "emergency/000060-wail.flac,emergency,000060-wail,wail,"
                     + recordings.samples_sha256(np.zeros(16000)) + "\n")
    monkeypatch.setattr(recordings, "ROADSIDE", tmp_path/"roadside")
    monkeypatch.setattr(rendering, "cached_roadside", lambda: Dataset("cached", []))
    with pytest.warns(SirenbookWarning, match="holds 1 more than its 60.*cache"):
        assert load_dataset("roadside").name == "cached"

def test_a_group_of_the_embedded_data_set_that_was_changed(tmp_path, monkeypatch):
    def cached(): raise SirenbookFileError("rendered again")
    shutil.copytree(recordings.ROADSIDE, tmp_path/"roadside")
    table = tmp_path/"roadside"/"manifest.csv"
    table.write_text(table.read_text().replace(",000000-wail,", ",000002-yelp,"))
    monkeypatch.setattr(recordings, "ROADSIDE", tmp_path/"roadside")
    monkeypatch.setattr(rendering, "cached_roadside", cached)
    with pytest.warns(SirenbookWarning, match="group of 000000-wail.flac"):
        with complains("rendered again"): load_dataset("roadside")


# ---- tables of finished runs

RUNS = dict(columns={"name": str, "x": float}, key=("name",))

def test_two_programs_fill_one_table(tmp_path):
    path = tmp_path/"runs.csv"
    first, second = RunTable(path, **RUNS), RunTable(path, **RUNS)
    first.add(name="a", x=1.0)
    second.add(name="b", x=2.0)
    first.add(name="c", x=3.0)
    second.add(name="b", x=4.0)
    rows = read_csv(path, RUNS["columns"])
    assert {r["name"]: r["x"] for r in rows} == {"a": 1, "b": 4, "c": 3} and len(rows) == 3

def test_rows_that_were_dropped_stay_dropped(tmp_path):
    RunTable(tmp_path/"runs.csv", **RUNS).add(dict(name="a", x=1.0), dict(name="b", x=1.0))
    runs = RunTable(tmp_path/"runs.csv", **RUNS)
    runs.rows = runs.rows[:1]
    runs.add(name="c", x=1.0)
    assert [r["name"] for r in read_csv(tmp_path/"runs.csv", RUNS["columns"])] == ["a", "c"]

@pytest.mark.parametrize("bad", [dict(name="b", x=float("nan")), dict(name="b", x="")])
def test_a_row_that_could_not_be_read_again(bad, tmp_path):
    runs = RunTable(tmp_path/"runs.csv", **RUNS)
    runs.add(name="a", x=1.0)
    with complains("runs.csv", "read again"): runs.add(**bad)
    runs.add(name="c", x=1.0)
    assert [r["name"] for r in RunTable(tmp_path/"runs.csv", **RUNS).rows] == ["a", "c"]

def test_a_run_asked_for_twice_is_done_once(tmp_path):
    assert list(RunTable(tmp_path/"runs.csv", **RUNS).pending(["a", "b", "a"])) == [("a",), ("b",)]
