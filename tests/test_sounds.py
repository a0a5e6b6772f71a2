"""Some hundred kinds of sound files, each with a siren at a known second: it is heard there, or a
sentence says why not. Then they are cut, extended and changed."""
import io, json, math, os, re, shutil, struct, subprocess, sys, warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import soxr
from hypothesis import HealthCheck, given, settings, strategies as st
from shared import NBS, complains, is_sentence
from sirenbook import audio
from sirenbook.audio import find_sounds, load_wav, read_blocks
from sirenbook.detector import Detector
from sirenbook.errors import SirenbookError, SirenbookFileError, SirenbookWarning
from sirenbook.recordings import data_dirs, load_dataset
from sirenbook.sirens import render

SAMPLES = Path(__file__).parent / "samples"
SECONDS, START, STOP = 5, 3, 4.5     # of a file; where its siren begins and ends

@cache
def siren(sr=16000):
    "Quiet noise with a yelp in it, `(n_samples,)`."
    wav = np.random.default_rng(0).normal(0, .003, SECONDS * 48000)
    wav[START * 48000:round(STOP * 48000)] += .5 * render("PA300 yelp", STOP - START, 48000)
    return np.clip(soxr.resample(wav, 48000, sr), -.99, .99).astype(np.float32)

def written(format, subtype=None, sr=16000, channels=1, endian=None, **options):
    "The bytes of a file as libsndfile writes it."
    file = io.BytesIO()
    sound = np.repeat(siren(sr)[:, None], channels, axis=1)
    with sf.SoundFile(file, "w", sr, channels, subtype, endian, format, **options) as f:
        f.write(sound)
    return file.getvalue()

def wav_file(riff=None, data=None, before=b"", after=b""):
    "A WAV with sizes that need not be right, and with chunks before and after its sound."
    pcm = (siren() * 32767).astype("<i2").tobytes()
    fmt = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16)
    n = len(pcm)
    body = b"WAVE" + before + fmt + b"data" + struct.pack("<I", n if data is None else data)
    riff = len(body) + n + len(after) if riff is None else riff
    return b"RIFF" + struct.pack("<I", riff) + body + pcm + after

def chunk(name, content): return name + struct.pack("<I", len(content)) + content
LIST = chunk(b"LIST", b"INFOISFT" + struct.pack("<I", 6) + b"siren\0")
BEXT, JUNK = chunk(b"bext", b"night".ljust(602, b"\0")), chunk(b"JUNK", bytes(28))
ID3V2 = b"ID3\4\0\0\0\0\2\0" + bytes(256)
ID3V1 = b"TAG" + b"A siren".ljust(125, b"\0")
APE = b"".join(b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 1 << 31 | head << 29) + bytes(8)
               for head in (1, 0))                      # its head and its foot, and nothing between

def without_tag(mp3):
    "An MP3 whose first frame says nothing of the others."
    return mp3.replace(b"Xing", bytes(4)).replace(b"Info", bytes(4))

def of_unknown_length(flac):
    return flac[:21] + bytes([flac[21] & 0xF0]) + bytes(4) + flac[26:]

