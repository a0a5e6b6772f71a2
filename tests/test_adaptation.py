"""Refitting the last layer: what is written, what is refused, and what must not depend on luck."""
import json
from pathlib import Path

import numpy as np
import pytest

from sirenbook.adaptation import (ADAPTATION_COLUMNS, LastLayer, StepStates, adaptation_summary,
                                  kept_sirens, load_adaptation, logistic_change, refit,
                                  save_refitted, step_states, theremin_street)
from sirenbook.audio import SR
from sirenbook.browser import browser_weights
from sirenbook.cli import main
from sirenbook.detector import Detector
from sirenbook.errors import SirenbookError
from sirenbook.files import write_csv

DATA = Path(__file__).parent.parent / "data"

@pytest.fixture(scope="module")
def detector(): return Detector.pretrained()

@pytest.fixture(scope="module")
def kept(detector): return kept_sirens(detector)

@pytest.fixture(scope="module")
def street(detector): return step_states(detector, theremin_street(60, np.random.default_rng(1)))

@pytest.fixture(scope="module")
def change(detector, street, kept): return refit(detector, street, kept)

@pytest.mark.parametrize("seconds", (0.01, 0.3, 1, 1.03, 2.5))
def test_steps_of_any_length_are_those_of_a_score(detector, seconds):
    wav = theremin_street(12, np.random.default_rng(4))[:round(seconds * SR)]
    steps, scores = step_states(detector, wav), detector.score(wav)
    assert np.allclose(detector.probability(steps.logit), scores.probability, atol=1e-5)

@pytest.mark.parametrize("wav", (np.full(SR, np.nan), np.zeros((SR, 2)), ["a"], []))
def test_sound_that_is_none_is_refused(detector, wav):
    with pytest.raises(SirenbookError): step_states(detector, wav)

def test_the_change_lowers_the_street_and_spares_the_sirens(detector, street, kept, change):
    p = detector.probability
    assert p(change.logit(street)).max() < p(street.logit).max() / 2
    before, after = p(kept.logit), p(change.logit(kept))
    assert abs(after.mean() - before.mean()) < 0.1 and np.corrcoef(before, after)[0, 1] > 0.9

def test_more_weight_on_sirens_changes_less(detector, street, kept):
    found = [refit(detector, street, kept, siren_share=s) for s in (0.1, 0.5, 0.9)]
    means = [detector.probability(c.logit(kept)).mean() for c in found]
    assert means == sorted(means)
    sizes = [np.linalg.norm(refit(detector, street, kept, ridge=r).kernel) for r in (1, 0.1, 0.01)]
    assert sizes == sorted(sizes)

def test_the_same_sound_gives_the_same_change(detector, street, kept, change):
    again = refit(detector, street, kept)
    assert np.array_equal(again.kernel, change.kernel) and again.bias == change.bias

def test_an_offset_that_is_right_needs_no_change(detector, kept):
    X, z = kept.state, kept.logit
    target = 1 / (1 + np.exp(-z))
    assert np.abs(logistic_change(X, target, np.ones(len(z)), z, 1.0)).max() < 1e-3

def test_refusals(detector, street, kept):
    none = StepStates(np.zeros(0), np.zeros((0, 88)))
    for given in ((none, kept), (street, none)):
        with pytest.raises(SirenbookError, match="needs sound"): refit(detector, *given)
    for wrong in ({"siren_share": 0}, {"ridge": np.nan}, {"ridge": np.inf}):
        with pytest.raises(SirenbookError, match="ridge above 0"):
            refit(detector, street, kept, **wrong)

def test_what_is_written_is_what_was_refitted(tmp_path, detector, street, change):
    save_refitted(change, tmp_path / "mine")
    mine = Detector.load(tmp_path / "mine")
    wav = theremin_street(20, np.random.default_rng(9))
    steps = step_states(detector, wav)
    assert np.allclose(mine.score(wav).probability, detector.probability(change.logit(steps)),
                       atol=1e-5)
    small = Detector.load(tmp_path / "mine", precision="int8")
    assert np.abs(small.score(wav).probability - mine.score(wav).probability).max() < 0.1
    assert mine.card["operating_points"] == detector.card["operating_points"]
    page, ours = browser_weights(tmp_path / "mine"), browser_weights()
    assert page["tensors"] == ours["tensors"] and page["data"] != ours["data"]
    assert page["offset"] != ours["offset"] and json.dumps(page)

