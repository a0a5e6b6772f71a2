"""The embedded data set: the same everywhere, fair to both classes, and mended where its cache is damaged."""
import csv, hashlib, os, shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile as sf
from shared import ROOT, complains, fresh
from sirenbook import recordings
from sirenbook.recordings import CLASSES, ROADSIDE, load_dataset, make_roadside, render_roadside
from sirenbook.signals import SirenbookFileError

FOLDER = f"roadside-{recordings.ROADSIDE_VERSION}"

def checksum(samples): return hashlib.sha256(samples.astype("<i2").tobytes()).hexdigest()

@pytest.fixture(scope="module")
def rows():
    "The committed list of what the data set holds, by file."
    with open(ROOT/"data"/"roadside.csv", newline="", encoding="utf-8") as f: return {r["file"]: r for r in csv.DictReader(f)}

@pytest.fixture(scope="module")
def roadside(): return load_dataset("roadside")

@pytest.fixture(scope="module")
def whole(roadside):
    "The folder where the data set lies."
    return roadside.recordings[0].path.parent.parent


# ---- what it is

def test_what_it_holds(roadside, rows):
    assert len(roadside.recordings) == len(rows) == 60
    assert 14 <= sum(r.seconds for r in roadside.recordings) / 60 <= 16
    for r in roadside.recordings:
        assert r.wav.dtype == np.float32 and r.sr == 16000 and .005 < np.abs(r.wav).max() <= 1
    assert abs(sum(r.label == CLASSES[0] for r in roadside.recordings) - 30) <= 3
    kinds = {r["kind"] for r in rows.values() if r["label"] == CLASSES[0]}
    assert kinds == {"wail", "yelp", "hi-lo"} and {r["kind"] for r in rows.values() if r["label"] == CLASSES[1]} == {""}

def test_it_is_what_the_list_says(roadside, whole, rows):
    assert (whole/"manifest.csv").read_bytes() == (ROOT/"data"/"roadside.csv").read_bytes()
    for r in roadside.recordings:
        row = rows[r.path.relative_to(whole).as_posix()]
        assert (r.label, r.group) == (row["label"], row["group"])
        assert checksum(np.round(r.wav * 32768)) == row["sha256"], f"{r.path.name} is not the committed one"

def test_rendering_gives_the_list(rows):
    "Every fourth recording made again, whatever the cache holds."
    with ThreadPoolExecutor(os.cpu_count()) as pool: made = list(pool.map(lambda r: checksum(render_roadside(*r)), ROADSIDE[::4]))
    assert made == [r["sha256"] for r in rows.values()][::4], "the recordings changed: raise ROADSIDE_VERSION and commit data/roadside.csv anew"

def test_a_new_process_renders_the_same(rows):
    picked = [1, 2, 3, 59]
    told = fresh("""import sys, hashlib
from sirenbook.recordings import ROADSIDE, render_roadside
for i in sys.argv[1:]: print(hashlib.sha256(render_roadside(*ROADSIDE[int(i)]).astype("<i2").tobytes()).hexdigest())""", *picked, PYTHONHASHSEED="7")
    assert told.split() == [list(rows.values())[i]["sha256"] for i in picked]

def test_it_has_a_data_card():
    card = (ROOT/"data"/"README.md").read_text(encoding="utf-8").lower()
    for word in ("roadside", "seed", "siren", "engine", "licence", "60"): assert word in card, f"the data card does not mention {word!r}"

