"""The names, signatures and numbers that others call and count on."""
import inspect
from pathlib import Path

import numpy as np
import pytest
from shared import write_folder
from sirenbook import chunks, networks, recordings, spectrograms, training
from sirenbook.chunks import Chunks, chunk, group_split, random_split
from sirenbook.detector import Detector
from sirenbook.errors import SirenbookError, SirenbookFileError
from sirenbook.spectrograms import log_spectrogram, standardize

MINUTES = 22.920290625, 27.160834375  # the article's recordings: emergency, non-emergency
SHAPES = {"samples": (32000, 1), "frames": (200, 160), "spectrogram": (199, 161)}

# as long as you like, in four bytes
def silence(n_samples): return np.broadcast_to(np.float32(0), n_samples)

def noise(seconds, seed=0):
    "What a street is like to a microphone: noise that falls with frequency, now loud, now soft."
    rng = np.random.default_rng(seed)
    n = round(16000 * seconds)
    spectrum = np.fft.rfft(rng.standard_normal(n)) / (1 + np.arange(n // 2 + 1) / (0.02 * n))
    wav = np.fft.irfft(spectrum, n) * np.exp(np.interp(np.arange(n), np.linspace(0, n, 8),
        rng.uniform(-3, 0, 8)))
    return (0.5 * wav / np.abs(wav).max()).astype(np.float32)

@pytest.fixture(scope="module")
def article():
    "The article's two recordings, as silences of their lengths, cut into chunks."
    views = [chunk(silence(round(m * 60 * 16000))) for m in MINUTES]
    return Chunks(views, [recordings.class_index(c) for c in recordings.CLASSES], ["one", "other"])


# ---- names and signatures

@pytest.mark.parametrize("function, wanted", [
    (recordings.load_dataset, "name_or_path, sr=16000"),
    (chunks.chunk, "wav, sr=16000, seconds=2.0, hop=1.0"),
    (spectrograms.log_spectrogram, "chunks, sr=16000, nperseg=320, noverlap=160, eps=1e-10"),
    (spectrograms.standardize, "x"),
    (networks.cnn, "input_shape, wiring='printed'"),
    (networks.lstm, "input_shape, wiring='printed'"),
    (training.train, "model, train, validation, epochs=10, batch_size=32, seed=0"),
    (training.evaluate, "model, test"),
    (recordings.load_wav, "path, sr=16000"),
    (Detector.pretrained, "operating_point=None, precision='float', weights='default'"),
    (Detector.score, "self, wav_or_path, sr=None"),
    (Detector.events, "self, wav_or_path, threshold=None, operating_point=None, sr=None"),
    (Detector.threshold_at, "self, operating_point"),
], ids=lambda o: getattr(o, "__qualname__", ""))
def test_signature(function, wanted):
    given = [p for p in inspect.signature(function).parameters.values() if p.kind != p.KEYWORD_ONLY]
    assert ", ".join(p.name if p.default is p.empty else f"{p.name}={p.default!r}"
                     for p in given) == wanted
    assert all(p.default is not p.empty for p in inspect.signature(function).parameters.values()
               if p.kind == p.KEYWORD_ONLY)

def test_dataset(tmp_path):
    data = recordings.load_dataset(write_folder(tmp_path/"mine"))
    assert tuple(data.classes) == ("emergency", "non-emergency")
    assert [r.label for r in data.recordings] == ["emergency"] * 2 + ["non-emergency"] * 2
    for r in data.recordings:
        assert r.wav.dtype == np.float32 and r.wav.shape == (48000,) and np.abs(r.wav).max() <= 1
        assert r.sr == 16000 and r.seconds == 3 and isinstance(r.group, str)
        assert Path(r.path).is_file()
    groups = {r.group for r in data.recordings}
    assert len(groups) == 4, "without a manifest every file is a group of its own"

def test_rate_of_a_dataset(tmp_path):
    data = recordings.load_dataset(write_folder(tmp_path/"mine", n=1), sr=8000)
    assert {(r.sr, len(r.wav), r.seconds) for r in data.recordings} == {(8000, 24000, 3.0)}

def test_manifest_gives_groups(tmp_path):
    folder = write_folder(tmp_path/"mine", n=3)
    rows = [f"{c}/{k}.wav,{c},{c[0]}{min(k, 1)}" for c in recordings.CLASSES for k in range(3)]
    (folder/"manifest.csv").write_text("\n".join(["file,label,group", *rows]), encoding="utf-8")
    assert [r.group for r in recordings.load_dataset(folder).recordings] == ["e0", "e1", "e1", "n0",
        "n1", "n1"]

def test_errors_are_ours():
    assert issubclass(SirenbookError, ValueError)
    assert issubclass(SirenbookFileError, SirenbookError)
    assert issubclass(SirenbookFileError, OSError)


# ---- chunks

def test_chunk_is_a_window_on_the_waveform():
    wav = np.arange(16000 * 9 + 777, dtype=np.float32)
    view = chunk(wav)
    assert view.shape == (8, 32000) and view.dtype == np.float32
    assert np.shares_memory(view, wav) and not view.flags.writeable and wav.flags.writeable
    for i in range(8): assert np.array_equal(view[i], wav[i * 16000:i * 16000 + 32000])
    with pytest.raises(ValueError): view[0, 0] = 1
    wav[16000] = -5
    assert view[0, 16000] == view[1, 0] == -5

@pytest.mark.parametrize("n_samples, n_chunks", [(0, 0), (1, 0), (31999, 0), (32000, 1), (47999, 1),
                                                 (48000, 2), (144000, 8)])
def test_number_of_chunks(n_samples, n_chunks):
    view = chunk(silence(n_samples))
    assert view.shape == (n_chunks, 32000) and view.dtype == np.float32 and not view.flags.writeable

def test_chunk_with_other_numbers():
    assert chunk(silence(8000 * 5), sr=8000).shape == (4, 16000)
    assert chunk(silence(16000 * 5), seconds=1, hop=0.5).shape == (9, 16000)
    assert chunk(silence(16000 * 9), seconds=0.975, hop=2).shape == (5, 15600)

def test_counts_of_the_article(article):
    assert [len(v) for v in article.views] == [1374, 1628]
    assert (len(article), article[0].shape[0]) == (3002, 32000)
    assert np.bincount(article.y).tolist() == [1374, 1628]

def test_split_of_the_article(article):
    split = random_split(article.y, validation_size=0)
    assert (len(split.train), len(split.validation), len(split.test)) == (2401, 0, 601)
    from sklearn.model_selection import train_test_split
    train, test = train_test_split(np.arange(3002), stratify=article.y, test_size=0.2,
                                   random_state=12)
    assert np.array_equal(split.train, train) and np.array_equal(split.test, test)
    held = random_split(article.y)
    assert np.array_equal(held.test, test) and set(held.train) | set(held.validation) == set(train)
    assert not set(held.train) & set(held.validation)

@pytest.mark.parametrize("features", SHAPES)
def test_shapes_of_the_article(article, features):
    # The shapes for all 2401 chunks follow from those for a few; all would be 300 MB each.
    few = article.views[0][:5]
    X = networks.inputs(few, SHAPES[features])
    assert X.shape == (5, *SHAPES[features]) and X.dtype == np.float32 and np.isfinite(X).all()

def test_frames_are_the_chunk_end_to_end():
    few = chunk(noise(4))
    assert np.array_equal(networks.inputs(few, SHAPES["frames"]).reshape(3, 32000), few)
    assert np.array_equal(networks.inputs(few, SHAPES["samples"])[..., 0], few)


# ---- features

def published(chunks, nperseg=320, noverlap=160):
    "The article's recipe, on each chunk by itself."
    from scipy import signal
    return np.array([np.log(signal.spectrogram(c, fs=16000, nperseg=nperseg,
        noverlap=noverlap)[2].T.astype(np.float32) + 1e-10) for c in chunks])

LAYOUTS = {
    "overlapping views": lambda wav: chunk(wav),
    "contiguous copies": lambda wav: chunk(wav).copy(),
    "every other view": lambda wav: chunk(wav)[::2],
    "backwards": lambda wav: chunk(wav)[::-1],
    "a hop that frames do not share": lambda wav: chunk(wav, hop=0.123),
    "one chunk": lambda wav: chunk(wav)[:1],
    "float64": lambda wav: chunk(wav.astype(np.float64)),
    "another byte order": lambda wav: chunk(wav.astype(">f4")),
    "columns of a table": lambda wav: np.asfortranarray(chunk(wav)),
}

@pytest.mark.parametrize("layout", LAYOUTS)
def test_log_spectrogram_is_the_published_recipe(layout):
    x = LAYOUTS[layout](noise(7))
    ours = log_spectrogram(x)
    assert ours.shape == (len(x), 199, 161) and ours.dtype == np.float32
    np.testing.assert_allclose(ours, published(x), atol=2e-3)

@pytest.mark.parametrize("nperseg, noverlap", [(512, 128), (320, 0), (321, 100), (400, 240),
                                               (256, 255), (32000, 160)])
def test_log_spectrogram_with_other_frames(nperseg, noverlap):
    for x in (chunk(noise(3)), chunk(noise(3)).copy()):
        np.testing.assert_allclose(log_spectrogram(x, nperseg=nperseg, noverlap=noverlap),
                                   published(x, nperseg, noverlap), atol=5e-3)

def test_log_spectrogram_of_nothing():
    assert log_spectrogram(chunk(silence(100))).shape == (0, 199, 161)
    np.testing.assert_allclose(log_spectrogram(chunk(silence(48000))), np.log(1e-10), rtol=1e-6)

def test_log_spectrogram_leaves_its_input_alone():
    wav = noise(5)
    before = wav.copy()
    log_spectrogram(chunk(wav))
    assert np.array_equal(wav, before)

@pytest.mark.parametrize("wav", [silence(48000), np.full(48000, .3, np.float32),
                                 np.eye(1, 48000, 5000, dtype=np.float32)[0],
                                 1e-20 * noise(3), noise(3)],
                                 ids=["silence", "constant", "one click", "next to nothing",
                                      "noise"])
def test_standardize_is_finite(wav):
    x = standardize(log_spectrogram(chunk(wav)))
    assert x.dtype == np.float32 and x.shape == (2, 199, 161) and np.isfinite(x).all()
    assert np.abs(x.mean(1)).max() < 1e-4
    assert np.all((np.abs(x.std(1) - 1) < 1e-3) | (x.std(1) == 0))

def test_standardize_works_on_each_chunk_and_bin():
    x = log_spectrogram(chunk(noise(6)))
    np.testing.assert_allclose(standardize(x), (x - x.mean(1, keepdims=True))
                               / x.std(1, keepdims=True), atol=1e-4)
    np.testing.assert_allclose(standardize(x)[2], standardize(x[2]), atol=1e-6)


# ---- networks

@pytest.mark.parametrize("make, wiring, features, count", [
    ("cnn", "printed", "samples", 481), ("cnn", "printed", "spectrogram", 28_641),
    ("cnn", "chained", "samples", 1_825), ("cnn", "chained", "spectrogram", 18_465),
    ("lstm", "printed", "frames", 61_825), ("lstm", "printed", "spectrogram", 62_081),
    ("lstm", "chained", "frames", 333_185), ("lstm", "chained", "spectrogram", 333_697)])
def test_parameters(make, wiring, features, count):
    model = getattr(networks, make)(SHAPES[features], wiring=wiring)
    assert model.count_params() == count
    assert model.input_shape == (None, *SHAPES[features]) and model.output_shape == (None, 1)
    assert type(model.optimizer).__name__ == "Adam" and model.loss == "binary_crossentropy"

def test_printed_is_what_is_given_without_a_word():
    assert networks.cnn(SHAPES["samples"]).count_params() == 481


# ---- splits

def drawn(seed, least, most):
    "Labels and groups of chunks: some groups a class, each of some size."
    rng = np.random.default_rng(seed)
    y, groups = [], []
    for c in range(len(recordings.CLASSES)):
        for g in range(rng.integers(least, most + 1)):
            n = int(rng.integers(1, 30))
            y += [c] * n
            groups += [f"{c}-{g}"] * n
    order = rng.permutation(len(y))
    return np.array(y)[order], np.array(groups)[order]

def check(split, y, groups):
    parts = split.train, split.validation, split.test
    assert sorted(np.concatenate(parts)) == list(range(len(y))), "each chunk is in one part"
    for i, part in enumerate(parts):
        assert set(y[part]) == set(range(len(recordings.CLASSES))), "both classes are in every part"
        for other in parts[:i]:
            assert not set(groups[part]) & set(groups[other]), "no group is in two parts"

@pytest.mark.filterwarnings("ignore:The least populated class")
@pytest.mark.parametrize("least, most", [(3, 3), (3, 6), (5, 40)])
@pytest.mark.parametrize("seed", range(5))
def test_group_split(seed, least, most):
    y, groups = drawn([seed, least, most], least, most)
    check(group_split(y, groups, random_state=seed), y, groups)

def test_group_split_of_groups_with_both_classes():
    rng = np.random.default_rng(3)
    groups, y = np.sort(rng.integers(0, 12, 400)).astype(str), rng.integers(0, 2, 400)
    check(group_split(y, groups), y, groups)

def test_group_split_keeps_the_shares():
    y, groups = drawn(1, 40, 60)
    split = group_split(y, groups)
    assert abs(len(split.test) / len(y) - .2) < .05
    assert abs(len(split.validation) / len(y) - .16) < .05
    assert all(abs(np.mean(y[part]) - np.mean(y)) < .1 for part in (split.train, split.validation,
        split.test))

def test_a_seed_is_a_split():
    groups = np.repeat([f"{i}" for i in range(20)], 10)
    y = (np.arange(200) >= 100).astype(int)
    a, b, c = (group_split(y, groups, random_state=s) for s in (1, 1, 2))
    assert np.array_equal(a.test, b.test) and np.array_equal(a.train, b.train)
    assert set(a.test) != set(c.test)
