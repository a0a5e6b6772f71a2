"""The 2021 article's steps, as published, against sirenbook's, on the same recordings in one run.

    python benchmarks/pipeline.py                       # everything on the embedded data set
    python benchmarks/pipeline.py --only chunk,features
    python benchmarks/pipeline.py --data FOLDER --epochs 1 --json

Every number comes from a process of its own that does the steps before the measured one first,
so that nothing is shared and the peak memory is that of the way from the files to that step.
"""

import argparse, json, os, subprocess, sys, tempfile, time
from pathlib import Path

NETWORKS = {
    "time CNN": ("cnn", "time"),
    "time LSTM": ("lstm", "time"),
    "spectrogram CNN": ("cnn", "spectrogram"),
    "spectrogram LSTM": ("lstm", "spectrogram"),
}
STAGES = ("import", "load", "chunk", "features", *NETWORKS, "predict", "session")
REPEATS, BATCH, SEED = 3, 32, 0
LOADED = "spectrogram CNN"  # the network of the predict row, on the first test chunk
AIMS = {"chunk": 100, "features": 5, **dict.fromkeys(NETWORKS, 1)}  # times faster than the article
MEMORY_AIM = 2  # times less memory, for the session
NOISE = 0.95  # of a fit that is "no slower"
TOLERANCE = 2e-3  # of log power, and of a feature times its bin's spread


class Theirs:
    "The article's way: files, loops, lists and copies, one thing after the other."

    def __init__(self, files, folder, epochs):
        # imported before anything is measured, as in a notebook
        import keras, librosa, scipy.signal, sklearn.model_selection  # noqa: F401

        librosa.load  # librosa imports its parts when they are first named
        self.files, self.folder, self.epochs = files, folder, epochs

    def load(self):
        import librosa

        self.wavs = [librosa.load(path, sr=16000)[0] for path, _ in self.files]

    def chunk(self):
        import numpy as np

        chunks, labels = [], []
        for wav, (_, label) in zip(self.wavs, self.files):
            for start in range(0, len(wav), 16000):
                piece = wav[start : start + 32000]
                if len(piece) == 32000:
                    chunks.append(piece)
                    labels.append(label)
        self.audio, self.labels = np.array(chunks), np.array(labels)

    def split(self):
        import numpy as np
        from sklearn.model_selection import train_test_split

        self.x_tr, self.x_val, self.y_tr, self.y_val = train_test_split(
            np.array(self.audio),
            np.array(self.labels),
            stratify=self.labels,
            test_size=0.2,
            random_state=12,
            shuffle=True,
        )

    @staticmethod
    def log_spectrogram(chunk):
        import numpy as np
        from scipy import signal

        _, _, spec = signal.spectrogram(chunk, fs=16000, nperseg=320, noverlap=160)
        return np.log(spec.T.astype(np.float32) + 1e-10)

    def spectrograms(self, chunks):
        import numpy as np

        features = []
        for chunk in chunks:
            spec = self.log_spectrogram(chunk)
            mean, std = np.mean(spec, axis=0), np.std(spec, axis=0)
            features.append((spec - mean) / std)
        return np.array(features)

    def features(self):
        self.f_tr, self.f_val = self.spectrograms(self.x_tr), self.spectrograms(self.x_val)

    def network(self, kind, shape):
        from keras import Input, Model, layers

        inputs = Input(shape=shape)
        if kind == "cnn":
            x = layers.Conv1D(8, 13, padding="same", activation="relu")(inputs)
            x = layers.Dropout(0.3)(x)
            x = layers.MaxPooling1D(2)(x)
            x = layers.Conv1D(16, 11, padding="same", activation="relu")(
                inputs
            )  # as printed: not (x)
            x = layers.Dropout(0.3)(x)
            x = layers.MaxPooling1D(2)(x)
            x = layers.GlobalMaxPooling1D()(x)
            x = layers.Dense(16, activation="relu")(x)
        else:
            for units in (128, 128, 64):
                x = layers.LSTM(units)(inputs)  # as printed: the last one lives
                x = layers.Dropout(0.3)(x)
            x = layers.Dense(64, activation="relu")(x)
        model = Model(inputs, layers.Dense(1, activation="sigmoid")(x))
        model.compile(loss="binary_crossentropy", optimizer="adam", metrics=["acc"])
        return model

    def shape(self, kind, features):
        if features == "spectrogram":
            return self.f_tr.shape[1:]
        return (32000, 1) if kind == "cnn" else (200, 160)

    def fit(self, kind, features):
        from keras.callbacks import ModelCheckpoint

        shape = self.shape(kind, features)
        x_tr, x_val = (
            (self.f_tr, self.f_val)
            if features == "spectrogram"
            else (self.x_tr.reshape(-1, *shape), self.x_val.reshape(-1, *shape))
        )
        best = ModelCheckpoint(
            self.folder / "best_theirs.keras", monitor="val_loss", save_best_only=True, mode="min"
        )
        model = self.network(kind, shape)
        model.fit(
            x_tr,
            self.y_tr,
            epochs=self.epochs,
            callbacks=[best],
            batch_size=BATCH,
            validation_data=(x_val, self.y_val),
            verbose=0,
        )

    def predict(self, path):
        import keras
        from sirenbook.recordings import siren_probability

        model = keras.models.load_model(path)
        return siren_probability(model.predict(self.spectrograms(self.x_val[:1]), verbose=0)[0, 0])


