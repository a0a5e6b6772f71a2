"The experiment that changes one hyperparameter at a time."

from pathlib import Path

import pytest
from shared import write_folder
from sirenbook.experiments.hyperparameters import (
    BASE,
    HYPERPARAMETERS,
    SETUP_ORDER,
    hyperparameter_effects,
    load_hyperparameters,
    run,
)
from sirenbook.results import FOLDS, SETUPS

TABLE = Path(__file__).parents[1]/"data"/"hyperparameters.csv"

def test_each_run_changes_one_value_of_the_article():
    assert BASE == dict(epochs=10, batch_size=32, dropout=.3, learning_rate=.001, seconds=2, seed=0)
    for name, values in HYPERPARAMETERS.items():
        assert sum(values[k] != BASE[k] for k in BASE) == (name != "base"), name
    assert {*SETUP_ORDER} == {*SETUPS}

def test_the_committed_table_tests_each_recording_once_a_run():
    rows = load_hyperparameters(TABLE)
    for name in HYPERPARAMETERS:
        mine = [r for r in rows if (r["model"], r["features"], r["run"])
                == ("cnn", "spectrogram", name)]
        assert len(mine) == len({r["group"] for r in mine}) == 60
        assert {r["fold"] for r in mine} == set(range(FOLDS))

def answers(right):
    "Rows of two runs: the base answers every second recording rightly, `other` those in `right`."
    return [dict(dataset="d", model="cnn", features="time", run=name, fold=i % 5, group=str(i),
                 label=("emergency", "non-emergency")[i % 2], n_chunks=3, n_right=0,
                 mean_probability=float((i % 2 == 0) == (i in good)))
            for name, good in (("base", {*range(0, 40, 4), *range(1, 40, 4)}), ("seed 1", right))
            for i in range(40)]

def test_effects_are_shares_of_recordings_and_paired():
    base, other = hyperparameter_effects(answers({*range(40)}), "d", "cnn", "time")
    assert (base["score"], base["difference"], base["low"], base["high"]) == (.5, 0, 0, 0)
    assert other["score"] == 1 and other["difference"] == .5 and other["n"] == 40
    assert .2 < other["low"] < .5 < other["high"] < .8

def test_unfinished_runs_are_left_out():
    rows = [r for r in answers({*range(40)}) if r["run"] == "base" or r["fold"] < 2]
    assert [e["run"] for e in hyperparameter_effects(rows, "d", "cnn", "time")] == ["base"]

def test_windows_longer_than_a_recording_are_left_out(tmp_path, monkeypatch):
    write_folder(tmp_path/"set", n=5, seconds=3)
    monkeypatch.setattr("sirenbook.experiments.hyperparameters.run_hyperparameters",
                        lambda chunks, setup, values, fold: pytest.fail(str(values["seconds"]))
                        if values["seconds"] > 3 else [])
    with pytest.raises(ValueError, match="no rows"):   # the stand-in makes none
        run([tmp_path/"set"], tmp_path, fold_ids=[0], runs=["seconds 8", "seconds 4", "seconds 1"])