@cache
def corpus():
    "Files by their names: bytes."
    files = {}
    plain = {
        "wav": ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW",
                "IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32", "NMS_ADPCM_32"],
        "wavex": ["PCM_16", "PCM_24", "FLOAT", "ULAW"], "rf64": ["PCM_16", "FLOAT"],
        "w64": ["PCM_16", "PCM_24", "FLOAT", "ULAW", "IMA_ADPCM", "GSM610"],
        "caf": ["PCM_16", "FLOAT", "ALAW", "ALAC_16", "ALAC_24"],
        "aiff": ["PCM_S8", "PCM_16", "PCM_24", "FLOAT", "ULAW", "ALAW", "IMA_ADPCM", "GSM610"],
        "au": ["PCM_16", "PCM_24", "FLOAT", "ULAW", "ALAW", "G721_32"],
        "flac": ["PCM_S8", "PCM_16", "PCM_24"], "ogg": ["VORBIS"],
        "mp3": ["MPEG_LAYER_III"], "voc": ["PCM_16", "ULAW"], "nist": ["PCM_16"],
        "ircam": ["PCM_16"], "svx": ["PCM_16"], "pvf": ["PCM_16"], "paf": ["PCM_16"],
        "mat4": ["FLOAT"], "mat5": ["PCM_16"], "avr": ["PCM_16"], "htk": ["PCM_16"],
        "mpc2k": ["PCM_16"], "sds": ["PCM_16"]}
    for kind, subtypes in plain.items():
        for subtype in subtypes: files[f"{subtype}.{kind}"] = written(kind.upper(), subtype)
    files["psion.wve"] = written("WVE", "ALAW", 8000)
    files["opus.ogg"] = written("OGG", "OPUS", 48000)
    files["rifx.wav"] = written("WAV", "PCM_16", endian="BIG")
    files["sowt.aiff"] = written("AIFF", "PCM_16", endian="LITTLE")
    files["little.au"] = written("AU", "PCM_16", endian="LITTLE")
    for sr in (4000, 5512, 8000, 11025, 22050, 32000, 44100, 48000, 96000, 192000, 384000):
        files[f"{sr}.wav"] = written("WAV", sr=sr)
    for sr in (8000, 22050, 44100, 48000): files[f"{sr}.mp3"] = written("MP3", sr=sr)
    for n in (2, 3, 6, 8, 16, 64): files[f"{n} channels.wav"] = written("WAV", channels=n)
    for kind, n in (("flac", 8), ("ogg", 2), ("ogg", 6), ("mp3", 2), ("aiff", 4)):
        files[f"{n} channels.{kind}"] = written(kind.upper(), channels=n)
    vbr = dict(bitrate_mode="VARIABLE", compression_level=.5)
    files["vbr.mp3"] = written("MP3", sr=44100, **vbr)
    cbr = written("MP3", sr=44100, bitrate_mode="CONSTANT", compression_level=.8)
    files |= {"cbr.mp3": cbr, "cbr, no tag.mp3": without_tag(cbr),
              "vbr, no tag.mp3": without_tag(files["vbr.mp3"]),
              "ID3 before and after.mp3": ID3V2 + cbr + ID3V1,
              "APE after.mp3": cbr + APE + ID3V1, "ID3 twice.mp3": ID3V2 * 2 + files["vbr.mp3"],
              "ID3 before.flac": ID3V2 + files["PCM_16.flac"],
              "ID3 after.flac": files["PCM_16.flac"] + ID3V1,
              "unknown length.flac": of_unknown_length(files["PCM_16.flac"])}
    n = len(siren()) * 2
    files |= {
        "BWF.wav": wav_file(before=BEXT), "LIST.wav": wav_file(before=LIST, after=LIST),
        "ID3 after.wav": wav_file(after=ID3V1), "short sizes.wav": wav_file(32036, 32000),
        "size 0.wav": wav_file(36, 0), "RIFF size 0.wav": wav_file(0, 0),
        "data size 0.wav": wav_file(None, 0), "JUNK, size 0.wav": wav_file(36, 0, JUNK),
        "size 0, LIST.wav": wav_file(36, 0, after=LIST),
        "44 too many.wav": wav_file(n + 80, n + 44),
        "from a pipe.wav": wav_file(1 << 31, -1 % 2**32)}
    rf64 = files["PCM_16.rf64"]
    at = rf64.index(b"ds64") + 16
    files["size 0.rf64"] = rf64[:at] + bytes(8) + rf64[at + 8:]
    for kind, name, size in (("aiff", b"SSND", 4), ("caf", b"data", 8), ("w64", b"data", 8)):
        file = files[f"PCM_16.{kind}"]
        at = file.index(name) + (16 if kind == "w64" else 4)
        order = "little" if kind == "w64" else "big"
        few = (32000).to_bytes(size, order)
        files[f"short size.{kind}"] = file[:at] + few + file[at + size:]
    au = files["PCM_16.au"]
    files["short size.au"] = au[:8] + (32000).to_bytes(4) + au[12:]
    return files

def hear(file):
    "What is heard of a file, 16 kHz, and the sentence on what is not; None where it is refused."
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try: wav = load_wav(file)
        except SirenbookError as e: wav, caught = None, [e]
        else: assert all(w.category is SirenbookWarning for w in caught), caught[0].message
    texts = [str(getattr(w, "message", w)) for w in caught]
    assert len(texts) <= 1 and all(map(is_sentence, texts)), texts
    return wav, "".join(texts)

def sirens(wav):
    "Where the sirens of a sound begin and end, s."
    n = len(wav) // 800
    loud = np.sqrt((wav[:n * 800].reshape(n, 800) ** 2).mean(1)) > .03
    edges = np.flatnonzero(np.diff(np.r_[0, loud, 0].astype(int)))
    return edges / 20

def is_whole(wav):
    "Whether a sound is the one that was written."
    found = sirens(wav)
    return (abs(len(wav) / 16000 - SECONDS) < .15
            and np.abs(found[[0, -1]] - [START, STOP]).max() < .2
            and all(b - a < .3 for a, b in zip(found[1:-1:2], found[2:-1:2])))


# ---- each kind

def test_there_are_enough_kinds(): assert len(corpus()) >= 100

