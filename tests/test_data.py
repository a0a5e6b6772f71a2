"""The embedded data set: the same everywhere, fair to both classes, repaired; and larger ones."""

import csv, errno, hashlib, json, os, shutil, subprocess, sys

import numpy as np
import pytest
import soundfile as sf
from shared import ROOT, complains, fresh, is_sentence
from sirenbook import files, recordings, rendering
from sirenbook.errors import SirenbookError, SirenbookFileError, SirenbookWarning
from sirenbook.recordings import CLASSES, JOURNAL, load_dataset, load_events, load_truth
from sirenbook.rendering import (ROADSIDE_VERSION, TURNS, make_roadside,
                                 render_dataset, render_scene, world_scene)
from sirenbook.sirens import KINDS

EMBEDDED = ROOT/"data"/"roadside"
FOLDER = f"roadside-{ROADSIDE_VERSION}"

def checksum(samples): return hashlib.sha256(samples.astype("<i2").tobytes()).hexdigest()

def names(folder):
    "The files in a folder, without the one that locks it."
    return sorted(
        p.relative_to(folder).as_posix()
        for p in folder.rglob("*")
        if p.is_file() and p.name != ".lock"
    )


def content(folder): return {name: (folder/name).read_bytes() for name in names(folder)}

def hours(n, seconds=2): return n * seconds / 3600

@pytest.fixture(scope="module")
def rows():
    "The committed list of what the data set holds, by file."
    with open(EMBEDDED/"manifest.csv", newline="", encoding="utf-8") as f:
        return {r["file"]: r for r in csv.DictReader(f)}

@pytest.fixture(scope="module")
def roadside(): return load_dataset("roadside")

@pytest.fixture(scope="module")
def whole(roadside):
    "The folder of the data set."
    return roadside.recordings[0].path.parent.parent


# ---- what it is

def test_what_it_holds(roadside, rows):
    assert len(roadside.recordings) == len(rows) == 60
    assert [r.label for r in roadside.recordings] == [CLASSES[0]] * 30 + [CLASSES[1]] * 30
    for r in roadside.recordings:
        assert (
            r.wav.dtype == np.float32
            and r.sr == 16000
            and r.seconds == 15
            and 0.005 < np.abs(r.wav).max() <= 1
        )
    assert [r["kind"] for r in rows.values()] == [k for kind in TURNS * 2 for k in (kind, "")], (
        "the 60 scenes hold each of the 15 turns twice: a new one replaces one")
    assert len({r.group for r in roadside.recordings}) == 60

def test_a_copy_of_the_repository_has_it_as_files(whole):
    assert whole.samefile(EMBEDDED) and recordings.ROADSIDE.samefile(EMBEDDED)
    assert sum(p.stat().st_size for p in EMBEDDED.rglob("*")) < 20e6

def test_it_is_what_the_list_says(roadside, whole, rows):
    for r in roadside.recordings:
        row = rows[r.path.relative_to(whole).as_posix()]
        assert (r.label, r.group) == (row["label"], row["group"])
        assert checksum(np.round(r.wav * 32768)) == row["sha256"], (
            f"{r.path.name} is not the committed one"
        )


def test_rendering_gives_the_files(tmp_path, monkeypatch):
    "All sixty scenes, their truth, events and manifest, whatever the cache holds."
    make_roadside(tmp_path/"set")
    made, there = content(tmp_path/"set"), content(EMBEDDED)
    made.pop(JOURNAL)
    there.pop("README.md")
    assert made.keys() == there.keys(), (
        "the files changed: raise ROADSIDE_VERSION and commit data/roadside again"
    )
    for name in sorted(made):
        if not name.endswith(".flac"):
            assert made[name] == there[name], f"{name} is not the committed one"
            continue
        (ours, sr), (theirs, sr_there) = (
            sf.read(folder / name, dtype="int16") for folder in (tmp_path / "set", EMBEDDED)
        )
        assert sr == sr_there == 16000 and np.array_equal(ours, theirs), (
            f"{name} is not rendered sample by sample"
        )


PICKED = 1, 11, 26

def test_a_new_process_renders_the_same(rows):
    printed = fresh(
        """import sys, hashlib
import numpy as np
from sirenbook.rendering import ROADSIDE_SEED, render_scene
for i in sys.argv[1:]:
    mix = render_scene(ROADSIDE_SEED, int(i), clear=True).mix
    samples = np.round(mix.astype(float) * 32767).astype("<i2")
    print(hashlib.sha256(samples.tobytes()).hexdigest())""",
        *PICKED,
        PYTHONHASHSEED="7",
    )
    assert printed.split() == [list(rows.values())[i]["sha256"] for i in PICKED]

