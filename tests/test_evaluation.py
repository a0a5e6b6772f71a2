"""Ranking, counts, latency, event metrics and readers, against cases whose answer is known."""
import csv, importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from shared import ROOT, complains, write
from sklearn.metrics import roc_auc_score

from sirenbook import evaluation
from sirenbook.audio import SR
from sirenbook.detector import Detector, Event, EventTracker, Scores, find_events
from sirenbook.detector_training import fold_of
from sirenbook.errors import SirenbookFileError
from sirenbook.evaluation import (
    AFTER_S, AIRS, BLOCK, THRESHOLDS, alarm_intervals, alarm_rate, audible_spans, event_metrics,
    false_alarms, half_of, latencies, latency_table, lay_over, load_latency, load_peers, load_psds,
    load_unseen, merge_spans, onset_scenes, operating_points, outcome, piece_alarms, piece_maxima,
    threshold_curve, threshold_events, unseen_metrics, weights_name, worst_recordings)
from sirenbook.experiments import detector as experiment
from sirenbook.files import write_csv
from sirenbook.frames import Timing
from sirenbook.roads import band_power
from sirenbook.sirens import KINDS

TIMING, STEP = Timing(), 2048           # a score each 0.128 s
POINTS, RNG = {"1/h": 0.8, "10/h": 0.5}, np.random.default_rng(0)

def times_of(n): return TIMING.hop_s * np.arange(1, n + 1)

class Loud:
    "A detector of loudness: the loudest sample of each step."
    threshold, timing = 0.8, TIMING
    def __init__(self, sha="ab", points=POINTS):
        self.card = {"files": {"float": {"sha256": sha}}, "calibration": {"slope": 1.0},
                     "operating_points": points, "default": "1/h"}
        self.scored = 0                # sounds
    def score(self, wav): return self.stream(SR).push(wav)
    def stream(self, sr):
        self.scored += 1
        return LoudStream()
    def tracker(self, threshold): return EventTracker(threshold, self.timing)

class LoudStream:
    def __init__(self): self.rest, self.n = np.empty(0), 0
    def push(self, wav):
        wav = np.concatenate([self.rest, wav])
        k = len(wav) // STEP
        self.rest, self.n = wav[k * STEP:], self.n + k
        p = np.abs(wav[:k * STEP]).reshape(k, STEP).max(1, initial=0).clip(0.01, 0.99)
        return Scores(STEP / SR * np.arange(self.n - k + 1, self.n + 1), p.astype(np.float32))

def bumps(at_s, seconds, height=0.9):
    "Silence with clicks."
    wav = np.zeros(round(seconds * SR), np.float32)
    for s in at_s: wav[round(s * SR)] = height
    return wav

# Recordings that were not learned from

def piece(label, group, p, k=0, *, seconds=10.0, n=0, fold=0, place="street"):
    "A row of unseen.csv: piece n of recording k of a group."
    return {"weights": "w", "fold": fold, "set": place, "file": f"{label} {group} {k}.flac",
            "group": f"{place}:{label} {group}", "label": label, "category": "dog",
            "start_s": 10.0 * n, "seconds": seconds, "p": float(p)}

def pieces(n_sirens=20, n_others=40, seed=0):
    "A recording of two pieces in each group; probabilities overlap."
    rng = np.random.default_rng(seed)
    return [piece(label, g, round(rng.beta(*shape), 2), n=n)
            for label, many, shape in (("emergency", n_sirens, (3, 2)),
                                       ("non-emergency", n_others, (1, 4)))
            for g in range(many) for n in (0, 1)]

@settings(deadline=None)
@given(st.floats(0.01, 65), st.integers(0, 10_000), st.sampled_from((TIMING.hop_s, 0.5)))
def test_pieces_cover_a_recording_and_each_score_once(seconds, seed, hop_s):
    times = hop_s * np.arange(1, int(seconds / hop_s) + 1)
    n = len(times)
    p = np.random.default_rng(seed).permutation(n) / max(n, 1)          # no two alike
    found = piece_maxima(Scores(times, p), seconds)
    starts, lengths, highest = zip(*found)
    assert np.isclose(sum(lengths), seconds) and np.allclose(starts, 10 * np.arange(len(found)))
    assert all(b == 10 for b in lengths[:-1]) and 0 < lengths[-1] < 11
    assert lengths[-1] >= 1 or len(found) == 1
    which = np.minimum(np.ceil(times / 10 - 1e-9).astype(int) - 1, len(found) - 1)
    assert list(highest) == [max(p[which == k], default=0) for k in range(len(found))]

