"The recipe from sounds to a detector, small, and what it must not do."
import json

import numpy as np
import pytest
import soundfile as sf
from shared import complains

from sirenbook.detector import Detector
from sirenbook.errors import SirenbookError, SirenbookFileError

training = pytest.importorskip("sirenbook.detector_training", exc_type=SirenbookError,
                               reason="training needs TensorFlow")
from sirenbook.detector import features
from sirenbook.evaluation import false_alarms, operating_points, siren_free_minutes
from sirenbook.networks import keras
from sirenbook.transfer import MelDataset, MixedSampler

def a_street(rng, siren):
    "Four seconds of noise, with a tone that glides up and down or without."
    t = np.arange(64_000) / 16_000
    wav = 0.02 * rng.standard_normal(len(t))
    slow = np.cos(2 * np.pi * t * rng.uniform(0.4, 0.8)) if siren else 0
    if siren: wav += 0.2 * np.sin(2 * np.pi * (900 * t - 300 / np.pi * slow))
    return wav.astype(np.float32)

def train(folder):
    return training.train_detector(folder/"out", folder/"sounds", street=folder/"sounds", epochs=1,
                                   siren_free_hours=0.05)

@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    "A folder of sounds, and what the recipe made of it."
    folder, rng = tmp_path_factory.mktemp("training"), np.random.default_rng(0)
    sounds = {f"{label}/{i}.wav": a_street(rng, label == "emergency")
              for label in ("emergency", "non-emergency") for i in range(12)}
    for file, wav in sounds.items():
        path = folder/"sounds"/file
        path.parent.mkdir(parents=True, exist_ok=True)
        sf.write(path, wav, 16_000)
    weights = train(folder)
    return folder, weights

def test_the_recipe_gives_a_detector(trained):
    _, weights = trained
    rng = np.random.default_rng(1)
    for precision in ("float", "int8"):
        detector = Detector.load(weights, precision=precision)
        with_siren, without = (detector.score(a_street(rng, s)).probability.max()
                               for s in (True, False))
        assert with_siren > 0.5 > without
    card = json.loads((weights/"detector.json").read_text())
    assert card["trained"]["learned_from"] == ["roadside"]
    assert card["default"] in card["operating_points"]

def test_called_again_it_trains_nothing(trained):
    folder, weights = trained
    log, last = (folder/"out/ablation/and esvs 0"/name for name in ("log.csv", "last.npz"))
    wav = a_street(np.random.default_rng(2), True)
    before = log.read_text(), last.stat().st_mtime_ns
    first = Detector.load(weights).score(wav).probability
    train(folder)
    assert (log.read_text(), last.stat().st_mtime_ns) == before
    assert np.allclose(Detector.load(weights).score(wav).probability, first, atol=1e-5)

def test_the_thresholds_were_counted(trained):
    folder, weights = trained
    wavs = siren_free_minutes(folder/"out/siren_free", 3)
    counted = operating_points(false_alarms(Detector.load(weights), wavs), training.PER_HOUR)
    card = json.loads((weights/"detector.json").read_text())
    assert card["operating_points"] == counted       # three minutes allow no other point
    assert list(counted) == ["100/h"] == [card["default"]]

def test_each_clip_of_street_is_calibrated_by_the_others(monkeypatch):
    logit, siren = np.linspace(-2, 2, 24), np.arange(24) % 3 > 0
    monkeypatch.setattr(training, "max_logits", lambda model, mels: logit)
    source = np.array([f"s{i // 8}" for i in range(24)])
    m = {"street": None, "source": source, "siren": siren, "group": np.arange(24).astype(str),
         "file": [f"{i}.wav" for i in range(24)]}
    rows = training.unseen_rows(None, m, 5)
    assert {r["seed"] for r in rows} == {5}
    assert [r["label"] == "emergency" for r in rows] == siren.tolist()
    others = source != "s0"
    slope, offset = training.calibrate(logit[others].round(4), siren[others], m["group"][others])
    p = 1 / (1 + np.exp(-slope * rows[0]["logit"] - offset))
    slope, offset = training.calibrate(logit, siren, m["group"])
    assert np.isclose(rows[0]["p"], p, atol=1e-6)
    assert not np.isclose(p, 1 / (1 + np.exp(-slope * logit[0] - offset)), atol=1e-3)

@pytest.mark.parametrize("which", ("roadside", "esvs", "street"))
def test_a_folder_that_is_not_there_costs_nothing(tmp_path, which):
    with pytest.raises(SirenbookFileError, match="nowhere: there is no such folder"):
        training.train_detector(tmp_path/"out", **{which: tmp_path/"nowhere"})
    assert not (tmp_path/"out").exists()

def test_held_out_groups_share_nothing():
    mels = MelDataset([np.full((1, 1), i) for i in range(40)], [np.ones(32, bool)] * 40,
                      np.arange(40) % 2)
    groups = [f"g{i // 4}" for i in range(40)]
    ours, theirs = training.split_groups(mels, groups, every=3)
    assert len(ours.mels) + len(theirs.mels) == 40 and set(theirs.label) == {0, 1}
    at = lambda h: {groups[int(m[0, 0])] for m in h.mels}
    assert at(ours).isdisjoint(at(theirs))

