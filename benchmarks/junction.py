"""A simulated minute of junction against real time, and where its time goes.

    python benchmarks/junction.py            # three minutes of it, on one core
    python benchmarks/junction.py --runs 5   # more of them
"""
import os
os.environ |= dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)  # before numpy looks
import argparse, sys, time
from statistics import median

import numpy as np
from sirenbook.audio import SR
from sirenbook.detector import Detector
from sirenbook.junction import Ear
from sirenbook.mast import Mast, Siren, hidden_db
from sirenbook.sirens import PRESETS, render
from sirenbook.traffic import STEP_S, Traffic

WARM_UP_S, MINUTE_S, AIM = 120, 60, 6     # traffic before it counts, s; times faster than real time


def minute(seed, detector):
    "Seconds that each part of a simulated minute takes, with an ambulance on its way."
    took = dict.fromkeys(("making the sounds", "traffic and signals", "sound at four microphones",
                          "four streams and the rules"), 0.0)

    def timed(part, act):
        start = time.perf_counter()
        result = act()
        took[part] += time.perf_counter() - start
        return result

    def sounds():
        mast = Mast(np.random.default_rng(seed), seconds=30)
        return mast, Siren(render(PRESETS["PA300 wail"], MINUTE_S + 2, SR)), Ear(detector)

    mast, siren, ear = timed("making the sounds", sounds)
    with Traffic(seed) as traffic:
        while traffic.time < WARM_UP_S: traffic.step()
        traffic.add_ambulance()
        for _ in range(round(MINUTE_S / STEP_S)):
            timed("traffic and signals", traffic.step)
            there = traffic.vehicles()
            if "ambulance" in there.names:
                xy = there.position_m[there.names.index("ambulance")]
                siren.move((*xy, 2.0), hidden_db(xy, mast.centre_m, mast.streets))
            block = timed("sound at four microphones", lambda: mast.block(there, [siren]))
            timed("four streams and the rules", lambda: ear.push(traffic.time, block))
    return took


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="minutes to simulate (3)")
    args, detector = parser.parse_args(), Detector.pretrained()
    if args.runs < 1: sys.exit("runs: 1 or more")
    minute(0, detector)                                      # warm
    runs = [minute(seed, detector) for seed in range(1, args.runs + 1)]
    total = median(sum(took.values()) for took in runs)
    print(f"{'part':28}  share of the time")
    for part in runs[0]: print(f"{part:28}  {median(t[part] for t in runs) / total:16.0%}")
    times = MINUTE_S / total
    print(f"\na minute of junction, times faster than real time: {times:.1f} (aim {AIM}; "
          f"{'reached' if times >= AIM else 'missed'})")


if __name__ == "__main__": main()
