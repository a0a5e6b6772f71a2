"The experiment that leaves out one part of the detector's training at a time."
from types import SimpleNamespace

import numpy as np
import pytest
from shared import complains

from sirenbook.detector_data import FrameDataset, fold_of
from sirenbook.errors import SirenbookFileError
from sirenbook.experiments import components
from sirenbook.experiments.components import has_lookalike
from sirenbook.files import write_csv
from sirenbook.rendering import world_scene

def frames_of(source, n=40):
    "Frames of n scenes, every second one with a siren, that say where they come from."
    frames = FrameDataset()
    for i in range(n):
        frames.add(np.zeros(16000, np.float32), np.zeros(7), np.ones(7), source, f"{i:06}-x",
                   "rendered" if i % 2 else "siren")
    return frames

@pytest.fixture
def parts():
    mixed = [frames_of("mixed", 6), frames_of("plain mixed", 6)]
    return frames_of("world"), frames_of("presets"), mixed[0], (frames_of("plain"), mixed[1])

def test_a_scene_holds_a_look_alike_where_it_is_said_to():
    with_one = [i for i in range(1, 24, 2) if has_lookalike(i, 3)]
    assert 0 < len(with_one) < 12 and not any(has_lookalike(i, 3) for i in range(0, 24, 2))
    import sirenbook.rendering as rendering
    for i in (with_one[0], next(i for i in range(1, 24, 2) if i not in with_one)):
        said = []
        with pytest.MonkeyPatch.context() as m:
            m.setattr(rendering, "_any_lookalike",
                      lambda seconds, rng, sr: said.append(i) or np.zeros(round(seconds * sr)))
            try: world_scene(3, i, 2)
            except Exception: pass                              # of silence in front of a street
        assert bool(said) == (i in with_one)

def test_each_arm_lacks_one_thing_and_nothing_else(parts):
    world, _, mixed, plain = parts
    scene = lambda frames: {(t, int(g[:6])) for t, g in zip(frames.tags, frames.group)}
    arm = {name: components.arm_frames(name, *parts) for name in components.ARMS}
    everything = {("world", i) for i in range(40)}
    foreign = lambda numbers: (everything - {("world", i) for i in numbers}
                               | {("presets", i) for i in numbers})
    assert scene(arm["all"][0]) == scene(arm["no memory"][0]) == everything
    assert scene(arm["preset sirens"][0]) == foreign(range(0, 40, 2))
    alike = [i for i in range(40) if has_lookalike(i)]
    assert 5 < len(alike) < 15 and scene(arm["no look-alikes"][0]) == foreign(alike)
    assert arm["no teacher"] == plain and len(arm["no real sound"][1]) == 0
    for name in ("all", "no memory", "preset sirens", "no look-alikes"):
        assert scene(arm[name][1]) == scene(mixed)

GROUPS = [[g for g in map("world:{}".format, range(400)) if fold_of(g) == k] for k in range(5)]

def save(path, rows): write_csv(path, components.component_table(rows))

