"""An archive scanned: hours in an hour of one core, where they go, what Dask costs, memory.

    python benchmarks/archive.py             # four hours, 100,000 clips, a file of twelve hours
    python benchmarks/archive.py --minutes 5 --clips 100 --long 0.2 --names 10000   # a short trial
"""
import argparse, json, os, subprocess, sys, tempfile, time
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

ONE_CORE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
SR, CLIP_S, EVERY_S, KINDS_OF_CLIP = 16_000, 3, 10, 1200   # clips: length, from one to the next
CLIP_FOLDERS = 10                                          # each is scanned by itself
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
    wavs = [w for m in minutes(KINDS_OF_CLIP * CLIP_S // 60, args.seed + 100)
            for w in np.split(m, 60 // CLIP_S)]
    for i, wav in enumerate(wavs): write(folder/f"kinds/{i}.flac", [wav])
    for i in range(CLIP_FOLDERS): (folder/f"clips/{i}").mkdir(parents=True)
    for i in range(args.clips):                        # the same ones return under other names
        at = begin + timedelta(seconds=EVERY_S * i)
        where = folder/f"clips/{i * CLIP_FOLDERS // args.clips}"
        os.link(folder/f"kinds/{i % len(wavs)}.flac", where/f"{at:%Y%m%d_%H%M%S}.flac")
    if args.long: write(folder/"long"/name,
                        minutes(max(1, round(60 * args.long)), args.seed + 200))

def peak_mb():
    "The peak memory of this process (Linux)."
    text = Path("/proc/self/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) * 1024 / 1e6

def seconds(act, *args):
    "How long an act takes."
    start = time.perf_counter()
    act(*args)
    return time.perf_counter() - start

def child(name, *of, rounds=1, **how):
    "A process of this program, with one thread."
    command = (sys.executable, Path(__file__).resolve(), "--child", name, "--rounds", rounds,
               "--of", *of)
    return subprocess.Popen([*map(str, command)], env=os.environ | ONE_CORE, text=True,
                            stdout=subprocess.PIPE, **how)

def sounds(folder): return sorted(Path(folder).rglob("*.flac"))

def scanned(folder, scheduler=None):
    "Scan files into a folder that is deleted again: without Dask, or with a cluster that runs."
    from sirenbook.scans import scan
    with tempfile.TemporaryDirectory(dir=".") as out:
        status = scan(folder, Path(out, "scan"), workers=None if scheduler else 0,
                      scheduler=scheduler)
    if not status.complete or status.counts["done"] != len(sounds(folder)): sys.exit(str(status))

def alone(args):
    "Seconds that each file takes without a scan, at best; a short one comes first."
    import soundfile as sf
    from sirenbook.audio import read_blocks
    from sirenbook.detector import Detector
    from sirenbook.scans import _detector, _keep_memory
    from sirenbook.stores import list_sounds
    _keep_memory()                                     # as a scan does
    by_file = {"decode": lambda f: sf.blocks(f, 10 * SR, dtype="float32", always_2d=True),
               "read": lambda f: read_blocks(f, 10), "score": Detector.pretrained().score,
               "batches": _detector(None).score}
    def act(folder):
        if args.child == "list": return list_sounds(folder)
        for path in sounds(folder):
            for _ in by_file[args.child](path): pass
    act("warm")
    return sum(min(seconds(act, folder) for _ in range(args.rounds)) for folder in args.of)

def start(args):
    "Seconds until a cluster of one worker is there."
    from sirenbook.scans import dask_client
    def act():
        with dask_client(1) as client: client.wait_for_workers(1)
    return min(seconds(act) for _ in range(args.rounds))

def warmed(client):
    "The address of a cluster, each of whose workers has scanned a file."
    from sirenbook.archive import make_jobs
    from sirenbook.scans import _weights, job_table
    from sirenbook.stores import list_sounds
    root, files = list_sounds("warm")
    client.run(job_table, make_jobs(files)[0], root, None, _weights(None))
    return client.scheduler.address

def serve(args):
    "Scan each folder that is named on the standard input, without Dask, and print the seconds."
    scanned("warm")
    for line in sys.stdin: print(seconds(scanned, line.strip()), flush=True)

def in_turns(args):
    "Seconds of scans without Dask and with one worker, of each folder."
    from sirenbook.scans import dask_client
    took = {key: {folder: [] for folder in args.of} for key in ("bare", "one")}
    with child("serve", *args.of, stdin=subprocess.PIPE) as bare, dask_client(1) as client:
        scheduler = warmed(client)
        for _ in range(args.rounds):
            for folder in args.of:
                print(folder, file=bare.stdin, flush=True)
                took["bare"][folder].append(float(bare.stdout.readline()))
                took["one"][folder].append(seconds(scanned, folder, scheduler))
        bare.stdin.close()
    return took

def workers(args):
    "Seconds of scans with one worker and with two."
    from sirenbook.scans import dask_client
    with dask_client(1) as one, dask_client(2) as two:
        two.wait_for_workers(2)
        clusters = [warmed(one), warmed(two)]
        took = [[seconds(scanned, args.of[0], at) for at in clusters] for _ in range(args.rounds)]
    return dict(zip(("one", "two"), zip(*took)))

def peak(args):
    "The peak memory of a worker that scans a folder."
    from sirenbook.scans import dask_client
    with dask_client(1) as client:
        scanned(args.of[0], warmed(client))
        return [*client.run(peak_mb).values()][0]

def shares(args):
    "Seconds of each part of a scan, and in all."
    from sirenbook import archive, batches, detector, frames
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
            (frames.FrontEnd, "push", levels), (batches, "scipy_log_mel", mel),
            (batches, "running_pcen", pcen), (batches._Layers, "__call__", network)):
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

def ask(folder, name, *of, rounds=1):
    "What such a process finds."
    print(name, *of, file=sys.stderr)
    with child(name, *of, rounds=rounds, cwd=folder, stderr=subprocess.PIPE) as process:
        out, errors = process.communicate()
    if process.returncode: sys.exit(f"{name}: {errors.strip()}")
    return json.loads(out.splitlines()[-1])

def best(took):
    "The seconds of all folders, each at best."
    return sum(map(min, took.values()))

def pairs(took, other):
    "Ratios of single rounds."
    return [a / b for f in took for a, b in zip(took[f], other[f])]

def measured(folder, args):
    "The rows of the table."
    streets = [f"hours/street{i}" for i in range(args.hours)]
    rows, n, m = [], args.hours, args.clips
    hour_s, clip_s = args.minutes * 60, m * CLIP_S
    say = lambda v: f"{v:.0f}" if abs(v) >= 100 else f"{v:.3g}"
    def row(what, value, unit, aim="", n=n, rounds=()):
        sign, limit = aim.split() if aim else ("", 0)
        low, high = (say(end(rounds)) if rounds else "" for end in (min, max))
        rows.append({"what": what, "value": say(value), "low": low, "high": high, "unit": unit,
                     "aim": aim, "n": n, "verdict": sign and (
                         "met" if (value < float(limit)) == (sign == "<") else "MISSED")})
    speed = "h of sound/core-h"
    for name, what in (("decode", "decoding alone, soundfile"),
                       ("read", "decoding alone, read_blocks"),
                       ("score", "Detector.score"), ("batches", "BatchDetector.score")):
        took = ask(folder, name, *streets, rounds=args.rounds)
        row(what, n * hour_s / took, speed)
        if name == "decode": decoding = took
    hours = ask(folder, "in_turns", *streets, rounds=args.rounds)
    clips = ask(folder, "in_turns", *(f"clips/{i}" for i in range(CLIP_FOLDERS)))
    row("file to table", n * hour_s / best(hours["bare"]), speed, ">= 800",
        rounds=[hour_s / s for each in hours["bare"].values() for s in each])
    row("file to table / decoding alone", best(hours["bare"]) / decoding, "times the time")
    took = ask(folder, "shares", "hours/street0")
    for part in PARTS: row(part, 100 * took[part] / took["total"], "% of the time", n=1)
    row("start of Dask with one worker", ask(folder, "start", "warm", rounds=args.rounds), "s", n=1)
    row("Dask with one worker / without", 100 * (best(hours["one"]) / best(hours["bare"]) - 1),
        "% more time", "< 5", rounds=[100 * (x - 1) for x in pairs(hours["one"], hours["bare"])])
    took = ask(folder, "workers", "hours", rounds=args.rounds)
    row("two workers / one", min(took["one"]) / min(took["two"]), "times faster", ">= 1.8",
        rounds=[a / b for a, b in zip(took["one"], took["two"])])
    row("clips without Dask", clip_s / best(clips["bare"]), speed, n=m,
        rounds=[clip_s / CLIP_FOLDERS / s for [s] in clips["bare"].values()])
    row("clips, Dask with one worker / without",
        100 * (1 - best(clips["bare"]) / best(clips["one"])), "% less speed", "< 20", m,
        [100 * (1 - x) for x in pairs(clips["bare"], clips["one"])])
    row("clips / files of an hour, Dask with one worker",
        100 * (clip_s / best(clips["one"])) / (n * hour_s / best(hours["one"])), "% of the speed",
        n=m)
    for length, of in ((args.minutes / 60, streets[0]), (args.long, "long")):
        if length: row(f"peak of a worker, a file of {length:.3g} h", ask(folder, "peak", of), "MB",
                       "< 400", 1)
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
    for line in lines: print("  ".join(c.rjust(w) if i in (1, 2, 3, 6) else c.ljust(w)
                                       for i, (c, w) in enumerate(zip(line, width))).rstrip())

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, kind, default, words in (
            ("hours", int, 4, "files of an hour, an even number, as two workers share them"),
            ("clips", int, 100_000, "clips of 3 s, ten or more"),
            ("rounds", int, 6, "rounds with the files of an hour; the best one of each counts"),
            ("long", float, 12, "hours of a long file; 0 leaves it out"),
            ("names", int, 1_000_000, "names to plan"), ("seed", int, 0, "of the sounds"),
            ("minutes", int, 60, "length of the files of an hour: less for a trial")):
        parser.add_argument(f"--{name}", type=kind, default=default, help=f"{words} ({default:,})")
    parser.add_argument("--out", type=Path, help="write the table to this CSV file as well")
    for name, how in (("child", {}), ("of", {"nargs": "+"})):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS, **how)
    args = parser.parse_args()
    acts = {f.__name__: f for f in (in_turns, peak, plan, serve, shares, start, workers)}
    if args.child: return print(json.dumps(acts.get(args.child, alone)(args)))
    if args.hours < 2 or args.hours % 2: parser.error("hours: 2, 4, 6 and so on")
    counts = args.clips, args.rounds, args.minutes, args.names
    if min(counts) < 1 or args.long < 0 or args.clips < CLIP_FOLDERS:
        parser.error("clips: 10 or more; rounds, minutes and names: 1 or more; long: 0 or more")
    from sirenbook.files import write_csv
    with tempfile.TemporaryDirectory() as folder:
        print("writing the files", file=sys.stderr)
        make(Path(folder), args)
        mb = sum(p.stat().st_size for p in sounds(Path(folder, "hours"))) / 1e6 / args.hours
        rows = measured(Path(folder), args)
    hour_mb = mb * 60 / args.minutes
    rows.append(dict.fromkeys(rows[0], "") | {"what": "a file of an hour", "unit": "MB",
                                              "value": f"{hour_mb:.0f}", "n": args.hours})
    show(rows)
    print(f"\n{args.hours} files of {args.minutes} min have {mb:.0f} MB each.")
    if args.out: write_csv(args.out, rows)

if __name__ == "__main__": main()
