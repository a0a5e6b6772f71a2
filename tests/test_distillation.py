"""The teacher: its weights, its front end, its answers and its soft labels."""

import importlib.util, os

import numpy as np
import pytest
from shared import ROOT, complains, fresh
from sirenbook.errors import SirenbookError, SirenbookFileError
from sirenbook.files import sha256

pytest.importorskip("tensorflow", reason="TensorFlow is not installed, so no teacher was built")

from sirenbook.distillation import (  # noqa: E402
    SIREN_TAGS,
    TEACHER,
    TEACHER_SR,
    load_teacher,
    soft_labels,
    tag_probability,
    teacher_mel,
)


def shared_file(*parts):
    "A file beside the repository, or a skip in words."
    path = ROOT.parent / "shared" / os.path.join(*parts)
    if not path.is_file():
        pytest.skip(f"{path.name} is not at hand in ../shared, so nothing was compared with it")
    return path


def sounds(sr=TEACHER_SR):
    "Three sounds of 2 s: noise, a sweep, and clicks in silence."
    t, rng = np.arange(2 * sr) / sr, np.random.default_rng(0)
    sweep = 0.3 * np.sin(2 * np.pi * np.cumsum(900 + 500 * np.sin(3 * t)) / sr)
    clicks = np.where(np.arange(2 * sr) % 5000 == 0, 0.8, 0.0)
    return [w.astype(np.float32) for w in (0.1 * rng.standard_normal(2 * sr), sweep, clicks)]


def sigmoid(z):
    return 1 / (1 + np.exp(-z.astype(np.float64)))


@pytest.fixture(scope="module")
def teacher():
    return load_teacher()


@pytest.fixture(scope="module")
def weights():
    with np.load(TEACHER) as file:
        return {k: file[k] for k in file.files}


