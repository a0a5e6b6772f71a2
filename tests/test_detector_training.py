"The recipe from sounds to a detector, small, and what it must not do."
import json

import numpy as np
import pytest
import soundfile as sf

from sirenbook.detector import Detector
from sirenbook.errors import SirenbookError, SirenbookFileError

teaching = pytest.importorskip("sirenbook.detector_training", reason="teaching needs TensorFlow", exc_type=SirenbookError)

def a_street(rng, siren):
    "Four seconds of noise, with a tone that glides up and down or without."
    t = np.arange(64_000) / 16_000
    wav = 0.02 * rng.standard_normal(len(t))
    if siren: wav += 0.2 * np.sin(2 * np.pi * (900 * t - 300 / np.pi * np.cos(2 * np.pi * t * rng.uniform(0.4, 0.8))))
    return wav.astype(np.float32)

@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    "A folder of sounds, and what the recipe made of it."
    folder, rng = tmp_path_factory.mktemp("teaching"), np.random.default_rng(0)
    sounds = {f"{label}/{i}.wav": a_street(rng, label == "emergency")
              for label in ("emergency", "non-emergency") for i in range(12)}
    for file, wav in sounds.items():
        path = folder/"sounds"/file
        path.parent.mkdir(parents=True, exist_ok=True)
        sf.write(path, wav, 16_000)
    weights = teaching.train_detector(folder/"out", folder/"sounds", street=folder/"sounds", epochs=1, quiet_hours=0.05)
    return folder, weights

def test_the_recipe_gives_a_detector_that_hears(taught):
    _, weights = taught
    rng = np.random.default_rng(1)
    for precision in ("float", "int8"):
        detector = Detector.load(weights, precision=precision)
        with_siren, without = (detector.score(a_street(rng, s)).probability.max() for s in (True, False))
        assert with_siren > 0.5 > without
    card = json.loads((weights/"detector.json").read_text())
    assert card["trained"]["learned_from"] == ["roadside"] and card["default"] in card["operating_points"]

def test_asked_again_it_only_goes_on(taught):
    folder, weights = taught
    log, last = (folder/"out/ablation/and esvs 0"/name for name in ("log.csv", "last.npz"))
    wav, before = a_street(np.random.default_rng(2), True), (log.read_text(), last.stat().st_mtime_ns)
    said = Detector.load(weights).score(wav).probability
    teaching.train_detector(folder/"out", folder/"sounds", street=folder/"sounds", epochs=1, quiet_hours=0.05)
    assert (log.read_text(), last.stat().st_mtime_ns) == before
    assert np.allclose(Detector.load(weights).score(wav).probability, said, atol=1e-5)

def test_the_thresholds_were_counted(taught):
    folder, weights = taught
    quiet = teaching.quiet_minutes(folder/"out/quiet", 3)
    counted = teaching.operating_points(teaching.false_alarms(Detector.load(weights), quiet), teaching.PER_HOUR)
    card = json.loads((weights/"detector.json").read_text())
    assert card["operating_points"] == counted and list(counted) == ["100/h"] == [card["default"]]   # three minutes allow no more

def test_each_clip_of_street_is_calibrated_by_the_others(monkeypatch):
    logit, siren = np.linspace(-2, 2, 24), np.arange(24) % 3 > 0
    monkeypatch.setattr(teaching, "max_logits", lambda model, heard: logit)
    source = np.array([f"s{i // 8}" for i in range(24)])
    m = {"street": None, "source": source, "siren": siren, "group": np.arange(24).astype(str), "file": [f"{i}.wav" for i in range(24)]}
    rows = teaching.unseen_rows(None, m, 5)
    assert {r["seed"] for r in rows} == {5} and [r["label"] == "emergency" for r in rows] == siren.tolist()
    others = source != "s0"
    slope, offset = teaching.calibrate(logit[others].round(4), siren[others], m["group"][others])
    p = 1 / (1 + np.exp(-slope * rows[0]["logit"] - offset))
    slope, offset = teaching.calibrate(logit, siren, m["group"])
    assert np.isclose(rows[0]["p"], p, atol=1e-6) and not np.isclose(p, 1 / (1 + np.exp(-slope * logit[0] - offset)), atol=1e-3)

@pytest.mark.parametrize("which", ("roadside", "esvs", "street"))
def test_a_folder_that_is_not_there_costs_nothing(tmp_path, which):
    with pytest.raises(SirenbookFileError, match="nowhere: there is no such folder"):
        teaching.train_detector(tmp_path/"out", **{which: tmp_path/"nowhere"})
    assert not (tmp_path/"out").exists()

def test_held_out_groups_share_nothing():
    heard = teaching.Heard([np.zeros((200, 64), np.float16)] * 40, [np.ones(32, bool)] * 40, np.arange(40) % 2)
    groups = [f"g{i // 4}" for i in range(40)]
    ours, theirs = teaching.split_groups(heard, groups, every=3)
    assert len(ours.mels) + len(theirs.mels) == 40 and set(theirs.label) == {0, 1}
    marked = teaching.Heard([np.full((1, 1), i) for i in range(40)], heard.audible, heard.label)
    ours, theirs = teaching.split_groups(marked, groups, every=3)
    at = lambda h: {groups[int(m[0, 0])] for m in h.mels}
    assert at(ours).isdisjoint(at(theirs))

def test_calibration_needs_both_classes():
    with pytest.raises(SirenbookError, match="with a siren and clips without"):
        teaching.calibrate(np.array([1.0, 2.0]), [True, True], ["a", "b"])

def test_windows_are_drawn_in_the_shares_asked_for():
    def heard(value): return teaching.Heard([np.full((300, 64), value, np.float16)] * 4, [np.array([k < 2] * 48) for k in range(4)],
                                            np.array([teaching.class_index("emergency")] * 2 + [teaching.class_index("non-emergency")] * 2))
    mixture = teaching.MixedSampler([(3, heard(1.0)), (1, heard(2.0))], seed=0, vary=None, front=None, batch_size=400)
    X, y = mixture[0]
    assert abs((X[:, 0, 0] == 2).mean() - 0.25) < 0.07 and y.mean() == 0.5
