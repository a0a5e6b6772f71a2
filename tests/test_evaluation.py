"""Counting, latency, event metrics and the readers, against cases whose answer is known."""
import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest
from shared import ROOT, complains, write_folder

from sirenbook import evaluation
from sirenbook.audio import SR
from sirenbook.detector import Detector, Event, Scores, find_events
from sirenbook.evaluation import (
    AFTER_S, BLOCK, REAL, SIMULATED, THRESHOLDS, alarm_intervals, audible_spans, event_metrics,
    false_alarms, latencies, latency_table, load_alarms, load_latency, load_psds, load_unseen,
    merge_spans, onset_scenes, operating_points, outcome, rate_interval, siren_free_minute,
    siren_free_minutes, threshold_curve, threshold_events, unseen_ranking, weights_name,
    worst_clips)
from sirenbook.experiments import detector as experiment
from sirenbook.experiments.detector import run_alarms, run_latency
from sirenbook.files import write_csv
from sirenbook.roads import band_power
from sirenbook.sirens import KINDS

HOP_S = 0.512
CARD = {"files": {"float": {"sha256": "ab"}}, "calibration": {"slope": 1.0, "offset": 0.0},
        "operating_points": {"1/h": 0.8, "10/h": 0.5}}

def times_of(n): return 1 + HOP_S * np.arange(n)

class Loud:
    "A detector of loudness: the loudest sample of a window's last half second."
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
    counts = [len(find_events(Scores(times_of(2000), p), t))
              for t in THRESHOLDS]
    assert counts[0] == 50 and counts[-1] < 5 and all(a >= b for a, b in zip(counts, counts[1:]))

@pytest.mark.parametrize("way", (find_events, threshold_events))
def test_what_is_reported_at_a_higher_threshold_is_reported_at_a_lower_one(way):
    p = np.random.default_rng(1).beta(0.6, 1.5, 300)
    scores, covered = Scores(times_of(300), p), None
    for t in THRESHOLDS:
        now = np.zeros(1600, bool)
        for e in way(scores, t): now[int(e.start * 10):int(e.end * 10)] = True
        near = 8 if way is find_events else 0    # tenths: the tracker's edges lie within windows
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

def test_the_interval_of_a_rate_is_garwoods():
    assert np.allclose(rate_interval(0, 1), (0, 3.6889), atol=1e-4)
    assert np.allclose(rate_interval(10, 1), (4.7954, 18.3904), atol=1e-4)   # published tables
    assert np.allclose(rate_interval(10, 4), np.array(rate_interval(10, 1)) / 4)

def test_minutes_have_no_siren_differ_and_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "MINUTE_S", 5.0)
    first, second = siren_free_minutes(tmp_path, 2)
    assert siren_free_minute(0).siren == "" and not np.array_equal(first, second)
    assert np.allclose(first, siren_free_minute(0).mix, atol=1e-4)
    kept = (tmp_path/"0000.flac").stat().st_mtime_ns
    again, _ = siren_free_minutes(tmp_path, 2)
    assert np.array_equal(again, first)
    assert (tmp_path/"0000.flac").stat().st_mtime_ns == kept

# Latency

@pytest.mark.parametrize("onset_s", (3.0, 4.21, 5.9))
def test_a_siren_at_a_known_time_raises_the_alarm_when_its_window_ends(onset_s):
    wav = bumps([onset_s], 15)
    [spans] = alarm_intervals(Loud(), wav, [0.5])
    ends = 2 + HOP_S * np.arange(30)
    due = ends[ends > onset_s][0]
    happened, latency_s = outcome(spans, onset_s)
    assert happened == "found" and 0 <= onset_s + latency_s - due <= BLOCK / SR + 1e-3

def test_each_threshold_has_alarms_of_its_own():
    wav = bumps([4.0], 12, 0.7) + bumps([8.0], 12, 0.95)
    low, high = alarm_intervals(Loud(), wav, [0.5, 0.9])
    assert len(low) == 2 or low[0][0] < 5
    assert [round(a) for a, _ in high] == [8] and low[0][0] < 5 < high[0][0]

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
    settings = [(-5, None), (10, None), (None, 30)]
    (low, quiet, onset_s), (high, loud, again), (near, *_) = onset_scenes(kind, 3, settings)
    assert (low, high) == (-5, 10) and onset_s == again and near > high
    before = slice(0, round((onset_s - 0.2) * SR))
    gain = np.sqrt(np.mean(loud[before] ** 2) / np.mean(quiet[before] ** 2))
    assert gain < 0.95              # a louder siren leaves less room to the same street
    power = band_power(loud)
    after = power[int(onset_s * 10) + 2:int(onset_s * 10) + 40]
    assert after.max() > 3 * np.median(power[:int(onset_s * 10) - 1])