def rows_of(quality=lambda arm: 2.0, n=30):
    "Rows of all arms and folds: logits of sirens stand out by `quality`."
    rows = []
    for arm in (*components.ARMS, *components.MEANS, *components.LEFT_OUT):
        out = arm in components.LEFT_OUT
        for fold in range(5) if arm == "all" else [0] if out else range(3):
            rng = np.random.default_rng([fold])
            for i in range(n):
                siren = i % 3 == 0
                name = ("mbmn974_ambulance", "Alejandro_")[i % 2] if siren else "other"
                row = {"of": "x", "arm": arm, "fold": fold, "set": "world",
                       "file": f"{name}{fold}{i}.ogg", "group": GROUPS[fold][i // 2],
                       "label": "emergency" if siren else "non-emergency", "seconds": 5.0,
                       "logit": round(float(rng.normal() + siren * quality(arm)), 2)}
                if not (out and siren): rows.append(row)
    for arm in components.LEFT_OUT:
        known = [r for r in rows if r["arm"] == "all" and r["label"] == "emergency"]
        change = quality(arm) - quality("all")
        rows += [r | {"arm": arm, "fold": 0, "logit": round(r["logit"] + change, 2)}
                 for r in known if components.is_left_out(arm, r)]
    return rows

@pytest.fixture
def kinds(monkeypatch):
    monkeypatch.setattr(components, "LEFT_OUT", {"ambulance": ("mbmn974_ambulance",),
                                                 "UrbanSound8K": ("Alejandro",)})

def test_a_table_is_read_back(tmp_path, kinds):
    save(path := tmp_path/"components.csv", rows_of())
    rows = components.load_components(path)
    facts = ("arm", "fold", "set", "file", "group", "label", "seconds", "logit")
    some = lambda rows: sorted(tuple(r[k] for k in facts) for r in rows)
    assert some(rows) == some(rows_of()) and len(path.read_text().splitlines()) == 1 + 5 * 30
    assert all(np.isclose(np.log(r["p"] / (1 - r["p"])), r["logit"]) for r in rows)
    for wrong in ({"label": "siren"}, {"seconds": 0}):
        save(path, [r | wrong for r in rows_of()])
        with complains(path, kind=SirenbookFileError): components.load_components(path)

def test_an_arm_that_ranks_worse_is_below_the_one_with_everything(tmp_path, kinds):
    save(path := tmp_path/"c.csv", rows_of(lambda arm: 0.5 if arm == "no teacher" else 3.0))
    found = components.component_metrics(components.load_components(path), 100)
    assert [*found] == [*components.ARMS, *components.MEANS]
    assert all(d == (0, 0, 0) for arm in ("all", "no memory") for _, d in found[arm].values())
    auc, (difference, low, high) = found["no teacher"]["roc_auc"]
    assert low <= difference <= high < 0 and np.isclose(
        auc - found["all"]["roc_auc"][0], difference)
    assert found["no teacher"]["per_hour_at_85"][1][0] > 0

def test_a_missing_fold_is_named(tmp_path, kinds):
    save(path := tmp_path/"c.csv", [r for r in rows_of()
                                         if (r["arm"], r["fold"]) != ("no memory", 2)])
    with complains("no memory"): components.component_metrics(components.load_components(path))

def test_a_kind_that_was_left_out_is_found_less(tmp_path, kinds):
    save(path := tmp_path/"c.csv", rows_of(lambda arm: -1.0 if arm == "ambulance" else 6.0))
    ambulance, other = components.left_out_metrics(components.load_components(path), 100)
    assert ambulance["left_out"] == "ambulance" and ambulance["known"][0] == 1
    assert ambulance["unknown"][0] < 0.5 and ambulance["difference"][2] < 0
    assert other["known"] == other["unknown"] == (1, 1, 1) and other["difference"] == (0, 0, 0)
    assert ambulance["recordings"] == 25 and 0 < ambulance["groups"] <= 25

def test_what_is_not_there_for_every_network_cannot_be_compared(tmp_path, kinds):
    for gone in (("all", 3), ("ambulance", 0)):
        rows = [r for r in rows_of() if (r["arm"], r["fold"]) != gone]
        with complains("ambulance"): components.left_out_metrics(rows)

def test_only_sirens_are_left_out(kinds):
    row = {"label": "emergency", "file": "Alejandro_1.ogg", "group": "world:fs1"}
    assert components.is_left_out("UrbanSound8K", row)
    assert not components.is_left_out("UrbanSound8K", row | {"label": "non-emergency"})
    assert not components.is_left_out("ambulance", row) and not components.is_left_out("all", row)

def test_what_cannot_be_run_is_refused_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(components, "_Sounds", lambda *a: pytest.fail("sounds were made"))
    monkeypatch.setenv("SIRENBOOK_DATA", str(tmp_path))
    run = lambda *a, **k: components.run(*a, out=tmp_path, folder=tmp_path/"f", **k)
    (tmp_path/"street").mkdir()
    with complains("nosuch", "no such folder"): run([str(tmp_path/"street"), "nosuch"])
    (tmp_path/"esvs").mkdir()
    with complains("street and world"): run([str(tmp_path/"esvs")])
    place = [str(tmp_path/"street")]
    for hours in (float("nan"), -1, 12):
        with complains("hours"): run(place, hours=hours)
    for key in (("bogus", 0), ("all", 5)):
        with complains(str(key[1])): run(place, keys=[key])
    with complains("mixtures"): run(place, mixtures=1)
    assert not (tmp_path/"f").exists()

def test_rows_of_other_sounds_are_not_kept(tmp_path, monkeypatch, kinds):
    (tmp_path/"street").mkdir()
    (tmp_path/"f").mkdir()
    write_csv(tmp_path/"f"/"components.csv", rows_of())
    monkeypatch.setattr(components, "KEYS", (("all", 0),))
    monkeypatch.setattr(components, "_Sounds", lambda *a: SimpleNamespace(of=a[-1]))
    monkeypatch.setattr(components, "_scores", lambda sounds, arm, fold, run: [
        rows_of()[0] | {"of": sounds.of}])
    components.run([str(tmp_path/"street")], tmp_path, folder=tmp_path/"f")
    rows = components.load_components(tmp_path/"components.csv")
    assert len(rows) == 1 and rows[0]["arm"] == "all"
    monkeypatch.setattr(components, "_Sounds", lambda *a: pytest.fail("made again"))
    components.run([str(tmp_path/"street")], tmp_path, folder=tmp_path/"f")
    assert components.load_components(tmp_path/"components.csv") == rows

def test_left_out_recordings_are_not_learned_from_and_are_judged(monkeypatch, tmp_path, kinds):
    files = [("world", f"{n}_{i}.ogg", 5.0) for i in range(12)
             for n in ("mbmn974_ambulance", "Alejandro", "noise")]
    judged = FrameDataset()
    for _, file, _ in files:
        i, siren = int(file.split("_")[-1][:-4]), not file.startswith("noise")
        judged.add(np.zeros(16000, np.float32), np.zeros(7), np.ones(7), None,
                   f"world:{file[:2]}{i // 2}", "siren" if siren else "dogs")
    mixed, seen = frames_of("mixed", 0), {}
    for group, category in zip(judged.group, judged.category):
        mixed.add(np.zeros(16000, np.float32), np.zeros(7), np.ones(7), None, group, category)
    sounds = SimpleNamespace(world=frames_of("world"), presets=frames_of("presets"), mixed=mixed,
                             plain=None, judged=judged, files=files, of="x")
    def sampler(rendered, learned, seed, **k):
        seen.update(learned={*learned.group}, rendered={*rendered.tags})
        return SimpleNamespace(scaled=None)
    monkeypatch.setattr(components, "FrameSampler", sampler)
    monkeypatch.setattr(components, "fit_in_folder", lambda *a, **k: seen.update(k))
    monkeypatch.setattr(components, "siren_network", lambda *a: None)
    monkeypatch.setattr(components, "step_logits", lambda model, frames: [
        np.array([0.0, 1.5, 1.0]) for _ in range(len(frames))])
    rows = list(components._scores(sounds, "ambulance", 0, tmp_path))
    assert not any(g.startswith("world:mb") for g in seen["learned"]) and seen["memory"]
    assert seen["learned"] == {g for g in judged.group
                               if fold_of(g) != 0 and not g.startswith("world:mb")}
    assert {r["file"] for r in rows if r["label"] == "emergency"} == {
        f for _, f, _ in files if f.startswith("mbmn974")}
    assert {fold_of(r["group"]) for r in rows if r["label"] != "emergency"} == {0}
    assert all(r["logit"] == 1.5 for r in rows)
    for row in rows: assert row["group"].split(":")[1][:2] == row["file"][:2]
    rows = list(components._scores(sounds, "all", 1, tmp_path))
    logits = lambda arm: {r["logit"] for r in rows if r["arm"] == arm}
    assert logits("all") == {1.5} and logits("mean of 0.5 s") == {0.83}        # of three steps
    rows = list(components._scores(sounds, "no memory", 1, tmp_path))
    assert {fold_of(r["group"]) for r in rows} == {1} and seen["memory"] is False
    assert any(g.startswith("world:mb") for g in seen["learned"])
