"""Frames as they come, their normalisation, and a network with memory: in pieces as at once."""

import hashlib, json, pickle, shutil

import numpy as np
import pytest
import soxr
from hypothesis import HealthCheck, given, settings, strategies as st
from shared import PACKAGE, complains
from sirenbook.audio import SR
from sirenbook.errors import SirenbookError, SirenbookFileError
from sirenbook.frames import (CONTEXT_FRAMES, FORMATS, HOP, STEP_FRAMES, STEP_S, WARM_FRAMES,
                              FrontEnd, Network, Timing, mirrored_start, running_pcen)
from sirenbook.sirens import synthesize, wail_hz
from sirenbook.spectrograms import log_mel, pcen

WEIGHTS = PACKAGE / "weights"
QUICK = dict(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def wail():
    "Six seconds of a wail in noise that changes its level, at 48 kHz."
    rng, sr = np.random.default_rng(0), 48_000
    siren = synthesize([(wail_hz(6, sr), 1)], sr)
    noise = np.linspace(0.001, 0.1, len(siren)) * rng.standard_normal(len(siren))
    return (0.2 * siren / np.abs(siren).max() + noise).astype(np.float32).clip(-1, 1)


@pytest.fixture(scope="module")
def mel(wail):
    found = log_mel(soxr.resample(wail, 48_000, SR))
    return found[: len(found) // STEP_FRAMES * STEP_FRAMES]


def tiny_model(*shapes):
    """A LiteRT model from inputs of these shapes to a logit (1, 1), and to a state (1, 8) if the
    second shape is (1, n); made with TensorFlow."""
    tf = pytest.importorskip("tensorflow")
    weights = np.random.default_rng(0).normal(0, 0.1, (shapes[0][-1], 1)).astype(np.float32)

    @tf.function(input_signature=[tf.TensorSpec(s) for s in shapes])
    def run(frames, state=None):
        logit = tf.reshape(tf.reduce_mean(tf.reduce_max(frames, 1) @ weights), (1, 1)) - 1.0
        return logit if state is None else (logit, tf.tanh(0.9 * state + logit))

    converter = tf.lite.TFLiteConverter.from_concrete_functions([run.get_concrete_function()], run)
    return converter.convert()


def folder_with(folder, form, *shapes, **changes):
    "A folder of weights of a format, with a tiny model for both precisions."
    (folder / "tiny.tflite").write_bytes(model := tiny_model(*shapes))
    file = {"file": "tiny.tflite", "sha256": hashlib.sha256(model).hexdigest()}
    card = {"format": form, "files": {"float": file, "int8": file},
            "calibration": {"slope": 2.0, "offset": -1.0},
            "operating_points": {"10/h": 0.5}, "default": "10/h"}
    (folder / "detector.json").write_text(json.dumps(card | changes))
    return folder


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    "A network of format 1: windows of two seconds."
    return Network(folder_with(tmp_path_factory.mktemp("old"), 1, (1, 124, 64)))


@pytest.fixture(scope="module")
def networks(old): return {"float": Network(WEIGHTS), "int8": Network(WEIGHTS, "int8"), "old": old}


each_network = pytest.mark.parametrize("name", ["float", "int8", "old"])


def in_blocks(wav, sizes, sr=SR, step=STEP_FRAMES, least=0):
    "Frames of a sound in blocks of these sizes, over and over."
    front, at, found = FrontEnd(sr, step), 0, []
    while at < len(wav):
        size = sizes[len(found) % len(sizes)]
        found.append(front.push(wav[at : at + size], at + size >= len(wav), least))
        assert len(found[-1]) % step == 0
        at += size
    return np.concatenate(found)


def in_pieces(network, mel, sizes, memory=None):
    "Scores of frames in pieces of so many steps, over and over."
    memory, at, scores, k = memory or network.memory(), 0, [], 0
    while at < len(mel):
        size, k = sizes[k % len(sizes)] * network.step, k + 1
        scores += network.listen(mel[at : at + size], memory, at + size >= len(mel))
        at += size
    return scores


def assert_same_scores(a, b):
    assert len(a) == len(b)
    np.testing.assert_allclose(np.reshape(a, (-1, 2)), np.reshape(b, (-1, 2)), atol=1e-4)


# ---- frames


@settings(max_examples=40, **QUICK)
@given(st.lists(st.integers(0, 6000), min_size=1, max_size=9).filter(any),
       st.integers(1, 60_000), st.sampled_from([4, 8]))
def test_frames_do_not_depend_on_blocks(wail, sizes, n, step):
    wav = wail[:n]
    reference = log_mel(wav) if n >= 2 * HOP else np.empty((0, 64))
    reference = reference[: len(reference) // step * step]
    np.testing.assert_allclose(in_blocks(wav, sizes, step=step), reference, atol=1e-4)


@settings(max_examples=20, **QUICK)
@given(st.lists(st.integers(0, 9000), min_size=1, max_size=9).filter(any),
       st.integers(1, 120_000), st.sampled_from([8_000, 22_050, 44_100, 48_000]))
def test_frames_at_other_rates_do_not_depend_on_blocks(wail, sizes, n, sr):
    wav = wail[:n]
    whole = in_blocks(wav, [n], sr)
    assert abs(len(whole) - max(n / sr / 0.016 - 1, 0)) <= STEP_FRAMES
    np.testing.assert_allclose(in_blocks(wav, sizes, sr), whole, atol=2e-3)


@pytest.mark.parametrize("n", [1, 511, 2303, 2304, 2305, 4351, 4352, 31_999, 32_001])
@pytest.mark.parametrize("sizes", [[1000], [99_999]], ids=str)
def test_silence_at_the_end_of_what_is_too_short(wail, n, sizes):
    found = in_blocks(wail[:n], sizes, least=124, step=4)
    assert len(found) == max(124, (n // HOP - 1) // 4 * 4)
    padded = np.pad(wail[:n], (0, max(125 * HOP - n, 0)))
    np.testing.assert_allclose(found, log_mel(padded)[: len(found)], atol=1e-4)


def test_a_front_end_refuses_what_is_no_sound(wail):
    for sr in (0, -1, 0.5, np.nan, "16k", None):
        with complains("sr is"): FrontEnd(sr)
    for sr in (SR, 44_100):
        front = FrontEnd(sr)
        for wrong, word in ((np.full(9, np.nan), "finite"), (np.full(9, np.inf), "finite"),
                            (np.zeros((9, 2)), "(9, 2)"), (np.array(["a"]), "floats"),
                            (np.float32(0), "()"), (np.full(9, 3e4), "[-1, 1]")):
            with complains("a block", word): front.push(wrong)
        assert len(front.push(wail[:9600].astype(np.float64), last=True)) > 0   # none got in
        with complains("ended"): front.push(wail)


# ---- PCEN


@settings(max_examples=25, **QUICK)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.sampled_from([1, 4, 8]))
def test_running_pcen_in_steps_is_pcen_of_the_whole(mel, sizes, step):
    whole = pcen(np.exp(mel))
    average, parts, at = None, [], 0
    while at < len(mel):
        size = sizes[len(parts) % len(sizes)] * step
        part, average = running_pcen(mel[at : at + size], average, step)
        parts.append(part)
        at += size
    assert part.dtype == average.dtype == np.float32 and average.shape == (64,)
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-3, atol=1e-4)


def test_running_pcen_of_many_sounds_and_of_silence(mel):
    two, (a, b) = running_pcen(np.stack([mel, mel - 3])), mel.shape
    np.testing.assert_allclose(two[0][1], running_pcen(mel - 3)[0], atol=1e-5)
    assert two[0].shape == (2, a, b) and two[1].shape == (2, b)
    silence, _ = running_pcen(np.full((80, 64), np.log(1e-6)))
    np.testing.assert_allclose(silence, pcen(np.full((80, 64), 1e-6)), atol=1e-4)


BROKEN = {
    "a step cut off": (lambda mel: mel[:5], "whole steps", "(5, 64)"),
    "other bands": (lambda mel: mel[:, :40], "40"),
    "one frame, flat": (lambda mel: mel[0], "(64,)"),
    "NaN": (lambda mel: np.where(np.eye(*mel.shape), np.nan, mel), "finite"),
    "infinity": (lambda mel: mel + np.inf, "finite"),
    "not the logarithm": (lambda mel: np.exp(mel + 20), "logarithm"),
    "words": (lambda mel: ["wail"] * 8, "whole steps"),
}
each_broken = pytest.mark.parametrize("how", BROKEN)


@each_broken
def test_running_pcen_refuses_frames_that_are_none(mel, how):
    change, *words = BROKEN[how]
    with complains(*words): running_pcen(change(mel))
    with complains("(0, 64)"): running_pcen(mel[:0])


# ---- the start


@given(st.integers(1, 200))
@settings(max_examples=40, **QUICK)
def test_the_start_is_mirrored(mel, n):
    start, n_first = mirrored_start(mel[:n]), min(n, WARM_FRAMES)
    assert start.shape == (WARM_FRAMES, 64) and np.array_equal(start[-1], mel[0])
    for back in range(1, WARM_FRAMES + 1):
        assert np.array_equal(start[-back], mel[(back - 1) % n_first])


def test_the_start_of_many_and_of_none(mel):
    assert np.array_equal(mirrored_start(np.stack([mel, -mel]))[1], -mirrored_start(mel))
    with complains("frames"): mirrored_start(mel[:0])


@pytest.mark.parametrize("n_steps", [1, 2, 3, 5, 7, 8, 9, 20])
@pytest.mark.parametrize("name", ["float", "int8"])
def test_a_network_begins_with_the_start_mirrored(networks, mel, name, n_steps):
    "As if the mirrored second stood before the sound, and its scores were dropped."
    network, part = networks[name], mel[: n_steps * STEP_FRAMES]
    memory = network.memory()
    memory.first = None                                             # nothing is put before
    longer = np.concatenate([mirrored_start(part), part])
    expected = network.listen(longer, memory)[WARM_FRAMES // STEP_FRAMES :]
    found = network.listen(part, network.memory(), last=True)
    assert [n for n, _ in found] == [STEP_FRAMES * (k + 1) for k in range(n_steps)]
    np.testing.assert_allclose([z for _, z in found], [z for _, z in expected], atol=1e-4)


@each_network
def test_scores_wait_for_the_first_second_or_the_end(networks, mel, name):
    network, memory = networks[name], networks[name].memory()
    need = 124 if name == "old" else WARM_FRAMES
    assert network.listen(mel[: need - network.step], memory) == []
    assert len(network.listen(mel[need - network.step : need], memory)) > 0
    assert network.listen(mel[:0], network.memory(), last=True) == []      # a sound of nothing
    assert network.listen(mel[:0], memory, last=True) == []                # nothing that is due


# ---- memory


@each_network
@settings(max_examples=12, **QUICK)
@given(sizes=st.lists(st.integers(1, 20), min_size=1, max_size=6), n_steps=st.integers(1, 45))
def test_in_pieces_as_at_once(networks, mel, name, sizes, n_steps):
    network = networks[name]
    part = mel[: n_steps * STEP_FRAMES]
    at_once = network.listen(part, network.memory(), last=True)
    assert_same_scores(in_pieces(network, part, sizes), at_once)
    p = network.probability([z for _, z in at_once])
    assert p.shape == (len(at_once),) and ((0 <= p) & (p <= 1)).all()


@each_network
def test_memory_has_one_size(networks, mel, name):
    network, memory = networks[name], networks[name].memory()
    sizes = []
    for _ in range(12):                                             # more than a minute
        in_pieces(network, mel, [7], memory)
        sizes.append(len(pickle.dumps(memory)))
    assert memory.n_frames == 12 * len(mel) and max(sizes) - min(sizes) < 10
    assert max(sizes) < 40_000                                      # a minute of samples: 4 MB


@pytest.mark.parametrize("name", ["float", "int8"])
def test_silence_does_not_empty_the_memory(networks, mel, name):
    network, silence = networks[name], np.full((STEP_FRAMES * 25, 64), np.log(1e-6), np.float32)
    after, only = network.memory(), network.memory()
    network.listen(mel, after)
    state = after.state.copy()
    for _ in range(3): assert network.listen(silence[:0], after) == []   # nothing came: as before
    assert np.array_equal(after.state, state)
    found, fresh = network.listen(silence, after), network.listen(silence, only)
    assert found[0][0] == len(mel) + STEP_FRAMES and after.n_frames == len(mel) + len(silence)
    assert abs(found[0][1] - fresh[0][1]) > 1e-3                    # it remembers what was before
    assert np.abs(after.state - only.state).max() > 1e-3 and np.isfinite(after.state).all()


@each_network
@each_broken
def test_broken_frames_are_refused_and_leave_the_memory_alone(networks, mel, name, how):
    network, memory = networks[name], networks[name].memory()
    network.listen(mel, memory)
    before = pickle.dumps(memory)
    change, *words = BROKEN[how]
    with complains(*(w for w in words if name != "old" or "64" not in w)):
        network.listen(change(mel), memory)
    assert pickle.dumps(memory) == before


def test_the_memory_of_another_network_is_refused(networks, mel):
    for one, other in (("float", "old"), ("old", "float")):
        with complains("memory"): networks[one].listen(mel, networks[other].memory())
    network = networks["float"]
    with complains("(n_frames, 64)"): network.listen(mel[None], network.memory())


# ---- weights of format 1


def test_the_old_format_is_understood(old, mel):
    assert old.format == 1 and old.step == 4 and old.least_frames == 124
    assert old.timing.hop_s == 0.512 and old.timing.first_s == 2
    found = old.listen(mel, old.memory(), last=True)
    assert [n for n, _ in found] == [*range(124, len(mel) + 1, 32)]
    weights = np.random.default_rng(0).normal(0, 0.1, (64, 1)).astype(np.float32)
    for n, logit in found:                                          # windows, each on its own
        window = pcen(np.exp(mel[n - 124 : n]))
        assert abs(float((window.max(0) @ weights)[0] - 1) - logit) < 1e-3


def test_calibration(old):
    z = np.array([-1e4, -1.0, 0.0, 0.5, 1e4])
    p = old.probability(z)
    np.testing.assert_allclose(p[1:4], 1 / (1 + np.exp(1 - 2 * z[1:4])))
    assert p[0] == 0 and p[-1] == 1 and old.probability(0.5) == 0.5


# ---- weights that are not ours


@pytest.fixture
def copied(tmp_path):
    "A copy of the weights, and a function that changes its card."
    for path in WEIGHTS.glob("detector*"): shutil.copy(path, tmp_path)
    card = json.loads((tmp_path / "detector.json").read_text())

    def change(**changes):
        (tmp_path / "detector.json").write_text(json.dumps(card | changes))
        return tmp_path

    return change


def test_a_newer_format_is_refused(copied):
    for form in (FORMATS[-1] + 1, 99):
        with complains("detector.json", f"newer sirenbook (format {form})", "update",
                       kind=SirenbookFileError):
            Network(copied(format=form, calibration=None))          # whatever else it holds


@pytest.mark.parametrize("form", [0, -1, True, 1.0, 2.5, "2", None, [2]], ids=str)
def test_other_formats_are_none(copied, form):
    with complains("detector.json", "not the card", kind=SirenbookFileError):
        Network(copied(format=form))


@pytest.mark.parametrize("timing", [
    None, [], 0.4, "slow", {"onset_s": None}, {"onset_s": "0.4"}, {"onset_s": -0.1},
    {"offset_s": float("nan")}, {"offset_s": float("inf")}, {"offset_s": True},
    {"offset_s": 3600}, {"hop_s": 0.512}, {"first_s": 2}, {"unknown_s": 1}], ids=str)
def test_a_bad_timing_is_refused(copied, timing):
    with complains("detector.json", "not the card", kind=SirenbookFileError):
        Network(copied(timing=timing))


def test_a_good_timing_is_used(copied):
    assert Network(copied(timing={"onset_s": 0.75})).timing == Timing(onset_s=0.75)
    assert Network(copied(timing=Timing(offset_s=1)._asdict())).timing.offset_s == 1
    assert Network(copied()).timing.hop_s == STEP_S


@pytest.mark.parametrize("precision", ["float", "int8"])
def test_a_changed_file_is_refused(copied, precision):
    folder = copied()
    name = json.loads((folder / "detector.json").read_text())["files"][precision]["file"]
    raw = bytearray((folder / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (folder / name).write_bytes(raw)
    with complains(name, "checksum", kind=SirenbookFileError): Network(folder, precision)
    (folder / name).unlink()
    with complains(name, "cannot be read", kind=SirenbookFileError): Network(folder, precision)


@pytest.mark.parametrize("name", ["", ".", "..", "a\0b", "no such.tflite", "../detector.tflite", 7])
def test_names_that_are_no_file_beside_the_card(copied, name):
    file = {"file": name, "sha256": "0" * 64}
    with complains("cannot be read" if name in ("..", "a\0b", "no such.tflite") else "not the card",
                   kind=SirenbookFileError):
        Network(copied(files={"float": file, "int8": file}))


@pytest.mark.parametrize("form, shapes", [
    (1, [(1, 100, 64)]), (1, [(1, 124, 64), (1, 8)]), (2, [(1, 31, 64)]), (2, [(1, 124, 64)]),
    (2, [(1, 31, 40), (1, 8)]), (2, [(1, 30, 64), (1, 8)]), (2, [(1, 31, 64), (1, 2, 4)])], ids=str)
def test_a_model_of_other_shapes_is_refused(tmp_path, form, shapes):
    with complains("tiny.tflite", "not a LiteRT model", f"(1, {124 if form == 1 else 31}, 64)",
                   kind=SirenbookFileError):
        Network(folder_with(tmp_path, form, *shapes))


def test_a_model_of_the_right_shapes_is_taken(tmp_path, mel):
    network = Network(folder_with(tmp_path, 2, (1, CONTEXT_FRAMES + STEP_FRAMES, 64), (1, 8)))
    memory = network.memory()
    assert memory.state.shape == (1, 8)
    assert_same_scores(in_pieces(network, mel, [3], memory),
                       network.listen(mel, network.memory(), last=True))
    assert memory.state.any()


def test_what_a_network_asks_for(tmp_path):
    with complains("precision", "'int4'"): Network(WEIGHTS, "int4")
    with complains("detector.json", "cannot be read", kind=SirenbookFileError): Network(tmp_path)
    assert issubclass(SirenbookFileError, SirenbookError)
