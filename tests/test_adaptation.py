"""Refitting the last layer: what is written, what is refused, and what must not depend on luck."""
import io, json, shutil
from pathlib import Path

import numpy as np
import pytest

import sirenbook
from sirenbook.adaptation import (ADAPTATION_COLUMNS, ARMS, PARTS, StepStates,
                                  adaptation_summary, kept_sirens, load_adaptation,
                                  logistic_change, refit, save_refitted, step_states,
                                  theremin_street)
from sirenbook.audio import SR
from sirenbook.browser import browser_weights
from sirenbook.cli import main
from sirenbook.detector import Detector
from sirenbook.errors import SirenbookError
from sirenbook.experiments.adaptation import write_sirens
from sirenbook.files import write_csv

DATA = Path(__file__).parent.parent / "data"
WEIGHTS = Path(sirenbook.__file__).parent / "weights"

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

@pytest.mark.parametrize("wav", (np.full(SR, np.nan), np.zeros((SR, 2)), ["a"], [], None, 3.0))
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

def test_it_is_logistic_regression_in_calibrated_logits(detector, street, kept, change):
    from scipy.special import expit
    scale = detector.card["calibration"]
    X = np.c_[np.concatenate([street.state, kept.state]), np.ones(len(street.logit) + 600)]
    target = np.r_[np.zeros(len(street.logit)), detector.probability(kept.logit)]
    weight = np.r_[np.full(len(street.logit), 0.5 / len(street.logit)), np.full(600, 0.5 / 600)]
    v, offset = np.zeros(89), scale["slope"] * np.r_[street.logit, kept.logit] + scale["offset"]
    for _ in range(30):                                                       # Newton's method
        p, ridge = expit(offset + X @ v), np.r_[np.full(88, 1e-3), 0]
        hessian = X.T @ (X * (weight * p * (1 - p))[:, None]) + np.diag(ridge)
        v -= np.linalg.solve(hessian, X.T @ (weight * (p - target)) + ridge * v)
    assert np.allclose(v / scale["slope"], [*change.kernel, change.bias], atol=1e-3)

def test_steps_and_settings_that_are_wrong_are_refused(detector, street, kept):
    none = StepStates(np.zeros(0), np.zeros((0, 88)))
    bad = (none, street._replace(logit=street.logit * np.nan), street._replace(state=none.state),
           street._replace(state=street.state[:, :10]), street._replace(logit=street.logit[:5]))
    for given in [(b, kept) for b in bad] + [(street, b) for b in bad]:
        with pytest.raises(SirenbookError, match="one or more"): refit(detector, *given)
    for wrong in ({"siren_share": 0}, {"siren_share": 1}, {"siren_share": "0.5"},
                  {"ridge": np.nan}, {"ridge": np.inf}, {"ridge": None}):
        with pytest.raises(SirenbookError, match="ridge above 0"):
            refit(detector, street, kept, **wrong)

def test_weights_without_a_memory_are_refused(detector):
    class Old(Detector):
        def memory(self): return super().memory().__class__(np.zeros((0, 64)), np.zeros((1, 0)))
    with pytest.raises(SirenbookError, match="format 1"):
        step_states(Old(WEIGHTS), np.zeros(SR, np.float32))

def test_what_is_written_is_what_was_refitted(tmp_path, detector, change):
    save_refitted(change, tmp_path / "mine")
    mine = Detector.load(tmp_path / "mine")
    wav = theremin_street(20, np.random.default_rng(9))
    steps = step_states(detector, wav)
    assert np.allclose(mine.score(wav).probability, detector.probability(change.logit(steps)),
                       atol=1e-5)
    small = Detector.load(tmp_path / "mine", precision="int8")
    assert np.abs(small.score(wav).probability - mine.score(wav).probability).max() < 0.01
    kept_facts = ("operating_points", "default", "trained", "format")
    assert all(mine.card[k] == detector.card[k] for k in kept_facts)
    assert mine.card["refitted_from"] == detector.card["files"]["float"]["sha256"]
    page, ours = browser_weights(tmp_path / "mine"), browser_weights()
    assert page["tensors"] == ours["tensors"] and page["data"] != ours["data"]
    assert page["offset"] != ours["offset"] and json.dumps(page)

def test_no_change_leaves_the_models_as_they_were(tmp_path, change):
    save_refitted(change._replace(kernel=np.zeros(88), bias=0.0), tmp_path / "same")
    for name in ("detector.tflite", "detector-int8.tflite"):
        assert (tmp_path / "same" / name).read_bytes() == (WEIGHTS / name).read_bytes()