def test_loading_needs_no_synthesiser():
    loaded = fresh("""import sys
import sirenbook.recordings
from sirenbook.recordings import load_dataset
assert len(load_dataset("roadside").recordings) == 60
print(*[m for m in sys.modules if m.startswith("sirenbook.")])""").split()
    assert "sirenbook.recordings" in loaded
    assert not {
        f"sirenbook.{m}" for m in ("sirens", "noises", "vehicles", "roads", "rendering")
    } & {*loaded}


def test_it_has_a_data_card():
    card = (EMBEDDED/"README.md").read_text(encoding="utf-8").lower()
    for word in ("roadside", "seed", "siren", "engine", "licence", "60"):
        assert word in card, f"the data card does not mention {word!r}"


def test_at_another_rate(roadside):
    data = load_dataset("roadside", sr=8000)
    assert {(r.sr, r.wav.dtype, len(r.wav)) for r in data.recordings} == {
        (8000, np.dtype(np.float32), len(roadside.recordings[0].wav) // 2)
    }


def test_truth_of_the_embedded_one(roadside, whole):
    events = load_events(whole)
    for r in roadside.recordings:
        truth, sounds = load_truth(r.path), events.get(f"{r.label}/{r.path.name}", [])
        assert len(truth["time_s"]) == 150 and all(
            0 <= e.onset_s < e.offset_s <= 15 for e in sounds
        )
        assert (
            bool(sounds)
            == np.isfinite(truth["snr_db"]).any()
            == np.isfinite(truth["distance_m"]).all()
            == (r.label == CLASSES[0])
        )
        assert {e.kind for e in sounds} <= {*KINDS}


# ---- cues that must not reveal the class

def frames_rms(wav):
    return np.sqrt(np.mean(wav[: len(wav) // 800 * 800].reshape(-1, 800) ** 2, 1))  # of 50 ms


CUES = {
    "level": lambda wav: np.sqrt(np.mean(wav**2)),
    "peak": lambda wav: np.abs(wav).max(),
    "noise floor": lambda wav: np.percentile(frames_rms(wav), 5),
    "noise floor under level": lambda wav: (
        np.percentile(frames_rms(wav), 10) / np.sqrt(np.mean(wav**2))
    ),
    "zeros": lambda wav: np.mean(wav == 0),
    "offset": lambda wav: wav.mean(),
}

@pytest.mark.parametrize("cue", CUES)
def test_no_cue_reveals_the_class(cue, roadside):
    from sklearn.metrics import roc_auc_score

    auc = roc_auc_score(
        [r.label == CLASSES[0] for r in roadside.recordings],
        [CUES[cue](r.wav) for r in roadside.recordings],
    )
    most = (
        0.75 if cue == "noise floor under level" else 0.7
    )  # a siren still sounds where a dog pauses, as the data card mentions
    assert max(auc, 1 - auc) <= most, f"{cue} alone separates the classes: AUC {auc:.2f}"


# ---- a cache that is damaged, locked or interrupted: tried on four scenes

MADE = {}  # scenes rendered before, so that each is rendered once

@pytest.fixture
def rendered(monkeypatch, tmp_path):
    "No repository, a small embedded data set, and the numbers of the scenes rendered for it."
    calls, make = [], rendering.render_scene
    def quick(*how):
        calls.append(how[1])
        if how not in MADE: MADE[how] = make(*how)
        return MADE[how]
    monkeypatch.setattr(recordings, "ROADSIDE", tmp_path/"no repository")
    monkeypatch.setattr(rendering, "render_scene", quick)
    monkeypatch.setattr(rendering, "ROADSIDE_HOURS", hours(4, 15))
    monkeypatch.setattr(recordings, "ROADSIDE_SCENES", 4)
    monkeypatch.setattr(rendering, "n_cores", lambda: 1)
    monkeypatch.setattr(
        recordings.platformdirs, "user_cache_dir", lambda *args: str(tmp_path / "cache")
    )
    monkeypatch.setenv("SIRENBOOK_DATA", str(tmp_path/"mine"))
    return calls

@pytest.fixture
def small(rendered, tmp_path):
    "A whole small one, aside from where it is looked for."
    make_roadside(tmp_path/"aside"/FOLDER)
    rendered.clear()
    return tmp_path/"aside"/FOLDER

WAIL, STREET, YELP = (
    "emergency/000000-wail.flac",
    "non-emergency/000003-street.flac",
    "emergency/000002-yelp.flac",
)


def cut(folder): p = folder/WAIL; p.write_bytes(p.read_bytes()[:90_000])
def lose(folder): (folder/STREET).unlink()
def alter(folder): sf.write(folder/WAIL, np.zeros(240000), 16000)
def swap(folder): shutil.copy(folder/YELP, folder/WAIL)
def add(folder): shutil.copy(folder/WAIL, folder/"emergency"/"wail-99.flac")
def scribble(folder): (folder/"manifest.csv").write_bytes(bytes(range(256)))
def shorten(folder): p = folder/"manifest.csv"; p.write_bytes(p.read_bytes()[:300])
def forget(folder): (folder/"manifest.csv").unlink()
def empty(folder): shutil.rmtree(folder); folder.mkdir()
def regroup(folder):
    p = folder / "manifest.csv"
    p.write_text(p.read_text().replace(",000002-yelp,", ",000000-wail,"))


def tear(folder): p = folder/JOURNAL; p.write_bytes(p.read_bytes()[:-40]); forget(folder)
def unlisted(folder): (folder/JOURNAL).unlink()
def garble(folder): (folder/JOURNAL).write_bytes(bytes(range(256)))
def older(folder):
    p = folder / JOURNAL
    p.write_text(p.read_text().replace('"version": "', '"version": "0.'))
    forget(folder)


def wrong_sum(folder):
    for name in ("manifest.csv", JOURNAL):
        p = folder / name
        p.write_text(
            p.read_text().replace(checksum(sf.read(folder / WAIL, dtype="int16")[0]), "0" * 64)
        )
    p = folder/WAIL; p.write_bytes(p.read_bytes()[:90_000])

ALL = [0, 1, 2, 3]
DAMAGES = {
    cut: [0],
    lose: [3],
    alter: [0],
    swap: [0],
    add: ALL,
    scribble: [],
    shorten: [],
    forget: [],
    empty: ALL,
    regroup: [],
    tear: [3],
    unlisted: ALL,
    garble: ALL,
    older: ALL,
    wrong_sum: [0],
}

@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_repaired(damage, small, rendered, tmp_path):
    folder = tmp_path/"mine"/FOLDER
    shutil.copytree(small, folder)
    damage(folder)
    data = load_dataset("roadside")
    assert rendered == DAMAGES[damage], "other scenes than the damaged ones were rendered again"
    assert len(data.recordings) == 4 and content(tmp_path/"mine") == content(tmp_path/"aside")

def test_the_repository_comes_before_the_cache(small, rendered, tmp_path, monkeypatch):
    shutil.copytree(small, tmp_path/"mine"/FOLDER)
    repository = tmp_path/"repository"
    shutil.copytree(small, repository)
    (repository / JOURNAL).unlink()  # as committed: the files without the journal
    monkeypatch.setattr(recordings, "ROADSIDE", repository)
    assert load_dataset("roadside").recordings[0].path.is_relative_to(repository) and not rendered

@pytest.mark.parametrize("damage", [cut, lose, alter, swap, add, scribble, shorten])
def test_damage_in_the_repository_is_named_and_the_cache_is_used(
    damage, small, rendered, tmp_path, monkeypatch
):
    repository = tmp_path/"repository"
    shutil.copytree(small, repository)
    (repository/JOURNAL).unlink()
    damage(repository)
    before = content(repository)
    monkeypatch.setattr(recordings, "ROADSIDE", repository)
    with pytest.warns(SirenbookWarning) as caught: data = load_dataset("roadside")
    *first, text = [str(w.message) for w in caught]
    assert len(first) == (damage is cut) and all("the file is cut off" in t for t in first)
    assert text.startswith(str(repository)) and "cache" in text and is_sentence(text)
    for name, path in ((cut, WAIL), (alter, WAIL), (swap, WAIL), (lose, STREET)):
        if damage is name: assert path in text, f"{text!r} does not name {path}"
    assert rendered == ALL and len(data.recordings) == 4 and content(repository) == before
    assert content(tmp_path/"mine") == content(tmp_path/"aside")

def test_a_whole_cache_is_left_alone(small, rendered, tmp_path):
    shutil.copytree(small, tmp_path/"mine"/FOLDER)
    assert len(load_dataset("roadside").recordings) == 4 and not rendered
    assert load_dataset("roadside").recordings[0].path.is_relative_to(tmp_path/"mine")

@pytest.mark.parametrize(
    "error, kind",
    [
        (KeyboardInterrupt, KeyboardInterrupt),
        (MemoryError, MemoryError),
        (OSError, SirenbookFileError),
    ],
)
def test_interrupted(error, kind, small, rendered, tmp_path, monkeypatch):
    quick = rendering.render_scene
    def stop(*how):
        if how[1] == 2: raise error("stop here")
        return quick(*how)
    monkeypatch.setattr(rendering, "render_scene", stop)
    with pytest.raises(kind): load_dataset("roadside")
    assert not [
        n
        for n in names(tmp_path / "mine")
        if n.endswith(("manifest.csv", "events.csv")) or ".part." in n
    ]
    monkeypatch.setattr(rendering, "render_scene", quick)
    assert len(load_dataset("roadside").recordings) == 4 and rendered == [0, 1, 2, 3], (
        "finished scenes were rendered again"
    )
    assert content(tmp_path/"mine") == content(tmp_path/"aside")

def test_a_place_that_cannot_be_written_to(rendered, tmp_path, monkeypatch):
    (tmp_path/"mine").mkdir()
    access = os.access
    monkeypatch.setattr(
        recordings.os,
        "access",
        lambda path, mode: access(path, mode) and (tmp_path / "mine") != path,
    )
    data = load_dataset("roadside")
    assert data.recordings[0].path.is_relative_to(tmp_path / "cache") and not list(
        (tmp_path / "mine").iterdir()
    )


def test_a_place_that_cannot_be_made(rendered, tmp_path, monkeypatch):
    (tmp_path/"file").write_text("in the way")
    monkeypatch.setenv("SIRENBOOK_DATA", str(tmp_path/"file"/"data"))
    assert load_dataset("roadside").recordings[0].path.is_relative_to(tmp_path/"cache")

def test_no_place_at_all(rendered, tmp_path, monkeypatch):
    (tmp_path/"file").write_text("in the way")
    monkeypatch.setenv("SIRENBOOK_DATA", str(tmp_path/"file"/"data"))
    monkeypatch.setattr(
        recordings.platformdirs, "user_cache_dir", lambda *args: str(tmp_path / "file" / "cache")
    )
    with complains(tmp_path / "file", "SIRENBOOK_DATA", kind=SirenbookFileError):
        load_dataset("roadside")


@pytest.mark.parametrize("damage, method", [(add, "rmtree"), (lose, "replace")])
def test_damage_where_nothing_may_be_changed(
    damage, method, small, rendered, tmp_path, monkeypatch
):
    folder = tmp_path/"mine"/FOLDER
    shutil.copytree(small, folder)
    damage(folder)
    def refuse(path, *args, **kwargs): raise PermissionError(13, "Permission denied", str(path))
    monkeypatch.setattr(rendering.shutil if method == "rmtree" else rendering.Path, method, refuse)
    with complains(folder, kind=SirenbookFileError): load_dataset("roadside")


# ---- data sets of any size

@pytest.fixture(scope="module")
def four(tmp_path_factory):
    "Four scenes of two seconds, rendered by two processes."
    return render_dataset(tmp_path_factory.mktemp("four")/"set", hours(4), 5, seconds=2, workers=2)

def test_folder(four):
    files = [f"{n:06}-{kind}" for n, kind in enumerate(("wail", "street", "yelp", "street"))]
    sounds = [f"{CLASSES[n % 2]}/{f}.flac" for n, f in enumerate(files)]
    assert names(four) == sorted(
        [*sounds, *[f"truth/{f}.csv" for f in files], "events.csv", "manifest.csv", JOURNAL]
    )
    with open(four/"manifest.csv", newline="") as f: rows = list(csv.DictReader(f))
    assert (
        list(rows[0]) == ["file", "label", "group", "kind", "sha256"]
        and [r["file"] for r in rows] == sounds
    )
    for r in rows:
        samples, sr = sf.read(four/r["file"], dtype="int16", always_2d=True)
        info = sf.info(four/r["file"])
        assert (sr, samples.shape, info.format, info.subtype) == (
            16000,
            (32000, 1),
            "FLAC",
            "PCM_16",
        ) and checksum(samples) == r["sha256"]
    data = load_dataset(four)
    assert [r.group for r in data.recordings] == [files[n] for n in (0, 2, 1, 3)] and len(
        data.recordings
    ) == 4


def test_one_process_makes_what_two_make(four, tmp_path):
    assert content(render_dataset(tmp_path / "set", hours(4), 5, seconds=2, workers=1)) == content(
        four
    )


def test_a_world_data_set(four, tmp_path):
    "Its scenes are those of `world_scene`; it is kept apart from others, and resumed as one."
    folder = render_dataset(tmp_path/"world", hours(4), 5, seconds=2, world=True, workers=2)
    files = sorted(folder.glob("*emergency/*.flac"), key=lambda p: p.name)
    kinds = ("wail", "street", "hi-lo", "street")
    assert [p.stem for p in files] == [f"{n:06}-{kind}" for n, kind in enumerate(kinds)]
    for i, path in enumerate(files):
        samples = np.round(world_scene(5, i, 2).mix * np.float64(32767))
        assert np.array_equal(sf.read(path, dtype="int16")[0], samples)
    shutil.copytree(four, tmp_path/"roadside")
    for name, world in (("roadside", True), ("world", False)):
        with complains("holds version", "name another folder"):
            render_dataset(tmp_path/name, hours(4), 5, seconds=2, world=world, workers=1)
    (folder/"manifest.csv").unlink()
    with complains("unfinished", " --world --out "): load_dataset(folder)


def test_a_longer_one_begins_with_a_shorter_one(four, tmp_path):
    longer = render_dataset(tmp_path/"set", hours(6), 5, seconds=2, workers=1)
    sounds = {
        n: b for n, b in content(four).items() if n.endswith(".flac") or n.startswith("truth/")
    }
    assert sounds.items() <= content(longer).items()
    for name in ("manifest.csv", "events.csv"):
        assert (longer / name).read_bytes().startswith((four / name).read_bytes())
    assert (
        not sounds.items()
        <= content(render_dataset(tmp_path / "other", hours(4), 6, seconds=2, workers=1)).items()
    ), "another seed is the same"


def test_more_hours_add_to_what_is_there(four, tmp_path, monkeypatch):
    folder = tmp_path/"set"
    shutil.copytree(four, folder)
    calls, make = [], rendering.render_scene
    monkeypatch.setattr(
        rendering, "render_scene", lambda seed, i, *how: calls.append(i) or make(seed, i, *how)
    )
    render_dataset(folder, hours(6), 5, seconds=2, workers=1)
    assert calls == [4, 5] and len(load_dataset(folder).recordings) == 6
    with complains(folder, hours(6), hours(4), kind=SirenbookFileError):
        render_dataset(folder, hours(4), 5, seconds=2)


@pytest.mark.parametrize(
    "n, wanted", [(1e-9, 2), (2, 2), (2.01, 4), (4, 4), (60, 60), (240, 240), (264, 264)]
)
def test_number_of_scenes(n, wanted):
    assert rendering._n_scenes({"hours": n * 15 / 3600, "seconds": 15.}) == wanted

def test_kinds_come_in_turn():
    assert [render_scene(0, i, 1).siren for i in range(4)] == ["wail", "", "yelp", ""]
    assert {*TURNS} <= {*KINDS, "program"} - {"air horn"}, "an air horn alone is no emergency"
    common = {"wail", "yelp", "hi-lo", "program"}
    assert all(TURNS.count(k) > TURNS.count(other) for k in common for other in set(TURNS) - common)

def test_truth_agrees_with_the_scene_and_its_events(four):
    events = load_events(four)
    for i, r in enumerate(sorted(load_dataset(four).recordings, key=lambda r: r.group)):
        scene, truth = render_scene(5, i, 2), load_truth(r.path)
        np.testing.assert_allclose(truth["time_s"], scene.time_s, atol=.006)
        np.testing.assert_allclose(
            truth["distance_m"],
            np.where(np.isfinite(scene.distance_m), scene.distance_m, np.nan),
            atol=0.006,
        )
        np.testing.assert_allclose(
            truth["snr_db"], np.where(np.isfinite(scene.snr_db), scene.snr_db, np.nan), atol=0.006
        )
        listed = [
            (e.kind, e.onset_s, e.offset_s) for e in events.get(f"{r.label}/{r.path.name}", [])
        ]
        assert listed == [
            (e.kind, pytest.approx(e.onset_s, abs=1e-3), pytest.approx(e.offset_s, abs=1e-3))
            for e in scene.events
        ]
        np.testing.assert_allclose(r.wav, scene.mix, atol=1e-4)
        lines = (four/"truth"/f"{r.path.stem}.csv").read_text().splitlines()
        assert lines[0] == "time_s,distance_m,snr_db" and not {"nan", "inf"} & set(
            ",".join(lines).replace("-", "").split(",")
        )


def test_where_there_is_no_truth(four, tmp_path):
    with complains("nothing.csv", kind=SirenbookFileError):
        load_truth(tmp_path / "emergency" / "nothing.flac")
    with complains("events.csv", kind=SirenbookFileError): load_events(tmp_path)
    (tmp_path/"truth").mkdir()
    for text in ("", "a,b\n1,2\n", "time_s,distance_m,snr_db\n1,2\n3\n"):
        (tmp_path/"truth"/"bad.csv").write_text(text)
        with complains("bad.csv", kind=SirenbookFileError):
            load_truth(tmp_path / "emergency" / "bad.flac")
    for text in (
        "",
        "a,b\n1,2\n",
        "file,kind,onset_s,offset_s\na,b,c,d\n",
        "file,kind,onset_s,offset_s\na\n",
    ):
        (tmp_path/"events.csv").write_text(text)
        with complains("events.csv", kind=SirenbookFileError): load_events(tmp_path)

def test_damaged_truth_is_written_again(four, tmp_path):
    folder = tmp_path/"set"
    shutil.copytree(four, folder)
    (folder/"truth"/"000001-street.csv").write_text("time_s,distance_m,snr_db\n")
    (folder/"events.csv").unlink()
    (folder/"emergency"/".0123456789abcdef.part.000000-wail.flac").write_text("half")
    render_dataset(folder, hours(4), 5, seconds=2, workers=2)
    assert content(folder) == content(four)

def test_two_programs_at_once(four, tmp_path):
    code = f"""import sys
from sirenbook.rendering import render_dataset
render_dataset(sys.argv[1], {hours(4)}, 5, seconds=2, workers=2)"""
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, tmp_path / "set"],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [p.communicate(timeout=120)[1] for p in both]
    assert [p.returncode for p in both] == [0, 0], said
    assert content(tmp_path/"set") == content(four)

def test_a_script_without_a_main_guard(four, tmp_path):
    (tmp_path / "plain.py").write_text(
        "from sirenbook.rendering import render_dataset\nprint('once')\n"
        f"render_dataset('set', {hours(4)}, 5, seconds=2, workers=2)\n"
    )
    done = subprocess.run(
        [sys.executable, "plain.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "once\n", ""), (
        "a bar is shown where there is no terminal"
    )
    assert content(tmp_path/"set") == content(four)


# ---- refusals, and failures on the way

@pytest.mark.parametrize(
    "given, word",
    [
        (dict(hours=0), "hours"),
        (dict(hours=-1), "hours"),
        (dict(hours=float("nan")), "hours"),
        (dict(hours=float("inf")), "hours"),
        (dict(hours=1e7), "hours"),
        (dict(hours=1e300), "hours"),
        (dict(seed=-1), "seed"),
        (dict(seed=1.5), "seed"),
        (dict(seed=float("nan")), "seed"),
        (dict(seconds=0), "seconds"),
        (dict(workers=0), "workers"),
        (dict(workers=1.5), "workers"),
    ],
    ids=lambda o: str(o),
)
def test_bad_arguments(given, word, tmp_path):
    with complains(word, given[word]):
        render_dataset(tmp_path / "set", **dict(hours=hours(2), seed=1, seconds=2) | given)
    assert not (tmp_path/"set").exists()

@pytest.mark.parametrize(
    "given, words",
    [(dict(seed=6), ("seed 5", "seed 6")), (dict(seconds=1), ("2.0 s", "1.0 s"))],
    ids=["seed", "seconds"],
)
def test_another_data_set_is_refused(given, words, four, tmp_path):
    before = content(four)
    with complains(four, *words, kind=SirenbookFileError):
        render_dataset(four, **dict(hours=hours(4), seed=5, seconds=2) | given)
    assert content(four) == before

def test_another_version_is_refused(four, monkeypatch):
    monkeypatch.setattr(rendering, "ROADSIDE_VERSION", "99.0")
    with complains(four, "version 99.0", "version 1.0", kind=SirenbookFileError):
        render_dataset(four, hours(4), 5, seconds=2)


def test_a_file_for_a_folder(tmp_path):
    (tmp_path/"set").write_text("mine")
    with complains(tmp_path / "set", "file", kind=SirenbookFileError):
        render_dataset(tmp_path / "set", hours(2), 5, seconds=2)
    with complains(tmp_path / "set" / "below", kind=SirenbookFileError):
        render_dataset(tmp_path / "set" / "below", hours(2), 5, seconds=2)
    assert (tmp_path/"set").read_text() == "mine"

def test_a_folder_of_something_else(tmp_path):
    (tmp_path/"thesis.txt").write_text("mine")
    with complains(tmp_path, "not empty", kind=SirenbookFileError):
        render_dataset(tmp_path, hours(2), 5, seconds=2)
    assert names(tmp_path) == ["thesis.txt"]

def test_a_journal_that_is_damaged(four, tmp_path):
    folder = tmp_path/"set"
    shutil.copytree(four, folder)
    for text in ("", "[]", "nonsense", '{"version": "1.0"}'):
        (folder/JOURNAL).write_text(text)
        with complains(JOURNAL, kind=SirenbookFileError):
            render_dataset(folder, hours(4), 5, seconds=2)


def test_a_folder_that_may_not_be_written_to(tmp_path, monkeypatch):
    def refuse(path, *args, **kwargs): raise PermissionError(13, "Permission denied", str(path))
    monkeypatch.setattr(files.Path, "mkdir", refuse)
    with complains(tmp_path / "set", "Permission denied", kind=SirenbookFileError):
        render_dataset(tmp_path / "set", hours(2), 5, seconds=2)


def test_a_full_disk(four, tmp_path, monkeypatch):
    write, folder = files.Path.write_bytes, tmp_path/"set"
    def full(path, data):
        if "000002" in path.name: raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, data)
    monkeypatch.setattr(files.Path, "write_bytes", full)
    with complains(folder, "disk is full", "again", kind=SirenbookFileError):
        render_dataset(folder, hours(4), 5, seconds=2, workers=1)
    with complains(
        folder,
        "unfinished",
        "sirenbook dataset roadside",
        "--seed 5",
        "--seconds 2.0",
        kind=SirenbookFileError,
    ):
        load_dataset(folder)
    monkeypatch.undo()
    assert content(render_dataset(folder, hours(4), 5, seconds=2, workers=2)) == content(four)

def test_a_full_disk_in_a_process_of_its_own(tmp_path):
    "The closest thing to it without a disk to fill: files may not grow beyond 30 kB."
    printed = fresh(f"""import resource, sys
from sirenbook.rendering import render_dataset
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
try: render_dataset(sys.argv[1], {hours(4, 15)}, 5, workers=2)
except Exception as e: print(type(e).__name__, e)""", tmp_path/"set")
    assert printed.startswith(f"SirenbookFileError {tmp_path/'set'}") and "\n" not in printed
    assert "cannot be written (File too large)" in printed
    assert names(tmp_path/"set") == [JOURNAL]

@pytest.mark.parametrize(
    "program, word",
    [
        ("import os; os._exit(3)", "ended early"),
        ('print(\'{"error": "no room in memory"}\')', "no room in memory"),
    ],
)
def test_a_process_that_dies(program, word, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_WORKER", program)
    with complains(tmp_path / "set", word, kind=SirenbookFileError):
        render_dataset(tmp_path / "set", hours(4), 5, seconds=2, workers=2)


def test_a_refusal_of_the_renderer_itself(tmp_path, monkeypatch):
    def refuse(*args, **kwargs): raise SirenbookError("a scene cannot be that short")
    monkeypatch.setattr(rendering, "scene", refuse)
    with complains("that short"): render_dataset(tmp_path/"set", hours(2), 5, seconds=2, workers=1)

def test_the_journal_lists_the_scenes(four):
    lines = [json.loads(line) for line in (four/JOURNAL).read_text().splitlines()]
    assert lines[0] == {
        "version": ROADSIDE_VERSION,
        "seed": 5,
        "hours": hours(4),
        "seconds": 2.0,
        "clear": False,
    }
    assert [r["scene"] for r in lines[1:]] == [0, 1, 2, 3]
