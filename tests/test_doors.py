"""Every door checks the samples it is given, and one detector serves many threads."""
import copy, io, os, pickle, subprocess, sys, tracemalloc, warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from shared import ROOT, complains, fresh, write
from sirenbook.audio import SR, check_wav
from sirenbook.detector import Detector
from sirenbook.errors import SirenbookWarning
from sirenbook.recordings import CLASSES, load_dataset
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
        assert all(np.allclose(a, b, atol=1e-4) for a, b in zip(alone, together))

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

def in_blocks(detector, wav, size):
    "The scores of a sound that arrives in blocks of this size."
    stream = detector.stream(SR)
    with pytest.warns(SirenbookWarning, match="cancel"):
        parts = [stream.push(wav[i:i + size]).probability for i in range(0, len(wav), size)]
        parts.append(stream.finish().probability)
    assert stream.seconds == len(wav) / SR
    return np.concatenate(parts)

def test_blocks_of_any_size_choose_the_same_channel(detector, siren):
    wav = np.concatenate([np.stack([siren, 0.5 * siren], 1), np.stack([siren, -siren], 1)])
    with pytest.warns(SirenbookWarning, match="cancel"): whole = detector.score(wav).probability
    for size in (700, 16_000, 25_001):
        assert np.allclose(in_blocks(detector, wav, size), whole, atol=1e-4)

@pytest.mark.parametrize("start", [0, 3000, 40_000, 44_444])
def test_antiphase_that_begins_at_any_time(detector, siren, start):
    "In blocks as at once, no tenth of a second of the siren is lost, and one sentence says so."
    quiet = np.random.default_rng(0).normal(0, .001, (start, 2)).astype(np.float32)
    wav = np.concatenate([quiet, np.stack([siren[:-777], -siren[:-777]], 1)])
    with pytest.warns(SirenbookWarning, match="cancel") as warned: found = detector.detect(wav, .5)
    assert len(warned) == 1
    for size in (160, 1600, 9999): assert np.allclose(
        in_blocks(detector, wav, size), found.scores.probability, atol=1e-4)
    (first, *_), = found.events
    (expected, *_), = detector.events(wav[:, 0], .5)
    assert abs(first - expected) < 0.13                    # a step