@pytest.mark.parametrize("name", corpus())
def test_a_siren_is_heard_at_its_second(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(corpus()[name])
    wav, text = hear(path)
    assert wav is not None and not text, text
    assert is_whole(wav), sirens(wav)
    assert sum(len(b) / sr for b, sr in read_blocks(path, 1)) == pytest.approx(SECONDS, abs=.15)

@pytest.mark.parametrize("name", ["PCM_16.wav", "VORBIS.ogg", "cbr.mp3", "size 0.wav"])
def test_the_same_is_heard_from_memory_and_from_an_open_file(tmp_path, name):
    (tmp_path / name).write_bytes(corpus()[name])
    wav = load_wav(tmp_path / name)
    assert np.array_equal(load_wav(io.BytesIO(corpus()[name])), wav)
    with open(tmp_path / name, "rb") as file:
        assert np.array_equal(load_wav(file), wav) and not file.closed

@pytest.mark.parametrize("name", [
    "PCM_16.wav", "short sizes.wav", "vbr, no tag.mp3", "unknown length.flac", "8 channels.flac",
    "PCM_16.caf", "384000.wav", "GSM610.wav", "4000.wav", "opus.ogg"])
def test_the_detector_hears_it(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(corpus()[name])
    times, p = Detector.pretrained().score(path)
    best, plain = times[p.argmax()], Detector.pretrained().score(siren())[1].max()
    assert START - .5 < best < STOP + .5 and (p.max() > .5 * plain or name == "4000.wav")

def test_a_data_set_of_many_kinds(tmp_path):
    names = ["short sizes.wav", "vbr, no tag.mp3", "unknown length.flac", "VORBIS.ogg"]
    for i, name in enumerate(names):
        path = tmp_path / ("emergency", "non-emergency")[i % 2] / f"{i} {name}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(corpus()[name])
    assert all(is_whole(r.wav) for r in load_dataset(tmp_path).recordings)

@pytest.mark.parametrize("name, other", [
    ("PCM_16.flac", "PCM_16.flac"), ("PCM_16.flac", "8 channels.flac"),
    ("VORBIS.ogg", "VORBIS.ogg"), ("VORBIS.ogg", "opus.ogg"), ("cbr.mp3", "vbr.mp3"),
    ("cbr, no tag.mp3", "cbr, no tag.mp3"),
    ("vbr, no tag.mp3", "8000.mp3"), ("ID3 before and after.mp3", "2 channels.mp3"),
    ("unknown length.flac", "PCM_16.flac"), ("PCM_16.wav", "PCM_16.wav"),
    ("LIST.wav", "8 channels.wav"), ("ID3 after.wav", "PCM_16.flac"), ("PCM_16.wav", "VORBIS.ogg"),
    ("PCM_16.aiff", "FLOAT.aiff"), ("FLOAT.w64", "PCM_16.w64"), ("ALAC_16.caf", "PCM_16.caf"),
    ("GSM610.wav", "PCM_24.wav"), ("PCM_16.au", "PCM_16.wav"), ("FLOAT.au", "ULAW.au"),
    ("unknown length.flac", "ID3 before.flac"), ("ID3 before.flac", "ID3 before.flac"),
    ("ID3 after.flac", "ID3 after.flac"), ("PCM_24.wav", "cbr.mp3"),
    ("PCM_16.wav", "ID3 before and after.mp3")])
@pytest.mark.parametrize("seconds", [None, 1])
def test_joined_files_are_heard_one_after_the_other(tmp_path, name, other, seconds):
    file = tmp_path / name
    file.write_bytes(corpus()[name] + corpus()[other])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        blocks, rates = zip(*read_blocks(file, seconds))
    assert len({*rates}) == len({b.shape[1] for b in blocks}) == 1
    wav = soxr.resample(np.concatenate(blocks)[:, 0], rates[0], 16000)
    half = SECONDS * 16000
    assert abs(len(wav) - 2 * half) < 4000 and is_whole(wav[:half]) and is_whole(wav[-half:])

CUT = ["PCM_16.wav", "FLOAT.wavex", "PCM_16.rf64", "rifx.wav", "PCM_16.w64", "PCM_16.caf",
       "PCM_16.aiff", "sowt.aiff", "PCM_16.au", "ULAW.au", "PCM_16.flac", "VORBIS.ogg", "opus.ogg",
       "cbr.mp3", "vbr.mp3", "PCM_16.nist", "PCM_16.voc", "ULAW.voc", "PCM_16.avr", "PCM_16.mpc2k",
       "FLOAT.mat4", "PCM_16.mat5", "GSM610.wav", "IMA_ADPCM.wav", "MS_ADPCM.wav", "8 channels.wav"]

@pytest.mark.parametrize("name", CUT)
def test_a_file_that_was_cut_off_is_heard_to_its_end(tmp_path, name):
    path, whole = tmp_path / name, corpus()[name]
    path.write_bytes(whole[:int(.8 * len(whole))])
    wav, text = hear(path)
    assert wav is not None and str(path) in text and "cut off" in text
    seconds = len(wav) / 16000
    assert f"the {seconds:.1f} s that can be decoded are heard" in text
    assert seconds <= 4.3 and (seconds > 3.6 or "ogg" in name)
    assert seconds < START + .3 or abs(sirens(wav)[0] - START) < .2
    if "ogg" not in name: assert re.search("of 5.[01] s promised", text)

@pytest.mark.parametrize("name", ["PCM_16.wav", "PCM_16.aiff", "PCM_16.caf", "PCM_16.w64"])
def test_less_than_a_tenth_of_a_second_is_not_worth_a_word(tmp_path, name):
    (tmp_path / name).write_bytes(corpus()[name][:-3000])
    wav, text = hear(tmp_path / name)
    assert not text and is_whole(np.pad(wav, (0, 1500)))

def test_a_kind_that_pads_what_was_cut_off_says_so():
    wav, text = hear(io.BytesIO(corpus()["PCM_16.sds"][:150_000]))
    assert wav is not None and "its end is not there" in text

def test_a_second_chunk_of_sound_is_heard(tmp_path):
    noise = siren()[:START * 16000]
    first = wav_file(before=LIST, data=len(noise) * 2)[:-2 * (len(siren()) - len(noise))]
    pcm = (siren() * 32767).astype("<i2").tobytes()
    for second, seconds in ((chunk(b"data", pcm), 8), (chunk(b"data", pcm)[:-32000], 7)):
        (tmp_path / "a.wav").write_bytes(first + LIST + second)
        wav, text = hear(tmp_path / "a.wav")
        assert abs(len(wav) / 16000 - seconds) < .01 and abs(sirens(wav)[0] - 2 * START) < .2
        assert ("of 8.0 s promised" in text) == (seconds == 7) == bool(text)

def test_a_hundred_wavs_in_one(tmp_path):
    (tmp_path / "a.wav").write_bytes(corpus()["8000.wav"] * 100)
    wav, text = hear(tmp_path / "a.wav")
    assert not text and len(sirens(wav)) >= 200 and abs(len(wav) / 16000 - 100 * SECONDS) < .1

@pytest.mark.parametrize("n", [8, 600, 20_000])
@pytest.mark.parametrize("name", [b"LIST", b"bext", b"id3 ", b"JUNK", b"iXML"])
def test_a_chunk_of_text_that_was_cut_off_is_no_sound(name, n):
    text = bytes(np.random.default_rng(0).integers(33, 126, n - 8, np.uint8))
    content = wav_file(after=name + struct.pack("<I", 50_000) + text)
    wav, said = hear(io.BytesIO(content))
    assert not said and len(wav) == len(siren()) and is_whole(wav)

def test_antiphase_in_the_second_of_two_joined_files(tmp_path):
    def flac(sound):
        file = io.BytesIO()
        sf.write(file, sound, 16000, format="FLAC")
        return file.getvalue()
    quiet = np.random.default_rng(1).normal(0, .003, 80_000)
    (tmp_path / "j.flac").write_bytes(flac(quiet) + flac(siren()[:, None] * [1, -1]))
    for seconds in (None, .5):
        with pytest.warns(SirenbookWarning, match="channels cancel each other") as caught:
            wav = np.concatenate([b[:, 0] for b, _ in read_blocks(tmp_path / "j.flac", seconds)])
        assert len(caught) == 1 and abs(sirens(wav)[0] - SECONDS - START) < .2

def test_a_flac_within_the_description_of_another_is_no_sound():
    plain = corpus()["PCM_16.flac"]
    inner = plain[:9000]
    whole = b"".join([plain[:42], b"\2", len(inner).to_bytes(3), inner, plain[42:]])
    wav, text = hear(io.BytesIO(whole))
    assert not text and is_whole(wav)

@pytest.mark.parametrize("letters", [b"ID3\x8e\xcb\xce>%E5", b"ID3\4\0\0\x7f\x7f\x7f\x7f", b"TAG",
                                     b"LYRICSBEGIN", b"APETAGEX"])
def test_letters_in_the_sound_are_no_tag(letters):
    flac = written("FLAC")
    block = b"test" + letters + bytes(64)
    changed = flac[:42] + b"\2" + len(block).to_bytes(3) + block + flac[42:]
    with warnings.catch_warnings(action="error"):
        assert np.array_equal(load_wav(io.BytesIO(changed)), load_wav(io.BytesIO(flac)))

def test_two_oggs_at_the_same_time():
    "Their pages alternate; the second sound is not decoded, and counted."
    def pages(content):
        starts = [m.start() for m in re.finditer(b"OggS", content)] + [len(content)]
        return [content[a:b] for a, b in zip(starts, starts[1:])]
    a, b = pages(written("OGG", "VORBIS")), pages(written("OGG", "VORBIS"))
    b = [page[:14] + b"another!"[:4] + page[18:] for page in b]     # (its checksums are wrong)
    both = [page for pair in zip(a, b) for page in pair]
    wav, text = hear(io.BytesIO(b"".join(both)))
    assert is_whole(wav) and "bytes of the file are left over" in text

def test_an_mp3_with_a_gap_of_zeros():
    mp3 = corpus()["cbr.mp3"]
    wav, text = hear(io.BytesIO(mp3[:1000] + bytes(3 * len(mp3)) + mp3))
    assert is_whole(wav[-SECONDS * 16000:]) and "cut off or damaged" in text
    mp3 = corpus()["cbr, no tag.mp3"]
    wav, text = hear(io.BytesIO(mp3[:len(mp3) // 2] + bytes(3 * len(mp3)) + mp3))
    assert is_whole(wav[-SECONDS * 16000:]) and "left over" in text

@pytest.mark.parametrize("cut", [0, 9000])
def test_the_lines_of_a_native_library_are_not_printed(tmp_path, capfd, cut):
    mp3 = corpus()["vbr.mp3"]
    for content in (mp3[:len(mp3) - cut], mp3 * 2, ID3V2 + mp3 + ID3V1): hear(io.BytesIO(content))
    assert not "".join(capfd.readouterr())

def test_bytes_that_cannot_be_decoded_are_counted(tmp_path):
    noise = np.random.default_rng(0).bytes(9000)
    for name in ("cbr.mp3", "VORBIS.ogg", "PCM_16.flac"):
        for more in (noise, corpus()["PCM_16.wav"], LIST * 300):
            (tmp_path / name).write_bytes(corpus()[name] + more)
            wav, text = hear(tmp_path / name)
            assert is_whole(wav) and re.search("bytes (of the file are left|that cannot)", text)

def test_a_file_beyond_4_gib(tmp_path):
    "Its size has wrapped around; only where the disk stores zeros for nothing."
    path = tmp_path / "long.wav"
    with open(path, "wb") as file:
        file.write(wav_file(100_036, 100_000)[:44])
        file.truncate(2**32 + 200_044)
    if os.stat(path).st_blocks * 512 > 1 << 20: pytest.skip("this disk stores zeros")
    source = audio.Source(open(path, "rb"))
    [segment], left = audio.find_segments(source)
    with sf.SoundFile(audio.SegmentFile(source, segment)) as sound:
        assert sound.frames == 2**31 + 100_000 and not left
        sound.seek(sound.frames - 100)
        assert len(sound.read(200)) == 100

def test_a_file_that_grows_is_heard_to_where_it_ended_at_the_start(tmp_path):
    for name in ("size 0.wav", "cbr, no tag.mp3", "PCM_16.flac", "PCM_16.au"):
        path = tmp_path / name
        path.write_bytes(corpus()[name])
        n = 0
        for block, sr in read_blocks(path, 1):
            n += len(block)
            with open(path, "ab") as file: file.write(corpus()[name])
        assert abs(n / sr - SECONDS) < .15, name

def test_nothing_is_read_beyond_the_end():
    source = audio.Source(io.BytesIO(bytes(10)))
    part = audio.SegmentFile(source, audio.find_segments(
        audio.Source(io.BytesIO(corpus()["PCM_16.wav"])))[0][0])
    assert source.read(20, 5) == source.read(12, -3) == b"" and source.read(8, 5) == bytes(2)
    part.seek(1 << 30)
    assert part.read(10) == b""

def test_memory_stays_the_same(tmp_path):
    "An hour takes no more than a minute."
    import tracemalloc
    peaks = []
    for minutes in (1, 20):
        path = tmp_path / f"{minutes}.wav"
        sf.write(path, np.zeros(minutes * 60 * 8000, np.int16), 8000)
        tracemalloc.start()
        assert sum(len(b) for b, _ in read_blocks(path, 10)) == minutes * 480_000
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] < 10e6

def upside_down():
    file = io.BytesIO()
    sf.write(file, siren()[:, None] * [1, -1], 16000, format="WAV")
    return file.getvalue()

def floats(scale):
    file = io.BytesIO()
    sf.write(file, siren() * scale, 16000, "FLOAT", format="WAV")
    return file.getvalue()

def test_the_table_in_the_chapter_is_true(tmp_path):
    "Each file that it names does what it says."
    text = "".join("".join(c["source"]) for c in json.loads(
        (NBS / "74_audio.ipynb").read_text(encoding="utf-8"))["cells"])
    rows = [[v.strip() for v in row.split("|")[2:4]] for row in re.findall(r"^\|.*`.*", text, re.M)]
    plain = {p.suffix: p.read_bytes() for p in SAMPLES.iterdir()} | {
        ".wav": corpus()["PCM_16.wav"], ".flac": corpus()["PCM_16.flac"],
        ".ogg": corpus()["VORBIS.ogg"], ".mp3": corpus()["cbr.mp3"],
        **{f".{k}": corpus()[f"PCM_16.{k}"] for k in ("aiff", "nist", "voc")}}
    n = 0
    for names, answer in rows:
        for name in re.findall("`(.+?)`", names):
            path, whole = tmp_path / name, plain.get(Path(name).suffix)
            special = {"cut off": lambda: whole[:len(whole) * 4 // 5], "joined": lambda: whole * 2,
                       "noise after": lambda: whole + np.random.default_rng(0).bytes(9000),
                       "upside down": upside_down, "NaN": lambda: floats(np.nan),
                       "16-bit floats": lambda: floats(32767)}.get(path.stem)
            path.write_bytes(special() if special else corpus().get(name) or whole)
            wav, text = hear(path)
            if "with ffmpeg" in answer and not shutil.which("ffmpeg"): answer = "refused"
            assert (wav is None) == (answer == "refused"), (name, text)
            assert bool(text) == (answer == "refused" or "one warning" in answer), (name, text)
            assert answer != "decoded" or is_whole(wav), name
            n += 1
    assert n > 35


# ---- files of phones

PHONES = ["phone.m4a", "phone.3gp", "browser.webm", "flac.oga"]

@pytest.mark.parametrize("name", PHONES)
def test_without_ffmpeg_the_advice_names_it(monkeypatch, name):
    monkeypatch.setenv("PATH", "")
    with complains(name, "convert it to wav", "ffmpeg", kind=SirenbookFileError):
        load_wav(SAMPLES / name)

@pytest.mark.parametrize("name", PHONES)
@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="there is no ffmpeg here")
def test_with_ffmpeg_they_are_heard(tmp_path, name):
    wav, text = hear(SAMPLES / name)
    assert not text and abs(len(wav) / 16000 - 2) < .1
    assert np.abs(sirens(wav)[[0, -1]] - [.5, 1.5]).max() < .2
    shutil.copy(SAMPLES / name, tmp_path / "renamed.wav")
    assert np.array_equal(load_wav(tmp_path / "renamed.wav"), wav)
    cut = tmp_path / name
    cut.write_bytes((SAMPLES / name).read_bytes()[:-1500])
    wav, text = hear(cut)
    assert "cut off" in text or wav is None or len(wav) > 1.9 * 16000

FAKE = """#!{python}
import struct, sys
if {error!r}: sys.stderr.write("[error] " + {error!r} + chr(10))
sys.stderr.write("  Duration: 00:00:03.00, start: 0" + chr(10))
out = sys.stdout.buffer
out.write(struct.pack(">4s5I", b".snd", 28, 0xFFFFFFFF, 6, 16000, 2) + bytes(4))
for i in range({n}): out.write(struct.pack(">ff", .25, .5))
"""

@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="there is no ffmpeg here")
def test_an_open_file_is_decoded_by_ffmpeg():
    with open(SAMPLES / "phone.m4a", "rb") as file:
        assert np.array_equal(load_wav(file), load_wav(SAMPLES / "phone.m4a"))
    wav = load_wav(io.BytesIO((SAMPLES / "browser.webm").read_bytes()))
    assert np.array_equal(wav, load_wav(SAMPLES / "browser.webm"))

def made(path, *arguments, inputs=1):
    "A file that ffmpeg makes of the siren."
    sf.write(path.with_name("in.wav"), siren(), 16000)
    sounds = ["-i", path.with_name("in.wav")] * inputs
    subprocess.run(["ffmpeg", "-loglevel", "error", "-y", *sounds, *arguments, path],
                   check=True, timeout=60)
    return path

@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="there is no ffmpeg here")
def test_a_second_track_is_named(tmp_path):
    two = made(tmp_path / "two.mka", "-map", "0", "-map", "1", "-c:a", "aac", inputs=2)
    wav, text = hear(two)
    assert is_whole(wav) and "first of its 2 sound tracks" in text

@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="there is no ffmpeg here")
def test_a_gap_in_time_is_silence(tmp_path):
    gap = made(tmp_path / "gap.mka", "-af", "aselect='not(between(t,1,2.5))'", "-c:a", "aac")
    late = made(tmp_path / "late.mkv", "-itsoffset", "1", "-i", tmp_path / "in.wav", "-f", "lavfi",
                "-i", "color=s=32x32:d=7", "-map", "1:a", "-map", "2:v", "-c:a", "aac")
    for path, at in ((gap, 0), (late, 1)):
        wav, text = hear(path)
        assert np.abs(sirens(wav)[[0, -1]] - at - [START, STOP]).max() < .2, path

@pytest.mark.parametrize("kind", ["mov", "mkv", "avi", "mpg", "ts", "aac", "ac3", "wma", "mp2",
                                  "flv", "tta", "wv", "opus"])
@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="there is no ffmpeg here")
def test_other_kinds_are_heard_with_ffmpeg(tmp_path, kind):
    path = made(tmp_path / f"a.{kind}", "-ar", "44100" if kind == "flv" else "48000")
    wav, text = hear(path)
    assert not text and is_whole(wav)

