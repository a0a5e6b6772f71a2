"""A detector that takes many steps at once gives the scores of one that takes them singly."""
import json, pickle, shutil
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared import write

from sirenbook import batches
from sirenbook.audio import SR
from sirenbook.batches import BATCH_STEPS, BatchDetector, convolve, scipy_log_mel
from sirenbook.detector import Detector
from sirenbook.noises import noise
from sirenbook.sirens import siren
from sirenbook.spectrograms import log_mel

WEIGHTS = ("default", "clean")
RNG = np.random.default_rng(0)
STREET = np.clip(noise("traffic", 30, RNG) / 20, -1, 1).astype(np.float32)
STREET[8 * SR:16 * SR] += 0.1 * siren("wail", 8, RNG).astype(np.float32)

@pytest.fixture(scope="module", params=WEIGHTS)
def pair(request):
    return tuple(kind.pretrained(weights=request.param) for kind in (BatchDetector, Detector))

def same(a, b):
    "Whether two series of scores are the same but for rounding."
    assert np.array_equal(a.times, b.times) and len(a.times) == len(b.times)
    assert a.probability.dtype == b.probability.dtype
    return np.allclose(a.probability, b.probability, atol=2e-5)

def test_the_weights_of_the_package_are_taken_in_batches(pair):
    assert pair[0]._layers is not None

@pytest.mark.parametrize("seconds", (0.01, 0.1, 0.2, 0.5, 1.0, 1.1, 2.0, 9.99, 10.0, 10.1, 30.0))
def test_sounds_of_any_length(pair, seconds):
    wav = STREET[7 * SR:][:round(seconds * SR)]
    a, b = (d.score(wav) for d in pair)
    assert same(a, b) and (seconds < 2 or len(a.times))

@pytest.mark.parametrize("sr", (8000, 16000, 22050, 44100, 48000))
def test_any_rate_and_two_channels(pair, sr):
    wav = np.stack([STREET, 0.5 * STREET[::-1]], 1)[:10 * sr]
    assert same(*(d.score(wav, sr) for d in pair))

@pytest.mark.parametrize("wav", (np.zeros(12 * SR), np.ones(12 * SR), np.tile([1, -1], 6 * SR)),
                         ids=("silence", "offset", "nyquist"))
def test_extreme_sounds(pair, wav): assert same(*(d.score(wav.astype(float)) for d in pair))

@settings(max_examples=25, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 3 * SR), st.floats(0, 4)), min_size=1, max_size=12))
def test_blocks_and_gaps_of_any_size(parts):
    "Samples of the next block, or seconds of a gap."
    streams, at = [kind.pretrained().stream() for kind in (BatchDetector, Detector)], 0
    for part in parts:
        if isinstance(part, int):
            block, at = STREET[at:at + part], (at + part) % len(STREET)
            found = [s.push(block) for s in streams]
        else: found = [s.gap(part) for s in streams]
        assert same(*found)
    assert same(*(s.finish() for s in streams)) and streams[0].seconds == streams[1].seconds

def test_events_and_files(pair, tmp_path):
    write(tmp_path / "street.flac", STREET)
    found = [d.events(tmp_path / "street.flac") for d in pair]
    assert len(found[0]) == len(found[1]) == 1 and np.allclose(*found, atol=1e-4)

def test_it_can_be_pickled(pair):
    assert same(pickle.loads(pickle.dumps(pair[0])).score(STREET), pair[1].score(STREET))

def test_eight_bits_go_step_by_step():
    a, b = (kind.pretrained(precision="int8") for kind in (BatchDetector, Detector))
    assert a._layers is None
    assert np.allclose(a.score(STREET).probability, b.score(STREET).probability, atol=1e-3)

def broken(change):
    "Layers that compute something else, or nothing."
    class Broken(batches._Layers):
        def __init__(self, lite):
            super().__init__(lite)
            change(self)
    return Broken

@pytest.mark.parametrize("change", (
    lambda x: setattr(x, "share", x.share * 2), lambda x: x.convolutions.pop(),
    lambda x: x.convolutions.clear(), lambda x: setattr(x, "share", x.share * 1.002),
    lambda x: setattr(x, "siren", (x.siren[0].clip(-1, 0.05), x.siren[1])),
    lambda x: x.convolutions.reverse(), lambda x: setattr(x, "h", (x.h[0], 0 * x.h[1])),
    lambda x: setattr(x, "now", (x.now[0][:9], x.now[1]))))
def test_layers_that_are_not_those_of_the_model_are_not_used(monkeypatch, change):
    monkeypatch.setattr(batches, "_Layers", broken(change))
    odd = BatchDetector.pretrained()
    assert odd._layers is None
    assert same(odd.score(STREET[:12 * SR]), Detector.pretrained().score(STREET[:12 * SR]))

def test_a_folder_of_weights(tmp_path):
    shutil.copytree(Path(str(resources.files("sirenbook") / "weights")), tmp_path / "w")
    card = json.loads((tmp_path / "w/detector.json").read_bytes())
    assert BatchDetector.load(tmp_path / "w")._layers is not None and card["format"] == 2
    assert same(*(kind.load(tmp_path / "w").score(STREET) for kind in (BatchDetector, Detector)))

@pytest.mark.parametrize("steps", (1, 2, *(BATCH_STEPS + i for i in (-1, 0, 1, 90))))
def test_a_step_has_its_logit_wherever_it_is_in_a_block(steps):
    network, rng = BatchDetector.pretrained(), np.random.default_rng(steps)
    frames = rng.normal(size=(23 + 8 * steps, 64)).astype(np.float32)
    whole, last = network._layers(frames, network.memory().state)
    state, singly = network.memory().state, []
    for a in range(0, 8 * steps, 8):
        logit, state = network._layers(frames[a:a + 31], state)
        singly.append(logit[0])
    assert len(whole) == steps and np.allclose(whole, singly, atol=1e-4)
    assert last.shape == state.shape and np.allclose(last, state, atol=1e-5)

@given(st.integers(3, 40), st.integers(1, 20), st.integers(1, 5), st.integers(1, 6),
       st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_a_convolution_is_the_sum_over_its_places(rows, half, channels, filters, stride):
    rng = np.random.default_rng(rows)
    x = rng.normal(size=(rows, 2 * half, channels)).astype(np.float32)
    kernel = rng.normal(size=(9 * channels, filters)).astype(np.float32)
    bias, wide = rng.normal(size=filters).astype(np.float32), np.pad(x, ((0, 0), (1, 1), (0, 0)))
    expected = [[np.maximum(wide[r:r + 3, c:c + 3].reshape(-1) @ kernel + bias, 0)
                 for c in range(0, 2 * half - 1, 2)] for r in range(0, rows - 2, stride)]
    assert np.allclose(convolve(x, kernel, bias, stride), expected, atol=1e-3)

@pytest.mark.parametrize("n", (512, 700, 768, 5000, 160_000))
def test_frames_are_those_of_log_mel(n):
    for wav in (STREET[:n], np.zeros(n, np.float32), np.ones(n, np.float32)):
        assert np.allclose(scipy_log_mel(wav), log_mel(wav), atol=2e-3)
