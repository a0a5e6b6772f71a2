"The real recordings that part I plays: few, small, named, and what the manifest says."

import csv, hashlib
from pathlib import Path

import soundfile as sf

FOLDER = Path(__file__).parents[1]/"data"/"real_sirens"

def manifest():
    with open(FOLDER/"manifest.csv", newline="") as f: return list(csv.DictReader(f))

def test_every_file_is_in_the_manifest_as_it_is():
    rows = manifest()
    assert {r["file"] for r in rows} == {p.name for p in FOLDER.glob("*.flac")}
    assert len({r["group"] for r in rows}) == len(rows) == 16
    for r in rows:
        wav, sr = sf.read(FOLDER/r["file"], dtype="int16")
        assert (sr, wav.ndim) == (16_000, 1) and len(wav)/sr == float(r["seconds"])
        assert hashlib.sha256(wav.astype("<i2").tobytes()).hexdigest() == r["sha256"]

def test_they_are_small_and_their_card_names_the_source():
    assert sum(p.stat().st_size for p in FOLDER.iterdir()) < 1_000_000
    assert "vishnu0399/emergency-vehicle-siren-sounds" in (FOLDER/"README.md").read_text()