@pytest.mark.parametrize("n, error, words", [
    (48000, "", ""), (16000, "", "the 1.0 s that can be decoded are heard, of 3.0 s promised"),
    (48000, "partial file", "cut off or damaged"), (0, "no moov", "ffmpeg finds no sound")])
@pytest.mark.skipif(sys.platform == "win32", reason="the command is a script")
def test_what_ffmpeg_gives_is_read(tmp_path, monkeypatch, n, error, words):
    command = tmp_path / "ffmpeg"
    command.write_text(FAKE.format(python=sys.executable, n=n, error=error))
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "phone.m4a"
    path.write_bytes(b"\0\0\0 ftypM4A ")
    wav, text = hear(path)
    assert words in text and bool(text) == bool(words)
    assert wav is None if not n else len(wav) == n and np.allclose(wav, .375)
    if n: next(read_blocks(path, .1))                    # a reader may stop early


# ---- arguments, channels, scale

def test_open_files(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(corpus()["PCM_16.wav"])
    shut, text = open(path, "rb"), open(path)
    shut.close()
    for file in (shut, text):
        with complains("an open file can be read if"): load_wav(file)
    text.close()
    used = io.BytesIO(path.read_bytes())
    used.read()
    assert is_whole(load_wav(used)) and used.read is not None
    end, start = os.pipe()
    with os.fdopen(end, "rb") as pipe, os.fdopen(start, "wb"):
        with complains("no pipe"): load_wav(pipe)

@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_is_called_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    with complains("pipe.wav", "a pipe", "listen --raw"): load_wav(tmp_path / "pipe.wav")

def test_a_sample_rate_may_be_a_float(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(corpus()["PCM_16.wav"])
    wav = load_wav(path, 22050.0)
    assert np.array_equal(wav, load_wav(path, 22050))
    for sr in (None, math.nan, 1e300, 0.5):
        with complains("sr is a whole number"): load_wav(path, sr)

@pytest.mark.parametrize("flip, warned", [((1, -1), True), ((1, 1), False), ((0, 0, -1, 1), True),
                                          ((1,) + 15 * (0,), True)])
def test_channels_that_cancel_each_other(tmp_path, flip, warned):
    file = tmp_path / "a.wav"
    sf.write(file, siren()[:, None] * np.array(flip), 16000)
    wav, text = hear(file)
    assert is_whole(wav) and ("cancel each other" in text) == warned

def test_noise_in_64_channels_is_averaged(tmp_path):
    noise = np.random.default_rng(0).normal(0, .1, (16000, 64))
    file = tmp_path / "a.wav"
    sf.write(file, noise, 16000, "FLOAT")
    wav, text = hear(file)
    assert not text and np.allclose(wav, noise.mean(1), atol=1e-6)

def test_floats_of_another_scale(tmp_path):
    path = tmp_path / "a.wav"
    sf.write(path, siren() * 32768, 16000, "FLOAT")
    with complains("a.wav", "divide 16-bit samples by 32768", kind=SirenbookFileError):
        load_wav(path)
    sf.write(path, siren() * 3, 16000, "FLOAT")
    assert is_whole(load_wav(path))


# ---- folders

def test_hidden_folders_and_links(tmp_path):
    mine, other = tmp_path / "mine", tmp_path / "other"
    for name in ("mine/a.wav", "mine/._a.wav", "mine/.Trash-1000/b.wav", "mine/.git/annex/c.wav",
                 "mine/x/.ipynb_checkpoints/d.wav", "mine/x/e.wav", "mine/.real/h.wav",
                 "other/f.wav", "other/.g/g.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name, target in (("link", other), ("a link to x", mine / "x"), ("circle", mine),
                         ("up", tmp_path), ("x/back", mine / "x"), ("shown", mine / ".real")):
        (mine / name).symlink_to(target)
    found = [p.relative_to(mine).as_posix() for p in find_sounds(mine)]
    assert found == ["a.wav", "link/f.wav", "shown/h.wav", "x/e.wav"]

def test_a_hidden_folder_may_be_searched_by_its_name(tmp_path):
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "a.wav").touch()
    assert len(find_sounds(tmp_path / ".hidden")) == 1 and not find_sounds(tmp_path)

def test_kinds_that_are_left_out_are_counted(tmp_path):
    for label in ("emergency", "non-emergency"):
        (tmp_path / label).mkdir()
        (tmp_path / label / f"{label}.wav").write_bytes(
            corpus()["PCM_16.wav" if label == "emergency" else "8000.wav"])
    for name in ("a.m4a", "b.M4A", "c.opus"): (tmp_path / "emergency" / name).touch()
    with pytest.warns(SirenbookWarning, match="2 m4a, 1 opus files are left out"):
        assert len(load_dataset(tmp_path).recordings) == 2

def test_every_known_kind_is_counted(tmp_path):
    kinds = """mov mkv avi bwf rf64 snd sph nist voc wma amr aac opus mka mpg ts mp4 m4a m4v 3gp 3g2
        webm wmv flv mts m2ts vob ogv oga aif aiff au caf w64 ape wv ac3 dts mp2 mpeg""".split()
    (tmp_path / "a.wav").touch()
    for kind in kinds: (tmp_path / f"IMG.{kind.upper()}").touch()
    found = find_sounds(tmp_path, audio.SUFFIXES + audio.OTHER_SUFFIXES)
    assert len(found) == len(kinds) + 1
    assert len({*audio.SUFFIXES, *audio.OTHER_SUFFIXES}) == len(
        audio.SUFFIXES + audio.OTHER_SUFFIXES)

def test_a_manifest_of_windows(tmp_path):
    for label, name in (("emergency", "PCM_16.wav"), ("non-emergency", "VORBIS.ogg")):
        (tmp_path / label).mkdir()
        (tmp_path / label / name).write_bytes(corpus()[name])
    table = tmp_path / "manifest.csv"
    table.write_text("file,label,group\nemergency\\PCM_16.wav,emergency,a\n")
    assert load_dataset(tmp_path).recordings[0].group == "a"
    for name in (r"..\x.wav", r"C:\x.wav", r"\\server\x.wav"):
        table.write_text(f"file,label,group\n{name},emergency,a\n")
        with complains("manifest.csv", "path within the folder"): load_dataset(tmp_path)

def test_the_users_own_folder_is_understood(monkeypatch):
    monkeypatch.setenv("SIRENBOOK_DATA", "~/sb")
    assert data_dirs()[0] == Path("~/sb").expanduser() and data_dirs()[0].is_absolute()


# ---- damage

KINDS = [*CUT, "cbr, no tag.mp3", "vbr, no tag.mp3", "unknown length.flac", "size 0.wav",
         "ALAC_16.caf", "PCM_16.voc", "LIST.wav", "G721_32.au", "2 channels.mp3", "PCM_16.svx"]
SILENT = {"cbr, no tag.mp3", "vbr, no tag.mp3", "unknown length.flac", "size 0.wav", "PCM_16.voc"}
quick = settings(max_examples=120, deadline=None, derandomize=True, database=None,
                 suppress_health_check=list(HealthCheck))

@quick
@given(st.sampled_from(KINDS), st.floats(0, 1))
def test_whatever_is_cut_is_not_lost_in_silence(name, share):
    whole = corpus()[name]
    wav, text = hear(io.BytesIO(whole[:int(share * len(whole))]))
    if text: return
    seconds = len(wav) / 16000
    assert seconds > (share * SECONDS - .5 if name in SILENT else SECONDS - .15)

@quick
@given(st.sampled_from(KINDS), st.binary(max_size=40), st.integers(1, 400),
       st.sampled_from([None, "start", "end"]))
def test_whatever_is_added_takes_nothing_away(name, more, times, part):
    whole = corpus()[name]
    half = len(whole) // 2
    more = {None: more * times, "start": whole[:half], "end": whole[half:]}[part]
    wav, text = hear(io.BytesIO(whole + more))
    if wav is None: return
    assert len(wav) / 16000 > SECONDS - .15 and abs(sirens(wav)[0] - START) < .2

@quick
@given(st.sampled_from(KINDS), st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1,
                                        max_size=20), st.booleans())