def test_what_else_the_card_says_is_kept(tmp_path, change):
    source = tmp_path / "source"
    shutil.copytree(WEIGHTS, source)
    card = json.loads((source / "detector.json").read_text())
    card = card | {"timing": {"onset_s": 1.5}}
    del card["trained"]
    card["calibration"]["siren_share"] = 0.5
    (source / "detector.json").write_text(json.dumps(card))
    save_refitted(change, tmp_path / "mine", source)
    mine = Detector.load(tmp_path / "mine")
    assert mine.timing.onset_s == 1.5 and mine.card["calibration"]["siren_share"] == 0.5

@pytest.mark.parametrize("wrong", (
    {"kernel": np.zeros(87)}, {"kernel": np.full(88, np.nan)}, {"bias": np.inf},
    {"kernel": np.full(88, 1e300)}, {"kernel": np.zeros((1, 88))}, {"sha256": "another"}))
def test_a_change_that_fits_no_layer_writes_nothing(tmp_path, change, wrong):
    with pytest.raises(SirenbookError), np.errstate(over="ignore"):
        save_refitted(change._replace(**wrong), tmp_path / "mine")
    assert not (tmp_path / "mine").exists()

def test_weights_that_are_there_are_never_overwritten(tmp_path, change):
    save_refitted(change, tmp_path / "mine")
    before = {p.name: p.read_bytes() for p in (tmp_path / "mine").iterdir()}
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "mine", WEIGHTS, tmp_path / "file", tmp_path / "file" / "below",
                  "a\0b"):
        with pytest.raises(SirenbookError): save_refitted(change, place)
    assert before == {p.name: p.read_bytes() for p in (tmp_path / "mine").iterdir()}
    with pytest.raises(SirenbookError, match="not the weights"):
        save_refitted(change, tmp_path / "twice", tmp_path / "mine")
    shutil.copytree(WEIGHTS, tmp_path / "cut")
    (tmp_path / "cut" / "detector-int8.tflite").write_bytes(b"cut off")
    with pytest.raises(SirenbookError, match="int8"):
        save_refitted(change, tmp_path / "twice", tmp_path / "cut")
    assert not (tmp_path / "twice").exists()

def test_sirens_of_other_weights_are_refused(tmp_path, change):
    save_refitted(change, tmp_path / "mine")
    for other in (Detector.load(tmp_path / "mine"), Detector.pretrained(weights="clean")):
        with pytest.raises(SirenbookError, match="default weights only"): kept_sirens(other)

def test_kept_sirens_are_read_as_they_were_written(tmp_path, detector):
    state = np.linspace(-1, 1, 88 * 3).reshape(3, 88)
    write_sirens(tmp_path / "s.npz", detector, StepStates(np.array([1.5, 2, -3]), state))
    back = kept_sirens(detector, tmp_path / "s.npz")
    assert back.logit.tolist() == [1.5, 2, -3] and back.state.min() == -1 and back.state.max() == 1
    assert np.abs(back.state - state).max() <= 0.5 / 127 + 1e-6

def damaged():
    good = {"sha256": "x", "logit": np.zeros(5), "state": np.zeros((5, 88))}
    def file(**changed):
        content = io.BytesIO()
        np.savez(content, **{k: v for k, v in (good | changed).items() if v is not None})
        return content.getvalue()
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    return (b"", b"no archive", b"PK\3\4 cut off", array.getvalue(), file(sha256=None),
            file(logit=np.array(["a"] * 5)), file(state=np.full((5, 88), np.nan)),
            file(logit=np.zeros(4)), file(state=np.zeros((5, 10))),
            file(logit=np.zeros(0), state=np.zeros((0, 88))))

@pytest.mark.parametrize("content", damaged())
def test_a_file_of_sirens_that_is_damaged_is_refused(tmp_path, detector, content):
    (tmp_path / "sirens.npz").write_bytes(content)
    for name in ("sirens.npz", "gone.npz"):
        with pytest.raises(SirenbookError, match=f"{name}|one or more"):
            kept_sirens(detector, tmp_path / name)

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
    "Rows of one street; each piece has a group and the logits of the three last layers."
    return [dict(zip(ADAPTATION_COLUMNS, ("same kind", "s", 0, part.replace("_", " "), str(i),
                                          group, 1.0, *logits)))
            for part, these in parts.items() for i, (group, *logits) in enumerate(these)]