@pytest.mark.parametrize("seed", range(3))
def test_ranking_is_sklearns_and_the_false_alarms_are_a_count(seed):
    rows = pieces(seed=seed)
    value = {k: v for k, (v, *_) in unseen_metrics(rows, 0).items()}
    best = {}
    for r in rows: best[r["file"]] = max(r["p"], best.get(r["file"], 0))
    siren, p = np.array([f.startswith("em") for f in best]), np.array([*best.values()])
    assert np.isclose(value["roc_auc"], roc_auc_score(siren, p))
    others = np.sort(p[~siren])[::-1]
    assert np.isclose(value["found_at_5"], np.mean(p[siren] > others[2]))    # two of forty
    assert np.isclose(value["found_at_1"], np.mean(p[siren] > others[0]))    # none of forty
    least = np.sort(p[siren])[::-1][16]                                      # 17 of 20 are 85 %
    alarms = sum(r["p"] >= least for r in rows if r["label"] != "emergency")
    assert np.isclose(value["per_hour_at_85"], alarms / (80 * 10 / 3600))
    tied = unseen_metrics([*rows, piece("non-emergency", 99, least)], 0)     # it raises one, too
    assert np.isclose(tied["per_hour_at_85"][0], (alarms + 1) / (81 * 10 / 3600))

def test_a_group_counts_once_however_many_recordings_it_has():
    rows = pieces()
    more = [r | {"file": f"copy {k} {r['file']}"} for r in rows for k in range(9)
            if r["group"].endswith("emergency 3")]
    one, many = unseen_metrics(rows, 0), unseen_metrics(rows + more, 0)
    assert all(np.isclose(one[k][0], many[k][0]) for k in ("roc_auc", "found_at_5"))

def test_intervals_hold_the_value_and_shrink_with_more_groups():
    few, many = unseen_metrics(pieces(), 100), unseen_metrics(pieces(200, 400), 100)
    for m in (few, many):
        assert all(low <= value <= high for value, low, high in m.values())
    assert all(few[k][2] - few[k][1] > 1.5 * (many[k][2] - many[k][1]) > 0 for k in few)
    assert unseen_metrics(pieces(), 100) == few
    assert all(value == low == high for value, low, high in unseen_metrics(pieces(), 0).values())

def test_the_worst_are_named_once_a_group():
    rows = [piece("emergency", 0, 0.1), piece("emergency", 0, 0.2, 1), piece("emergency", 1, 0.15),
            piece("emergency", 2, 0.05), piece("emergency", 2, 0.9, n=1),    # found in its second
            piece("non-emergency", 0, 0.3), piece("non-emergency", 1, 0.7)]
    assert [r["p"] for r in worst_recordings(rows, "emergency")] == [0.1, 0.15, 0.9]
    assert [r["p"] for r in worst_recordings(rows, "non-emergency", 1)] == [0.7]

# False alarms

def test_every_false_bump_is_counted_once_and_hours_are_hours():
    hour = bumps(np.arange(7) * 400 + 30.3, 3600)
    counted = false_alarms(Loud(), [hour[:SR * 1800], hour[SR * 1800:]], (0.5, 0.85, 0.95))
    assert [(r["hours"], r["events"]) for r in counted] == [(1.0, 7), (1.0, 7), (1.0, 0)]

def test_counts_of_separate_bumps_fall_as_the_threshold_rises():
    p = np.full(2000, 0.001)
    p[10::40] = np.random.default_rng(0).uniform(0.05, 0.9999, len(p[10::40]))
    counts = [len(find_events(Scores(times_of(2000), p), t)) for t in THRESHOLDS]
    assert counts[0] == 50 and counts[-1] < 5 and all(a >= b for a, b in zip(counts, counts[1:]))

@pytest.mark.parametrize("way", (find_events, threshold_events))
def test_what_is_reported_at_a_higher_threshold_is_reported_at_a_lower_one(way):
    p = np.random.default_rng(1).beta(0.6, 1.5, 300)
    scores, covered = Scores(times_of(300), p), None
    for t in THRESHOLDS:
        now = np.zeros(500, bool)
        for e in way(scores, t): now[int(e.start * 10):int(e.end * 10)] = True
        near = 8 if way is find_events else 0   # tenths: the tracker moves an event's edges
        assert covered is None or not np.any(
            now & ~np.convolve(covered, np.ones(2 * near + 1), "same").astype(bool))
        covered = now

def test_an_operating_point_keeps_to_its_rate_at_every_higher_threshold_too():
    counts = (0.1, 1), (0.3, 60), (0.5, 40), (0.7, 41), (0.9, 4), (0.95, 5), (0.99, 2)
    rows = [{"hours": 4.0, "threshold": t, "events": n} for t, n in counts]
    assert operating_points(rows) == {"100/h": 0.1, "10/h": 0.9, "1/h": 0.99}
    assert operating_points(rows[::-1]) == operating_points(rows)
    assert "1/h" not in operating_points([r | {"hours": 2.9} for r in rows])   # too few hours
    assert operating_points([r | {"events": 999} for r in rows]) == {}
    with complains("one sound"):
        operating_points([*rows, {"hours": 1.0, "threshold": 0.2, "events": 0}])