@pytest.mark.parametrize("size", [1, 160, 512, 1024])
def test_blocks_shorter_than_a_tenth_of_a_second(detector, siren, size):
    "Antiphase that comes and goes: the second that it is held for is one of sound, not of blocks."
    wav = np.stack([siren, np.where(np.arange(len(siren)) // 4000 % 4, siren, -siren)], 1)[:3 * SR]
    with pytest.warns(SirenbookWarning, match="cancel"): whole = detector.score(wav).probability
    assert np.allclose(in_blocks(detector, wav, size), whole, atol=1e-4)

def test_wind_in_two_microphones_cancels_nothing(detector):
    "It is slow and not the same in both, so that for a tenth of a second it may seem to."
    wind = np.cumsum(np.random.default_rng(0).normal(0, .001, (20 * SR, 2)), 0) % 1 - .5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector.score(.5 * np.sin(2 * np.pi * wind).astype(np.float32))

@pytest.mark.parametrize("then", [1, 2, 7])
def test_the_number_of_channels_may_change(detector, siren, then):
    "After a second in which the last of six channels was heard alone."
    six = np.zeros((SR, 6), np.float32)
    six[:, 4], six[:, 5] = .9 * siren[:SR], -siren[:SR]
    stream = detector.stream(SR)
    with pytest.warns(SirenbookWarning, match="cancel"): stream.push(six)
    more = [stream.push(np.zeros((SR + 5, then), np.float32)) for _ in range(3)]
    assert stream.bad_blocks == 0 and stream.seconds == (4 * SR + 15) / SR and len(more[0].times)
    stream.finish()
    assert stream.seconds == (4 * SR + 15) / SR

def test_a_gap_and_a_bad_block_keep_what_arrived_before(detector, siren):
    both = np.stack([siren, siren], 1)[:SR + 777]             # 777 samples wait for more
    for broken in (lambda s: s.gap(.5), lambda s: s.push(np.full((SR // 2, 2), np.nan))):
        stream, alone = detector.stream(SR), detector.stream(SR)
        parts = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for s, wav in ((stream, both), (alone, both[:, 0])):
                found = [s.push(wav), broken(s), s.push(wav), s.finish()]
                parts.append(np.concatenate([f.probability for f in found]))
        assert np.allclose(*parts, atol=1e-4) and stream.seconds == alone.seconds


# ---- open files

@pytest.mark.parametrize("kind", ["BytesIO", "open file"])
def test_the_detector_takes_what_load_wav_takes(detector, siren, kind, tmp_path):
    path = write(tmp_path/"a.wav", siren)
    def file(): return io.BytesIO(path.read_bytes()) if kind == "BytesIO" else open(path, "rb")
    with file() as f: found = detector.score(f)
    assert np.array_equal(found.probability, detector.score(path).probability)
    with file() as f: assert detector.events(f) == detector.events(path)
    with file() as f, complains("16000", "8000", "leave sr out"): detector.score(f, sr=8000)
    write(path, np.zeros(9), 3000)
    with file() as f, complains("3000", "4000"): detector.score(f)

def test_open_files_that_cannot_be_read(detector, tmp_path):
    path = tmp_path/"a.txt"
    path.write_text("buy milk")
    with open(path) as text, complains("mode 'rb'"): detector.score(text)
    with complains("sound"): detector.score(io.BytesIO(b"buy milk"))


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

def train_detector(tmp_path, *words):
    "What the command says on stderr, and its exit code."
    done = subprocess.run(
        [sys.executable, "-m", "sirenbook", "train", "detector", *words, "--hours", ".1",
         "--out", "out"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=200)
    assert "Traceback" not in done.stderr and not [*tmp_path.glob("out/fold*")]   # no training
    return done.stderr, done.returncode

def tones(folder, n, classes=CLASSES):
    "A data set of `n` clips of each of these classes."
    for k, c in enumerate(classes):
        for i in range(n): write(folder/c/f"{i}.wav", tone(500 + 400 * k + 50 * i, 4))

def test_recordings_are_no_scenes_to_learn_from(tmp_path):
    "When each siren sounds is not known of them."
    pytest.importorskip("tensorflow")
    tones(tmp_path/"streets", 2)
    said, code = train_detector(tmp_path, "--scenes", "streets")
    assert code == 1 and "sirenbook: streets" in said and "there is no such file" in said, said

@pytest.mark.parametrize("label", CLASSES)
def test_recordings_of_one_class_are_refused_before_training(tmp_path, label):
    pytest.importorskip("tensorflow")
    tones(tmp_path/"mine", 2, [label])
    scenes = ROOT/"data"/"roadside"
    said, code = train_detector(tmp_path, "--recorded", "mine", "--scenes", str(scenes))
    assert code == 1 and "sirenbook: mine: needs one sub-folder for each class" in said, said


# ---- none, and many

def test_no_chunks_give_no_predictions():
    pytest.importorskip("tensorflow")
    from sirenbook.networks import SAMPLES, SPECTROGRAM, cnn
    from sirenbook.training import predict
    for shape in (SAMPLES, SPECTROGRAM):
        assert predict(cnn(shape), np.zeros((0, 2 * SR), np.float32)) == []

@pytest.mark.parametrize("sr", [10 ** 9, 2 ** 31, 1e300, np.inf])
def test_a_rate_beyond_all_rates(sr, tmp_path):
    tones(tmp_path/"mine", 1)
    for name in ("roadside", tmp_path/"mine"):
        with complains("sr is"): load_dataset(name, sr=sr)

def test_eight_threads_leave_stderr_open():
    "In a process of its own, because stderr belongs to all of it."
    said = subprocess.run([sys.executable, "-c", """
import os
from concurrent.futures import ThreadPoolExecutor
from sirenbook.detector import Detector
before = os.fstat(2)
with ThreadPoolExecutor(8) as pool: list(pool.map(lambda k: Detector.pretrained(), range(200)))
assert os.path.samestat(before, os.fstat(2))
os.write(2, b"still open")"""], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True,
        timeout=100)
    assert said.returncode == 0 and said.stderr == b"still open", said

def test_lazy_inputs_keep_samples_and_not_spectrograms():
    pytest.importorskip("tensorflow")
    from sirenbook.chunks import chunk
    from sirenbook.networks import SPECTROGRAM, LazyInputs, inputs
    chunks = chunk(np.random.default_rng(0).normal(0, .1, 60 * SR).astype(np.float32), hop=.1)
    whole = len(chunks) * np.prod(SPECTROGRAM) * 4              # bytes of all inputs, 75 MB
    LazyInputs(chunks[:2], SPECTROGRAM)
    tracemalloc.start()
    try:
        X = LazyInputs(chunks, SPECTROGRAM)
        for i in range(0, len(X), 32): np.asarray(X[i:i + 32])
        _, peak = tracemalloc.get_traced_memory()
    finally: tracemalloc.stop()
    assert X.shape == (len(chunks), *SPECTROGRAM) and peak < whole / 3, (peak, whole)
    assert np.allclose(np.asarray(X[:3]), inputs(chunks[:3], SPECTROGRAM), atol=1e-4)