def test_the_summary_counts_each_group_of_sirens_once():
    found = adaptation_summary(rows(
        learned=[("s", 0, 0, 0)], kept_back=[("s", 1, 0, 0), ("s", 2, 0, 2)],
        elsewhere=[("s", 0, 4, 9)],
        siren=[("a", 3, 3, 3), ("b", 1.5, 3, 2), ("b", 0, 3, 2)]), 50)
    value = {key: v[0] for key, (v, _) in found.items()}
    assert value == {("shipped", "kept back"): (1 + 0.25) / 2, ("refitted", "kept back"): 1,
                     ("probe", "kept back"): (1 + 0.75) / 2, ("shipped", "elsewhere"): 0.875,
                     ("refitted", "elsewhere"): 0, ("probe", "elsewhere"): 0}
    assert found["refitted", "elsewhere"][1][0] == -0.875

def test_intervals_hold_the_value_and_grow_with_disagreement():
    rng = np.random.default_rng(0)
    def street(name, lift):
        made = rows(learned=[("s", 0, 0, 0)], elsewhere=[("s", *rng.normal(0, 1, 3))],
                    kept_back=[("s", *rng.normal(0, 1, 3)) for _ in range(5)],
                    siren=[(g, *(rng.normal(1, 1, 3) + (0, lift, 0))) for g in "abcdef"])
        return [r | {"street": name} for r in made]
    alike = adaptation_summary([r for k in range(8) for r in street(str(k), 2)], 300)
    unlike = adaptation_summary([r for k in range(8) for r in street(str(k), 4 * (k % 2))], 300)
    for found in (alike, unlike):
        for value, change in found.values():
            assert value[1] <= value[0] <= value[2] and change[1] <= change[0] <= change[2]
    width = lambda found: np.ptp(found["refitted", "kept back"][1][1:])
    assert alike["refitted", "kept back"][1][1] > 0 and width(unlike) > width(alike)

def test_the_table_of_the_book_is_whole(detector):
    found = load_adaptation(DATA / "adaptation.csv")
    files = {(r["group"], r["file"]) for r in found if r["part"] == "siren"}
    for key in {(r["scope"], r["street"], r["half"]) for r in found}:
        mine = [r for r in found if (r["scope"], r["street"], r["half"]) == key]
        assert {r["part"] for r in mine} == {*PARTS}
        assert {(r["group"], r["file"]) for r in mine if r["part"] == "siren"} == files
        worst = max(r["shipped"] for r in mine if r["part"] == "learned")
        assert detector.probability(worst) >= detector.threshold_at("50/h") - 1e-3

def test_parts_that_are_wrong_or_missing_are_named(tmp_path):
    whole = dict(learned=[("s", 0, 0, 0)], kept_back=[("s", 0, 0, 0)], siren=[("a", 0, 0, 0)])
    write_csv(tmp_path / "a.csv", rows(**whole, nowhere=[("s", 0, 0, 0)]))
    with pytest.raises(SirenbookError, match="nowhere"): load_adaptation(tmp_path / "a.csv")
    with pytest.raises(SirenbookError, match="'elsewhere'"): adaptation_summary(rows(**whole))
    with pytest.raises(SirenbookError, match="each siren"): adaptation_summary([])

def test_halves_of_a_street_are_one_street_and_each_has_its_own_sirens():
    first = rows(learned=[("s", 0, 0, 0)], kept_back=[("s", 1, 1, 1)], elsewhere=[("s", 0, 0, 0)],
                 siren=[("a", 2, 2, 2)])
    other = [r | {"half": 1} for r in rows(
        learned=[("s", 0, 0, 0)], kept_back=[("s", 3, 3, 3)], elsewhere=[("s", 0, 0, 0)],
        siren=[("a", 2, 4, 3)])]
    found = adaptation_summary(first + other, 20)
    assert [found[arm, "kept back"][0] for arm in ARMS] == [(0.5,) * 3, (1,) * 3, (0.75,) * 3]

def test_an_interval_holds_95_percent_of_the_draws():
    streets = [[r | {"street": str(k)} for r in rows(
        learned=[("s", 0, 0, 0)], kept_back=[("s", 0, 0, 0)], elsewhere=[("s", 0, 0, 0)],
        siren=[("a", 1 if k == 0 else -1, 0, 0)])] for k in range(4)]
    value, low, high = adaptation_summary(sum(streets, []), 2000)["shipped", "kept back"][0]
    assert (value, low, high) == (0.25, 0, 0.75)     # binomial, 4 draws of one in four