class Ours:
    "The same steps with sirenbook."

    def __init__(self, files, folder, epochs):
        import sklearn.model_selection  # noqa: F401
        from sirenbook import chunks, networks, recordings, results, training  # noqa: F401

        self.files, self.folder, self.epochs = files, folder, epochs
        self.lazy = {}  # input shape -> the inputs that a notebook keeps

    def load(self):
        from sirenbook.recordings import load_dataset

        self.data = load_dataset(DATA)

    def chunk(self):
        from sirenbook.chunks import chunk_dataset

        self.chunks = chunk_dataset(self.data, short="drop")

    def split(self):
        from sirenbook.chunks import random_split

        self.parts = random_split(self.chunks.y, validation_size=0)

    def features(self):
        from sirenbook.networks import SPECTROGRAM, inputs

        self.X = inputs(self.chunks, SPECTROGRAM)

    def network(self, kind, shape):
        from sirenbook import networks

        return getattr(networks, kind)(shape, "printed")

    def fit(self, kind, features):
        from sirenbook.networks import LazyInputs
        from sirenbook.results import SETUPS
        from sirenbook.training import train

        shape = SETUPS[kind, features][1]
        if shape not in self.lazy:
            self.lazy[shape] = LazyInputs(self.chunks, shape)
        learn, _, test = self.parts.of(self.lazy[shape], self.chunks.y)
        train(
            self.network(kind, shape),
            learn,
            test,
            self.epochs,
            BATCH,
            SEED,
            checkpoint=self.folder / "best_ours.keras",
        )

    def predict(self, path):
        from sirenbook.training import load_model, predict

        return predict(load_model(path), self.chunks[self.parts.test[0]]).siren


def peak_mb():
    "The most memory this process ever held. (Linux's ru_maxrss would start from the parent's.)"
    try:
        return (
            next(
                int(line.split()[1])
                for line in open("/proc/self/status")
                if line.startswith("VmHWM")
            )
            / 1024
        )
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** (
            20 if sys.platform == "darwin" else 10
        )


def cost(action, repeats):
    "Seconds of the fastest time, and the peak memory of the first."
    times, peak = [], None
    while len(times) < repeats or sum(times) < 2 and repeats > 1:
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
        peak = peak or peak_mb()
    return {"seconds": min(times), "peak_mb": peak}


def measure(side, stage, *, epochs, files, folder):
    "In a process of its own: the steps before `stage`, then `stage` itself."
    way = None

    def start():
        nonlocal way
        way = (Theirs if side == "theirs" else Ours)(files, folder, epochs)

    imports = cost(start, 1)
    if stage == "import":
        return imports
    for step in ("load", "chunk", "split", "features"):
        if step == stage:
            return cost(getattr(way, step), REPEATS)
        # the article's networks need its features; ours prepare their inputs themselves, and lazily
        needed = side == "theirs" and (stage == "session" or stage.startswith("spectrogram"))
        if step != "features" or needed:
            getattr(way, step)()
    if stage == "predict":
        return cost(lambda: way.predict(folder / "untrained.keras"), REPEATS)
    return cost(
        lambda: [way.fit(*n) for name, n in NETWORKS.items() if stage in (name, "session")], 1
    )


