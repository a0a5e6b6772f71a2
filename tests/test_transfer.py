"""From a simulated street to real ones: the training data, the scores, and runs that resume."""
from dataclasses import replace

import numpy as np
import pytest
from shared import ROOT, complains, real

from sirenbook import transfer
from sirenbook.errors import SirenbookError, SirenbookFileError
from sirenbook.experiments import transfer as experiment
from sirenbook.recordings import class_index, load_dataset, load_truth
from sirenbook.rendering import render_dataset
from sirenbook.transfer import (
    AUDIBLE_DB, WINDOW, MelDataset, MixedSampler, augment, extract_mels, file_scores, fit,
    load_transfer, mel_cnn, ranking)

SIREN, OTHER = class_index("emergency"), class_index("non-emergency")

@pytest.fixture(scope="module")
def small(tmp_path_factory):
    "A rendered data set of six scenes."
    folder = tmp_path_factory.mktemp("streets")/"small"
    return load_dataset(render_dataset(folder, 24 / 3600, seed=3, seconds=4))

def test_truth_gives_what_is_audible(small, monkeypatch):
    for r, audible in zip(small.recordings, extract_mels(small).audible):
        assert len(audible) == len(load_truth(r.path)["snr_db"])
        assert r.label == "emergency" or not audible.any()
    snr_db = np.array([-30, AUDIBLE_DB - .1, AUDIBLE_DB + .1, 20, np.nan])
    monkeypatch.setattr(transfer, "load_truth", lambda path: {"snr_db": snr_db})
    assert extract_mels(small).audible[0].tolist() == [False, False, True, True, False]

def test_without_truth_the_label_counts(small, monkeypatch):
    def missing(path): raise SirenbookFileError("none")
    monkeypatch.setattr(transfer, "load_truth", missing)
    labels = [float(r.label == "emergency") for r in small.recordings]
    assert [a.mean() for a in extract_mels(small).audible] == labels

def test_short_recordings_are_dropped_or_padded(small):
    data = replace(small, recordings=[replace(r, wav=r.wav[:n]) for r, n in
                                      zip(small.recordings, (20_000, 32_000, 64_000))])
    assert len(extract_mels(data).mels) == len(extract_mels(data).label) == 2
    padded = extract_mels(data, pad=True)
    assert [len(m) for m in padded.mels] == [WINDOW[0], WINDOW[0], 249]
    assert [len(r.wav) for r in data.recordings] == [20_000, 32_000, 64_000]

def marked(seconds=10, siren_from=6.0):
    "One recording whose siren begins late, marked 1 in its spectrogram, and one without, marked 0."
    n = int(seconds / 0.016) - 1
    mel = np.repeat((np.arange(n) * 0.016 >= siren_from).astype(np.float16)[:, None], 64, 1)
    late = np.arange(int(seconds * 10)) / 10 >= siren_from
    label = np.array([SIREN, OTHER])
    return MelDataset([mel, np.zeros_like(mel)], [late, np.zeros_like(late)], label)

def test_windows_hold_what_their_label_says():
    sampler, rng = MixedSampler([(1, marked())], seed=0), np.random.default_rng(0)
    for _ in range(200):
        x = sampler.window(SIREN, rng)
        assert x.shape == WINDOW and x[:, 0].sum() * 0.016 > 0.45, "hardly any siren in the window"
        assert not sampler.window(OTHER, rng).any()

def test_no_window_at_the_edges_is_missed():
    starts = MixedSampler([(1, marked(4, 0))], seed=0).starts[0][0]
    assert starts[0] == 0 and starts[-1] > 249 - 1 - WINDOW[0] - 4

def test_batch_k_is_always_the_same(small):
    parts = [(1, extract_mels(small))]
    first, again = (MixedSampler(parts, 4, batch_size=6, steps=3) for _ in range(2))
    later = [again[k][0] for k in (2, 0, 1)]                        # in another order
    assert all(np.array_equal(first[k][0], x) for k, x in zip((2, 0, 1), later))
    again.epoch = 1
    assert np.array_equal(again[0][0], first[3][0]) and not np.array_equal(again[0][0], later[1])
    assert not np.array_equal(MixedSampler(parts, 5, batch_size=6)[0][0], first[0][0])
    assert first[1][1].ravel().tolist() == [1, 0] * 3

def constant(value):
    "Two recordings of each class whose spectrograms hold one value."
    siren = np.array([True, True, False, False])
    return MelDataset([np.full((300, 64), value, np.float16)] * 4, [np.full(48, s) for s in siren],
                      np.where(siren, SIREN, OTHER))

def test_windows_are_drawn_in_the_shares_asked_for():
    parts = [(3, constant(1.0)), (1, constant(2.0))]
    X, y = MixedSampler(parts, seed=0, augment=None, batch_size=400)[0]
    assert abs((X[:, 0, 0] == 2).mean() - 0.25) < 0.07 and y.mean() == 0.5
    doubled = MixedSampler(parts, seed=0, augment=None, front=lambda X: 2 * X, batch_size=400)
    assert np.array_equal(doubled[0][0], 2 * X)

def test_a_part_without_windows_of_both_classes_is_refused():
    mels = constant(1.0)
    mels.audible[:2] = [np.zeros(48, bool)] * 2
    with complains("windows with a siren and windows without", kind=SirenbookError):
        MixedSampler([(1, constant(1.0)), (1, mels)], seed=0)

