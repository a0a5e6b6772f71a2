"""Every door checks the samples it is given, and one detector serves many threads."""
import copy, os, pickle, subprocess, sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from shared import ROOT, complains, fresh, write
from sirenbook.audio import SR, check_wav
from sirenbook.detector import Detector
from sirenbook.errors import SirenbookWarning
from sirenbook.signals import tone
from sirenbook.viewing import play

ADVICE = "divide 16-bit samples by 32768"


@pytest.fixture(scope="module")
def detector(): return Detector.pretrained()

@pytest.fixture(scope="module")
def siren():
    t = np.arange(4 * SR) / SR
    hz = 1000 + 400 * np.sin(2 * np.pi * t / 4)
    return (0.3 * np.sin(2 * np.pi * np.cumsum(hz) / SR)).astype(np.float32)


# ---- no native library ends the process

@pytest.mark.parametrize("bad", ["np.nan", "np.inf", "-np.inf"])
def test_a_player_of_what_no_encoder_takes(bad):
    "LAME aborts the whole process, so another one tries it."
    assert fresh(f"""import numpy as np
from sirenbook.viewing import mp3, play
wav = np.zeros(16000, np.float32)
wav[5] = {bad}
for door in (play, lambda wav: mp3(wav, 16000)):
    try: door(wav)
    except ValueError as e: print(e)""").count("not finite numbers") == 2

def test_a_silent_clip_divided_by_its_peak():
    silence = np.zeros(SR, np.float32)
    with np.errstate(invalid="ignore"): wav = silence / np.abs(silence).max()
    with complains("not finite"): play(wav)


# ---- one detector, many threads

def test_eight_threads_share_a_detector(detector, siren):
    wavs = [np.roll(siren, 1000 * k) * (1 - k / 10) for k in range(8)]
    alone = [detector.score(w).probability for w in wavs]
    def score(wav):
        stream = detector.stream(SR)
        parts = [stream.push(wav[i:i + 3000]).probability for i in range(0, len(wav), 3000)]
        return np.concatenate([*parts, stream.finish().probability])
    for _ in range(3):
        with ThreadPoolExecutor(8) as pool: together = list(pool.map(score, wavs))
        assert all(np.array_equal(a, b) for a, b in zip(alone, together))

@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy,
                                   lambda d: pickle.loads(pickle.dumps(d))])
def test_a_copy_scores_the_same(again, detector, siren):
    assert np.array_equal(again(detector).score(siren).probability,
                          detector.score(siren).probability)


# ---- scale, at every door

def sixteen_bit(wav): return np.round(wav * 32767).astype(np.int16)

def test_samples_of_another_scale(detector, siren):
    whole = sixteen_bit(siren)
    for wav in (whole, whole.astype(np.float32)):
        for door in (check_wav, play, detector.score):
            with complains(ADVICE): door(wav)
    assert check_wav(1.5 * siren).dtype == np.float32     # float recorders may peak above 1

def test_networks_refuse_samples_of_another_scale(siren):
    pytest.importorskip("tensorflow")
    from sirenbook.networks import SAMPLES, cnn, inputs
    from sirenbook.training import predict
    chunks = sixteen_bit(siren[:2 * SR])[None]
    for x in (chunks, chunks.astype(np.float32)):
        with complains(ADVICE): inputs(x, SAMPLES)
        with complains(ADVICE): predict(cnn(SAMPLES), x)


# ---- channels that cancel each other

def test_a_siren_in_antiphase_is_found(detector, siren, tmp_path):
    both = np.stack([siren, -siren], 1)
    with pytest.warns(SirenbookWarning, match="cancel"): found = detector.score(both).probability
    assert np.allclose(found, detector.score(siren).probability, atol=1e-4)
    path = write(tmp_path/"both.wav", both)
    with pytest.warns(SirenbookWarning, match="cancel"): assert detector.events(path, threshold=.5)

def test_blocks_of_any_size_choose_the_same_channel(detector, siren):
    wav = np.concatenate([np.stack([siren, 0.5 * siren], 1), np.stack([siren, -siren], 1)])
    with pytest.warns(SirenbookWarning, match="cancel"): whole = detector.score(wav).probability
    for size in (700, 16_000, 25_001):
        stream = detector.stream(SR)
        with pytest.warns(SirenbookWarning, match="cancel"):
            parts = [stream.push(wav[i:i + size]).probability for i in range(0, len(wav), size)]
        assert np.allclose(np.concatenate([*parts, stream.finish().probability]), whole, atol=1e-4)


# ---- a model of one's own

def own_model(n_outputs=1, activation="sigmoid", compiled=True, metrics=None):
    keras = pytest.importorskip("keras")
    first = keras.Input((8,))
    out = [keras.layers.Dense(1, activation=activation)(first) for _ in range(n_outputs)]
    model = keras.Model(first, out if n_outputs > 1 else out[0])
    if compiled: model.compile("adam", "binary_crossentropy", metrics=metrics)
    return model

X, Y = np.random.default_rng(0).normal(0, 1, (40, 8)).astype(np.float32), np.arange(40) % 2

def test_a_model_with_two_outputs():
    from sirenbook.training import evaluate, train
    for door in (lambda m: train(m, (X, Y), (X, Y), epochs=1), lambda m: evaluate(m, (X, Y))):
        with complains("one probability"): door(own_model(2))

def test_a_model_that_is_not_compiled():
    from sirenbook.training import evaluate, train
    with complains("compile"): train(own_model(compiled=False), (X, Y), (X, Y), epochs=1)
    assert 0 <= evaluate(own_model(compiled=False), (X, Y)).accuracy <= 1

def test_a_model_without_metrics_trains():
    from sirenbook.training import train
    assert len(train(own_model(), (X, Y), (X, Y), epochs=2).history["val_loss"]) == 2

def test_a_model_that_gives_no_probability():
    from sirenbook.training import evaluate
    with complains("sigmoid"): evaluate(own_model(activation=None), (X * 100, Y))

def test_a_detector_of_one_clip_a_class(tmp_path):
    pytest.importorskip("tensorflow")
    for k, c in enumerate(("emergency", "non-emergency")):
        write(tmp_path/"mine"/c/"1.wav", tone(500 + 400 * k, 4))
    done = subprocess.run(
        [sys.executable, "-m", "sirenbook", "train", "detector", "--esvs", "mine", "--hours", ".01",
         "--out", "out"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=200)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "sirenbook: every part needs windows with a siren and windows without" in done.stderr