def test_latency_rows_resume_and_replace_those_of_other_weights(tmp_path, monkeypatch):
    asked, wail = [], ("wail",)
    def two(kind, draw, settings):
        asked.append(draw)
        for snr_db, _ in settings: yield snr_db or 20.0, bumps([5.0], 12), 5.0
    monkeypatch.setattr(experiment, "onset_scenes", two)
    path = tmp_path/"latency.csv"
    run_latency(path, Loud(), draws=1, kinds=wail)
    run_latency(path, Loud(), draws=2, kinds=wail)
    rows = load_latency(path)
    assert asked == [0, 1] and len(rows) == 2 * 9 * 2
    assert {r["outcome"] for r in rows} == {"found"}
    moved = Loud()
    moved.card = CARD | {"operating_points": {"1/h": 0.85, "10/h": 0.5}}
    run_latency(path, moved, draws=1, kinds=wail)
    points = {(r["operating_point"], r["threshold"]) for r in load_latency(path)}
    assert asked == [0, 1, 0] and points == {("1/h", 0.85), ("10/h", 0.5)}
    other = Loud()
    other.card = moved.card | {"calibration": {"slope": 2.0, "offset": 0.0}}
    assert weights_name(other) != weights_name(Loud())
    run_latency(path, other, draws=1, kinds=wail)
    assert {r["weights"] for r in load_latency(path)} == {weights_name(other)}

def test_alarm_rows_are_counted_once_and_real_clips_are_added(tmp_path, monkeypatch):
    path, wavs = tmp_path/"alarms.csv", [bumps([20.0], 60)]
    monkeypatch.setattr(experiment, "siren_free_minutes", lambda folder, n: wavs * n)
    run_alarms(path, Loud(), tmp_path, hours=0.05)
    rows = load_alarms(path)
    assert {r["sound"] for r in rows} == {SIMULATED} and {r["hours"] for r in rows} == {0.05}
    assert next(r for r in rows if r["threshold"] > 0.5)["events"] == 3
    monkeypatch.setattr(experiment, "siren_free_minutes", None)      # nothing is counted again
    run_alarms(path, Loud(), tmp_path, hours=0.05)
    assert load_alarms(path) == rows
    street = write_folder(tmp_path/"street", n=2, seconds=3)
    for _ in range(2): run_alarms(path, Loud(), tmp_path, 0.05, clips(), street)
    new = load_alarms(path)
    assert [r for r in new if r["sound"] == SIMULATED] == rows and len(new) == 2 * len(rows)
    real = [r for r in new if r["sound"] == REAL]
    assert {r["hours"] for r in real} == {round(2 * 6 / 3600, 4)}         # of two seeds
    assert real[0]["events"] == 40 and real[-1]["events"] == 0

def test_psds_rows_are_measured_once_and_replaced_by_other_weights(tmp_path, monkeypatch):
    n = []
    monkeypatch.setattr(experiment, "render_dataset", lambda folder, *a, **k: n.append(a) or folder)
    truth = {"heard": [(1.0, 2.0)], "sounding": [(0.0, 3.0), (5.0, 6.0)]}
    scene = ("a", SimpleNamespace(seconds=10.0, wav=bumps([4.0], 10)), truth)
    monkeypatch.setattr(experiment, "_scenes", lambda folder: [scene])
    measured = dict.fromkeys(("psds", "psds_loose", "f1", "precision", "recall"), 0.5)
    monkeypatch.setattr(experiment, "event_metrics", lambda *a: measured)
    for _ in range(2): experiment.run_psds(tmp_path/"psds.csv", Loud(), tmp_path)
    rows = load_psds(tmp_path/"psds.csv")
    assert n == [(1, experiment.SCENE_SEED)] and len(rows) == 4
    assert [r["true_events"] for r in rows] == [1, 2, 1, 2]
    other = Loud()
    other.card = CARD | {"calibration": {"slope": 2.0, "offset": 0.0}}
    experiment.run_psds(tmp_path/"psds.csv", other, tmp_path)
    assert {r["weights"] for r in load_psds(tmp_path/"psds.csv")} == {weights_name(other)}

