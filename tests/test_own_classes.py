"""The chapter on a reader's own two classes, on folders that it has never seen."""

import json, re

import numpy as np
import pytest
import soundfile as sf
from shared import NBS

NOTEBOOK = NBS / "93_own_classes.ipynb"
FIRST_LINE = re.compile(r"^FOLDER = None.*$", re.M)


def code():
    "The chapter's code cells; in one of them stands the line that a reader changes."
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    assert sum(len(FIRST_LINE.findall(s)) for s in sources) == 1
    return sources


def run(folder, monkeypatch):
    "Run all code cells on a folder, and give what they leave behind."
    import matplotlib

    matplotlib.use("agg")
    monkeypatch.chdir(NBS)
    names = {}
    try:
        for source in code():
            exec(FIRST_LINE.sub(lambda _: f"FOLDER = {str(folder)!r}", source), names)
    finally:
        if "plt" in names:
            names["plt"].close("all")
    return names


def beeps(hz, seed, seconds, sr):
    "A tone that comes and goes, in noise."
    rng, t = np.random.default_rng(seed), np.arange(round(seconds * sr)) / sr
    on = (t + rng.uniform()) % 0.5 < 0.25
    return 0.3 * on * np.sin(2 * np.pi * hz * rng.uniform(0.9, 1.1) * t) + rng.normal(
        0, 0.01, len(t)
    )


def folder_of(folder, n, sr=22050, suffixes=("wav",), seconds=(1.4, 2.5, 3.2)):
    "Two classes of tones, `n` recordings of each."
    for c, (name, hz) in enumerate({"door bell": 700, "Zug-Pfiff": 2500}.items()):
        (folder / name).mkdir(parents=True)
        for k in range(n):
            wav = beeps(hz, [c, k], seconds[k % len(seconds)], sr)
            sf.write(folder / name / f"place {k}_1.{suffixes[k % len(suffixes)]}", wav, sr)
    return folder


def test_another_folder_is_learned_and_tested(tmp_path, monkeypatch, capsys):
    folder = folder_of(tmp_path, 6, suffixes=("wav", "flac", "ogg", "mp3"))
    (folder / ".hidden").mkdir()
    (folder / "door bell" / "notes.txt").write_text("kitchen")
    (folder / "door bell" / "broken_1.wav").write_bytes(b"RIFF")
    sf.write(folder / "door bell" / "silent_1.wav", np.zeros(30000), 22050)
    copy = (folder / "Zug-Pfiff" / "place 0_1.wav").read_bytes()
    (folder / "Zug-Pfiff" / "copy_1.wav").write_bytes(copy)
    found, printed = run(folder, monkeypatch), capsys.readouterr().out
    assert found["CLASSES"] == ["Zug-Pfiff", "door bell"]
    assert len(found["recordings"]) == 13 and len(set(found["names"])) == 6  # places are shared
    assert "broken_1.wav cannot be read" in printed and "silent_1.wav is silent" in printed
    assert "sounds exactly like" in printed and "real sirens" not in printed
    for train, validation, test in found["outer"]:
        parts = [set(found["groups"][p]) for p in (train, validation, test)]
        assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    tested = np.sort(np.concatenate([test for _, _, test in found["outer"]]))
    assert np.array_equal(tested, np.arange(len(found["y"])))
    right = (found["by_recording"](found["p_logistic"]) > 0.5) == found["truth"]
    assert right.mean() > 0.9  # two tones: the baseline at least must know them apart
    assert len(found["answers"]) == 1  # no loose file: one test recording is asked about


@pytest.mark.parametrize("n, words", [(4, "has 4 groups and needs 5 or more"), (1, "has 1 group ")])
def test_too_few_groups_are_named_in_one_sentence(n, words, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=words) as e:
        run(folder_of(tmp_path, n, sr=8000), monkeypatch)
    assert "'Zug-Pfiff'" in str(e.value) and "\n" not in str(e.value)


def test_a_folder_needs_two_classes(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="0 sub-folders with sound files, not two: none"):
        run(tmp_path / "nowhere", monkeypatch)
    for name in "abc":
        sf.write((tmp_path / name).mkdir() or tmp_path / name / "x.wav", np.ones(9000) / 9, 8000)
    with pytest.raises(ValueError, match="3 sub-folders with sound files, not two: a, b, c"):
        run(tmp_path, monkeypatch)