def check(*, files, folder):
    "In a process of its own: both sides do the same work, or the run is worthless."
    import keras
    import numpy as np
    from sirenbook.networks import SPECTROGRAM
    from sirenbook.results import SETUPS
    from sirenbook.spectrograms import log_spectrogram

    theirs, ours = Theirs(files, folder, 1), Ours(files, folder, 1)
    for step in ("load", "chunk", "split", "features"):
        getattr(theirs, step)(), getattr(ours, step)()
    every = np.arange(len(ours.chunks))

    def same(what, ok):
        if not ok:
            sys.exit(f"theirs and ours differ in {what}: the times would compare different work")

    same(
        "chunks",
        np.array_equal(theirs.audio, ours.chunks[every])
        and np.array_equal(theirs.labels, ours.chunks.y),
    )
    learn, test = ours.parts.train, ours.parts.test
    same(
        "the split",
        all(
            map(
                np.array_equal,
                (theirs.x_tr, theirs.x_val, theirs.y_tr, theirs.y_val),
                (
                    theirs.audio[learn],
                    theirs.audio[test],
                    ours.chunks.y[learn],
                    ours.chunks.y[test],
                ),
            )
        ),
    )
    logs = features = 0
    with np.errstate(invalid="ignore"):
        ours_log = (x for view in ours.chunks.views for x in log_spectrogram(view))
        for x, ours_x, ours_f in zip(theirs.audio, ours_log, ours.X):
            log, f = theirs.log_spectrogram(x), theirs.spectrograms([x])[0]
            spread = np.std(
                log, axis=0
            )  # a bin that hardly varies blows rounding up: compare by log power
            logs = max(logs, np.abs(log - ours_x).max())
            features = max(features, np.abs((f - ours_f) * spread)[:, spread > 1e-4].max())
    same(f"log power (by {logs:.1e})", logs <= TOLERANCE)
    same(f"features (by {features:.1e})", features <= TOLERANCE)
    same(
        "the features learned from",
        np.array_equal(
            theirs.f_tr[:8], theirs.spectrograms(theirs.audio[learn[:8]]), equal_nan=True
        ),
    )
    for kind, what in NETWORKS.values():
        shape = SETUPS[kind, what][1]
        a, b = theirs.network(kind, shape), ours.network(kind, shape)
        same(
            f"the {what} {kind}",
            a.count_params() == b.count_params()
            and [w.shape for w in a.weights] == [w.shape for w in b.weights],
        )
    keras.utils.set_random_seed(SEED)
    theirs.network(NETWORKS[LOADED][0], SPECTROGRAM).save(folder / "untrained.keras")
    answers = [way.predict(folder / "untrained.keras") for way in (theirs, ours)]
    same(f"predictions ({answers})", abs(answers[0] - answers[1]) < TOLERANCE)
    return {
        "chunks": len(ours.chunks),
        "log_power_differs_by": float(logs),
        "features_differ_by": float(features),
    }


def join(name, folder):
    "A data set like the article's own: one long recording a class."
    import numpy as np
    import soundfile as sf
    from sirenbook.recordings import CLASSES, load_dataset

    recordings = load_dataset(name).recordings
    for label in CLASSES:
        (folder / label).mkdir(parents=True)
        sf.write(
            folder / label / "all.wav",
            np.concatenate([r.wav for r in recordings if r.label == label]),
            16000,
        )
    return str(folder)


def child(**job):
    "Do a job in a fresh interpreter, and take its answer from the last line that it prints."
    done = subprocess.run(
        [sys.executable, __file__, "--job"],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2", "TQDM_DISABLE": "1"},
    )
    if done.returncode:
        sys.exit(
            f"{done.stderr}\nThis failed: "
            + " ".join(job.get(k, "") for k in ("what", "stage", "side"))
        )
    return json.loads(done.stdout.splitlines()[-1])


def work(job):
    "What a child does."
    global DATA
    DATA, what = job.pop("data"), job.pop("what")
    from sirenbook.recordings import class_index, load_dataset

    if what == "join":
        answer = join(DATA, Path(job["folder"]) / "joined")
    elif what == "files":
        answer = [(str(r.path), class_index(r.label)) for r in load_dataset(DATA).recordings]
    else:
        job["folder"] = Path(job["folder"])
        answer = {"check": check, "measure": measure}[what](**job)
    print(json.dumps(answer))


def verdict(stage, ratio, aim):
    if not aim:
        return ""
    met = ratio >= (NOISE if aim == 1 else aim)
    return f"{'met' if met else 'MISSED'} (aim {aim}×)"