# Events

def test_spans_are_merged_over_pauses_only():
    assert merge_spans([(4.5, 5), (0, 1), (3, 4)]) == [(0, 5)]
    assert merge_spans([(0, 9), (1, 2), (11.5, 12)]) == [(0, 9), (11.5, 12)]
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
    p = np.array([0.9, 0.9, 0.1, 0.1, 0.9, 0.1, 0.8])
    found = threshold_events(Scores(times_of(7), p), 0.8)
    middle = times_of(7)
    assert np.allclose([e[:2] for e in found], [
        (0, middle[1] + 0.256), (middle[4] - 0.256, middle[4] + 0.256),
        (middle[6] - 0.256, middle[6] + 1)])
    assert [e.peak for e in found] == [0.9, 0.9, 0.8]
    assert threshold_events(Scores(middle, p), 0.95) == []

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

# Unseen sources

def clips(n=20, seeds=(0, 1)):
    return [{"file": f"{label}/{i}.flac", "source": f"s{i % 4}", "group": f"{label}{i // 2}",
             "label": label, "seed": seed,
             "logit": 0.1 * (i % 10) + (1.5 if label == "emergency" else 0),
             "p": round((0.6 if label == "emergency" else 0.3) + 0.02 * (i % 10) - 0.1 * seed, 3)}
            for seed in seeds for label in ("emergency", "non-emergency") for i in range(n)]

def test_clips_are_ranked_seed_by_seed_and_the_worst_named():
    rows = clips()
    score = unseen_ranking(rows)
    assert score["roc_auc"] == [1.0, 1.0] and len(score["found_at_5"]) == 2
    rows[25] |= {"logit": 9.9, "p": 0.99}                   # one other sound, first seed only
    score = unseen_ranking(rows)
    assert score["roc_auc"][0] < 1 and score["roc_auc"][1] == 1
    assert worst_clips(rows, "non-emergency", 1)[0]["file"] == "non-emergency/5.flac"
    assert len(worst_clips(rows, "emergency")) == 6
    assert np.isclose(worst_clips(rows, "emergency", 1)[0]["p"], 0.55)    # mean of two seeds

def test_readers_take_whole_tables_only(tmp_path):
    path = tmp_path/"unseen.csv"
    write_csv(path, clips())
    assert load_unseen(path) == clips()
    first, *rest = clips()
    for bad in (clips()[:-1], [*clips(), first], [first | {"p": 1.2}, *rest],
                [first | {"label": "siren"}, *rest]):
        write_csv(path, bad)
        with complains(path): load_unseen(path)
    row = {"weights": "w", "threshold": 0.8, "operating_point": "1/h", "kind": "wail", "draw": 0,
           "snr_db": 0.0, "distance_m": "", "outcome": "found", "latency_s": 1.2}
    path = tmp_path/"latency.csv"
    write_csv(path, [row])
    assert load_latency(path) == [row | {"distance_m": None}]
    for bad in ({"outcome": "missed"}, {"latency_s": ""}, {"outcome": "perhaps"},
                {"latency_s": "nan"}):
        write_csv(path, [row | bad])
        with complains(path): load_latency(path)
    for load in (load_alarms, load_psds, load_latency, load_unseen):
        with complains(tmp_path/"none.csv", "no such file"): load(tmp_path/"none.csv")
        (tmp_path/"half.csv").write_text("weights,thres")
        with complains(tmp_path/"half.csv"): load(tmp_path/"half.csv")

# The experiment