@pytest.fixture(scope="module")
def reference():
    "The tagger in plain NumPy that is kept beside the repository."
    path = shared_file("tools", "mn04.py")
    shared_file("datasets", "peers", "mn04_as.npz")
    spec = importlib.util.spec_from_file_location("mn04", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---- the file

def test_the_card_has_the_files_checksum_and_licence():
    card = (TEACHER.parent / "README.md").read_text(encoding="utf-8")
    assert sha256(TEACHER) in card and "github.com/fschmid56/EfficientAT" in card
    licence = (TEACHER.parent / "LICENSE.txt").read_text(encoding="utf-8")
    assert licence.startswith("MIT License") and "(c) 2022 Florian Schmid" in licence
    assert TEACHER.stat().st_size < 2_100_000


def test_the_file_has_the_published_weights_rounded(weights):
    with np.load(shared_file("datasets", "peers", "mn04_as.npz")) as file:
        published = {k: file[k] for k in file.files}
    assert {*weights} == {*published}
    for name, w in published.items():
        assert weights[name].dtype == (np.float16 if w.size > 3000 else np.float32), name
        assert np.array_equal(weights[name], w.astype(weights[name].dtype)), name


def test_the_teacher_has_the_published_size(teacher):
    assert sum(np.prod(w.shape) for w in teacher.trainable_weights) == 983_599
    assert teacher.output_shape == (None, 527)


def write_npz(path, weights):
    np.savez(path, **weights)
    return path


CHANGES = {
    "one is missing": lambda w: w.pop("features.7.block.1.0.weight"),
    "one too many": lambda w: w.update(more=np.zeros(3)),
    "another shape": lambda w: w.update({"classifier.2.bias": np.zeros(511)}),
    "a scalar": lambda w: w.update({"classifier.5.bias": np.float32(1)}),
    "another rank": lambda w: w.update({"features.0.0.weight": np.zeros(72)}),
    "NaN": lambda w: w.update({"features.16.1.bias": np.full(384, np.nan)}),
    "words": lambda w: w.update({"features.16.1.bias": np.full(384, "a")}),
    "other classes": lambda w: w.update({"classifier.5.weight": np.zeros((10, 512)),
                                         "classifier.5.bias": np.zeros(10)}),
    "nothing": lambda w: w.clear(),
}

@pytest.mark.parametrize("change", CHANGES)
def test_other_weights_are_refused(tmp_path, weights, change):
    mine = dict(weights)
    CHANGES[change](mine)
    path = write_npz(tmp_path / "w.npz", mine)
    with complains(path, "mn04_as", kind=SirenbookFileError):
        load_teacher(path)


@pytest.mark.parametrize("part", [0, 100, 0.5, 0.99])
def test_a_cut_file_is_refused(tmp_path, part):
    data = TEACHER.read_bytes()
    path = tmp_path / "cut.npz"
    path.write_bytes(data[: part if isinstance(part, int) else int(part * len(data))])
    with complains(path, "damaged", kind=SirenbookFileError):
        load_teacher(path)


def test_flipped_bits_are_noticed(tmp_path):
    data = bytearray(TEACHER.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path = tmp_path / "flipped.npz"
    path.write_bytes(data)
    with complains(path, "damaged", kind=SirenbookFileError):
        load_teacher(path)


def test_what_is_no_npz_is_refused(tmp_path):
    (tmp_path / "a.npz").write_text("sound")
    np.save(tmp_path / "b.npy", np.zeros(3))
    for name in ("a.npz", "b.npy"):
        with complains(name, "damaged", kind=SirenbookFileError):
            load_teacher(tmp_path / name)
    with complains("none.npz", "data/teacher", kind=SirenbookFileError):
        load_teacher(tmp_path / "none.npz")
    with complains(tmp_path, kind=SirenbookFileError):
        load_teacher(tmp_path)


# ---- the front end

def test_the_front_end_is_the_reference(reference):
    tagger = reference.Mn04()
    for wav in sounds():
        ours = teacher_mel(wav, TEACHER_SR)
        assert ours.shape == (128, 200) and ours.dtype == np.float32
        assert np.allclose(ours, tagger.mel(wav), atol=2e-4)


@pytest.mark.parametrize("sr", [8000, 16000, 22050, 44100, 48000])
def test_any_sample_rate_gives_100_frames_a_second(sr):
    mel = teacher_mel(sounds(sr)[1], sr)
    assert abs(mel.shape[1] - 200) <= 1 and np.isfinite(mel).all()
    whole = teacher_mel(sounds()[1], TEACHER_SR)
    inside = mel[:60, 5:-5], whole[:60, 5 : mel.shape[1] - 5]          # below 4 kHz
    assert np.corrcoef(*(m.ravel() for m in inside))[0, 1] > 0.9


def test_silence_and_short_sounds_have_a_spectrogram():
    lowest = (np.log(1e-5) + 4.5) / 5
    assert np.allclose(teacher_mel(np.zeros(TEACHER_SR), TEACHER_SR), lowest)
    assert teacher_mel(np.zeros(1024), TEACHER_SR).shape[0] == 128
    with complains("33 ms"):
        teacher_mel(np.zeros(500))


@pytest.mark.parametrize("wav, sr", [(np.full(9000, np.nan), 16000), (np.zeros((2, 9000)), 16000),
                                     (np.full(9000, 300.0), 16000), (np.zeros(9000), 0),
                                     (np.zeros(9000), 1), (np.zeros(9000), True),
                                     (np.zeros(9000), 999)])
def test_what_is_no_waveform_is_refused(teacher, wav, sr):
    with complains(kind=SirenbookError):
        teacher_mel(wav, sr)
    with complains(kind=SirenbookError):
        soft_labels(teacher, [wav], sr)


# ---- the answers

def test_the_answers_are_the_references(teacher, reference):
    tagger = reference.Mn04()
    for wav in sounds():
        [centre_s], [logits] = soft_labels(teacher, wav, TEACHER_SR)
        assert centre_s == 1 and np.allclose(sigmoid(logits), tagger(wav), atol=0.005)
        assert tag_probability(logits) == pytest.approx(tagger.siren(wav)[0], abs=0.005)
    assert {*SIREN_TAGS} == {*reference.SIREN}


def test_the_published_weights_give_the_references_answers(reference):
    exact, tagger = load_teacher(reference.HOME / "mn04_as.npz"), reference.Mn04()
    X = np.stack([teacher_mel(wav, TEACHER_SR) for wav in sounds()])[..., None]
    for wav, logits in zip(sounds(), exact.predict_on_batch(X)):
        assert np.allclose(sigmoid(logits), tagger(wav), atol=1e-5)


def test_windows_are_two_seconds_each_second_and_reach_the_end(teacher):
    def centres(seconds):
        return soft_labels(teacher, np.zeros(round(seconds * 16000)))[0].tolist()
    assert centres(0) == centres(0.5) == centres(2) == centres(2.2) == [1]
    assert centres(3) == [1, 2] and centres(5.2) == [1, 2, 3, 4]
    assert centres(3.5) == [1, 2, 2.5] and centres(2.25) == [1, 1.25]


def test_a_short_sound_is_followed_by_silence(teacher):
    short = sounds(16000)[1][:8000]
    alone, padded = (soft_labels(teacher, w)[1] for w in (short, np.pad(short, (0, 24000))))
    assert alone.shape == (1, 527) and np.allclose(sigmoid(alone), sigmoid(padded), atol=0.01)


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_many_sounds_at_once_get_the_answers_of_each(teacher, batch_size):
    wavs = [np.concatenate(sounds(16000)), sounds(16000)[1][:4000], sounds(16000)[2]]
    together = soft_labels(teacher, (w for w in wavs), batch_size=batch_size)
    assert [len(c) for c, _ in together] == [5, 1, 1] == [len(z) for _, z in together]
    for wav, (centres_s, logits) in zip(wavs, together):
        alone_s, alone = soft_labels(teacher, wav)
        assert logits.dtype == np.float16 and np.array_equal(alone_s, centres_s)
        assert np.allclose(logits, alone, atol=0.03)
    assert soft_labels(teacher, []) == []


def test_the_probability_is_the_highest_of_the_tags():
    logits = np.full((2, 3, 527), -9.0)
    logits[0, 0, 324], logits[1, 2, 0] = 2, 5
    p = tag_probability(logits)
    assert p.shape == (2, 3) and p[0, 0] == pytest.approx(1 / (1 + np.exp(-2)))
    assert p[1, 2] < 0.001 < 0.99 < tag_probability(logits, [0])[1, 2]


def test_recorded_sirens_are_sirens_to_it(teacher):
    from sirenbook.audio import load_wav
    paths = sorted((ROOT / "data" / "real_sirens").glob("*.flac"))
    scores = [tag_probability(z).max() for _, z in soft_labels(teacher, map(load_wav, paths))]
    assert len(scores) == 16 and min(scores) > 0.5
    assert tag_probability(soft_labels(teacher, sounds(16000)[0])[1]).max() < 0.1     # noise


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, "3", None])
def test_a_batch_holds_a_window_or_more(teacher, batch_size):
    for wavs in (np.zeros(9000), [np.zeros(9000)], []):
        with complains("batch_size", kind=SirenbookError):
            soft_labels(teacher, wavs, batch_size=batch_size)


def test_one_bad_waveform_stops_the_whole_list(teacher):
    def broken():
        yield np.zeros(9000)
        raise RuntimeError("the disk is gone")
    with complains("finite", kind=SirenbookError):
        soft_labels(teacher, [np.zeros(9000), np.full(9000, np.nan)])
    with pytest.raises(RuntimeError, match="the disk is gone"):
        soft_labels(teacher, broken())


@pytest.mark.parametrize("logits", [0.0, np.zeros(0), np.zeros(10), np.zeros((527, 2)), None])
def test_other_logits_are_refused(logits):
    with complains("527", kind=SirenbookError):
        tag_probability(logits)


# ---- the room

def test_light_modules_do_not_load_it():
    loaded = fresh("""import sys, sirenbook
from sirenbook import cli, detector, recordings, roads, world_sirens
print([m for m in ("sirenbook.distillation", "tensorflow", "keras") if m in sys.modules])""")
    assert loaded == "[]"