def test_no_change_leaves_the_models_as_they_were(tmp_path):
    save_refitted(LastLayer(np.zeros(88), 0.0), tmp_path / "same")
    weights = DATA.parent / "sirenbook" / "weights"
    for name in ("detector.tflite", "detector-int8.tflite"):
        assert (tmp_path / "same" / name).read_bytes() == (weights / name).read_bytes()

@pytest.mark.parametrize("change", (LastLayer(np.zeros(87), 0.0), LastLayer(np.full(88, np.nan), 0),
                                    LastLayer(np.zeros(88), np.inf)))
def test_a_change_that_fits_no_layer_writes_nothing(tmp_path, change):
    with pytest.raises(SirenbookError): save_refitted(change, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()

def test_sirens_of_other_weights_are_refused(tmp_path, change):
    save_refitted(change, tmp_path / "mine")
    for other in (Detector.load(tmp_path / "mine"), Detector.pretrained(weights="clean")):
        with pytest.raises(SirenbookError, match="default weights only"): kept_sirens(other)

@pytest.mark.parametrize("content", (b"", b"no archive", None))
def test_a_file_of_sirens_that_is_damaged_is_named(tmp_path, detector, content):
    path = tmp_path / "sirens.npz"
    if content is None: np.savez(path, state=np.zeros((1, 88)))
    else: path.write_bytes(content)
    for bad in (path, tmp_path / "gone.npz"):
        with pytest.raises(SirenbookError, match=bad.name): kept_sirens(detector, bad)

def test_the_command_takes_refitted_weights(tmp_path, capsys, change):
    import soundfile as sf
    save_refitted(change, tmp_path / "mine")
    sf.write(tmp_path / "a.wav", theremin_street(120, np.random.default_rng(2)), SR)
    counts = []
    for more in ([], ["--weights", str(tmp_path / "mine")]):
        assert main(["detect", str(tmp_path / "a.wav"), "--operating-point", "50/h", "--json",
                     *more]) == 0
        counts.append(len(json.loads(capsys.readouterr().out)[0]["events"]))
    assert counts[1] < counts[0] / 2

def rows(**parts):
    return [dict(zip(ADAPTATION_COLUMNS, ("s", part.replace("_", " "), str(i), g, 1.0, a, b)))
            for part, these in parts.items() for i, (g, a, b) in enumerate(these)]

def test_the_summary_counts_streets_and_groups():
    found = adaptation_summary(rows(
        learned=[("s", 0.6, 0.1)], kept_back=[("s", 0.7, 0.1), ("s", 0.55, 0.6)],
        siren=[("a", 0.9, 0.9), ("b", 0.58, 0.58), ("b", 0.2, 0.2)]), 0.5, 50)
    arms = {arm: (v["alarms"][0], v["found"][0]) for arm, v in found.items()}
    assert arms == {"as shipped": (1, 0.75), "threshold raised": (0.5, 0.5),
                    "last layer refitted": (0.5, 0.75)}

def test_the_table_of_the_book_is_whole(detector):
    found = load_adaptation(DATA / "adaptation.csv")
    streets = {r["street"] for r in found}
    files = {(r["group"], r["file"]) for r in found if r["part"] == "siren"}
    for s in streets:
        mine = [r for r in found if r["street"] == s]
        assert {r["part"] for r in mine} == {"learned", "kept back", "siren"}
        assert {(r["group"], r["file"]) for r in mine if r["part"] == "siren"} == files
        assert max(r["before"] for r in mine if r["part"] == "learned") >= 0.119

def test_a_part_that_does_not_exist_is_refused(tmp_path):
    write_csv(tmp_path / "a.csv", rows(learned=[("s", 0.6, 0.1)], elsewhere=[("s", 0.6, 0.1)]))
    with pytest.raises(SirenbookError, match="elsewhere"): load_adaptation(tmp_path / "a.csv")
    write_csv(tmp_path / "b.csv", rows(learned=[("s", 0.6, 0.1)]))
    with pytest.raises(SirenbookError, match="'kept back'"):
        adaptation_summary(load_adaptation(tmp_path / "b.csv"), 0.5)
