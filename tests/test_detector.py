"""The detector: in blocks as in one, on any sound, for days, and with its own weights only."""
import gc, hashlib, json, shutil, subprocess, sys, tracemalloc, warnings

import numpy as np
import pytest
import soundfile as sf
import soxr
from hypothesis import HealthCheck, given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from shared import PACKAGE, complains, fresh, write
from sirenbook.detector_data import is_licensed
from sirenbook.errors import SirenbookError, SirenbookFileError, SirenbookWarning
from test_frames import folder_with
from sirenbook.detector import (GAP_S, Detection, Detector, Event, EventTracker, Scores,
                                find_events, plot_scores)
from sirenbook.audio import SR, load_wav
from sirenbook.frames import HOP, STEP_S, FrontEnd, Timing
from sirenbook.sirens import synthesize, wail_hz

WEIGHTS = PACKAGE/"weights"
FIRST_S, ONSET_S, OFFSET_S = Timing().first_s, Timing().onset_s, Timing().offset_s
QUICK = dict(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

@pytest.fixture(scope="module")
def detector(): return Detector.pretrained()

@pytest.fixture(scope="module")
def wail():
    "Six seconds of a clear wail in faint noise, at 48 kHz."
    rng, sr = np.random.default_rng(0), 48_000
    siren = synthesize([(wail_hz(6, sr), 1)], sr)
    return (0.2 * siren / np.abs(siren).max() + 0.002
            * rng.standard_normal(len(siren))).astype(np.float32)

@pytest.fixture(scope="module")
def wail_16k(wail): return soxr.resample(wail, 48_000, SR)

def joined(parts): return Scores(*map(np.concatenate, zip(*parts)))

def streamed(detector, wav, sizes, sr=SR):
    "The scores of a sound in blocks of these sizes, over and over."
    stream, at, parts = detector.stream(sr), 0, []
    while at < len(wav):
        size = sizes[len(parts) % len(sizes)]
        parts.append(stream.push(wav[at:at + size]))
        at += size
    return joined([*parts, stream.finish()])

def same(a, b): return all(np.array_equal(x, y) for x, y in zip(a, b))

def close(a, b):
    "Whether scores are the same but for the order in which sums are made."
    return np.array_equal(a.times, b.times) and np.allclose(a.probability, b.probability, atol=1e-4)

def sound(scores):
    "Whether scores are such as scores should be."
    t, p = scores
    return (len(t) == len(p) > 0 and t.dtype == np.float64 and p.dtype == np.float32
            and np.isfinite(t).all()
            and (np.diff(t) > 0).all() and ((0 <= p) & (p <= 1)).all())


# ---- what a score is

def test_scores_are_the_network_on_the_frames(detector, wail_16k):
    scores = detector.score(wail_16k)
    assert sound(scores)
    found = detector.listen(FrontEnd().push(wail_16k, last=True), detector.memory(), last=True)
    n_frames, logits = np.transpose(found)
    assert np.array_equal(scores.times, (n_frames + 1) * HOP / SR)     # the end of what was scored
    np.testing.assert_allclose(scores.times, FIRST_S + STEP_S * np.arange(len(scores.times)))
    np.testing.assert_allclose(scores.probability, detector.probability(logits), atol=1e-4)

@pytest.mark.parametrize("n", [16_640, 20_000, 37_000])
def test_no_score_knows_what_comes_later(detector, wail_16k, n):
    part, whole = detector.score(wail_16k[:n]), detector.score(wail_16k)
    assert n / SR - STEP_S < part.times[-1] <= n / SR
    assert close(part, Scores(*(v[:len(part.times)] for v in whole)))

@pytest.mark.parametrize("n, count", [(1, 1), (511, 1), (2303, 1), (2304, 1), (4351, 1),
                                      (4352, 2), (16_639, 7), (16_640, 8), (32_000, 15)])
def test_how_many_scores(detector, n, count):
    times, _ = detector.score(np.full(n, 0.1, np.float32))
    assert len(times) == count and times[0] == FIRST_S

def test_calibration_is_used(tmp_path, wail_16k, detector):
    card = copied(tmp_path)
    card["calibration"] = {"slope": 0.5, "offset": -0.25}
    save(tmp_path, card)
    found = detector.listen(FrontEnd().push(wail_16k, last=True), detector.memory(), last=True)
    expected = 1 / (1 + np.exp(0.25 - 0.5 * np.array([z for _, z in found])))
    np.testing.assert_allclose(Detector.load(tmp_path).score(wail_16k).probability, expected,
                               atol=1e-4)

def test_int8_is_another_network_with_much_the_same_answer(detector, wail_16k):
    small = Detector.pretrained(precision="int8")
    a, b = small.score(wail_16k).probability, detector.score(wail_16k).probability
    assert not np.array_equal(a, b) and abs(a.max() - b.max()) < 0.3


# ---- in pieces as in one

@pytest.mark.parametrize("sizes", [[1], [7], [160], [4096], [8192], [32_000], [99_999]], ids=str)
def test_streaming_is_batch_at_16_khz(detector, wail_16k, sizes):
    wav = wail_16k[:50_000]
    assert close(streamed(detector, wav, sizes), detector.score(wav))

@settings(max_examples=25, **QUICK)
@given(st.lists(st.integers(0, 20_000), min_size=1, max_size=12).filter(any),
       st.integers(1, 90_000))
def test_streaming_is_batch_whatever_the_blocks(detector, wail_16k, sizes, n):
    wav = wail_16k[:n]
    assert close(streamed(detector, wav, sizes), detector.score(wav))

@pytest.mark.parametrize("sr", [8_000, 44_100, 48_000])
@pytest.mark.parametrize("sizes", [[1, 1, 1, 999], [160], [4096], [1, 5000, 13]], ids=str)
def test_streaming_is_batch_at_other_rates(detector, wail, sizes, sr):
    wav = soxr.resample(wail, 48_000, sr)[:3 * sr + 11]
    a, b = streamed(detector, wav, sizes, sr), detector.score(wav, sr)
    assert np.array_equal(a.times, b.times) and np.abs(a.probability - b.probability).max() < 1e-3

def test_scores_come_as_soon_as_they_are_due(detector, wail_16k):
    stream, at = detector.stream(), []
    for i in range(0, 64_000, 160):
        if len(stream.push(wail_16k[i:i + 160]).times): at.append((i + 160) / SR)
    np.testing.assert_allclose(at, 1.04 + STEP_S * np.arange(len(at)), atol=0.01)   # the first wait

@settings(max_examples=30, **QUICK)
@given(st.lists(arrays(np.float32, st.one_of(st.integers(0, 3000),
                                             st.tuples(st.integers(0, 3000), st.integers(1, 8))),
                       elements=st.floats(width=32), fill=st.floats(-1, 1, width=32)), max_size=20))
def test_a_stream_takes_any_floats(detector, blocks):
    stream, broken = detector.stream(), sum(not (np.abs(b) <= 100).all() for b in blocks)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        scores = joined([*(stream.push(b) for b in blocks), stream.finish()])
    n = sum(map(len, blocks))
    assert stream.bad_blocks == broken == len(warned) and stream.seconds == n / SR
    assert sound(scores) if n else not len(scores.times)

@settings(max_examples=40, **QUICK)
@given(arrays(st.sampled_from([np.float16, np.float32, np.float64]),
              st.tuples(st.integers(0, 500), st.integers(0, 70)) | st.integers(0, 500)))
def test_any_array_gets_an_answer_or_a_sentence(detector, wav):
    try: assert sound(detector.score(wav)) and np.isfinite(wav).all()
    except SirenbookError as e:
        assert "\n" not in str(e) and not (len(wav) and wav.size and np.isfinite(wav).all()
                                           and np.abs(wav).max() <= 1 and wav.shape[1:] <= (64,))

@pytest.mark.parametrize("wav", [np.zeros(9, np.int16), np.zeros(9, np.complex64), np.array(["a"]),
                                 np.zeros((2, 2, 2)), np.float32(0), [[1.0], []],
                                 np.zeros((40_000, 65)), np.zeros((9, 0)), None, np.zeros(0),
                                 np.zeros((0, 2)), np.full(9, np.nan), np.full(9, 3e4)],
                         ids=lambda v: str(getattr(v, "dtype", v)) + str(getattr(v, "shape", "")))
def test_arrays_that_are_no_sound(detector, wav):
    with complains("sound"): detector.score(wav)
    with complains("sound"): detector.events(wav)

@pytest.mark.parametrize("sr", [0, -1, 3999, 384_001, 16_000.5, np.nan, np.inf, "16k", 1j,
                                [16_000]], ids=str)
def test_rates_that_are_none(detector, sr):
    with complains("sr is"): detector.score(np.zeros(9, np.float32), sr)
    with complains("sr is"): detector.stream(sr)


# ---- accidents

def test_a_broken_block_is_silence(detector, wail_16k):
    wav, stream = wail_16k.copy(), detector.stream()
    wav[16_000:20_000] = 0
    broken = wail_16k[16_000:20_000].copy()
    broken[5] = np.inf
    with pytest.warns(SirenbookWarning, match="not finite"):
        parts = [stream.push(b) for b in (wav[:16_000], broken, wav[20_000:])]
    assert close(joined([*parts, stream.finish()]), detector.score(wav)) and stream.bad_blocks == 1

def test_a_broken_channel_breaks_its_block(detector):
    block, stream = np.zeros((100, 2), np.float32), detector.stream()
    block[3, 1] = -np.inf
    with pytest.warns(SirenbookWarning): stream.push(block)
    assert stream.bad_blocks == 1 and stream.seconds == 100 / SR

@pytest.mark.parametrize("seconds", [0, GAP_S / 2, GAP_S])
def test_a_short_gap_is_silence(detector, wail_16k, seconds):
    stream = detector.stream()
    parts = [stream.push(wail_16k[:20_000]), stream.gap(seconds), stream.push(wail_16k[20_000:])]
    lost = np.zeros(round(seconds * SR), np.float32)
    wav = np.concatenate([wail_16k[:20_000], lost, wail_16k[20_000:]])
    assert close(joined([*parts, stream.finish()]), detector.score(wav))

@pytest.mark.parametrize("lost_s", [GAP_S + 0.01, 3600])
@pytest.mark.parametrize("sr", [16_000, 44_100])
def test_after_a_long_gap_the_memory_is_empty(detector, wail_16k, sr, lost_s):
    wav = wail_16k if sr == SR else soxr.resample(wail_16k, SR, sr)
    a, b, stream = wav[:3 * sr], wav[3 * sr:], detector.stream(sr)
    parts = [stream.push(a), stream.gap(lost_s), stream.push(b), stream.finish()]
    one, two = detector.score(a, sr), detector.score(b, sr)
    np.testing.assert_allclose(joined(parts).probability, joined([one, two]).probability, atol=1e-4)
    np.testing.assert_allclose(joined(parts).times,
                               np.concatenate([one.times, two.times + 3 + lost_s]), atol=1e-4)
    assert np.isclose(stream.seconds, 6 + lost_s)

@pytest.mark.parametrize("seconds", [GAP_S + 0.01, 30])
def test_silence_empties_no_memory(detector, wail_16k, seconds):
    stream, silence = detector.stream(), np.zeros(round(seconds * SR), np.float32)
    parts = [stream.push(wail_16k), stream.push(silence), stream.push(wail_16k), stream.finish()]
    assert close(joined(parts), detector.score(np.concatenate([wail_16k, silence, wail_16k])))
    begun = detector.stream()                              # silence is the past of this one, too
    begun.push(silence)
    later = joined([begun.push(wail_16k), begun.finish()]).probability
    n = len(later)
    assert not np.allclose(joined(parts).probability[-n:], later, atol=1e-4)

def test_what_a_stream_refuses(detector):
    stream = detector.stream(8000)
    with complains("8000", "44100"): stream.push(np.zeros(9, np.float32), sr=44_100)
    stream.push(np.zeros(9, np.float32), sr=8000)
    for wrong in (-1, -1e9, np.nan, np.inf, -np.inf, 1e308, "soon", None, [1]):
        with complains("a gap is"): stream.gap(wrong)
    assert stream.seconds == 9 / 8000
    with complains("int16"): stream.push(np.zeros(9, np.int16))
    stream.finish()
    for late in (lambda: stream.push(np.zeros(9, np.float32)), stream.finish, lambda: stream.gap(1),
                 lambda: stream.gap(9)):
        with complains("finished"): late()

def test_a_stream_without_sound(detector):
    assert len(detector.stream().finish().times) == 0
    stream = detector.stream()
    assert len(stream.push(np.zeros(0, np.float32)).times) == 0 and stream.seconds == 0

def no_network(monkeypatch):
    "Let LiteRT take no time."
    monkeypatch.setattr("sirenbook.frames._Lite.__call__", lambda self, frames, state: (0.0, state))

@pytest.mark.filterwarnings("ignore::sirenbook.errors.SirenbookWarning")
@pytest.mark.parametrize("sr", [16_000, 48_000])
def test_memory_is_constant(detector, monkeypatch, sr):
    "An hour of sound, accidents included, with a network that takes no time."
    no_network(monkeypatch)
    stream, tracker, block = detector.stream(sr), EventTracker(0.4), np.full(sr, 0.1, np.float32)
    def minutes(n):
        for i in range(60 * n):
            tracker.push(stream.push(block if i % 50 else block * np.nan))
            if i % 40 == 0: tracker.push(stream.gap(0.1 if i % 80 else 30))
    minutes(2)
    tracemalloc.start()
    try:
        minutes(60 if sr == SR else 10)
        gc.collect()
        after, peak = tracemalloc.get_traced_memory()
    finally: tracemalloc.stop()
    # numpy itself keeps 1 MB; an hour of samples has 230
    assert after < 2e6 and peak < 5e6
    # its scores would have half a million
    assert held(stream) + held(tracker) < 300_000

def held(thing):
    "Bytes that an object keeps in arrays, lists and dicts, each element counting 80 and its own."
    if isinstance(thing, np.ndarray): return (thing if thing.base is None else thing.base).nbytes
    if isinstance(thing, (list, tuple, set)): return sum(80 + held(v) for v in thing)
    if isinstance(thing, dict): return sum(80 + held(v) for v in thing.values())
    return 0 if isinstance(thing, Detector) or not hasattr(thing, "__dict__") else held(vars(thing))

def test_the_clock_does_not_drift(detector, monkeypatch):
    no_network(monkeypatch)
    stream = detector.stream(44_100)
    stream.gap(30 * 24 * 3600)
    scores = joined([stream.push(np.zeros(44_100, np.float32)) for _ in range(60)])
    np.testing.assert_allclose(scores.times, 30 * 24 * 3600 + FIRST_S + STEP_S
                               * np.arange(len(scores.times)), rtol=0, atol=1e-6)


# ---- files

@pytest.mark.parametrize("suffix, subtype", [("wav", "PCM_U8"), ("wav", "PCM_16"),
    ("wav", "PCM_24"), ("wav", "PCM_32"), ("wav", "FLOAT"), ("wav", "DOUBLE"),
                                             ("flac", "PCM_16"), ("ogg", "VORBIS"), ("mp3", None)])
@pytest.mark.parametrize("channels", [1, 2])
def test_files_are_scored_as_load_wav_loads_them(detector, tmp_path, wail_16k, suffix, subtype,
                                                 channels):
    path = write(tmp_path/f"a.{suffix}", np.stack([wail_16k] * channels, 1)[:60_000],
                 **({"subtype": subtype} if subtype else {}))
    a, b = detector.score(path), detector.score(load_wav(path))
    assert np.array_equal(a.times, b.times) and np.abs(a.probability - b.probability).max() < 1e-3
    assert same(detector.score(str(path)), a)

def test_a_file_longer_than_a_block(detector, tmp_path, wail):
    wav = np.tile(wail, 4)
    path = write(tmp_path/"a.wav", wav, 48_000, subtype="FLOAT")
    a, b = detector.score(path), detector.score(wav, 48_000)
    assert same(a, b) and 24 - STEP_S < a.times[-1] <= 24
    assert detector.events(path) == detector.events(wav, sr=48_000)

@pytest.mark.parametrize("sr", [4_000, 8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 96_000,
                                192_000])
def test_a_clear_siren_is_found_at_any_rate(detector, tmp_path, wail, sr):
    path = write(tmp_path/"a.wav", soxr.resample(wail, 48_000, sr), sr)
    (start, end, peak), *_ = detector.events(path, threshold=0.5)
    assert 0 <= start < end <= 6 and 0.5 <= peak <= 1

@pytest.mark.parametrize("channels", range(1, 9))
def test_a_clear_siren_is_found_in_any_channels(detector, wail_16k, channels):
    assert detector.events(np.stack([wail_16k] * channels, axis=1), threshold=0.5)

def test_channels_are_averaged(detector, tmp_path, wail_16k):
    wav = np.stack([np.zeros_like(wail_16k), wail_16k], axis=1)
    assert same(detector.score(wav), detector.score(wail_16k / 2))
    assert same(detector.score(write(tmp_path/"a.wav", wav, subtype="FLOAT")),
                detector.score(wail_16k / 2))

def test_the_rate_of_a_file_is_its_own(detector, tmp_path):
    path = write(tmp_path/"a.wav", sr=8000)
    with complains("a.wav", "8000", "16000", kind=SirenbookFileError): detector.score(path, 16_000)
    assert same(detector.score(path, 8000), detector.score(path))

def spoilt(path, how):
    if how == "missing": path.unlink()
    elif how == "folder": path.unlink(); path.mkdir()
    elif how == "empty": path.write_bytes(b"")
    elif how == "words": path.write_bytes(b"not a sound " * 99)
    elif how == "no samples": sf.write(path, np.zeros(0), 16_000)
    elif how == "NaN": sf.write(path, np.array([0, np.nan] * 99), 16_000, subtype="FLOAT")

@pytest.mark.parametrize("how", ["missing", "folder", "empty", "words", "no samples", "NaN"])
def test_files_are_refused_in_the_words_of_load_wav(detector, tmp_path, how):
    path = write(tmp_path/"a.wav")
    spoilt(path, how)
    with pytest.raises(SirenbookFileError) as theirs: load_wav(path)
    with complains("a.wav", kind=SirenbookFileError) as _: detector.score(path)
    with pytest.raises(SirenbookFileError) as ours: detector.events(str(path))
    assert str(ours.value) == str(theirs.value)

def test_a_file_that_was_cut_off_is_scored_to_its_end(detector, tmp_path):
    path = write(tmp_path/"a.wav")
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.warns(SirenbookWarning, match="a.wav: the file is cut off"):
        found = detector.detect(path)
    with pytest.warns(SirenbookWarning, match="a.wav: the file is cut off"): wav = load_wav(path)
    assert found.seconds == len(wav) / 16000 and same(found.scores, detector.score(wav))

def test_a_file_that_may_not_be_read(detector, tmp_path, monkeypatch):
    path = write(tmp_path/"a.wav")
    def refuse(*args, **kwargs): raise PermissionError(13, "Permission denied")
    monkeypatch.setattr("sirenbook.audio.open", refuse, raising=False)
    with complains("a.wav", "may not be read", kind=SirenbookFileError): detector.score(path)

@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
@settings(max_examples=40, **QUICK)
@given(data=st.data())
def test_mangled_files_get_an_answer_or_a_sentence(detector, tmp_path_factory, suffix, data):
    path = tmp_path_factory.getbasetemp()/f"mangled.{suffix}"
    rng = np.random.default_rng(0)
    sf.write(path, 0.1 * rng.standard_normal(6000), 8000)
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        raw[data.draw(st.integers(0, min(len(raw), data.draw(st.sampled_from([60, 10**9])))
                                  - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw[:data.draw(st.one_of(st.just(len(raw)), st.integers(0, len(raw))))])
    try: assert sound(detector.score(path))
    except SirenbookFileError as e: assert "\n" not in str(e) and "mangled" in str(e)

def test_files_with_a_rate_or_channels_that_are_not_accepted(detector, tmp_path):
    slow, wide = tmp_path/"slow.wav", tmp_path/"wide.wav"
    with complains("slow.wav", "3999", "4000", kind=SirenbookFileError):
        detector.score(write(slow, np.zeros(9), 3999))
    with complains("wide.wav", "65 channels", kind=SirenbookFileError):
        detector.score(write(wide, np.zeros((9, 65))))

def test_a_long_file_takes_little_memory(detector, tmp_path, monkeypatch):
    no_network(monkeypatch)
    path = tmp_path/"long.wav"
    with sf.SoundFile(path, "w", 8000, 1, "PCM_16") as file:
        for _ in range(20): file.write(np.zeros(8000 * 60, np.float32))
    tracemalloc.start()
    try: scores, peak = detector.score(path), tracemalloc.get_traced_memory()[1]
    finally: tracemalloc.stop()
    assert len(scores.times) > 9300 and peak < 12e6                 # all of it: 77 MB


# ---- silence and noise

@pytest.mark.parametrize("name, wav", [("silence", np.zeros(40_000)),
                                       ("offset", np.full(40_000, 0.5)),
                                       ("full scale", np.full(40_000, -1.0)),
                                       ("square", np.sign(np.sin(np.arange(40_000)))),
                                       ("tiny", np.full(40_000, 1e-40)),
                                       ("click", np.eye(1, 40_000, 99)[0])])
def test_dull_sounds_have_finite_scores(detector, name, wav): assert sound(detector.score(wav))

@pytest.mark.parametrize("name, wav", [("silence", np.zeros(80_000)),
                                       ("offset", np.full(80_000, 0.5)),
                                       ("noise", np.random.default_rng(0).uniform(-1, 1, 80_000))])
def test_no_alarm_without_a_siren(detector, name, wav): assert detector.events(wav) == []


# ---- events

def scores_of(*p): return Scores(FIRST_S + STEP_S * np.arange(len(p)), np.array(p, np.float32))

def low(seconds): return [.1] * round(seconds / STEP_S)

def test_one_event_with_its_ends():
    (start, end, peak), = find_events(scores_of(*low(3), .6, *[.9] * 8, .6, *low(5)), 0.5)
    first = FIRST_S + STEP_S * len(low(3))
    assert np.isclose(start, first - ONSET_S) and np.isclose(end, first + 9 * STEP_S - OFFSET_S)
    assert np.isclose(peak, 0.9)

def test_delays_are_those_of_the_network():
    timing = Timing(onset_s=0.2, offset_s=0.7)
    (start, end, _), = find_events(scores_of(*low(3), *[.9] * 20, *low(5)), 0.5, timing=timing)
    first = FIRST_S + STEP_S * len(low(3))
    assert np.isclose(start, first - 0.2) and np.isclose(end, first + 19 * STEP_S - 0.7)
    (start, end, _), = find_events(scores_of(.9, *low(5)), 0.5, timing=timing)
    assert 0 == start < end < 0.5

def test_hysteresis():
    edge = 1 / (1 + np.e)                                          # of a threshold of 0.5
    for between, count in ((edge + .01, 1), (edge - .01, 2)):
        assert len(find_events(scores_of(.1, .6, *[between] * 40, .6, .1), 0.5)) == count
    # once off, only the threshold counts
    assert len(find_events(scores_of(.1, .6, .1, *[.4] * 40, .6, .1), 0.5)) == 2
    assert find_events(scores_of(.1, *[.4] * 40), 0.5) == []

def two_sirens(pause_s):
    "The scores of two seconds of a siren, a pause, and two more seconds."
    siren, pause = [.9] * 16, [.1] * (int(pause_s / STEP_S) - 1)
    return scores_of(*low(2), *siren, *pause, *siren, *low(5))

@pytest.mark.parametrize("pause_s, count", [(0.5, 1), (1, 1), (2, 1), (3, 1), (3.5, 2), (6, 2)])
def test_pauses_of_up_to_three_seconds_are_bridged(pause_s, count):
    events = find_events(two_sirens(pause_s), 0.5)
    assert len(events) == count
    assert abs(events[-1].end - events[0].start - pause_s - 4) < 4 * STEP_S
    assert len(find_events(two_sirens(pause_s), 0.5, bridge_s=0.2)) == 2

def test_short_events():
    at = FIRST_S + STEP_S * len(low(3)) - (ONSET_S + OFFSET_S) / 2
    (start, end, _), = find_events(scores_of(*low(3), .9, *low(4)), 0.5)
    assert np.isclose(end - start, ONSET_S) and np.isclose((start + end) / 2, at)
    assert find_events(scores_of(*low(3), .9, *low(4)), 0.5, min_scores=2) == []
    assert len(find_events(scores_of(*low(3), .9, .9, *low(4)), 0.5, min_scores=2)) == 1

def test_events_at_the_edges():
    assert find_events(scores_of(.9, .9, *low(5)), 0.5)[0].start == 0
    last = FIRST_S + STEP_S * len(low(3))
    assert find_events(scores_of(*low(3), .9), 0.5, last)[0].end == last
    assert find_events(scores_of(.9), 0.5, 0.1) == [(0, 0.1, pytest.approx(0.9))]
    assert find_events(scores_of(), 0.5) == []

@pytest.mark.parametrize("p", [[.9, .9, .9], [.1, .9, .9], [.1, .1, .9], [.9, .1, .1]], ids=str)
def test_an_event_ends_where_sound_was_lost(p):
    times = FIRST_S + STEP_S * np.arange(3)
    a, b = find_events(Scores(np.r_[times, 100 + times], np.array(p * 2)), 0.5, bridge_s=1000)
    assert 0 <= a.start < a.end <= times[-1] and 100 <= b.start < b.end <= 100 + times[-1]
    if p[-1] > .5: assert a.end == times[-1]               # it was on, up to the gap
    if p[0] > .5: assert b.start == 100                    # it was on, from the gap on

@pytest.mark.parametrize("wrong", [dict(release=-1), dict(bridge_s=-.1), dict(bridge_s=np.nan),
                                   dict(release=np.nan), dict(release=1000), dict(release="a"),
                                   dict(min_scores=0)], ids=str)
def test_what_a_tracker_refuses(wrong):
    with complains(next(iter(wrong))): EventTracker(0.5, **wrong)

@settings(max_examples=100, **QUICK)
@given(st.lists(st.floats(0, 1, width=32), max_size=60), st.floats(0.01, 0.99), st.integers(1, 4),
       st.floats(0, 3), st.floats(0, 3))
def test_events_are_such_as_events_should_be(p, threshold, min_scores, release, bridge_s):
    scores, how = scores_of(*p), dict(min_scores=min_scores, release=release, bridge_s=bridge_s)
    seconds = FIRST_S + STEP_S * (len(p) - 1)
    events, tracker, ended = find_events(scores, threshold, seconds, **how), EventTracker(threshold,
        **how), []
    for one in zip(*scores): ended += tracker.push(Scores(*[[v] for v in one]))
    assert ended + tracker.finish(seconds) == events
    assert all(0 <= e.start < e.end <= seconds and threshold <= e.peak <= max(p) for e in events)
    assert all(a.end <= b.start for a, b in zip(events, events[1:]))
    if min_scores == 1: assert bool(events) == any(v >= threshold for v in p)

def test_what_does_not_pause_is_one_event_however_short_the_bridge():
    for bridge_s in (0, 0.1):
        assert len(find_events(scores_of(*[.9] * 40), .5, bridge_s=bridge_s)) == 1
    assert len(find_events(scores_of(.9, .9, .1, .9), .5, bridge_s=0)) == 2

def test_no_event_ends_after_the_last_score_that_it_holds():
    for low in (1, 5):
        [event] = find_events(scores_of(.9, *[.1] * low), .5, bridge_s=0)
        assert event.start == 0 and event.end == FIRST_S

def test_scores_of_two_lengths_are_refused():
    with complains("3 and 2"): find_events(Scores(np.arange(3.), np.zeros(2)), .5)

def test_the_event_that_is_on():
    tracker = EventTracker(0.5)
    tracker.push(scores_of(.1, .1))
    assert tracker.current is None
    newest = FIRST_S + 2 * STEP_S
    tracker.push(Scores(np.array([newest]), np.array([.8], np.float32)))
    assert isinstance(tracker.current, Event) and np.isclose(tracker.current.peak, 0.8)
    assert tracker.current.end == newest
    assert len(tracker.finish()) == 1 and tracker.current is None

@pytest.mark.parametrize("threshold", [0, 1, -1, 2, np.nan, "high", None])
def test_thresholds_that_are_none(detector, threshold):
    with complains("threshold"): EventTracker(threshold)
    if threshold is not None:
        with complains("threshold"): detector.events(np.zeros(99, np.float32), threshold)

@pytest.mark.parametrize("seconds", [0.05, 0.1, 0.5])
def test_events_of_a_file_are_those_of_a_stream(detector, tmp_path, wail_16k, seconds):
    quiet = np.random.default_rng(1).normal(0, 0.002, 8 * SR).astype(np.float32)
    wav = np.concatenate([quiet, wail_16k, quiet, wail_16k])
    path = write(tmp_path/"a.wav", wav, subtype="FLOAT")
    stream, tracker, events = detector.stream(), detector.tracker(0.5), []
    for a in range(0, len(wav), n := round(seconds * SR)):
        events += tracker.push(stream.push(wav[a:a + n]))
    events += tracker.push(stream.finish()) + tracker.finish(stream.seconds)
    found = detector.events(path, 0.5)
    assert len(found) == len(events) > 0
    for a, b in zip(found, events):
        assert abs(a.start - b.start) <= STEP_S and abs(a.end - b.end) <= STEP_S
        assert abs(a.peak - b.peak) < 1e-4

def test_operating_points(detector, wail_16k):
    points = detector.card["operating_points"]
    assert detector.threshold == points[detector.card["default"]]
    for name, t in points.items():
        other = Detector.pretrained(operating_point=name)
        assert other.threshold == detector.threshold_at(name) == t
        assert other.events(wail_16k) == detector.events(wail_16k,
            operating_point=name) == detector.events(wail_16k, t)
    for wrong in (lambda: Detector.pretrained("7/week"), lambda: detector.threshold_at("7/week"),
                  lambda: detector.events(wail_16k, operating_point="7/week")):
        with complains("7/week", *points): wrong()
    with complains("not both"): detector.events(wail_16k, 0.5, operating_point=next(iter(points)))
    with complains("precision"): Detector.pretrained(precision="int4")

def test_names_of_weights(detector, wail_16k):
    assert same(Detector.pretrained(None, "float", "default").score(wail_16k),
                detector.score(wail_16k))
    clean = Detector.pretrained(weights="clean")
    assert clean.score(wail_16k).probability.max() > 0.5
    assert not same(clean.score(wail_16k), detector.score(wail_16k))
    for wrong in ("best", None, ["clean"]):
        with complains("'default' or 'clean'"): Detector.pretrained(weights=wrong)

def test_clean_weights_learned_only_from_sound_that_is_free(detector):
    card = Detector.pretrained(weights="clean").card["trained"]
    assert card["licensed"] and {s["dataset"] for s in card["sources"]} == {"esvs", "world"}
    of_world = [s for s in card["sources"] if s["dataset"] == "world"]
    assert all(s["source"] and is_licensed(s["license"]) for s in of_world)
    assert sum(s["recordings"] for s in of_world) == 620
    assert all(s["license"] for s in card["sources"])
    everything = detector.card["trained"]["sources"]
    assert {s["dataset"] for s in everything} == {"esvs", "street", "world"}
    assert not all(is_licensed(s["license"]) for s in everything)

def test_the_third_argument_of_events_is_the_operating_point(detector, wail_16k):
    point = min(detector.card["operating_points"])
    assert detector.events(wail_16k, None, point) == detector.events(wail_16k,
        operating_point=point)


# ---- scores, events and length in one

def test_detect_gives_scores_events_and_length(detector, tmp_path, wail):
    path, blocks = write(tmp_path/"a.wav", np.tile(wail, 4), 48_000), []
    found = detector.detect(path, 0.5, progress=blocks.append)
    assert isinstance(found, Detection) and found.seconds == 24 and blocks == [10, 10, 4]
    assert same(found.scores, detector.score(path))
    assert found.events == detector.events(path, 0.5) != []
    wav = np.tile(wail, 4)
    assert detector.detect(wav, sr=48_000).seconds == 24

def test_progress_of_scores(detector, tmp_path, wail_16k):
    blocks, wav = [], np.resize(wail_16k, 25 * SR)
    plain = detector.score(wav)
    assert same(detector.score(wav, progress=blocks.append), plain) and blocks == [10, 10, 5]
    def stop(seconds): raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): detector.score(wav, progress=stop)


# ---- weights

def copied(folder):
    for path in WEIGHTS.glob("*.*"): shutil.copy(path, folder)
    return json.loads((folder/"detector.json").read_text())

def save(folder, card): (folder/"detector.json").write_text(json.dumps(card))

def test_weights_of_another_folder(tmp_path, detector, wail_16k):
    copied(tmp_path)
    assert same(Detector.load(tmp_path).score(wail_16k), detector.score(wail_16k))
    assert same(Detector.load(str(tmp_path)).score(wail_16k), detector.score(wail_16k))

@pytest.mark.parametrize("precision", ["float", "int8"])
@pytest.mark.parametrize("how", ["cut", "one bit", "empty", "missing", "foreign"])
def test_weights_that_are_not_ours(tmp_path, precision, how):
    name = copied(tmp_path)["files"][precision]["file"]
    path = tmp_path/name
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    if how == "missing": path.unlink()
    else:
        path.write_bytes({"cut": raw[:-9], "one bit": raw, "empty": b"",
                          "foreign": b"TFL3" * 99}[how])
    with complains(name, "cannot be read" if how == "missing" else "checksum",
                   kind=SirenbookFileError):
        Detector.load(tmp_path, precision=precision)

def test_a_right_checksum_of_a_wrong_model(tmp_path):
    card = copied(tmp_path)
    (tmp_path/"detector.tflite").write_bytes(b"no model at all " * 20)
    sha256 = hashlib.sha256((tmp_path/"detector.tflite").read_bytes()).hexdigest()
    card["files"]["float"] = {"file": "detector.tflite", "sha256": sha256}
    save(tmp_path, card)
    with complains("detector.tflite", "not a LiteRT model", kind=SirenbookFileError):
        Detector.load(tmp_path)

def test_a_model_of_another_shape(tmp_path, monkeypatch):
    copied(tmp_path)
    monkeypatch.setattr("sirenbook.frames._INPUTS", {2: (1, 100, 64)})
    with complains("(1, 100, 64)", kind=SirenbookFileError): Detector.load(tmp_path)

def test_weights_of_the_first_format(tmp_path, wail_16k):
    "Windows of two seconds, 0.512 s apart, each on its own."
    old = Detector.load(folder_with(tmp_path, 1, (1, 124, 64)))
    assert old.threshold == 0.5
    found = old.detect(wail_16k)
    assert sound(found.scores) and found.seconds == 6
    np.testing.assert_allclose(found.scores.times, 2 + 0.512 * np.arange(8))
    assert close(streamed(old, wail_16k, [4096]), found.scores)
    threshold = float(np.median(found.scores.probability))
    assert all(0 <= e.start < e.end <= 6 for e in old.events(wail_16k, threshold))
    assert old.events(wail_16k, threshold)
    assert len(old.score(wail_16k[:99]).times) == 1        # a short sound is followed by silence

def change(*keys, to):
    def do(card):
        for k in keys[:-1]: card = card[k]
        if to is KeyError: del card[keys[-1]]
        else: card[keys[-1]] = to
    return do

@pytest.mark.parametrize("do", [
    *(change(k, to=KeyError) for k in ("format", "files", "calibration", "operating_points",
                                       "default")),
    change("format", to=3), change("files", to=[]), change("files", "float", to=KeyError),
    change("files", "float", "file", to=7),
    change("files", "float", "file", to="../detector.tflite"),
    change("files", "float", "sha256", to=None),
    change("calibration", "slope", to=-1), change("calibration", "slope", to=0),
    change("calibration", "slope", to="1"), change("calibration", "slope", to=True),
    change("calibration", "offset", to=float("nan")), change("calibration", "offset",
    to=float("inf")), change("calibration", to=None),
    change("operating_points", to={}), change("operating_points", to={"1/h": 1.0}),
    change("operating_points", to={"1/h": "0.5"}), change("operating_points", to=[0.5]),
    change("default", to="7/week"), change("default", to=["1/h"])],
    ids=lambda do: str([c.cell_contents for c in do.__closure__]))
def test_cards_that_are_broken(tmp_path, do):
    card = copied(tmp_path)
    do(card)
    save(tmp_path, card)
    with complains("detector.json", kind=SirenbookFileError): Detector.load(tmp_path)

@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"7", b"\xff\xfe", b"[" * 99_999],
                         ids=lambda b: str(b[:4]))
