"""From a simulated street to real ones: what is learned from, what is counted, and runs that stop and go on."""
import numpy as np
import pytest
from shared import ROOT, complains, real
from sirenbook import transfer
from sirenbook.recordings import class_index, load_dataset
from sirenbook.recordings import load_truth
from sirenbook.rendering import render_dataset
from sirenbook.errors import SirenbookFileError
from sirenbook.transfer import AUDIBLE_DB, WINDOW, MelDataset, WindowSampler, file_scores, extract_mels, listener, load_transfer, ranking, run_transfer, augment

SIREN, OTHER = class_index("emergency"), class_index("non-emergency")

@pytest.fixture(scope="module")
def small(tmp_path_factory):
    "A rendered data set of six scenes."
    return load_dataset(render_dataset(tmp_path_factory.mktemp("streets")/"small", 24 / 3600, seed=3, seconds=4))

def test_truth_says_what_is_heard(small, monkeypatch):
    for r, audible in zip(small.recordings, extract_mels(small).audible):
        assert len(audible) == len(load_truth(r.path)["snr_db"]) and (r.label == "emergency" or not audible.any())
    told = np.array([-30, AUDIBLE_DB - .1, AUDIBLE_DB + .1, 20, np.nan])
    monkeypatch.setattr(transfer, "load_truth", lambda path: {"snr_db": told})
    assert extract_mels(small).audible[0].tolist() == [False, False, True, True, False]

def test_without_truth_the_label_counts(small, monkeypatch):
    monkeypatch.setattr(transfer, "load_truth", lambda path: (_ for _ in ()).throw(SirenbookFileError("none")))
    assert [a.mean() for a in extract_mels(small).audible] == [float(r.label == "emergency") for r in small.recordings]

def marked(seconds=10, siren_from=6.0):
    "One recording whose siren begins late, marked 1 in its spectrogram, and one without, marked 0."
    n = int(seconds / 0.016) - 1
    mel = np.repeat((np.arange(n) * 0.016 >= siren_from).astype(np.float16)[:, None], 64, 1)
    late = np.arange(int(seconds * 10)) / 10 >= siren_from
    label = np.array([SIREN, OTHER])
    return MelDataset([mel, np.zeros_like(mel)], [late, np.zeros_like(late)], label)

def test_windows_hold_what_their_label_says():
    windows = WindowSampler(marked(), seed=0)
    for _ in range(200):
        x = windows.window(SIREN)
        assert x.shape == WINDOW and x[:, 0].sum() * 0.016 > 0.45, "a siren window with hardly any siren"
        assert not windows.window(OTHER).any()

def test_no_window_at_the_edges_is_missed():
    starts = WindowSampler(marked(4, 0), seed=0).starts[0]
    assert starts[0] == 0 and starts[-1] > 249 - 1 - WINDOW[0] - 4

def test_variation_keeps_shape_and_input():
    rng, x = np.random.default_rng(0), np.random.default_rng(1).normal(-5, 2, WINDOW).astype(np.float32)
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
    assert ranking(siren, scores, ["x"] * 5)["roc_auc"] == pytest.approx(2 / 3)   # both classes in one group

def test_found_at_a_rate_of_false_alarms():
    siren = np.arange(220) < 20
    scores = np.where(siren, 0.6, np.linspace(0, 1, 220))
    r = ranking(siren, scores, np.arange(220))
    share = np.mean(scores[~siren] >= 0.6)
    assert r["found_at_5"] == r["found_at_1"] == 0 and share > 0.05
    assert ranking(siren, scores + 0.4 * siren, np.arange(220))["found_at_5"] == 1

def test_scores_of_files_of_any_length(small):
    model = listener()
    for r in small.recordings[:2]: r.wav = r.wav[:9000]
    scores = file_scores(model, small)
    assert scores.shape == (6,) and ((0 <= scores) & (scores <= 1)).all()

@pytest.fixture
def quick(monkeypatch, small):
    "Lessons that only note that they were given."
    given = []
    monkeypatch.setattr(transfer, "load_dataset", lambda name: small)
    monkeypatch.setattr(transfer, "fit", lambda heard, seed, epochs: (given.append(seed), (None, []))[1])
    monkeypatch.setattr(transfer, "file_scores", lambda model, data: np.linspace(1, 0, len(data.recordings)))
    return given

def test_lessons_go_on(quick, tmp_path):
    path = tmp_path/"transfer.csv"
    run_transfer(["a"], ["b"], path, seeds=range(2))
    first = path.read_bytes()
    run_transfer(["a"], ["b"], path, seeds=range(3))
    assert quick == [0, 1, 2] and path.read_bytes().startswith(first)
    assert [r["seed"] for r in load_transfer(path)] == [0, 1, 2] and load_transfer(path)[0]["roc_auc"] == 1

@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "trained_on,hours,tested_on,seed,roc_auc,found_at_5,found_at_1\nx,1,y,0,high,1,1\n"])
def test_foreign_results(tmp_path, content):
    (tmp_path/"t.csv").write_text(content)
    with complains("t.csv", kind=SirenbookFileError): load_transfer(tmp_path/"t.csv")

def test_the_committed_results():
    rows = load_transfer(ROOT/"data"/"transfer.csv")
    by = {n: [r["roc_auc"] for r in rows if r["trained_on"] == n] for n in ("roadside", "esvs")}
    assert len(by["roadside"]) >= 3 and len(by["esvs"]) >= 3 and all(0.5 < a <= 1 for v in by.values() for a in v)

def test_real_streets_can_be_ranked():
    street = load_dataset(real("street"))
    street.recordings = street.recordings[::25]
    assert np.isfinite(file_scores(listener(), street)).all()
