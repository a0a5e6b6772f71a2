"""What the detector is worth: counting, waiting, event measures and the readers, against cases whose answer is known."""
import importlib.util
import numpy as np
import pytest
from shared import ROOT, complains
from sirenbook import evaluation
from sirenbook.detector import Detector, Event, Scores
from sirenbook.evaluation import (AFTER_S, BLOCK, SIMULATED, THRESHOLDS, alarm_intervals, threshold_events, event_measures, events_at, false_alarms,
                               heard_spans, joined_spans, latency_table, levels, load_alarms, load_latency, load_psds, load_unseen,
                               onset_scenes, operating_points, outcome, quiet_minute, quiet_minutes, rate_interval, run_alarms,
                               run_latency, unseen_ranking, latencies, weights_name, worst)
from sirenbook.roads import band_power
from sirenbook.audio import SR
from sirenbook.files import write_csv
from sirenbook.sirens import KINDS

HOP_S = 0.512
CARD = {"files": {"float": {"sha256": "ab"}}, "calibration": {"slope": 1.0, "offset": 0.0}, "operating_points": {"1/h": 0.8, "10/h": 0.5}}

def times_of(n): return 1 + HOP_S * np.arange(n)

class Loud:
    "A detector that hears loudness: its probability is the loudest sample of a window's last half second."
    card, threshold = CARD, 0.8
    def score(self, wav): return self.stream(SR).push(wav)
    def stream(self, sr): return LoudStream()

