"""An archive scanned: hours in an hour of one core, where they go, what Dask costs, memory.

    python benchmarks/archive.py                 # six hours, 2,400 clips, a file of twelve hours
    python benchmarks/archive.py --minutes 5 --clips 100 --long 0.2 --names 10000   # a short trial
"""
import argparse, json, os, subprocess, sys, tempfile, time
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

ONE_CORE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
SR, CLIP_S, EVERY_S, ALL_CLIPS = 16_000, 3, 10, 100_000   # clips: length, from one to the next
PARTS = ("reading and decoding", "levels, mono, resampling, framing", "log-mel", "PCEN", "network",
         "the rest: checks, rows, tables, events")

def minutes(n, seed):
    "A street, minute by minute, with a siren in one of eight of them."
    from sirenbook.noises import noise
    from sirenbook.sirens import KINDS, siren
    rng = np.random.default_rng(seed)
    street, fade = 0.05 * noise("traffic", 60, rng), np.hanning(20 * SR)
    passing = [0.1 * fade * siren(kind, 20, rng) for kind in KINDS]
    for _ in range(n):
        wav = np.roll(street, rng.integers(len(street))) * rng.uniform(0.7, 1.3)
        if rng.uniform() < 1 / 8:
            at = rng.integers(40 * SR)
            wav[at:at + 20 * SR] += passing[rng.integers(len(passing))]
        yield np.clip(wav, -0.99, 0.99)

def write(path, wavs):
    "Blocks as a FLAC file."
    import soundfile as sf
    path.parent.mkdir(parents=True, exist_ok=True)
    with sf.SoundFile(path, "w", SR, 1, "PCM_16", format="FLAC") as out:
        for wav in wavs: out.write(wav)