def test_whatever_is_changed_is_heard_or_refused(name, changes, head):
    content = bytearray(corpus()[name])
    n = 200 if head else len(content)
    for share, value in changes: content[int(share * (n - 1))] ^= value
    wav, text = hear(io.BytesIO(bytes(content)))
    assert wav is None or wav.dtype == np.float32 and np.abs(wav).max() <= 1

def lyrics(end=b"LYRICSEND"): return b"LYRICSBEGIN" + b"[00:01]la\r\n" * 9 + end + ID3V1

def cover(size): return b"ID3\3\0\0" + bytes(size >> 7 * i & 127 for i in (3, 2, 1, 0))

@pytest.mark.parametrize("name", ["cbr.mp3", "VORBIS.ogg"])
@pytest.mark.parametrize("tag", [lyrics(), cover(300_000) + b"\xd8" * 2000,
                                 APE[:12] + struct.pack("<I", 900_000) + APE[16:32]])
def test_a_tag_hides_no_sound_that_follows(name, tag):
    one = corpus()[name]
    wav, text = hear(io.BytesIO(one + tag + one))
    assert len(wav) > 1.95 * SECONDS * 16000 or text
    assert is_whole(wav[-SECONDS * 16000:]) or name != "cbr.mp3"

def test_a_tag_that_was_cut_off_hides_no_sound():
    one = corpus()["cbr.mp3"]
    wav, text = hear(io.BytesIO(cover(len(one) + 3000) + b"\xd8" * 2000 + one + one))
    assert len(wav) > 1.95 * SECONDS * 16000

@pytest.mark.parametrize("where", ["before", "after"])
def test_zeros_around_an_mp3_are_not_lost_sound(where):
    one = corpus()["cbr.mp3"]
    padded = ID3V2 + bytes(3000) + one if where == "before" else one + bytes(3000)
    wav, text = hear(io.BytesIO(padded))
    assert is_whole(wav) and not text

def test_many_small_chunks_do_not_take_long():
    head = corpus()["PCM_16.wav"][:40] + b"\xff\xff\xff\x7f"
    hear(io.BytesIO(head + b"LIST\0\0\0\0" * 20_000 + b"x" * 9))

class Dribble(io.BytesIO):
    "A file that gives few bytes at a time."
    def read(self, n=-1): return super().read(min(n, 1000) if n >= 0 else 1000)

@pytest.mark.parametrize("name", ["cbr.mp3", "PCM_16.flac", "PCM_16.caf", "PCM_16.wav"])
def test_a_file_may_give_few_bytes_at_a_time(name):
    wav, text = hear(Dribble(corpus()[name]))
    assert is_whole(wav) and not text