class LoudStream:
    def __init__(self): self.wav, self.due, self.n = np.empty(0), 32_000, 0
    def push(self, wav):
        self.wav = np.concatenate([self.wav, wav])
        times, p = [], []
        while self.due <= len(self.wav):
            times.append(self.due / SR - 1)
            p.append(np.clip(np.abs(self.wav[self.due - SR // 2:self.due]).max(), 0.01, 0.99))
            self.due += round(HOP_S * SR)
        return Scores(np.array(times), np.array(p, np.float32))

def bumps(at_s, seconds, height=0.9):
    "Silence with clicks."
    wav = np.zeros(round(seconds * SR), np.float32)
    for s in at_s: wav[round(s * SR)] = height
    return wav

# False alarms

def test_every_false_bump_is_counted_once_and_hours_are_hours():
    hour = bumps(np.arange(7) * 400 + 30.3, 3600)
    counted = false_alarms(Loud(), [hour[:SR * 1800], hour[SR * 1800:]], (0.5, 0.85, 0.95))
    assert [(r["hours"], r["events"]) for r in counted] == [(1.0, 7), (1.0, 7), (1.0, 0)]

def test_counts_of_separate_bumps_fall_as_the_threshold_rises():
    p = np.full(2000, 0.001)
    p[10::40] = np.random.default_rng(0).uniform(0.05, 0.9999, len(p[10::40]))
    counts = [len(events_at(Scores(times_of(2000), p), t)) for t in THRESHOLDS]
    assert counts[0] == 50 and counts[-1] < 5 and all(a >= b for a, b in zip(counts, counts[1:]))

@pytest.mark.parametrize("way", (events_at, threshold_events))
def test_what_is_reported_at_a_higher_threshold_is_reported_at_a_lower_one(way):
    p = np.random.default_rng(1).beta(0.6, 1.5, 300)
    scores, covered = Scores(times_of(300), p), None
    for t in THRESHOLDS:
        now = np.zeros(1600, bool)
        for e in way(scores, t): now[int(e.start * 10):int(e.end * 10)] = True
        near = 8 if way is events_at else 0                # tenths: the tracker's edges lie within its windows
        assert covered is None or not np.any(now & ~np.convolve(covered, np.ones(2 * near + 1), "same").astype(bool))
        covered = now

def test_an_operating_point_keeps_to_its_rate_at_every_higher_threshold_too():
    rows = [{"hours": 4.0, "threshold": t, "events": n} for t, n in ((0.1, 1), (0.3, 60), (0.5, 40), (0.7, 41), (0.9, 4), (0.95, 5), (0.99, 2))]
    assert operating_points(rows) == {"100/h": 0.1, "10/h": 0.9, "1/h": 0.99}
    assert operating_points(rows[::-1]) == operating_points(rows)
    assert "1/h" not in operating_points([r | {"hours": 2.9} for r in rows])      # three must have been possible
    assert operating_points([r | {"events": 999} for r in rows]) == {}
    with complains("one sound"): operating_points([*rows, {"hours": 1.0, "threshold": 0.2, "events": 0}])

def test_the_interval_of_a_rate_is_garwoods():
    assert np.allclose(rate_interval(0, 1), (0, 3.6889), atol=1e-4)
    assert np.allclose(rate_interval(10, 1), (4.7954, 18.3904), atol=1e-4)        # tables of the Poisson distribution
    assert np.allclose(rate_interval(10, 4), np.array(rate_interval(10, 1)) / 4)

def test_quiet_minutes_are_quiet_all_different_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "MINUTE_S", 5.0)
    first, second = quiet_minutes(tmp_path, 2)
    assert quiet_minute(0).siren == "" and not np.array_equal(first, second)
    assert np.allclose(first, quiet_minute(0).mix, atol=1e-4)
    kept = (tmp_path/"0000.flac").stat().st_mtime_ns
    again, _ = quiet_minutes(tmp_path, 2)
    assert np.array_equal(again, first) and (tmp_path/"0000.flac").stat().st_mtime_ns == kept

# Waiting

@pytest.mark.parametrize("onset_s", (3.0, 4.21, 5.9))
def test_a_siren_at_a_known_time_raises_the_alarm_when_its_window_ends(onset_s):
    wav = bumps([onset_s], 15)
    [spans] = alarm_intervals(Loud(), wav, [0.5])
    ends = 2 + HOP_S * np.arange(30)
    due = ends[ends > onset_s][0]
    happened, latency_s = outcome(spans, onset_s)
    assert happened == "found" and 0 <= onset_s + latency_s - due <= BLOCK / SR + 1e-3

def test_each_threshold_is_waited_for_on_its_own():
    wav = bumps([4.0], 12, 0.7) + bumps([8.0], 12, 0.95)
    low, high = alarm_intervals(Loud(), wav, [0.5, 0.9])
    assert len(low) == 2 or low[0][0] < 5
    assert [round(a) for a, _ in high] == [8] and low[0][0] < 5 < high[0][0]

def test_an_alarm_that_is_on_before_is_no_success_and_one_too_late_is_none():
    assert outcome([(1.0, 9.0)], 5) == ("early", None)
    assert outcome([(1.0, 4.9), (6.5, 7.0)], 5) == ("found", 1.5)
    assert outcome([(5 + AFTER_S + 0.1, np.inf)], 5) == outcome([], 5) == ("missed", None)

def waiting(values, **more):
    return [{"snr_db": 0.0, "distance_m": None, "kind": "wail", "latency_s": v, "outcome": o} | more for v, o in
            ((None, v) if isinstance(v, str) else (v, "found") for v in values)]

def test_a_missed_siren_is_waited_for_for_ever_and_an_early_alarm_counts_apart():
    [row] = latency_table(waiting([1.0, 2.0, 3.0, "missed", "missed", "early"]))
    assert row["sirens"] == 6 and row["median (s)"] == "3.00" and row["95th percentile (s)"] == "never"
    assert row["missed"] == "40%" and row["on before"] == 1
    [fine] = latency_table(waiting(np.arange(1, 101) / 10))
    assert fine["median (s)"] == "5.10" and fine["95th percentile (s)"] == "9.60" and fine["missed"] == "0%"
    assert list(latencies(waiting([2.0, "missed", 1.0]))) == [1.0, 2.0, np.inf]
    mixed = waiting([1.0]) + waiting([2.0], distance_m=30.0, snr_db=20.0)
    assert [r["sirens"] for r in latency_table(mixed)] == [1]
    assert latency_table(mixed, "distance_m")[0]["distance_m"] == 30.0

@pytest.mark.parametrize("kind", KINDS)
def test_a_siren_begins_when_it_is_said_to_and_as_loud(kind):
    settings = [(-5, None), (10, None), (None, 30)]
    (low, quiet, onset_s), (high, loud, again), (near, *_) = onset_scenes(kind, 3, settings)
    assert (low, high) == (-5, 10) and onset_s == again and near > high
    before = slice(0, round((onset_s - 0.2) * SR))
    gain = np.sqrt(np.mean(loud[before] ** 2) / np.mean(quiet[before] ** 2))
    assert gain < 0.95                                          # the same street is left less room by a louder siren
    power = band_power(loud)
    after = power[int(onset_s * 10) + 2:int(onset_s * 10) + 40]
    assert after.max() > 3 * np.median(power[:int(onset_s * 10) - 1])

def test_latency_rows_go_on_where_they_were_cut_and_forget_other_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "ALONE", ("wail",))
    asked = []
    def two(kind, draw, settings):
        asked.append(draw)
        for snr_db, _ in settings: yield snr_db or 20.0, bumps([5.0], 12), 5.0
    monkeypatch.setattr(evaluation, "onset_scenes", two)
    path = tmp_path/"latency.csv"
    run_latency(path, Loud(), draws=1)
    run_latency(path, Loud(), draws=2)
    rows = load_latency(path)
    assert asked == [0, 1] and len(rows) == 2 * 9 * 2 and {r["outcome"] for r in rows} == {"found"}
    moved = Loud()
    moved.card = CARD | {"operating_points": {"1/h": 0.85, "10/h": 0.5}}
    run_latency(path, moved, draws=1)
    assert asked == [0, 1, 0] and {(r["operating_point"], r["threshold"]) for r in load_latency(path)} == {("1/h", 0.85), ("10/h", 0.5)}
    other = Loud()
    other.card = moved.card | {"calibration": {"slope": 2.0, "offset": 0.0}}
    assert weights_name(other) != weights_name(Loud())
    run_latency(path, other, draws=1)
    assert {r["weights"] for r in load_latency(path)} == {weights_name(other)}

def test_alarm_rows_are_counted_once_and_real_clips_are_added(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "quiet_minutes", lambda folder, n: [bumps([20.0], 60)] * n)
    run_alarms(tmp_path, tmp_path/"alarms.csv", Loud(), hours=0.05)
    rows = load_alarms(tmp_path/"alarms.csv")
    assert {r["sound"] for r in rows} == {SIMULATED} and {r["hours"] for r in rows} == {0.05}
    assert next(r for r in rows if r["threshold"] > 0.5)["events"] == 3
    monkeypatch.setattr(evaluation, "quiet_minutes", None)                   # kept, so nothing is counted again
    run_alarms(tmp_path, tmp_path/"alarms.csv", Loud(), hours=0.05)
    assert load_alarms(tmp_path/"alarms.csv") == rows

# Events

def test_spans_are_joined_over_pauses_only():
    assert joined_spans([(4.5, 5), (0, 1), (3, 4)]) == [(0, 5)]
    assert joined_spans([(0, 9), (1, 2), (11.5, 12)]) == [(0, 9), (11.5, 12)] and joined_spans([]) == []

def test_a_siren_is_heard_above_the_limit_only():
    snr = np.full(300, np.nan)
    snr[20:60], snr[70:80], snr[150:200], snr[280:284] = 0, -4, -6, 20
    assert np.allclose(heard_spans({"snr_db": snr}), [(2, 8)])
    assert np.allclose(heard_spans({"snr_db": snr}, -7), [(2, 8), (15, 20)])

def test_a_curve_holds_the_highest_threshold_that_still_reports():
    events = {0.2: [Event(0, 3, 1), Event(5, 9, 1)], 0.7: [Event(1, 2, 1)]}
    curve = levels(events.__getitem__, 10, (0.2, 0.7))
    assert len(curve) == 100 and list(curve[[5, 15, 25, 40, 70, 95]]) == [0.2, 0.7, 0.2, 0, 0.2, 0]

def test_bare_events_are_the_runs():
    p = np.array([0.9, 0.9, 0.1, 0.1, 0.9, 0.1, 0.8])
    found = threshold_events(Scores(times_of(7), p), 0.8)
    middle = times_of(7)
    assert np.allclose([e[:2] for e in found], [(0, middle[1] + 0.256), (middle[4] - 0.256, middle[4] + 0.256), (middle[6] - 0.256, middle[6] + 1)])
    assert [e.peak for e in found] == [0.9, 0.9, 0.8] and threshold_events(Scores(middle, p), 0.95) == []

@pytest.fixture
def tool():
    if importlib.util.find_spec("sed_scores_eval") is None:
        pytest.skip("sed_scores_eval is not installed, so nothing was measured with it (pip install 'sirenbook[proving]')")

def measured(said):
    truth = {"a": [(3.0, 8.0)], "b": [], "c": [(0.0, 4.0), (9.0, 15.0)]}
    curves = {n: np.zeros(150) for n in truth}
    for n, spans in said(truth).items():
        for a, b in spans: curves[n][round(a * 10):round(b * 10)] = 0.9
    return event_measures(curves, said(truth), truth)

@pytest.mark.filterwarnings("ignore")
def test_perfect_events_score_1_and_none_score_0(tool):
    assert set(measured(lambda truth: truth).values()) == {1.0}
    nothing = measured(lambda truth: {n: [] for n in truth})
    assert nothing["psds"] == nothing["psds_loose"] == nothing["f1"] == nothing["recall"] == 0

@pytest.mark.filterwarnings("ignore")
def test_late_events_overlap_but_miss_the_collar(tool):
    late = measured(lambda truth: {n: [(a + 1.2, b) for a, b in spans] for n, spans in truth.items()})
    assert late["psds_loose"] == 1 and late["f1"] == 0
    early = measured(lambda truth: {n: [(a + 0.8, b) for a, b in spans] for n, spans in truth.items()})
    assert early["f1"] == 1
    false = measured(lambda truth: truth | {"b": [(1.0, 5.0)]})
    assert false["recall"] == 1 and false["precision"] == 0.75

# Unheard sources

def clips(n=20, seeds=(0, 1)):
    return [{"file": f"{label}/{i}.flac", "source": f"s{i % 4}", "group": f"{label}{i // 2}", "label": label, "seed": seed,
             "logit": 0.1 * (i % 10) + (1.5 if label == "emergency" else 0),
             "p": round((0.6 if label == "emergency" else 0.3) + 0.02 * (i % 10) - 0.1 * seed, 3)}
            for seed in seeds for label in ("emergency", "non-emergency") for i in range(n)]

def test_clips_are_ranked_seed_by_seed_and_the_worst_named():
    pytest.importorskip("tensorflow", reason="the ranking lives beside networks, which need TensorFlow")
    rows = clips()
    score = unseen_ranking(rows)
    assert score["roc_auc"] == [1.0, 1.0] and len(score["found_at_5"]) == 2
    rows[25] |= {"logit": 9.9, "p": 0.99}                                 # one other sound, first seed only
    score = unseen_ranking(rows)
    assert score["roc_auc"][0] < 1 and score["roc_auc"][1] == 1
    assert worst(rows, "non-emergency", 1)[0]["file"] == "non-emergency/5.flac" and len(worst(rows, "emergency")) == 6
    assert np.isclose(worst(rows, "emergency", 1)[0]["p"], 0.55)          # the mean of its two seeds

def test_readers_take_whole_tables_only(tmp_path):
    path = tmp_path/"unseen.csv"
    write_csv(path, clips())
    assert load_unseen(path) == clips()
    for bad in (clips()[:-1], [*clips(), clips()[0]], [clips()[0] | {"p": 1.2}, *clips()[1:]], [clips()[0] | {"label": "siren"}, *clips()[1:]]):
        write_csv(path, bad)
        with complains(path): load_unseen(path)
    row = {"weights": "w", "threshold": 0.8, "operating_point": "1/h", "kind": "wail", "draw": 0, "snr_db": 0.0,
           "distance_m": "", "outcome": "found", "latency_s": 1.2}
    path = tmp_path/"latency.csv"
    write_csv(path, [row])
    assert load_latency(path) == [row | {"distance_m": None}]
    for bad in ({"outcome": "missed"}, {"latency_s": ""}, {"outcome": "perhaps"}, {"latency_s": "nan"}):
        write_csv(path, [row | bad])
        with complains(path): load_latency(path)
    for load in (load_alarms, load_psds, load_latency, load_unseen):
        with complains(tmp_path/"none.csv", "no such file"): load(tmp_path/"none.csv")
        (tmp_path/"half.csv").write_text("weights,thres")
        with complains(tmp_path/"half.csv"): load(tmp_path/"half.csv")

# The tables in the repository

def test_the_tables_belong_to_the_weights_in_the_package():
    detector = Detector.pretrained()
    alarm, wait, event = load_alarms(ROOT/"data/alarms.csv"), load_latency(ROOT/"data/latency.csv"), load_psds(ROOT/"data/psds.csv")
    for rows in (alarm, wait, event):
        assert {r["weights"] for r in rows} == {weights_name(detector)}, "python -c 'from sirenbook.evaluation import run_proving; ...'"
    assert {(r["operating_point"], r["threshold"]) for r in wait} == {*detector.card["operating_points"].items()}
    assert {r["threshold"] for r in event} == {detector.threshold}
    assert {r["kind"] for r in wait} == {*KINDS} - {"air horn"} and {r["threshold"] for r in alarm} == {*THRESHOLDS}

def test_a_waiting_time_in_the_table_can_be_measured_again():
    detector, rows = Detector.pretrained(), load_latency(ROOT/"data/latency.csv")
    for kind, snr_db in (("yelp", 5.0), ("hi-lo", 0.0)):
        [(_, wav, onset_s)] = onset_scenes(kind, 1, [(snr_db, None)])
        for r in rows:
            if (r["kind"], r["draw"], r["snr_db"], r["distance_m"]) != (kind, 1, snr_db, None): continue
            [spans] = alarm_intervals(detector, wav, [r["threshold"]])
            assert outcome(spans, onset_s) == (r["outcome"], r["latency_s"])