def make(folder, args):
    "Write the files: a recorder for each hour, one of clips, and one of a long file."
    name, begin = "20260301_000000.flac", datetime(2026, 3, 1)
    for i in range(args.hours):                        # each file is a job, however short it is
        write(folder/f"hours/street{i}"/name, minutes(args.minutes, args.seed + i))
    write(folder/"warm"/name, minutes(1, args.seed))
    wavs = [w for m in minutes(60, args.seed + 100) for w in np.split(m, 60 // CLIP_S)]
    for i in range(args.clips):
        at = begin + timedelta(seconds=EVERY_S * i)
        write(folder/f"clips/{at:%Y%m%d_%H%M%S}.flac", [wavs[i % len(wavs)]])
    if args.long: write(folder/"long"/name,
                        minutes(max(1, round(60 * args.long)), args.seed + 200))

def peak_mb(pid="self"):
    "The peak memory of a process (Linux)."
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) * 1024 / 1e6

def seconds(act, *args):
    "How long an act takes."
    start = time.perf_counter()
    act(*args)
    return time.perf_counter() - start

def sounds(folder): return sorted(Path(folder).rglob("*.flac"))

def scanned(folder, scheduler=None):
    "Scan files into a folder that is deleted again: without Dask, or with a cluster that runs."
    from sirenbook.scans import scan
    with tempfile.TemporaryDirectory(dir=".") as out:
        status = scan(folder, Path(out, "scan"), workers=None if scheduler else 0,
                      scheduler=scheduler)
    if not status.complete or status.counts["done"] != len(sounds(folder)): sys.exit(str(status))

def alone(args):
    "Seconds that files take without Dask; a short file comes first, so that all is loaded."
    import soundfile as sf
    from sirenbook.audio import read_blocks
    from sirenbook.scans import _detector
    from sirenbook.stores import list_sounds
    file_by_file = {"decode": lambda f: sf.blocks(f, 10 * SR, dtype="float32", always_2d=True),
                    "read": lambda f: read_blocks(f, 10), "score": _detector(None).score}
    def act(folder):
        if args.child in file_by_file:
            for path in sounds(folder):
                for _ in file_by_file[args.child](path): pass
        else: {"bare": scanned, "list": list_sounds}[args.child](folder)
    act("warm")
    return seconds(act, args.of[0])

def with_dask(args):
    "Start-up; then for each folder: seconds, and the peak memory of a worker so far."
    start, found = time.perf_counter(), []
    from sirenbook.archive import make_jobs
    from sirenbook.scans import _weights, dask_client, job_table
    from sirenbook.stores import list_sounds
    with dask_client(args.workers) as client:
        client.wait_for_workers(args.workers)
        start_s = time.perf_counter() - start
        root, files = list_sounds("warm")
        client.run(job_table, make_jobs(files)[0], root, None, _weights(None))   # each is warm
        scanned(root)
        pids = client.run(os.getpid).values()
        for folder in args.of:
            took = seconds(scanned, folder, client.scheduler.address)
            found.append({"s": took, "mb": max(map(peak_mb, pids))})
    return {"start_s": start_s, "scans": found}

def shares(args):
    "Seconds of each part of a scan, and in all."
    from sirenbook import archive, detector, frames
    took, inner = dict.fromkeys(PARTS[:-1], 0.0), []       # inner: time of timed parts within

    def timed(part, act):
        def run(*given, **how):
            inner.append(0.0)
            start = time.perf_counter()
            try: return act(*given, **how)
            finally:
                spent = time.perf_counter() - start
                took[part] += spent - inner.pop()
                if inner: inner[-1] += spent
        return run

    decoding, levels, mel, pcen, network = took
    def timed_blocks(*given, blocks=archive.read_blocks):
        each = blocks(*given)
        return iter(timed(decoding, lambda: next(each, None)), None)
    scanned("warm")
    archive.read_blocks = timed_blocks
    for where, name, part in (
            (archive, "second_levels", levels), (detector._Mono, "__call__", levels),
            (frames.FrontEnd, "push", levels), (frames, "log_mel", mel),
            (frames, "running_pcen", pcen), (frames._Lite, "__call__", network)):
        setattr(where, name, timed(part, getattr(where, name)))   # a function binds as a method
    total = seconds(scanned, args.of[0])
    return took | {PARTS[-1]: total - sum(took.values()), "total": total}

def plan(args):
    "Share the names of forty recorders among jobs."
    from sirenbook.archive import make_jobs
    from sirenbook.stores import StoredFile
    n = int(args.of[0])
    at = [datetime(2026, 1, 1) + timedelta(seconds=EVERY_S * i) for i in range(-(-n // 40))]
    files = [StoredFile(f"site{k:02}/{t:%Y-%m-%d/%Y%m%d_%H%M%S}.flac", 50_000, f"{10**18 + i}")
             for k in range(40) for i, t in enumerate(at)][:n]
    before, kept = peak_mb(), []                           # kept: as a scan does
    took = seconds(lambda: kept.append({u.key(""): u for u in make_jobs(files)}))
    return {"s": took, "mb": peak_mb(), "before_mb": before}

def ask(folder, name, *of, workers=1):
    "What such a process finds."
    print(name, *of, *[workers] * (name == "dask"), file=sys.stderr)
    command = (sys.executable, Path(__file__).resolve(), "--child", name, "--workers", workers,
               "--of", *of)
    done = subprocess.run([*map(str, command)], cwd=folder, env=os.environ | ONE_CORE,
                          capture_output=True, text=True)
    if done.returncode: sys.exit(f"{name}: {done.stderr.strip()}")
    return json.loads(done.stdout.splitlines()[-1])

def measured(folder, args):
    "The rows of the table."
    wanted = {name: (name, "hours") for name in ("decode", "read", "score", "bare")} | {
        "one": ("dask", "hours"), "two": ("dask", "hours"), "clips": ("bare", "clips"),
        "clips shared": ("dask", "clips")}
    found = {key: [] for key in wanted}
    for _ in range(args.rounds):                                           # in turns
        for key, what in wanted.items():
            found[key].append(ask(folder, *what, workers=1 + (key == "two")))
    best = {key: min(r if isinstance(r, float) else r["scans"][0]["s"] for r in runs)
            for key, runs in found.items()}
    rows, n, m = [], args.hours, args.clips
    sound_s, clip_s = n * args.minutes * 60, m * CLIP_S
    def row(what, value, unit, aim="", n=n):
        sign, limit = aim.split() if aim else ("", 0)
        rows.append({"what": what, "value": f"{value:.0f}" if value >= 100 else f"{value:.3g}",
                     "unit": unit, "aim": aim, "n": n, "verdict": sign and (
                         "met" if (value < float(limit)) == (sign == "<") else "MISSED")})
    for key, what, aim in (("decode", "decoding alone, soundfile", ""),
                           ("read", "decoding alone, read_blocks", ""),
                           ("score", "Detector.score", ""), ("bare", "file to table", ">= 800")):
        row(what, sound_s / best[key], "h of sound/core-h", aim)
    row("file to table / decoding alone", best["bare"] / best["decode"], "times the time")
    took = ask(folder, "shares", "hours/street0")
    for part in PARTS: row(part, 100 * took[part] / took["total"], "% of the time", n=1)
    row("start of Dask with one worker", min(r["start_s"] for r in found["one"]), "s", n=1)
    row("Dask with one worker / without", 100 * (best["one"] / best["bare"] - 1), "% more time",
        "< 5")
    row("two workers / one", best["one"] / best["two"], "times faster", ">= 1.8")
    row("clips without Dask", clip_s / best["clips"], "h of sound/core-h", n=m)
    row("clips, Dask with one worker / without", 100 * (1 - best["clips"] / best["clips shared"]),
        "% less speed", "< 20", m)
    row("clips / files of an hour, Dask with one worker",
        100 * (clip_s / best["clips shared"]) / (sound_s / best["one"]), "% of the speed", n=m)
    peaks = ask(folder, "dask", "hours/street0", *["long"] * bool(args.long))["scans"]
    for length, peak in zip((args.minutes / 60, args.long), peaks):
        row(f"peak of a worker, a file of {length:.3g} h", peak["mb"], "MB", "< 400", 1)
    row("listing a folder of clips", 1e6 * ask(folder, "list", "clips") / m, "s per million", n=m)
    planned = ask(folder, "plan", args.names)
    for what, key, unit in (("planning names", "s", "s"), ("peak while planning them", "mb", "MB"),
                            ("peak before that, the names alone", "before_mb", "MB")):
        row(what, planned[key], unit, n=args.names)
    return rows

def show(rows):
    "The table, in columns."
    lines = [[*rows[0]], *[[f"{c:,}" if type(c) is int else c for c in r.values()] for r in rows]]
    width = [max(map(len, column)) for column in zip(*lines)]
    for line in lines: print("  ".join(c.rjust(w) if i in (1, 4) else c.ljust(w)
                                       for i, (c, w) in enumerate(zip(line, width))).rstrip())

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, kind, default, words in (
            ("hours", int, 6, "files of an hour, an even number, as two workers share them"),
            ("clips", int, 2400, "clips of 3 s"), ("rounds", int, 2, "rounds; the best one counts"),
            ("long", float, 12, "hours of a long file; 0 leaves it out"),
            ("names", int, 1_000_000, "names to plan"), ("seed", int, 0, "of the sounds"),
            ("minutes", int, 60, "length of the files of an hour: less for a trial")):
        parser.add_argument(f"--{name}", type=kind, default=default, help=f"{words} ({default:,})")
    parser.add_argument("--out", type=Path, help="write the table to this CSV file as well")
    for name, how in (("child", {}), ("of", {"nargs": "+"}), ("workers", {"type": int})):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS, **how)
    args = parser.parse_args()
    if args.child: return print(json.dumps(
        {"dask": with_dask, "plan": plan, "shares": shares}.get(args.child, alone)(args)))
    if args.hours < 2 or args.hours % 2: parser.error("hours: 2, 4, 6 and so on")
    if min(args.clips, args.rounds, args.minutes, args.names) < 1 or args.long < 0:
        parser.error("clips, rounds, minutes and names: 1 or more; long: 0 or more")
    from sirenbook.files import write_csv
    with tempfile.TemporaryDirectory() as folder:
        print("writing the files", file=sys.stderr)
        make(Path(folder), args)
        mb = sum(p.stat().st_size for p in sounds(Path(folder, "hours"))) / 1e6 / args.hours
        rows = measured(Path(folder), args)
    hour_mb = mb * 60 / args.minutes
    rows.append({"what": "a file of an hour", "value": f"{hour_mb:.0f}", "unit": "MB", "aim": "",
                 "n": args.hours, "verdict": ""})
    show(rows)
    print(f"\n{args.clips:,} clips are {args.clips / ALL_CLIPS:.1%} of {ALL_CLIPS:,}; "
          f"{args.hours} files of {args.minutes} min have {mb:.0f} MB each.")
    if args.out: write_csv(args.out, rows)

if __name__ == "__main__": main()