def test_calibration_needs_both_classes():
    with pytest.raises(SirenbookError, match="with a siren and clips without"):
        training.calibrate(np.array([1.0, 2.0]), [True, True], ["a", "b"])

# A run that is interrupted

class Interrupt(keras.callbacks.Callback):
    "Stops a run in its second epoch, or at the end of it before anything is kept."
    def __init__(self, when): super().__init__(); self.when = when
    def on_epoch_begin(self, epoch, logs=None): self.epoch = epoch
    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch, self.when) == (1, 2, "batch"): raise KeyboardInterrupt
    def on_test_begin(self, logs=None):
        if (self.epoch, self.when) == (1, "test"): raise KeyboardInterrupt

@pytest.fixture(scope="module")
def data():
    "Noise with a rising tone or without, as windows to train on and windows held out."
    rng = np.random.default_rng(0)
    noise = rng.normal(-5, 1, (8, 200, 64)).astype(np.float16)
    for mel in noise[::2]: mel[np.arange(200), np.arange(200) // 4] += 4
    siren = training.load_dataset("roadside").classes.index("emergency")
    label = np.where(np.arange(8) % 2, 1 - siren, siren)
    mels = MelDataset(list(noise), [np.full(32, n == siren) for n in label], label)
    sampler = MixedSampler([(1, mels)], 0, batch_size=16, steps=4, front=features)
    return sampler, MixedSampler([(1, mels)], 1, batch_size=64, front=features)[0]

@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    "A run of four epochs that nobody interrupted: its folder and its network."
    folder = tmp_path_factory.mktemp("whole")
    return folder, training.fit_in_folder(*data, folder, epochs=4)

def state(folder):
    with np.load(folder/"last.npz") as file: return dict(file)

@pytest.mark.parametrize("when", ("batch", "test"))
def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(data, whole, tmp_path, when):
    with pytest.raises(KeyboardInterrupt):
        training.fit_in_folder(*data, tmp_path, epochs=4, callbacks=[Interrupt(when)])
    assert int(state(tmp_path)["done"]) == 1 and not list(tmp_path.glob(".*part*"))
    model = training.fit_in_folder(*data, tmp_path, epochs=4)
    assert (tmp_path/"log.csv").read_text() == (whole[0]/"log.csv").read_text()
    pairs = zip(model.get_weights(), whole[1].get_weights())
    assert all(np.allclose(a, b, atol=1e-6) for a, b in pairs)
    mine, theirs = state(tmp_path), state(whole[0])
    assert {*mine} == {*theirs} and {"best", "wait", "done"} < {*mine}
    for k in mine: assert np.allclose(mine[k], theirs[k], atol=1e-6), k

def test_the_state_of_dropout_is_kept(data, whole):
    model = training.network()
    seeds = [v for v in model.variables if "seed" in v.path]
    kept = [v for k, v in state(whole[0]).items() if k.startswith("arr_")]
    assert len(seeds) == 1                            # without it a resumed run would differ
    [at] = [v for v in kept if v.shape == (2,) and v.dtype.kind in "iu"]
    assert at[1] >= 16                                # drawn from in each of 16 batches

def test_the_best_network_is_kept_with_averaged_weights(data, whole):
    rows = training.read_csv(whole[0]/"log.csv", training.LOG_COLUMNS)
    X, y = data[1]
    z = training.predict_logits(whole[1], X)
    loss = np.logaddexp(0, z * (1 - 2 * y.ravel())).mean()
    assert loss == pytest.approx(min(r["held_out_loss"] for r in rows), abs=2e-4)

def test_a_run_that_stopped_early_stays_stopped(data, tmp_path, monkeypatch):
    rate = training.fit
    monkeypatch.setattr(training, "fit", lambda *a, **k: rate(*a, **k | {"rate": 0.0}))
    training.fit_in_folder(*data, tmp_path, epochs=5, patience=1)
    rows = training.read_csv(tmp_path/"log.csv", training.LOG_COLUMNS)
    before = (tmp_path/"last.npz").stat().st_mtime_ns
    assert len(rows) < 5
    training.fit_in_folder(*data, tmp_path, epochs=5, patience=1)
    assert (tmp_path/"last.npz").stat().st_mtime_ns == before

def test_a_damaged_or_foreign_state_is_named(data, whole, tmp_path):
    (tmp_path/"last.npz").write_bytes(b"PK half")
    with complains(tmp_path/"last.npz", "damaged", kind=SirenbookFileError):
        training.fit_in_folder(*data, tmp_path, epochs=4)
    other = {k: v for k, v in state(whole[0]).items() if k != "arr_0"}
    np.savez(tmp_path/"last.npz", **other | {"done": 1})
    (tmp_path/"log.csv").write_text((whole[0]/"log.csv").read_text())
    with complains(tmp_path/"last.npz", "another network", kind=SirenbookFileError):
        training.fit_in_folder(*data, tmp_path, epochs=4)

def test_fine_tuning_leaves_the_base_alone(data, whole):
    before = whole[1].get_weights()
    tuned = training.fine_tune(whole[1], MixedSampler(
        list(zip([1], data[0].parts)), 3, batch_size=16, steps=8, front=features))
    assert all(np.array_equal(a, b) for a, b in zip(before, whole[1].get_weights()))
    assert any(not np.array_equal(a, b) for a, b in zip(before, tuned.get_weights()))