def test_cards_that_are_none(tmp_path, raw):
    copied(tmp_path)
    (tmp_path/"detector.json").write_bytes(raw)
    with complains("detector.json", kind=SirenbookFileError): Detector.load(tmp_path)

def test_a_folder_without_weights(tmp_path):
    for place in (tmp_path, tmp_path/"nowhere"):
        with complains("detector.json", "cannot be read", kind=SirenbookFileError):
            Detector.load(place)


# ---- light

def test_the_detector_is_light():
    said = fresh("""
import sys, time, numpy as np
import sirenbook.detector
assert "ai_edge_litert" not in sys.modules
det = sirenbook.detector.Detector.pretrained()
det.events(np.zeros(40000, np.float32), sr=44100)
heavy = "tensorflow", "keras", "scipy", "matplotlib", "sklearn", "librosa"
print([m for m in heavy if m in sys.modules])""")
    assert said == "[]"

def test_the_detector_loads_few_modules_of_ours():
    loaded = fresh("""
import sys, numpy as np
from sirenbook.detector import Detector
Detector.pretrained().events(np.zeros(40000, np.float32))
print(*sorted(m for m in sys.modules if m.startswith("sirenbook.")))""").split()
    assert "sirenbook.detector" in loaded and len(loaded) <= 7, loaded
    far = {"sirens", "noises", "vehicles", "roads", "rendering", "recordings", "viewing"}
    assert not {f"sirenbook.{m}" for m in far} & set(loaded)

def test_quiet_stderr():
    done = subprocess.run([sys.executable, "-c", """
import os
from sirenbook.frames import quiet_stderr
try:
    with quiet_stderr():
        os.write(2, b"within")
        raise ValueError
except ValueError: os.write(2, b"after")
os.close(2)
with quiet_stderr(): print("no stderr at all")"""], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("no stderr at all\n", "after")

def test_nothing_is_said_on_either_stream():
    code = """import sys
from sirenbook.detector import Detector
Detector.pretrained()
print('out')
print('err', file=sys.stderr)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")

def test_plots():
    plt = pytest.importorskip("matplotlib.pyplot")
    ax = plt.figure().add_subplot()
    assert plot_scores(scores_of(.1, .9), [Event(1, 2, .9), (3, 4)], ax, 0.5) is ax
    assert len(ax.lines) == 4
    plt.close("all")