def test_the_experiment_trains_tries_and_measures_and_writes_seven_tables(tmp_path, monkeypatch):
    calls, out, folder = [], tmp_path/"data", tmp_path/"run"
    out.mkdir()
    def train(place, roadside, esvs, street, *, seed, spread):
        calls.append((place, roadside, esvs, street, seed, spread))
        (place/"ablation/and esvs 0").mkdir(parents=True)
        (place/"ablation/and esvs 0/log.csv").write_text("log\n")
        write_csv(place/"unseen.csv", clips())
        return place/"weights"
    def fake(name): return lambda path, *a, **k: (calls.append(name), path.write_text(name))
    for name in ("ablation", "left_out", "alarms", "latency", "psds"):
        monkeypatch.setattr(experiment, f"run_{name}", fake(name))
    monkeypatch.setattr(experiment, "train_detector", train)
    monkeypatch.setattr(experiment, "load_training_data", lambda *a: {})
    monkeypatch.setattr(experiment.Detector, "load", lambda place: Loud())
    experiment.run([tmp_path, tmp_path], out, folder=folder)
    assert calls == [(folder, None, tmp_path, tmp_path, 0, [1, 2]),
                     "ablation", "left_out", "alarms", "latency", "psds"]
    names = ("detector_ablation", "left_out", "unseen", "detector_training", "alarms", "latency",
             "psds")
    assert {p.name for p in out.iterdir()} == {f"{n}.csv" for n in names}
    assert load_unseen(out/"unseen.csv") == clips()
    with complains(tmp_path/"nowhere", "no such folder"):
        experiment.run([tmp_path, tmp_path], tmp_path/"nowhere", folder=folder)

def test_each_setting_and_source_is_one_run(tmp_path, monkeypatch):
    fitted, tuned = [], []
    def fit(folder, m, setting, seed, epochs): fitted.append((setting, seed)); return setting
    def rows(base, m, source, seed):
        tuned.append((base, source, seed))
        return [{k: v for k, v in r.items() if k != "p"} | {"seed": seed} for r in clips(4, (0,))
                if r["source"] == source]
    monkeypatch.setattr(experiment, "fit_setting", fit)
    monkeypatch.setattr(experiment, "left_out_rows", rows)
    monkeypatch.setattr(experiment, "max_logits", lambda model, mels, front: np.arange(40.0))
    m = {"street": None, "siren": np.arange(40) > 19, "group": np.arange(40),
         "source": np.array(["s0", "s1"] * 20)}
    for seeds in (range(1), range(2)):
        experiment.run_ablation(tmp_path/"a.csv", m, tmp_path, seeds)
        experiment.run_left_out(tmp_path/"l.csv", m, tmp_path, seeds)
    n, base = len(experiment.RECIPES), experiment.SHIPPED
    table = evaluation.read_csv(tmp_path/"a.csv", experiment.DETECTOR_ABLATION_COLUMNS)
    assert len(table) == 2 * n and {r["roc_auc"] for r in table} == {1.0}
    assert len(fitted) == len({*fitted[:n], *fitted[n + 1:-1]}) + 2 == 2 * n + 2
    assert tuned == [(base, s, seed) for seed in (0, 1) for s in ("s0", "s1")]

# The tables in the repository

def test_the_tables_belong_to_the_weights_in_the_package():
    detector = Detector.pretrained()
    alarm, latency, event = (load(ROOT/"data"/f"{name}.csv") for load, name in (
        (load_alarms, "alarms"), (load_latency, "latency"), (load_psds, "psds")))
    for rows in (alarm, latency, event):
        assert {r["weights"] for r in rows} == {weights_name(detector)}, "make detector"
    points = {(r["operating_point"], r["threshold"]) for r in latency}
    assert points == {*detector.card["operating_points"].items()}
    assert {r["threshold"] for r in event} == {detector.threshold}
    assert {r["kind"] for r in latency} == {*KINDS} - {"air horn"}
    assert {r["threshold"] for r in alarm} == {*THRESHOLDS}

def test_a_latency_in_the_table_can_be_measured_again():
    detector, rows = Detector.pretrained(), load_latency(ROOT/"data/latency.csv")
    for kind, snr_db in (("yelp", 5.0), ("hi-lo", 0.0)):
        [(_, wav, onset_s)] = onset_scenes(kind, 1, [(snr_db, None)])
        for r in rows:
            at = r["kind"], r["draw"], r["snr_db"], r["distance_m"]
            if at != (kind, 1, snr_db, None): continue
            [spans] = alarm_intervals(detector, wav, [r["threshold"]])
            assert outcome(spans, onset_s) == (r["outcome"], r["latency_s"])
