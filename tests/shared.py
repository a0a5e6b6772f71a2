"""What tests share: data, sounds, the shape of an error, a fresh interpreter, a server."""

import os, re, subprocess, sys, threading
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from sirenbook.recordings import CLASSES, Dataset
from sirenbook.errors import SirenbookError
from sirenbook.signals import tone

ROOT = Path(__file__).resolve().parent.parent
PACKAGE, NBS = ROOT / "sirenbook", ROOT / "nbs"


def real(name):
    "A folder of real recordings, or a skip in words."
    places = [
        Path(p)
        for p in (os.environ.get("SIRENBOOK_DATA"), ROOT.parent / "shared" / "datasets")
        if p
    ]
    found = next((p / name for p in places if (p / name).is_dir()), None)
    if not found:
        pytest.skip(
            f"the real recordings '{name}' are not on this machine, so nothing was tried on them"
            f" (set SIRENBOOK_DATA to the folder that holds {name}/)"
        )
    return found


def thinned(data, every):
    "Every so many recordings of a data set, of each class alike."
    return Dataset(
        data.name,
        [r for c in CLASSES for r in [r for r in data.recordings if r.label == c][::every]],
    )


def write(path, wav=None, sr=16000, **kwargs):
    "Write a sound file, a second of a tone unless told, and make its folder."
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, tone(440, 1, sr) if wav is None else wav, sr, **kwargs)
    return path


def write_folder(folder, n=2, seconds=3):
    "A data set of noises, no two alike: `n` recordings of each class."
    for i, c in enumerate(CLASSES):
        for k in range(n):
            write(
                folder / c / f"{k}.wav",
                np.random.default_rng([i, k]).normal(0, 0.1, 16000 * seconds),
            )
    return folder


def is_sentence(text):
    return (
        "\n" not in text
        and len(text) < 400
        and not re.search(r"[.!?]\s", text)
        and "Traceback" not in text
    )


@contextmanager
def complains(*names, kind=SirenbookError):
    "What is done within must raise our own error, in one sentence that holds `names`."
    with pytest.raises(kind) as caught:
        yield caught
    text = str(caught.value)
    assert is_sentence(text), f"not one sentence: {text!r}"
    for name in names:
        assert str(name) in text, f"{text!r} does not name {name}"


def fresh(code, *args, **env):
    "What a new interpreter prints when it runs `code` in the repository."
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        cwd=ROOT,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert not done.returncode, done.stderr
    return done.stdout.strip()


class Server(ThreadingHTTPServer):
    "Serves on this computer, at `at`, within a `with`; clients that leave are passed over."

    daemon_threads = True

    def __init__(self, handler):
        super().__init__(("127.0.0.1", 0), handler)
        self.at = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *args):
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(*args)

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *args):
        self.shutdown()
        self.server_close()