def test_at_another_rate(roadside):
    data = load_dataset("roadside", sr=8000)
    assert {(r.sr, r.wav.dtype, len(r.wav)) for r in data.recordings} == {(8000, np.dtype(np.float32), len(roadside.recordings[0].wav) // 2)}


# ---- what does not give the class away

def frames_rms(wav): return np.sqrt(np.mean(wav[:len(wav) // 800 * 800].reshape(-1, 800) ** 2, 1))  # of 50 ms

CUES = {
    "level": lambda wav: np.sqrt(np.mean(wav ** 2)),
    "peak": lambda wav: np.abs(wav).max(),
    "noise floor": lambda wav: np.percentile(frames_rms(wav), 5),
    "noise floor under level": lambda wav: np.percentile(frames_rms(wav), 10) / np.sqrt(np.mean(wav ** 2)),
    "zeros": lambda wav: np.mean(wav == 0),
    "offset": lambda wav: wav.mean(),
}

@pytest.mark.parametrize("cue", CUES)
def test_it_cannot_be_told_by(cue, roadside):
    from sklearn.metrics import roc_auc_score
    auc = roc_auc_score([r.label == CLASSES[0] for r in roadside.recordings], [CUES[cue](r.wav) for r in roadside.recordings])
    assert max(auc, 1 - auc) <= .7, f"{cue} alone tells the classes apart: AUC {auc:.2f}"


# ---- a cache that is damaged, shut or interrupted

@pytest.fixture
def rendered(whole, monkeypatch, tmp_path):
    "Count renderings and make them quick: samples come from the whole cache. No other cache is seen."
    calls = []
    def quick(label, kind, i):
        calls.append((label, kind, i))
        return sf.read(whole/label/f"{kind or 'street'}-{i:02}.flac", dtype="int16")[0]
    monkeypatch.setattr(recordings, "render_roadside", quick)
    monkeypatch.setattr(recordings.platformdirs, "user_cache_dir", lambda *args: str(tmp_path/"cache"))
    monkeypatch.setenv("SIRENBOOK_DATA", str(tmp_path/"mine"))
    return calls

def names(folder): return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())

def cut(folder): p = folder/"emergency"/"yelp-01.flac"; p.write_bytes(p.read_bytes()[:90_000])
def lose(folder): (folder/"non-emergency"/"street-03.flac").unlink()
def alter(folder): sf.write(folder/"emergency"/"wail-00.flac", np.zeros(240000), 16000)
def swap(folder): shutil.copy(folder/"emergency"/"wail-03.flac", folder/"emergency"/"wail-00.flac")
def add(folder): shutil.copy(folder/"emergency"/"wail-00.flac", folder/"emergency"/"wail-99.flac")
def scribble(folder): (folder/"manifest.csv").write_bytes(bytes(range(256)))
def shorten(folder): p = folder/"manifest.csv"; p.write_bytes(p.read_bytes()[:3000])
def forget(folder): (folder/"manifest.csv").unlink()
def empty(folder): shutil.rmtree(folder); folder.mkdir()
def regroup(folder): p = folder/"manifest.csv"; p.write_text(p.read_text().replace(",wail-03,", ",wail-00,"))

@pytest.mark.parametrize("damage", [cut, lose, alter, swap, add, scribble, shorten, forget, empty, regroup])
def test_damage_is_mended(damage, whole, rendered, rows, tmp_path):
    folder = tmp_path/"mine"/FOLDER
    shutil.copytree(whole, folder)
    damage(folder)
    data = load_dataset("roadside")
    assert sorted(rendered) == sorted(ROADSIDE), "it was not made anew"
    assert [checksum(np.round(r.wav * 32768)) for r in data.recordings] == [rows[r.path.relative_to(folder).as_posix()]["sha256"] for r in data.recordings]
    assert (folder/"manifest.csv").read_bytes() == (whole/"manifest.csv").read_bytes()
    assert names(tmp_path/"mine") == [f"{FOLDER}/{n}" for n in names(whole)], "something else was left behind"

def test_a_whole_cache_is_left_alone(whole, rendered, tmp_path):
    shutil.copytree(whole, tmp_path/"mine"/FOLDER)
    assert len(load_dataset("roadside").recordings) == 60 and not rendered
    assert load_dataset("roadside").recordings[0].path.is_relative_to(tmp_path/"mine")

@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, MemoryError])
def test_interrupted(error, whole, rendered, tmp_path, monkeypatch):
    quick = recordings.render_roadside
    def stop(*row):
        if len(rendered) > 20: raise error("stop here")
        return quick(*row)
    monkeypatch.setattr(recordings, "render_roadside", stop)
    with pytest.raises(error): load_dataset("roadside")
    assert not list((tmp_path/"mine").iterdir()), "half a data set was left behind"
    monkeypatch.setattr(recordings, "render_roadside", quick)
    assert len(load_dataset("roadside").recordings) == 60

def test_a_second_process_may_be_first(whole, rendered, tmp_path):
    (tmp_path/"mine").mkdir()
    folder = tmp_path/"mine"/FOLDER
    shutil.copytree(whole, folder)
    make_roadside(folder)
    assert len(rendered) == 60 and names(tmp_path/"mine") == [f"{FOLDER}/{n}" for n in names(whole)]

def test_a_place_that_cannot_be_written_to(rendered, tmp_path, monkeypatch):
    (tmp_path/"mine").mkdir()
    access = os.access
    monkeypatch.setattr(recordings.os, "access", lambda path, mode: access(path, mode) and (tmp_path/"mine") != path)
    data = load_dataset("roadside")
    assert data.recordings[0].path.is_relative_to(tmp_path/"cache") and not list((tmp_path/"mine").iterdir())

def test_a_place_that_cannot_be_made(rendered, tmp_path, monkeypatch):
    (tmp_path/"file").write_text("in the way")
    monkeypatch.setenv("SIRENBOOK_DATA", str(tmp_path/"file"/"data"))
    assert load_dataset("roadside").recordings[0].path.is_relative_to(tmp_path/"cache")

def test_no_place_at_all(rendered, tmp_path, monkeypatch):
    (tmp_path/"file").write_text("in the way")
    monkeypatch.setenv("SIRENBOOK_DATA", str(tmp_path/"file"/"data"))
    monkeypatch.setattr(recordings.platformdirs, "user_cache_dir", lambda *args: str(tmp_path/"file"/"cache"))
    with complains(tmp_path/"file", "SIRENBOOK_DATA", kind=SirenbookFileError): load_dataset("roadside")

def test_damage_where_nothing_may_be_changed(whole, rendered, tmp_path, monkeypatch):
    folder = tmp_path/"mine"/FOLDER
    shutil.copytree(whole, folder)
    lose(folder)
    def refuse(path, *args, **kwargs): raise PermissionError(13, "Permission denied", str(path))
    monkeypatch.setattr(recordings.shutil, "rmtree", refuse)
    with complains(folder, kind=SirenbookFileError): load_dataset("roadside")