def test_a_rate_is_alarms_by_hours_with_an_interval_by_groups():
    spread = [piece("non-emergency", g, g < 10, seconds=36) for g in range(100)]    # one hour
    rate = alarm_rate([*spread, piece("emergency", 0, 1.0)], 1)
    assert rate["events"] == 10 and np.allclose([rate["hours"], rate["rate"]], [1, 10])
    assert 3 < rate["low"] < 10 < rate["high"] < 18          # 10 ± 1.96 × 3 would be binomial
    clumped = [piece("non-emergency", g // 10, g < 10, g, seconds=36) for g in range(100)]
    other = alarm_rate(clumped, 0.5)
    assert np.isclose(other["rate"], 10) and other["low"] == 0 and other["high"] > rate["high"]
    none = alarm_rate(spread * 2, 1.1)
    assert (none["rate"], none["low"]) == (0, 0) and np.isclose(none["high"], 3.6889 / 2, atol=1e-3)
    counted = piece_alarms(spread, (0.5, 1.1))
    assert [(r["hours"], r["events"]) for r in counted] == [(1.0, 10), (1.0, 0)]

def test_halves_are_about_halves_and_always_the_same():
    halves = [half_of(f"street:{k}") for k in range(1000)]
    assert 450 < sum(halves) < 550 and halves[:6] == [1, 1, 1, 1, 0, 0]

@pytest.mark.parametrize("wrong, words", (
    (lambda: unseen_metrics([]), "no piece without a siren"),
    (lambda: unseen_metrics(pieces(0, 3)), "no recording of a siren"),
    (lambda: unseen_metrics(pieces(3, 0)), "no piece without a siren"),
    (lambda: alarm_rate(pieces(3, 0), 0.5), "no piece without a siren"),
    (lambda: piece_alarms([]), "no piece without a siren"),
    (lambda: next(onset_scenes("meow", 0, [(0, None, "")])), "meow"),
    (lambda: next(onset_scenes("wail", 0, [(None, 50, "foggy")])), "foggy"),
    (lambda: next(lay_over(bumps([], 3), bumps([1], 20), RNG, [0])), "silent"),
    (lambda: next(lay_over(bumps([0], 0.01), bumps([1], 9), RNG, [0])), "silent"),
    (lambda: next(lay_over(bumps([1], 3), bumps([], 0), RNG, [0])), "street"),
))
def test_what_cannot_be_measured_is_refused_in_a_sentence(wrong, words):
    with complains(words): wrong()

# Latency

@pytest.mark.parametrize("onset_s", (3.0, 4.21, 5.9))
def test_a_siren_at_a_known_time_raises_the_alarm_when_its_step_ends(onset_s):
    [spans] = alarm_intervals(Loud(), bumps([onset_s], 15), [0.5])
    due = (int(onset_s * SR / STEP) + 1) * STEP / SR
    happened, latency_s = outcome(spans, onset_s)
    assert happened == "found" and 0 <= onset_s + latency_s - due <= BLOCK / SR + 1e-3

def test_each_threshold_has_alarms_of_its_own():
    wav = bumps([4.0], 12, 0.7) + bumps([8.0], 12, 0.95)
    low, high = alarm_intervals(Loud(), wav, [0.5, 0.9])
    assert [round(a) for a, _ in low] == [4, 8] and [round(a) for a, _ in high] == [8]
    assert 4 < low[0][1] < 8                                  # it went off in between

def test_an_alarm_that_is_on_before_is_no_success_and_one_too_late_is_none():
    assert outcome([(1.0, 9.0)], 5) == ("early", None)
    assert outcome([(1.0, 4.9), (6.5, 7.0)], 5) == ("found", 1.5)
    assert outcome([(5 + AFTER_S + 0.1, np.inf)], 5) == outcome([], 5) == ("missed", None)

def alarm_rows(values, **more):
    return [{"snr_db": 0.0, "distance_m": None, "kind": "wail", "latency_s": v, "outcome": o} | more
            for v, o in ((None, v) if isinstance(v, str) else (v, "found") for v in values)]

def test_a_missed_siren_has_an_infinite_latency_and_an_early_alarm_counts_apart():
    [row] = latency_table(alarm_rows([1.0, 2.0, 3.0, "missed", "missed", "early"]))
    assert row["sirens"] == 6 and row["median (s)"] == "3.00" and row["missed"] == "40%"
    assert row["95th percentile (s)"] == "never" and row["on before"] == 1
    [fine] = latency_table(alarm_rows(np.arange(1, 101) / 10))
    assert fine["median (s)"] == "5.10" and fine["95th percentile (s)"] == "9.60"
    assert fine["missed"] == "0%"
    assert list(latencies(alarm_rows([2.0, "missed", 1.0]))) == [1.0, 2.0, np.inf]
    mixed = alarm_rows([1.0]) + alarm_rows([2.0], distance_m=30.0, snr_db=20.0)
    assert [r["sirens"] for r in latency_table(mixed)] == [1]
    assert latency_table(mixed, "distance_m")[0]["distance_m"] == 30.0

@pytest.mark.parametrize("kind", KINDS)
def test_a_siren_begins_at_its_onset_and_is_as_loud_as_asked_for(kind):
    wanted = [(-5, None, ""), (10, None, ""), (None, 30, "humid")]
    (low, quiet, onset_s), (high, loud, again), (near, *_) = onset_scenes(kind, 3, wanted)
    assert (low, high) == (-5, 10) and onset_s == again and near > high
    before = slice(0, round((onset_s - 0.2) * SR))
    gain = np.sqrt(np.mean(loud[before] ** 2) / np.mean(quiet[before] ** 2))
    assert gain < 0.95              # a louder siren leaves less room to the same street
    power = band_power(loud)
    after = power[int(onset_s * 10) + 2:int(onset_s * 10) + 40]
    assert after.max() > 3 * np.median(power[:int(onset_s * 10) - 1])

def ratio_db(wav, rest):
    "Median ratio of a sound to the rest where it sounds, measured."
    power, rest = band_power(wav), band_power(rest)
    on = power > 0.01 * power.max()
    return np.median(10 * np.log10(power[on] / rest[on]))

@pytest.fixture
def bare(monkeypatch):
    "A microphone that changes nothing, so that scenes can be subtracted."
    monkeypatch.setattr(evaluation, "microphone", lambda wav, rng: wav.astype(np.float64))

def test_weather_adds_its_noise_at_the_stated_level(bare):
    wanted = [(-300, None, air) for air in ("", *AIRS)]               # the siren is too faint
    street, *weather = (wav for _, wav, _ in onset_scenes("yelp", 1, wanted))
    for (*_, kind, over_db), wav in zip(AIRS.values(), weather):
        added = np.median(band_power(wav - street)) / np.median(band_power(street))
        assert not added if not kind else abs(10 * np.log10(added) - over_db) < 0.1, kind
    assert {a[2] for a in AIRS.values()} == {"", "wind", "rain"}

@pytest.mark.parametrize("air", AIRS)
def test_a_siren_far_away_is_fainter_and_begins_at_its_onset_too(bare, air):
    (_, rest, onset_s), (near, loud, _), (far, faint, _) = onset_scenes(
        "yelp", 1, [(-300, None, air), (None, 50, air), (None, 500, air)])
    begins = [np.argmax(np.abs(wav - rest) > 0.02 * np.abs(wav - rest).max()) / SR
              for wav in (loud, faint)]
    assert abs(begins[0] - begins[1]) < 0.01 and abs(begins[1] - onset_s) < 0.05
    assert 15 < near - far < 45                                # 20 dB by distance, the rest by air
    assert abs(ratio_db(loud - rest, rest) - near) < 0.2

@pytest.mark.parametrize("street_s", (0.7, 3.3, 15, 40))
def test_a_real_siren_begins_where_it_is_said_to_and_has_its_ratio(street_s):
    rng = np.random.default_rng(7)
    street = (0.01 * rng.standard_normal(round(street_s * SR))).astype(np.float32)
    tone = 0.1 * np.cos(2 * np.pi * 900 * np.arange(6 * SR) / SR)
    siren = np.r_[np.zeros(SR // 2), tone * (0.5 + np.arange(6 * SR) / SR / 6), np.zeros(SR)]
    wanted = (-300, -10, 0, 20, 60)
    found = [*lay_over(siren.astype(np.float32), street, np.random.default_rng(1), wanted)]
    [onset_s], [end_s] = {f[2] for f in found}, {f[3] for f in found}
    rest, *mixes, clipped = (f[1].astype(np.float64) for f in found)
    assert 4 <= onset_s <= 5 and np.isclose(end_s - onset_s, 7) and len(rest) == 15 * SR
    for snr_db, mix in zip(wanted[1:], mixes):
        sounds = np.flatnonzero(np.abs(mix - rest) > 1e-6)
        assert abs(sounds[0] / SR - onset_s) < 0.01 and abs(sounds[-1] / SR - (end_s - 1)) < 0.01
        assert abs(ratio_db(mix - rest, rest) - snr_db) < 0.2
    assert 0.89 < np.abs(clipped).max() <= 0.9 + 1e-6                      # scaled, not clipped
    part, n = rest / 0.9, len(street)
    if n <= 15 * SR:                                                       # back, and forth again
        assert np.allclose(part[:n], street[:len(part)], atol=1e-6)
        m = min(n, len(part) - n)
        assert np.allclose(part[n:n + m], street[::-1][:m], atol=1e-6)
    else:
        at = int(np.argmin(np.abs(street[:n - 15 * SR + 1] - part[0])))
        assert np.allclose(part, street[at:at + 15 * SR], atol=1e-6)

# Events

def test_spans_are_merged_over_pauses_only():
    assert merge_spans([(4.5, 5), (0, 1), (3, 4)]) == [(0, 5)]
    assert merge_spans([(0, 9), (1, 2), (12.5, 13)]) == [(0, 9), (12.5, 13)]
    assert merge_spans([]) == []

def test_a_siren_is_audible_above_the_limit_only():
    snr = np.full(300, np.nan)
    snr[20:60], snr[70:80], snr[150:200], snr[280:284] = 0, -4, -6, 20
    assert np.allclose(audible_spans({"snr_db": snr}), [(2, 8)])
    assert np.allclose(audible_spans({"snr_db": snr}, -7), [(2, 8), (15, 20)])

def test_a_curve_holds_the_highest_threshold_that_still_reports():
    events = {0.2: [Event(0, 3, 1), Event(5, 9, 1)], 0.7: [Event(1, 2, 1)]}
    curve = threshold_curve(events.__getitem__, 10, (0.2, 0.7))
    assert len(curve) == 100 and list(curve[[5, 15, 25, 40, 70, 95]]) == [0.2, 0.7, 0.2, 0, 0.2, 0]

def test_threshold_events_are_the_runs():
    p, hop = np.array([0.9, 0.9, 0.1, 0.1, 0.9, 0.1, 0.8]), TIMING.hop_s
    found = threshold_events(Scores(times_of(7), p), 0.8)
    assert np.allclose([e[:2] for e in found], hop * np.array([(0, 2), (4, 5), (6, 7)]))
    assert [e.peak for e in found] == [0.9, 0.9, 0.8]
    assert threshold_events(Scores(times_of(7), p), 0.95) == []

@pytest.fixture
def tool():
    if importlib.util.find_spec("sed_scores_eval") is None:
        pytest.skip("sed_scores_eval is not installed, so nothing was measured with it "
                    "(pip install '.[evaluation]')")

def measured(report):
    truth = {"a": [(3.0, 8.0)], "b": [], "c": [(0.0, 4.0), (9.0, 15.0)]}
    curves = {n: np.zeros(150) for n in truth}
    for n, spans in report(truth).items():
        for a, b in spans: curves[n][round(a * 10):round(b * 10)] = 0.9
    return event_metrics(curves, report(truth), truth)

@pytest.mark.filterwarnings("ignore")
def test_perfect_events_score_1_and_none_score_0(tool):
    assert set(measured(lambda truth: truth).values()) == {1.0}
    nothing = measured(lambda truth: {n: [] for n in truth})
    assert nothing["psds"] == nothing["psds_loose"] == nothing["f1"] == nothing["recall"] == 0

@pytest.mark.filterwarnings("ignore")
def test_late_events_overlap_but_miss_the_collar(tool):
    def moved(by_s):
        return measured(lambda truth: {n: [(a + by_s, b) for a, b in spans]
                                       for n, spans in truth.items()})
    assert moved(1.2)["psds_loose"] == 1 and moved(1.2)["f1"] == 0
    assert moved(0.8)["f1"] == 1
    false = measured(lambda truth: truth | {"b": [(1.0, 5.0)]})
    assert false["recall"] == 1 and false["precision"] == 0.75

# The readers

LATENCY = {"weights": "w", "sound": "real", "threshold": 0.8, "operating_point": "1/h",
           "kind": "wail", "draw": 0, "snr_db": 0.0, "distance_m": "", "air": "",
           "outcome": "found", "latency_s": 1.2}

def test_readers_take_whole_tables_only(tmp_path):
    path = tmp_path/"unseen.csv"
    write_csv(path, pieces())
    assert load_unseen(path) == pieces()
    first, *rest = pieces()
    for bad in ([*rest, first, first], [first | {"p": 1.2}, *rest], [first | {"p": "nan"}, *rest],
                [first | {"label": "siren"}, *rest], [first | {"seconds": 0}, *rest],
                [first, first | {"start_s": 90.0, "fold": 4 - first["fold"]}],
                [first, first | {"start_s": 90.0, "group": "another"}]):
        write_csv(path, bad)
        with complains(path): load_unseen(path)
    path = tmp_path/"latency.csv"
    write_csv(path, [LATENCY])
    assert load_latency(path) == [LATENCY | {"distance_m": None}]
    for bad in ({"outcome": "missed"}, {"latency_s": ""}, {"outcome": "perhaps"},
                {"latency_s": "nan"}):
        write_csv(path, [LATENCY | bad])
        with complains(path): load_latency(path)
    for load in (load_psds, load_latency, load_unseen, load_peers):
        with complains(tmp_path/"none.csv", "no such file"): load(tmp_path/"none.csv")
        (tmp_path/"half.csv").write_text("weights,thres")
        with complains(tmp_path/"half.csv"): load(tmp_path/"half.csv")

# The experiment

def judged_folder(place, folds=range(5), seconds=11.5):
    "A siren and a street for each fold, each a group of its own, and a siren of neither class."
    rows, rng = [], np.random.default_rng(5)
    kinds = (("emergency", "siren"), ("non-emergency", "street"), ("emergency", "siren-civil"))
    for fold, (label, category) in ((f, k) for f in folds for k in kinds):
        group = next(g for k in range(999)
                     if fold_of(f"{place.name}:{(g := f'{category} {k}')}") == fold)
        file = f"{label}/{category} {fold}.wav"
        write(place/file, 0.1 * rng.standard_normal(round(seconds * SR)))
        rows.append({"file": file, "label": label, "group": group, "category": category})
    with open(place/"manifest.csv", "w", newline="") as f:
        table = csv.DictWriter(f, [*rows[0]])
        table.writeheader(), table.writerows(rows)
    return place

def quick_scenes(asked):
    "In place of `onset_scenes`: a click at 5 s."
    def scenes(kind, draw, wanted):
        asked.append((kind, draw))
        for snr_db, *_ in wanted: yield snr_db or 20.0, bumps([5.0], 12), 5.0
    return scenes

def test_each_recording_is_judged_by_the_network_of_its_fold(tmp_path):
    place, path = judged_folder(tmp_path/"street"), tmp_path/"unseen.csv"
    detectors = {k: Loud(f"{k}") for k in range(5)}
    for _ in range(2): experiment.run_unseen(path, detectors, [place])
    rows = load_unseen(path)
    assert len(rows) == 5 * 2 * 2 and {r["start_s"] for r in rows} == {0.0, 10.0}
    assert all(fold_of(r["group"]) == r["fold"] for r in rows)
    assert all(r["weights"] == weights_name(detectors[r["fold"]]) for r in rows)
    assert {r["category"] for r in rows} == {"siren", "street"}       # siren-civil is neither
    assert [d.scored for d in detectors.values()] == [2] * 5          # nothing is scored again
    detectors[3] = Loud("other")
    experiment.run_unseen(path, detectors, [place])
    assert [d.scored for d in detectors.values()] == [2] * 5
    assert {r["weights"] for r in load_unseen(path)} == {*map(weights_name, detectors.values())}

def test_latency_rows_resume_and_replace_those_of_other_weights(tmp_path, monkeypatch):
    asked, path, wail = [], tmp_path/"latency.csv", ("wail",)
    monkeypatch.setattr(experiment, "onset_scenes", quick_scenes(asked))
    for draws in (1, 2): experiment.run_latency(path, Loud(), draws, wail)
    rows = load_latency(path)
    each = len(experiment.ONSET_SNRS_DB) * 2 + len(experiment.DISTANCES_M) * len(AIRS)
    assert asked == [("wail", 0), ("wail", 1)] and len(rows) == 2 * each
    assert {r["outcome"] for r in rows} == {"found"}
    assert {r["operating_point"] for r in rows if r["distance_m"]} == {"1/h"}     # the default
    moved = {"1/h": 0.85, "10/h": 0.5}
    experiment.run_latency(path, Loud(points=moved), 1, wail)
    points = {(r["operating_point"], r["threshold"]) for r in load_latency(path)}
    assert len(asked) == 3 and points == {*moved.items()}
    experiment.run_latency(path, other := Loud("cd", moved), 1, wail)
    assert {r["weights"] for r in load_latency(path)} == {weights_name(other)}

def test_real_sirens_begin_in_streets_of_their_own_fold(tmp_path):
    place, path = judged_folder(tmp_path/"world", (0, 3)), tmp_path/"latency.csv"
    kept = [LATENCY | {"weights": weights_name(Loud("0")), "sound": "simulated",
                       "operating_point": point, "threshold": t} for point, t in POINTS.items()]
    write_csv(path, [LATENCY, *kept])
    detectors = {k: Loud(f"{k}") for k in (0, 3)}
    for _ in range(2): experiment.run_real_latency(path, detectors, [place], POINTS)
    assert {d.scored for d in detectors.values()} == {2 * len(experiment.REAL_SNRS_DB)}
    rows = load_latency(path)
    real = [r for r in rows if r["sound"] == "real"]
    assert len(real) == 2 * 2 * len(experiment.REAL_SNRS_DB) * len(POINTS) == len(rows) - 2
    assert {(r["weights"], fold_of(r["kind"])) for r in real} == {
        (weights_name(Loud(f"{k}")), k) for k in (0, 3)}
    onsets = [scenes[0][2] for _, _, scenes in experiment.real_onsets([place], 3, 3)]
    assert len({*onsets}) == 3 and [*experiment.real_onsets([place], 1, 3)] == []
    (place/"non-emergency/street 3.wav").unlink()
    lines = (place/"manifest.csv").read_text().splitlines(True)
    (place/"manifest.csv").write_text("".join(x for x in lines if "street 3.wav" not in x))
    with complains("fold 3", "street"): [*experiment.real_onsets([place], 3, 1)]

def test_psds_rows_are_measured_once_and_replaced_by_other_weights(tmp_path, monkeypatch):
    n, path, place = [], tmp_path/"psds.csv", judged_folder(tmp_path/"street")
    monkeypatch.setattr(experiment, "render_dataset", lambda folder, *a, **k: n.append(a) or folder)
    truth = {"heard": [(1.0, 2.0)], "sounding": [(0.0, 3.0), (5.0, 6.0)]}
    scene = ("a", SimpleNamespace(seconds=10.0, wav=bumps([4.0], 10)), truth)
    monkeypatch.setattr(experiment, "_scenes", lambda folder: [scene])
    values = dict.fromkeys(("psds", "psds_loose", "f1", "precision", "recall"), 0.5)
    monkeypatch.setattr(experiment, "event_metrics", lambda *a: values)
    for _ in range(2): experiment.run_psds(path, Loud(), tmp_path)
    rows = load_psds(path)
    assert n == [(1, experiment.SCENE_SEED)] and {r["sound"] for r in rows} == {"simulated"}
    assert len(rows) == 2 * 2 * 2 and {(r["truth"], r["true_events"]) for r in rows} == {
        ("heard", 1), ("sounding", 2)}
    folds = {k: Loud(f"{k}") for k in range(5)}
    for _ in range(2): experiment.run_psds(path, Loud(), tmp_path, 1, folds, [place])
    real = [r for r in load_psds(path) if r["sound"] == "real"]
    at_least_0 = sum(s >= 0 for s in experiment.REAL_SNRS_DB)
    assert len(n) == 1 and [d.scored for d in folds.values()] == [at_least_0] * 5
    assert len(real) == 2 * 2 and {r["true_events"] for r in real} == {5 * at_least_0}
    assert {r["hours"] for r in real} == {round(5 * at_least_0 * 15 / 3600, 4)}
    experiment.run_psds(path, other := Loud("cd"), tmp_path)
    assert {r["weights"] for r in load_psds(path)} == {weights_name(other)}

@pytest.fixture
def fakes(tmp_path, monkeypatch):
    "What `run` calls that takes hours, replaced: the folds that were trained, their detectors."
    trained, detectors = [], {}
    def train(folder, recorded, teacher, hours, *, fold, mixtures=6000, licensed=False):
        trained.append((fold, [p.name for p in recorded]) if licensed else fold)
        run = folder/f"fold {fold}, seed 0{', licensed' * licensed}"
        (run/"weights").mkdir(parents=True, exist_ok=True)
        (run/"log.csv").write_text(f"epoch,loss\n{fold},0.5\n")
        return run/"weights"
    def load(path): return detectors.setdefault(path.parent.name, Loud(path.parent.name))
    def psds(path, detector, *_): path.write_text(weights_name(detector))
    points = []
    def set_points(place, counts): points.append((place.parent.name, counts))
    for name, fake in {"train_detector": train, "set_operating_points": set_points,
                       "onset_scenes": quick_scenes([]), "run_psds": psds,
                       "require": lambda *a: None}.items():
        monkeypatch.setattr(experiment, name, fake)
    monkeypatch.setattr(experiment.Detector, "load", load)
    return SimpleNamespace(trained=trained, detectors=detectors, points=points)

def test_the_experiment_trains_each_fold_and_writes_its_tables(tmp_path, fakes):
    places = [judged_folder(tmp_path/"sets"/name) for name in ("street", "world", "esvs")]
    (out := tmp_path/"data").mkdir()
    options = {"folder": tmp_path/"runs", "fold_ids": (4, 1), "draws": 1}
    experiment.run(places, out, **options)
    assert fakes.trained == [1, 4]
    assert {p.name for p in out.iterdir()} == {
        f"{n}.csv" for n in ("unseen", "latency", "psds", "detector_training")}
    shipped, other = (weights_name(Loud(f"fold {k}, seed 0")) for k in (4, 1))
    assert fakes.points == [("fold 4, seed 0", piece_alarms(load_unseen(out/"unseen.csv")))]
    unseen, latency = load_unseen(out/"unseen.csv"), load_latency(out/"latency.csv")
    assert {(r["fold"], r["weights"], r["set"]) for r in unseen} == {
        (k, w, s) for k, w in ((4, shipped), (1, other)) for s in ("street", "world")}
    assert {(r["sound"], r["weights"]) for r in latency} == {
        ("simulated", shipped), ("real", shipped), ("real", other)}
    assert (out/"psds.csv").read_text() == shipped
    assert (out/"detector_training.csv").read_text() == "epoch,loss\n4,0.5\n"
    scored = lambda: [d.scored for d in fakes.detectors.values()]
    (out/"psds.csv").unlink()
    before, n = {p.name: p.read_bytes() for p in out.iterdir()}, scored()
    experiment.run(places, out, **options)                                 # nothing is left to do
    assert before == {p.name: p.read_bytes() for p in out.iterdir() if p.name != "psds.csv"}
    assert scored() == n
    (out/"psds.csv").unlink()
    experiment.run(places, out, **options | {"draws": 2})          # only the simulated ones are
    assert scored()[0] == n[0] and scored()[1] > n[1]
    assert len([r for r in load_latency(out/"latency.csv") if r["sound"] == "real"]) == len(
        [r for r in latency if r["sound"] == "real"])

def test_the_clean_network_is_judged_on_what_it_does_not_know(tmp_path, fakes, monkeypatch):
    places = [judged_folder(tmp_path/"sets"/name) for name in ("street", "world", "esvs")]
    (out := tmp_path/"data").mkdir()
    every = experiment.grouped_recordings
    known = [r for r in every(places[1]) if r[2] != "siren"][:2]
    fold = next(k for k in range(5) if k not in {experiment.fold_of(g) for _, g, _ in known})
    monkeypatch.setattr(experiment, "grouped_recordings", lambda folder, fold=None, licensed=None:
                        every(folder, fold) if licensed is None else
                        known if Path(folder).name == "world" else [])
    experiment.run(places, out, folder=tmp_path/"runs", fold_ids=[fold], clean=True)
    assert fakes.trained == [(fold, ["world", "esvs"])]                # not street
    assert {p.name for p in out.iterdir()} == {"unseen_clean.csv"}
    rows = load_unseen(out/"unseen_clean.csv")
    assert {r["group"] for r in rows} == {
        g for p in places[:2] for _, g, _ in every(p)} - {g for _, g, _ in known}
    assert {r["weights"] for r in rows} == {weights_name(Loud(f"fold {fold}, seed 0, licensed"))}
    assert fakes.points == [(f"fold {fold}, seed 0, licensed", piece_alarms(rows))]

def test_what_the_experiment_cannot_do_is_refused_before_anything_is_written(tmp_path, fakes):
    street, esvs = (judged_folder(tmp_path/"sets"/n, (0,)) for n in ("street", "esvs"))
    (out := tmp_path/"data").mkdir()
    runs = {"folder": tmp_path/"runs"}
    with complains("judged on street and world"): experiment.run([esvs], out, **runs)
    for hours in (0, np.nan, 1e5):
        with complains("hours"): experiment.run([street], out, hours=hours, **runs)
    for folds in ((), (5,), (0, -1)):
        with complains("folds"): experiment.run([street], out, fold_ids=folds, **runs)
    with complains(tmp_path/"no", "no such folder"): experiment.run([street], tmp_path/"no", **runs)
    assert not fakes.trained and not [*out.iterdir()] and not (tmp_path/"runs").exists()
    for name in ("unseen", "unseen_clean", "latency", "psds"):    # as a version before wrote them
        (out/f"{name}.csv").write_text("weights,kind\nab,wail\n")
        with complains(name, kind=SirenbookFileError): experiment.run([street], out, **runs)
        assert not fakes.trained and (out/f"{name}.csv").read_text() == "weights,kind\nab,wail\n"
        (out/f"{name}.csv").unlink()

# The benchmark

def test_another_model_is_judged_on_the_same_pieces(tmp_path):
    spec = importlib.util.spec_from_file_location("benchmark", ROOT/"benchmarks"/"detector.py")
    spec.loader.exec_module(benchmark := importlib.util.module_from_spec(spec))
    places = [judged_folder(tmp_path/name, (0, 1)) for name in ("street", "world")]
    experiment.run_unseen(tmp_path/"unseen.csv", {0: Loud(), 1: Loud("1")}, places)
    rows, heard = load_unseen(tmp_path/"unseen.csv"), []
    rows = [r for r in rows if not (r["set"] == "world" and r["fold"] == 1)]
    def scores(wav): heard.append(len(wav)); return np.array([5.0, 10.5]), np.array([0.3, 0.6])
    found = benchmark.judged(rows, SimpleNamespace(scores=scores), places)
    key = lambda r: (r["set"], r["file"], r["start_s"])
    assert len(heard) == 6 and sorted(map(key, found)) == sorted(map(key, rows))
    assert {(r["start_s"], r["p"]) for r in found} == {(0.0, 0.3), (10.0, 0.6)}
    assert {key(r): r["label"] for r in found} == {key(r): r["label"] for r in rows}

# The tables in the repository

def test_the_tables_belong_to_the_weights_in_the_package():
    detector = Detector.pretrained()
    unseen, latency, event = (load(ROOT/"data"/f"{name}.csv") for load, name in (
        (load_unseen, "unseen"), (load_latency, "latency"), (load_psds, "psds")))
    simulated, real = ([r for r in latency if r["sound"] == s] for s in ("simulated", "real"))
    for rows in (simulated, event):
        assert {r["weights"] for r in rows} == {weights_name(detector)}, "make detector"
    names = {r["fold"]: r["weights"] for r in unseen}
    assert {r["weights"] for r in real} == {*names.values()} and weights_name(detector) in {
        *names.values()}
    assert len({(r["fold"], r["weights"]) for r in unseen}) == len({*names.values()}) == 5
    assert all(fold_of(r["group"]) == r["fold"] for r in unseen)
    assert all(names[fold_of(r["kind"])] == r["weights"] for r in real)
    for rows in (simulated, real, event):
        assert {(r["operating_point"], r["threshold"]) for r in rows} == {
            *detector.card["operating_points"].items()}
    assert {r["kind"] for r in simulated} == {*KINDS} - {"air horn"}
    assert {r["sound"] for r in event} == {"simulated", "real"}

def test_a_latency_in_the_table_can_be_measured_again():
    detector, rows, n = Detector.pretrained(), load_latency(ROOT/"data/latency.csv"), 0
    for kind, *setting in (("yelp", 5.0, None, ""), ("hi-lo", None, 300.0, "rainy")):
        [(_, wav, onset_s)] = onset_scenes(kind, 1, [setting])
        for r in rows:
            at = r["kind"], r["draw"], r["distance_m"], r["air"]
            if at != (kind, 1, *setting[1:]) or setting[0] not in (None, r["snr_db"]): continue
            [spans], n = alarm_intervals(detector, wav, [r["threshold"]]), n + 1
            assert outcome(spans, onset_s) == (r["outcome"], r["latency_s"])
    assert n == len(detector.card["operating_points"]) + 1