def report(rows, facts):
    "One table."
    print(
        f"\n{facts['data']}: {facts['chunks']} chunks of {facts['recordings']} recordings,"
        f" {facts['epochs']} epochs, batches of {BATCH}. Same chunks; log power within"
        f" {facts['log_power_differs_by']:.0e}, features within"
        f" {facts['features_differ_by']:.0e}.\n"
    )
    print(
        "| stage | theirs, s | ours, s | times faster | aim | theirs, MB | ours, MB | times less |"
        " aim |"
    )
    print("|---|--:|--:|--:|---|--:|--:|--:|---|")
    for stage, r in rows.items():
        time_, memory = (
            r["theirs"]["seconds"] / r["ours"]["seconds"],
            r["theirs"]["peak_mb"] / r["ours"]["peak_mb"],
        )
        print(
            f"| {stage} | {r['theirs']['seconds']:.4g} | {r['ours']['seconds']:.4g} | {time_:.2f} |"
            f" {verdict(stage, time_, AIMS.get(stage))} | {r['theirs']['peak_mb']:.0f} |"
            f" {r['ours']['peak_mb']:.0f} | {memory:.2f} |"
            f" {verdict(stage, memory, MEMORY_AIM if stage == 'session' else None)} |"
        )
    if {"import", "session"} <= set(rows):
        theirs, ours = (
            rows["session"][side]["peak_mb"] - rows["import"][side]["peak_mb"]
            for side in ("theirs", "ours")
        )
        print(
            f"\nThe session beyond what the libraries take when imported: {theirs:.0f} MB,"
            f" {ours:.0f} MB, {theirs / ours:.2f} times less."
        )


def main():
    ask = argparse.ArgumentParser(
        description="The article's pipeline against sirenbook's, in ratios."
    )
    ask.add_argument(
        "--data",
        default="roadside",
        help="a data set's name, or a folder with a sub-folder for each class",
    )
    ask.add_argument(
        "--joined",
        action="store_true",
        help="join each class to one long recording, as the article's are",
    )
    ask.add_argument("--epochs", type=int, default=10)
    ask.add_argument(
        "--rounds",
        type=int,
        default=1,
        help="measure each stage so often, by turns, and keep the best: for a busy machine",
    )
    ask.add_argument(
        "--only", default=",".join(STAGES), help="stages, with commas between: %(default)s"
    )
    ask.add_argument("--json", action="store_true", help="print JSON instead of the table")
    ask.add_argument("--job", action="store_true", help=argparse.SUPPRESS)
    given = ask.parse_args()
    if given.job:
        return work(json.load(sys.stdin))
    stages = [s.strip() for s in given.only.split(",")]
    strangers = [s for s in stages if s not in STAGES]
    if strangers:
        ask.error(f"no stage is called {', '.join(strangers)}; there are {', '.join(STAGES)}")
    with tempfile.TemporaryDirectory() as folder:
        print("checking that both sides do the same work ...", file=sys.stderr)
        data = child(what="join", data=given.data, folder=folder) if given.joined else given.data
        common = {"data": data, "folder": folder}
        common["files"] = child(
            what="files", data=data
        )  # reads every file: the file cache is warm now
        facts = {
            "data": Path(given.data).name + ", joined" * given.joined,
            "recordings": len(common["files"]),
            "epochs": given.epochs,
        } | child(what="check", **common)
        rows = {}
        for stage in stages:
            runs = {"theirs": [], "ours": []}
            for round_ in range(given.rounds):
                for side in sorted(
                    runs, reverse=round_ % 2 == 0
                ):  # by turns theirs or ours goes first
                    print(f"{stage}, {side} ...", file=sys.stderr, end=" ", flush=True)
                    run = child(
                        what="measure",
                        side=side,
                        stage=stage,
                        epochs=1 if stage == "session" else given.epochs,
                        **common,
                    )
                    print("{seconds:.4g} s, {peak_mb:.0f} MB".format(**run), file=sys.stderr)
                    runs[side].append(run)
            rows[stage] = {
                side: {k: min(run[k] for run in r) for k in r[0]} for side, r in runs.items()
            }
    if given.json:
        print(json.dumps(facts | {"stages": rows}, indent=1))
    else:
        report(rows, facts)


if __name__ == "__main__":
    main()
