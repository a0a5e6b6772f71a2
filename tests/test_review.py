"""What a report writes for other programs is what they read."""
import csv, json, shutil

import pytest
import yaml
from shared import ROOT, complains

from sirenbook import review
from sirenbook.archive import simulated_year
from sirenbook.cli import main
from sirenbook.review import jams_text, write_exports, write_report
from sirenbook.scans import load_events, load_files, rescore, scan

jams = pytest.importorskip("jams")

@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    "A scan of fifty days of a simulated year."
    folder = tmp_path_factory.mktemp("review")
    simulated_year(folder / "year", seed=36, days=50)
    assert scan(folder / "year", folder / "tables", workers=0, operating_point="20/h").complete
    assert load_events(folder / "tables")
    return folder / "tables"

def test_jams_files_hold_the_events_of_their_recordings(tables, tmp_path):
    events, files = load_events(tables), {f["file"]: f for f in load_files(tables)}
    write_exports(tables, tmp_path / "r", jams=True)
    found = [jams.load(str(p)) for p in sorted((tmp_path / "r/jams").iterdir())]
    assert {j.file_metadata.title for j in found} == {e["file"] for e in events}
    for j in found:
        assert j.validate() and j.file_metadata.duration == files[j.file_metadata.title]["seconds"]
        [tags] = j.annotations
        mine = [e for e in events if e["file"] == j.file_metadata.title]
        assert tags.namespace == "tag_open" and tags.duration == j.file_metadata.duration
        near = lambda x: pytest.approx(x, abs=1e-3)
        assert [(o.time, o.duration, o.value, o.confidence) for o in tags.data] == [
            (near(e["start_s"]), near(e["end_s"] - e["start_s"]), "siren", near(e["peak"]))
            for e in mine]

def test_a_file_without_events_is_jams_as_well(tables):
    document = json.loads(jams_text({"file": "a b.wav", "seconds": 3.0}, []))
    assert document["annotations"][0]["data"] == [] and document["file_metadata"]["duration"] == 3

def test_jams_are_written_only_if_asked(tables, tmp_path):
    assert main(["report", str(tables), "--to", str(tmp_path / "a"), "--no-sounds"]) == 0
    assert not (tmp_path / "a/jams").exists() and (tmp_path / "a/audacity").is_dir()
    assert main(["report", str(tables), "--to", str(tmp_path / "b"), "--no-sounds", "--jams"]) == 0
    assert [*(tmp_path / "b/jams").glob("*.jams")]

def test_without_the_package_the_command_is_named(tables, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "jams", None)
    with complains("jams", "pip install"): write_report(tables, tmp_path / "r", jams=True)
    assert not (tmp_path / "r").exists()
    write_report(tables, tmp_path / "r", sounds=False)

def test_what_no_longer_has_an_event_goes(tables, tmp_path):
    "With a higher threshold; files of other names stay."
    def names(kind): return {p.stem for p in (tmp_path / "r" / kind).iterdir()}
    copy = shutil.copytree(tables, tmp_path / "tables")
    write_report(copy, tmp_path / "r", sounds=False, jams=True)
    (tmp_path / "r/audacity/mine.txt").write_text("0\t1\tmine")
    before = names("jams")
    rescore(copy, threshold=0.9)
    write_report(copy, tmp_path / "r", sounds=False)
    left = {e["file"] for e in load_events(copy)}
    assert names("jams") == left < before and names("audacity") == left | {"mine"}

def test_a_folder_of_jams_that_no_report_wrote_is_kept(tables, tmp_path):
    (tmp_path / "jams").mkdir()
    with complains(str(tmp_path)): write_report(tables, tmp_path, jams=True)
    assert [p.name for p in tmp_path.iterdir()] == ["jams"]

def test_the_form_of_jupyterbioacoustic_is_yaml_with_one_question(tables, tmp_path):
    write_exports(tables, tmp_path)
    form = yaml.safe_load((tmp_path / "review.yaml").read_text())
    assert form["title"] == {"value": "Is this a siren?", "progress_tracker": True}
    [select] = [e["select"] for e in form["form"] if "select" in e]
    assert select["column"] == "is_valid" and select["items"] == ["yes", "no", "unsure"]
    for item in select["items"]: review._verdict(item)
    with open(tmp_path / "review.csv", newline="") as f: rows = [*csv.DictReader(f)]
    assert form["pass_value"]["source_column"] in rows[0]
    assert {"id", "audio_path", "start_time", "end_time"} <= {*rows[0]} and len(rows) == len(
        load_events(tables))

def test_the_readme_names_each_option_of_the_report():
    assert "--jams" in (ROOT / "README.md").read_text()