def test_fit_gives_the_average_weights_and_repeats_itself():
    sampler = MixedSampler([(1, marked())], seed=2, batch_size=8, steps=8)
    (model, history), (again, _) = (fit(sampler, 2) for _ in range(2))
    assert len(history.history["loss"]) == 2
    average = [v for v in model.optimizer.variables if v.path.endswith("average")]
    assert len(average) == len(model.trainable_variables)
    assert all(np.array_equal(a.numpy(), b.numpy())
               for a, b in zip(average, model.trainable_variables))
    assert all(np.allclose(a, b, atol=1e-5)
               for a, b in zip(model.get_weights(), again.get_weights()))

def test_variation_keeps_shape_and_input():
    rng = np.random.default_rng(0)
    x = np.random.default_rng(1).normal(-5, 2, WINDOW).astype(np.float32)
    kept, seen = x.copy(), 0
    for _ in range(100):
        y = augment(x, kept[::-1], rng)
        assert y.shape == WINDOW and y.dtype == np.float32 and np.isfinite(y).all()
        seen += not np.array_equal(y, kept)
    assert np.array_equal(x, kept), "the window itself was changed"
    assert seen > 70

def test_ranking_counts_groups_once():
    siren = np.array([1, 1, 1, 0, 0], bool)
    scores, groups = np.array([.9, .9, .1, .5, .2]), ["a", "a", "b", "c", "d"]
    assert ranking(siren, scores, groups)["roc_auc"] == pytest.approx(0.5)       # a: 1, b: 0
    assert ranking(siren, scores, list("abcde"))["roc_auc"] == pytest.approx(2 / 3)
    both = ranking(siren, scores, ["x"] * 5)                # both classes in one group
    assert both["roc_auc"] == pytest.approx(2 / 3)

def test_found_at_a_rate_of_false_alarms():
    siren = np.arange(220) < 20
    scores = np.where(siren, 0.6, np.linspace(0, 1, 220))
    r = ranking(siren, scores, np.arange(220))
    share = np.mean(scores[~siren] >= 0.6)
    assert r["found_at_5"] == r["found_at_1"] == 0 and share > 0.05
    assert ranking(siren, scores + 0.4 * siren, np.arange(220))["found_at_5"] == 1

def test_scores_of_files_of_any_length(small):
    data = replace(small, recordings=[replace(r, wav=r.wav[:9000]) for r in small.recordings])
    scores = file_scores(mel_cnn(), data)
    assert scores.shape == (6,) and ((0 <= scores) & (scores <= 1)).all()

@pytest.fixture
def quick(monkeypatch, small):
    "An experiment that trains nothing and only notes the seeds."
    seeds = []
    monkeypatch.setattr(experiment, "load_dataset", lambda name: small)
    monkeypatch.setattr(experiment, "fit",
                        lambda sampler, epochs: (seeds.append(sampler.seed), None))
    monkeypatch.setattr(experiment, "file_scores",
                        lambda model, data: np.linspace(1, 0, len(data.recordings)))
    return seeds

def test_the_experiment_resumes(quick, tmp_path):
    path = tmp_path/"transfer.csv"
    experiment.run(["a"], tmp_path, tested_on="b", seeds=range(2))
    first = path.read_bytes()
    experiment.run(["a"], tmp_path, tested_on="b", seeds=range(3))
    assert quick == [0, 1, 2] and path.read_bytes().startswith(first)
    rows = load_transfer(path)
    assert [r["seed"] for r in rows] == [0, 1, 2] and rows[0]["roc_auc"] == 1
    assert rows[0]["trained_on"] == rows[0]["tested_on"] == "small" and rows[0]["hours"] == 0.01

def test_without_data_sets_it_renders_a_street(quick, tmp_path, monkeypatch):
    asked, loaded, was = [], [], experiment.load_dataset
    def render(*args, **more): return asked.append((args, more)) or "x/y"
    def load(name): return loaded.append(str(name)) or was(name)
    monkeypatch.setattr(experiment, "render_dataset", render)
    monkeypatch.setattr(experiment, "load_dataset", load)
    experiment.run(out=tmp_path, tested_on=tmp_path, seeds=[0])
    assert asked == [(("_streets/roadside", 8, 1), {"seconds": 10})]
    assert loaded[0] == str(tmp_path) and loaded[2] == "esvs"

def test_a_folder_that_is_not_there_costs_nothing(quick, tmp_path):
    with complains(tmp_path/"nowhere", kind=SirenbookFileError):
        experiment.run(["a"], tmp_path/"nowhere")
    assert not quick

HEAD = "trained_on,hours,tested_on,seed,roc_auc,found_at_5,found_at_1"

@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", f"{HEAD}\nx,1,y,0,high,1,1\n"])
def test_foreign_results(tmp_path, content):
    (tmp_path/"t.csv").write_text(content)
    with complains("t.csv", kind=SirenbookFileError): load_transfer(tmp_path/"t.csv")

def test_the_committed_results():
    rows = load_transfer(ROOT/"data"/"transfer.csv")
    by = {n: [r["roc_auc"] for r in rows if r["trained_on"] == n] for n in ("roadside", "esvs")}
    assert all(len(v) >= 3 and 0.5 < min(v) <= max(v) <= 1 for v in by.values())

def test_real_streets_can_be_ranked():
    street = load_dataset(real("street"))
    street.recordings = street.recordings[::25]
    assert np.isfinite(file_scores(mel_cnn(), street)).all()
