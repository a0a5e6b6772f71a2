"""The simulated junction: signals that nothing can make dangerous, sound that keeps the laws of
physics, rules of asking, and an experiment that can be stopped."""

import re, shutil, sys
from types import FunctionType, SimpleNamespace

import numpy as np
import pytest
from hypothesis import Phase, given, settings, strategies as st
from shared import complains, fresh
from sirenbook import cli, junction, mast, traffic
from sirenbook.errors import SirenbookFileError
from sirenbook.experiments import junction as experiment
from sirenbook.junction import (Case, Ear, Policy, Requester, Rules, Run, compare_runs, load_runs,
                                mean_interval, tone_levels)
from sirenbook.mast import (BACK, FINE, Mast, Path, Siren, Weather, cardioid, hidden_db,
                            horn_directivity, smooth_path)
from sirenbook.roads import Trajectory
from sirenbook.signals import rms
from sirenbook.traffic import (ALL_RED_S, ARMS, CLEARANCE_S, GREEN_WAVE, MIN_GREEN_S, MIN_WALK_S,
                               NETWORK, STAGES, STEP_S, YELLOW_S, ConflictMonitor, Controller, Plan,
                               Traffic, UnsafeSignals, Vehicles, load_junction, signal_state,
                               street_lanes)

SR = 16000
QUICK = settings(max_examples=60, deadline=None, derandomize=True,
                 phases=(Phase.explicit, Phase.generate))       # to shrink takes minutes
A = load_junction("A")

# ---- networks

def test_every_junction_is_read():
    for name in "ABCD":
        j = load_junction(name)
        assert j.name == name and {*j.into} == {*j.out_of} == {*j.stop_m} == {*ARMS}
        assert {(link.arm, link.exit) for link in j.links} == {
            (a, b) for a in ARMS for b in ARMS if a != b}
        for link in j.links:
            ahead = (ARMS.index(link.exit) - ARMS.index(link.arm)) % 4     # ARMS go round clockwise
            assert link.turn == {1: "l", 2: "s", 3: "r"}[ahead]
        assert all((b, a) in j.foes and j.links[a].arm != j.links[b].arm for a, b in j.foes)
        straight = {a: next(i for i, link in enumerate(j.links)
                            if (link.arm, link.turn) == (a, "s")) for a in ARMS}
        assert all(((straight[a], straight[b]) in j.foes) == ((a in "WE") != (b in "WE"))
                   for a in ARMS for b in ARMS if a != b)
        for arm, (one, two) in j.stop_m.items():
            side = np.array({"W": (-1, 0), "N": (0, 1), "E": (1, 0), "S": (0, -1)}[arm])
            middle = (np.array(one) + two) / 2 - j.centre_m
            assert 5 < middle @ side < 25 and abs((np.array(one) - two) @ side) < 0.1
    assert [load_junction(n).centre_m[0] for n in "ABCD"] == [0, 300, 600, 900]

SIGNALS = '<net><junction id="A" type="traffic_light" x="0" y="0"/></net>'

@pytest.mark.parametrize("content, what", [
    ("hello", "cannot be read as a SUMO network"), ("", "cannot be read as a SUMO network"),
    ("<net>", "cannot be read as a SUMO network"), ("<routes/>", "is no SUMO network"),
    ('<net><junction id="A" type="priority" x="0" y="0"/></net>', "has signals"),
    ("<net/>", "has signals"), (SIGNALS.replace('"A"', '"Q"'), "there are Q"),
    (None, "cannot be read as a SUMO network")])
def test_a_file_that_is_no_network_is_refused(tmp_path, content, what):
    path = tmp_path / "n.net.xml"
    if content is not None: path.write_text(content)
    with complains(path, what): load_junction("A", path)
    if "there are" not in what and "signals" not in what:
        with complains(path, what, kind=SirenbookFileError): street_lanes(path)

def test_a_name_that_is_no_junction_is_refused():
    for name in ("a", "", "E", None):
        with complains("no junction", repr(name), "A, B, C, D"): load_junction(name)

# ---- the controller

# requests, each with how many steps it lasts
ASKING = st.lists(st.tuples(st.sampled_from((None, *ARMS)), st.integers(1, 200)), max_size=25)
PLANS = st.builds(lambda a, b, o: Plan((a, b), o), *[st.integers(15, 50).map(float)] * 2,
                  st.integers(0, 240).map(lambda k: k * STEP_S))

def drive(controller, asking, calm_s=0.0):
    "Rows (time, stage, colour, request) of a controller, with nobody asking at the end."
    rows = [r for r, n in asking for _ in range(n)] + [None] * round(calm_s / STEP_S)
    return [(k * STEP_S, *controller.update(k * STEP_S, r), r) for k, r in enumerate(rows)]

def spells(rows):
    "Spells of one stage and colour: (stage, colour, begins, ends)."
    found = []
    for t, stage, color, _ in rows:
        if found and found[-1][:2] == [stage, color]: found[-1][3] = t + STEP_S
        else: found.append([stage, color, t, t + STEP_S])
    return found

@QUICK
@given(PLANS, ASKING)
def test_no_request_makes_a_controller_unsafe(plan, asking):
    monitor, rows = ConflictMonitor(A), drive(Controller(plan), asking, 120)
    for t, stage, color, _ in rows: monitor.check(t, signal_state(A.links, stage, color))
    found = spells(rows)
    for (stage, color, begins, ends), (_, after, *_) in zip(found[1:], found[2:]):
        assert after == {"green": "yellow", "yellow": "red", "red": "green"}[color]
        assert ends - begins >= {"green": MIN_GREEN_S, "yellow": YELLOW_S, "red": ALL_RED_S}[color]
        if color != "green": assert ends - begins <= YELLOW_S + 1e-9      # and none is drawn out

@QUICK
@given(PLANS, ASKING)
def test_pedestrians_who_started_can_finish(plan, asking):
    controller, began, walk = Controller(plan), None, -np.inf
    for k, request in enumerate([r for r, n in asking for _ in range(n)] + [None] * 400):
        t, before = k * STEP_S, controller.color
        color = controller.update(t, request)[1]
        if (before, color) == ("red", "green"): began, walk = t, controller._walk_end
        if color == "green" and controller._walk_end != walk:          # cut short
            assert t <= controller._walk_end < walk                    # never in the past
            walk = controller._walk_end
        if began is not None and walk > -np.inf:
            assert walk >= began + MIN_WALK_S
            if (before, color) == ("green", "yellow"): assert t >= walk + CLEARANCE_S

def test_pedestrians_walk_in_every_green_of_the_plan():
    controller, walked = Controller(), []
    for k in range(2400):
        before, (_, color) = controller.color, controller.update(k * STEP_S)
        if (before, color) == ("red", "green"): walked.append(controller._walk_end - k * STEP_S)
    assert {*walked} == {20.0, 10.0}                 # green less the clearance

@QUICK
@given(PLANS, ASKING)
def test_a_controller_returns_to_its_plan(plan, asking):
    asked = drive(Controller(plan), asking, 3 * plan.cycle_s)
    calm = drive(Controller(plan), [(None, len(asked))])
    last = -round(plan.cycle_s / STEP_S)
    assert [r[:3] for r in asked[last:]] == [r[:3] for r in calm[last:]]
    shown = {stage for _, stage, color, _ in calm[last:] if color == "green"}
    assert shown == {*STAGES}

@QUICK
@given(PLANS, ASKING, st.sampled_from(ARMS))
def test_who_asks_has_green_within_nineteen_seconds_and_keeps_it(plan, asking, arm):
    rows = drive(Controller(plan), [*asking, (arm, 240)])[-240:]
    has = [arm in stage and color == "green" for _, stage, color, _ in rows]
    worst_s = MIN_WALK_S + CLEARANCE_S + YELLOW_S + ALL_RED_S
    assert all(has[round(worst_s / STEP_S):])
    assert has[has.index(True):].count(False) == 0

def test_green_lasts_as_long_as_the_plan_says():
    plan = Plan((30.0, 20.0), 7.0)
    found = [s for s in spells(drive(Controller(plan), [(None, 1200)])) if s[1] == "green"][1:-1]
    assert all(ends - begins == dict(zip(STAGES, plan.green_s))[stage]
               for stage, _, begins, ends in found)
    assert all((begins - 7.0) % 60 == {"WE": 0, "NS": 35}[stage] for stage, _, begins, _ in found)

def test_a_request_is_an_arm():
    for request in ("NS", "n", "", 0, "up"):
        with complains(repr(request), "W, N, E, S"): Controller().update(0.0, request)

# ---- the monitor, against a second opinion that was written without a look at it

def dangers(states, links=A.links, foes=A.foes):
    "What is wrong with states that follow each other in steps of STEP_S, by its own count."
    steps = lambda seconds: round(seconds / STEP_S)
    stage = lambda i: "WE" if links[i].arm in "WE" else "NS"
    cross = [[j for a, j in foes if a == i and stage(i) != stage(j)] for i in range(len(links))]
    found = set()
    for state in {*states}:
        for i, j in foes:
            both_go = state[i] != "r" and state[j] != "r"
            if both_go and stage(i) != stage(j): found.add("conflict")
            if state[i] == state[j] == "G" and stage(i) == stage(j): found.add("nobody yields")
    for i in range(len(links)):
        letters = [s[i] for s in states]
        changes = [k for k in range(1, len(letters)) if letters[k] != letters[k - 1]]
        for n, k in enumerate(changes):
            old, new = letters[k - 1], letters[k]
            lasted = k - changes[n - 1] if n else np.inf
            if old in "Gg" and new == "r": found.add("no yellow")
            if old == "y" and lasted < steps(YELLOW_S): found.add("short yellow")
            if old in "Gg" and lasted < steps(MIN_GREEN_S): found.add("short green")
            clear = [states[max(m, 0)][j] for m in range(k - steps(ALL_RED_S), k) for j in cross[i]]
            if new in "Gg" and {*clear} - {"r"}: found.add("not clear")
    return found

def caught(states, j=A):
    "What a monitor says of states, one a step."
    monitor = ConflictMonitor(j)
    try:
        for k, state in enumerate(states): monitor.check(k * STEP_S, state)
    except UnsafeSignals as e: return str(e)

def put(state, i, letter): return state[:i] + letter + state[i + 1:]

def correct_states(rng):
    "The states of a controller that somebody asks now and then."
    asking = [(rng.choice([None, *ARMS]), int(rng.integers(20, 100))) for _ in range(4)]
    return [signal_state(A.links, s, c) for _, s, c, _ in drive(Controller(), asking, 20)]

def mutate(states, rng):
    "One mistake, somewhere."
    states, k = list(states), int(rng.integers(1, len(states)))
    i, n = int(rng.integers(len(A.links))), int(rng.integers(1, 30))
    colors = np.array([re.sub("g", "G", max(s, key="rGgy".index)) for s in states])
    yellow, red = np.flatnonzero(colors == "y"), np.flatnonzero(colors == "r")
    near = lambda where: int(rng.choice(where)) if len(where) else k
    begins = lambda color: np.flatnonzero((colors[1:] == color) & (colors[:-1] != color)) + 1
    kind = rng.integers(8)
    if kind == 0: states[k] = put(states[k], i, str(rng.choice([*"Ggyr"])))         # a letter
    elif kind == 1:                                                    # a lamp that sticks
        for m in range(k, min(k + n, len(states))): states[m] = put(states[m], i, states[k - 1][i])
    elif kind == 2: del states[(k := near(yellow)):k + n]              # less yellow
    elif kind == 3: del states[(k := near(red)):k + n]                 # less red
    elif kind == 4: del states[(k := near(begins("G"))):k + 4 * n]     # a shorter green, or none
    elif kind == 5: states = [s for s, c in zip(states, colors) if c != "y"]
    elif kind == 6:                                                    # a turn that must not yield
        states[k] = states[k].replace("g", "G")
    else: states[k:k + n] = [states[int(rng.integers(len(states)))]] * n    # another moment
    return states

def test_whatever_is_unsafe_is_caught():
    rng, unsafe, kinds = np.random.default_rng(0), 0, set()
    for _ in range(300):
        good = correct_states(rng)
        assert not dangers(good) and caught(good) is None
        bad = mutate(good, rng)
        if found := dangers(bad):
            assert caught(bad), found
            unsafe, kinds = unsafe + 1, kinds | found
    assert unsafe > 100 and kinds == {"conflict", "nobody yields", "no yellow", "short yellow",
                                      "short green", "not clear"}

WE, NS, Y, R = (signal_state(A.links, *s) for s in (
    ("WE", "green"), ("NS", "green"), ("WE", "yellow"), ("WE", "red")))
GREEN, YELLOW, RED = (round(s / STEP_S) for s in (MIN_GREEN_S, YELLOW_S, ALL_RED_S))
ONE_MISTAKE = {   # each with nothing else wrong
    "conflict": [put(WE, next(i for i, link in enumerate(A.links) if link.arm == "N"), "y")],
    "nobody yields": [WE.replace("g", "G")],
    "no yellow": [WE] * GREEN + [R],
    "short yellow": [WE] * GREEN + [Y] * (YELLOW - 1) + [R],
    "short green": [R] * RED + [WE] * (GREEN - 1) + [Y],
    "not clear": [WE] * GREEN + [Y] * YELLOW + [R] * (RED - 1) + [NS]}

@pytest.mark.parametrize("kind", ONE_MISTAKE)
def test_one_mistake_alone_is_caught(kind):
    states = ONE_MISTAKE[kind]
    assert dangers(states) == {kind}
    says = {"conflict": "meets", "nobody yields": "meets", "no yellow": "without yellow",
            "short yellow": "showed y", "short green": "for 6.75 s only",
            "not clear": "before the junction is clear"}
    assert says[kind] in caught(states) and "A, " in caught(states)

def test_the_least_that_is_allowed_is_allowed():
    states = [R] * RED + [WE] * GREEN + [Y] * YELLOW + [R] * RED + [NS] * GREEN
    assert not dangers(states) and caught(states) is None

def test_signals_of_another_junction_are_caught():
    for state in (WE[:-1], WE + "r", ""):
        with complains(f"{len(state)} signals", "14 links", kind=UnsafeSignals):
            ConflictMonitor(A).check(0.0, state)

# ---- traffic

def with_constant(function, **constants):
    "The function, for which some constants of its module have other values."
    return FunctionType(function.__code__, function.__globals__ | constants,
                        function.__name__, function.__defaults__, function.__closure__)

def run_signals(seconds=130, seed=0):
    "Traffic with an arm that asks, another one every 4 s."
    with Traffic(seed, load=0.2) as t:
        while t.time < seconds:
            t.step({"A": ARMS[int(t.time // 4) % 4] if t.time > 70 else None})
        return t.time

@pytest.mark.parametrize("constants, what", [
    ({"YELLOW_S": 1.0}, "showed y for 1 s only"), ({"YELLOW_S": 0.0}, "showed y"),
    ({"ALL_RED_S": 0.5}, "before the junction is clear"),
    ({"MIN_GREEN_S": 2.0, "CLEARANCE_S": 0.0, "MIN_WALK_S": 0.0}, "s only")])
def test_a_controller_that_is_broken_is_stopped(monkeypatch, constants, what):
    for name in ("update", "_wanted", "_start"): monkeypatch.setattr(
        Controller, name, with_constant(getattr(Controller, name), **constants))
    with complains(what, kind=UnsafeSignals): run_signals()

@pytest.mark.parametrize("broken, what", [
    (lambda links, stage, color: "".join("g" if a.turn == "l" else "G" for a in links), "meets"),
    (lambda links, stage, color: signal_state(links, stage, color).replace("g", "G"), "meets"),
    (lambda links, stage, color: signal_state(links, stage, color).replace("y", "r"),
     "without yellow"),
    (lambda links, stage, color: signal_state(links, stage, color).replace("y", "g"),
     "without yellow")])
def test_signals_that_are_mixed_up_are_stopped(monkeypatch, broken, what):
    monkeypatch.setattr(traffic, "signal_state", broken)
    with complains(what, kind=UnsafeSignals): run_signals()

def test_traffic_runs_and_obeys():
    assert run_signals() == 130
    with Traffic(1) as t:
        stage = set()
        for _ in range(400):
            t.step({"A": "N"})
            stage.add(t.controllers["A"].stage)
        others = t.vehicles()
        assert len(others.names) == len(others.position_m) == len(others.speed_mps) > 20
        assert np.all(np.abs(others.speed_mps) <= 1.6 * traffic.LIMIT_MPS)
        assert t.controllers["A"].stage == "NS" and t.others_lost_s > 0

def test_after_an_error_the_next_traffic_begins_from_nothing():
    with pytest.raises(ZeroDivisionError):
        with Traffic(0) as t:
            for _ in range(100): t.step()
            1 / 0                                                  # noqa: B018
    import libsumo
    assert not libsumo.isLoaded()
    def lost(seed=4):
        with Traffic(seed) as t:
            for _ in range(200): t.step()
            return t.others_lost_s, t.n_others
    assert lost() == lost() != lost(5)

def test_an_empty_street_costs_an_ambulance_nothing_but_the_signal():
    lost = {}
    for asks in ("W", "N"):
        with Traffic(0, load=0) as t:
            t.add_ambulance()
            track = []
            for _ in range(280):
                t.step({"A": asks})
                if way := t.to_junction(): track.append((*way, t.lost_s()))
            lost[asks] = track[-1][2] - track[0][2], t.to_junction()
            assert t.n_others == 0 and {arm for arm, *_ in track} == {"W"}
    assert lost["W"][1] is None and lost["W"][0] < 3
    assert lost["N"][1][1] < 5 and lost["N"][0] > 15              # it still stands at the line

def test_distance_to_the_junction_is_that_of_the_way():
    with Traffic(0, load=0) as t:
        assert t.to_junction() is None
        t.add_ambulance()
        away = []
        for _ in range(80):
            t.step({"A": "W"})
            x = t.vehicles().position_m[0, 0]
            away.append(t.to_junction()[1] - (A.stop_m["W"][0][0] - x))
        assert np.ptp(away) < 0.1 and abs(away[0]) < 3
        assert t.to_junction(junction="B") is not None
        assert t.to_junction("ambulance 2") is None

def test_a_way_that_is_none_is_refused():
    with Traffic(0, load=0) as t:
        with complains("'northB'", "'southB'", "misses junction A"):
            t.add_ambulance("northB", "southB")
        for ends in (("moon", "east"), ("west", "moon"), ("west", "west"), ("", "east")):
            with complains(repr(ends[0]), repr(ends[1])): t.add_ambulance(*ends)
        t.add_ambulance()                                         # and goes on

def test_a_network_of_another_city_is_refused(tmp_path):
    other = tmp_path / "other city.net.xml"
    text = open(NETWORK, encoding="utf-8").read()
    other.write_text(re.sub(r'\bA\b(?=")', "Platz", text), encoding="utf-8")
    with complains(other, "'A'", "Platz"): Traffic(0, network=other)
    shutil.copy(NETWORK, other)
    with Traffic(0, network=other) as t: t.step()                 # any name of a file will do

def test_without_sumo_the_book_can_still_be_read():
    text = fresh("""import sys
sys.modules["libsumo"] = None
import sirenbook.traffic, sirenbook.mast, sirenbook.junction
assert not {"tensorflow", "matplotlib", "scipy", "librosa"} & {*sys.modules}
print(len(sirenbook.traffic.load_junction("B").links))
try: sirenbook.junction.Run().finish()
except sirenbook.errors.SirenbookError as e: print(e)""")
    assert re.match(r"14\n.*libsumo.*pip install .*\[junction\]|14\n.*SUMO.*pip install", text)

def test_sumo_must_be_there_and_new_enough(monkeypatch):
    monkeypatch.setitem(sys.modules, "libsumo", None)
    with complains("pip install", "junction]"): Traffic(0)
    old = SimpleNamespace(getVersion=lambda: (19, "SUMO 1.19.0"))
    monkeypatch.setitem(sys.modules, "libsumo", old)
    with complains("1.20", "SUMO 1.19.0", "pip install"): Traffic(0)

# ---- paths

COORDINATE = st.floats(-150, 150)

@QUICK
@given(st.tuples(COORDINATE, COORDINATE, st.floats(0.5, 3)),
       st.tuples(st.floats(-25, 25), st.floats(-25, 25)),
       st.tuples(st.floats(-20, 20), st.floats(-20, 20), st.floats(4, 12)))
def test_a_path_that_is_straight_is_a_trajectory(start, velocity, mic):
    steps = np.arange(0, 6.01, STEP_S)
    points = smooth_path(np.array(start) + steps[:, None] * np.array([*velocity, 0.0]))
    times = np.arange(len(points)) / FINE * STEP_S
    path, line = Path(times, points, mic), Trajectory(start, (*velocity, 0.0), mic)
    np.testing.assert_allclose(path.distance_m(times), line.distance_m(times), atol=1e-9)
    at = np.linspace(0, 5.9, 700)
    np.testing.assert_allclose(path.distance_m(at), line.distance_m(at), atol=0.02)
    inner = at[(at > 0.05) & (at < 5.8)]
    np.testing.assert_allclose(path.doppler_factor(inner), line.doppler_factor(inner), atol=2e-3)
    arrives = inner + line.distance_m(inner) / line.c
    np.testing.assert_allclose(path.emission_s(arrives), inner, atol=1e-4)

def test_before_its_path_a_source_stood_still():
    path = Path([0.0, 0.5, 1.0], [(100, 0, 0), (93, 0, 0), (86, 0, 0)], (0, 0, 0), 340.0)
    arrives = np.array([-1.0, 0.0, 100 / 340])
    np.testing.assert_allclose(path.emission_s(arrives), arrives - 100 / 340, atol=1e-12)
    assert path.distance_m(-5.0) == 100

@QUICK
@given(st.lists(st.tuples(COORDINATE, COORDINATE, COORDINATE), min_size=2, max_size=14))
def test_a_smooth_path_goes_through_its_points(points):
    fine = smooth_path(points)
    assert len(fine) == (len(points) - 1) * FINE + 1
    np.testing.assert_allclose(fine[::FINE], points, atol=1e-9)
    shifted = smooth_path(np.array(points) + (5, -3, 1))
    np.testing.assert_allclose(shifted, fine + (5, -3, 1), atol=1e-9)

def test_a_smooth_path_has_no_corner():
    a = np.arange(0, 2 * np.pi, 0.1)
    fine = smooth_path(np.stack([np.cos(a), np.sin(a), 0 * a], axis=1))
    np.testing.assert_allclose(np.linalg.norm(fine, axis=1)[FINE:-FINE], 1, atol=1e-4)
    turns = np.linalg.norm(np.diff(fine, 2, axis=0), axis=1)[FINE:-FINE]
    assert turns.max() < 2 * turns.min()

# ---- microphones, horns, corners

@QUICK
@given(st.floats(0, 2 * np.pi), st.floats(-1.5, 1.5))
def test_a_cardioid_hears_best_in_front(angle, up):
    towards = np.array([[np.cos(angle) * np.cos(up), np.sin(angle) * np.cos(up), np.sin(up)]])
    for axis in np.eye(3):
        (gain,), (behind,) = cardioid(towards, axis), cardioid(-towards, axis)
        assert BACK <= gain <= 1 + 1e-12
        assert np.isclose(gain, max(0.5 + 0.5 * (towards @ axis)[0], BACK))
        if BACK < gain < 1 - BACK: assert np.isclose(gain + behind, 1)

def test_a_horn_is_loudest_in_front():
    gain = horn_directivity(np.cos(np.linspace(0, np.pi, 50)))
    assert gain[0] == 1 and np.all(np.diff(gain) < 0) and np.isclose(20 * np.log10(gain[-1]), -10)

STREETS = [lanes[0] for lanes in street_lanes().values()]
PLACE = st.tuples(st.floats(-400, 400), st.floats(-300, 300))

@QUICK
@given(PLACE, PLACE)
def test_a_corner_hides_both_ways_alike(a, b):
    there, back = hidden_db(a, b, STREETS), hidden_db(b, a, STREETS)
    assert np.isclose(there, back) and 0 <= there <= mast.HIDDEN_DB
    assert there == 0 or there > 4                                # 10 lg 3: the edge of the shadow

@QUICK
@given(st.floats(-500, 1100), st.floats(-500, 1100), st.floats(-9, 9))
def test_nothing_hides_a_street_from_itself(a, b, beside):
    assert hidden_db((a, beside), (b, -beside), STREETS) == 0

def test_the_deeper_the_shadow_the_less_is_heard():
    lost = [hidden_db((-100.0, y), (0.0, 0.0), STREETS) for y in (0, 10, 22, 40)]
    assert lost[:2] == [0, 0] and 10 < lost[2] < lost[3] == mast.HIDDEN_DB

# ---- the mast

NOBODY = Vehicles((), np.zeros((0, 2)), np.zeros(0))
SILENT = np.zeros((4, 4000))

def tone(seconds, frequency_hz=500.0):
    return 2 ** 0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * SR)) / SR)

def hiss(seconds): return np.random.default_rng(9).standard_normal(round(seconds * SR))

def heard(m, siren, places, vehicles=NOBODY):
    "What the microphones hear while a siren is at these places, a step each."
    blocks = []
    for p in places:
        if siren: siren.move((*p, 2.0) if len(p) == 2 else p)
        blocks.append(m.block(vehicles, [siren] if siren else []))
    return np.concatenate(blocks, axis=1)

def silent_mast(seed=0, **kwargs): return Mast(np.random.default_rng(seed), beds=SILENT, **kwargs)

def test_nothing_sounds_like_nothing():
    assert not heard(silent_mast(), None, [()] * 8).any()
    assert not heard(silent_mast(), Siren(np.zeros(5 * SR)), [(-50, 0)] * 8).any()

def test_a_street_is_never_quite_silent_and_each_microphone_has_its_own():
    beds = heard(Mast(np.random.default_rng(0), seconds=2), None, [()] * 8)
    assert beds.dtype == np.float32 and beds.shape == (4, 8 * 4000)
    levels = mast.FULL_SCALE_DB + 20 * np.log10([rms(wav) for wav in beds])
    assert np.all(abs(levels - mast.STREET_DB) < 3)
    assert np.abs(np.corrcoef(beds) - np.eye(4)).max() < 0.2

def test_the_same_seed_gives_the_same_sound():
    cars = Vehicles(("a", "b"), np.array([(-20.0, 2.0), (30.0, -2.0)]), np.array([9.0, 0.0]))
    def sound(seed):
        m = Mast(np.random.default_rng(seed), seconds=2, confusable=3600.0)
        return heard(m, Siren(tone(5)), [(-60 + 3 * k, -2) for k in range(8)], cars)
    one, two, other = sound(5), sound(5), sound(6)
    assert np.array_equal(one, two) and not np.allclose(one, other, atol=1e-3)

@pytest.fixture
def bare(monkeypatch):
    "No echoes: neither from the ground nor from facades nor from the street."
    monkeypatch.setattr(mast, "FACADE", 0.0)
    monkeypatch.setattr(mast, "GROUND", 0.0)
    monkeypatch.setattr(mast, "street_response", lambda rng, sr, **k: np.zeros(10))

def level_from(away_m, wav, arm=0, **kwargs):
    "Level at a microphone of a siren that stands so far in front of it, at its height, dB."
    m = silent_mast(**kwargs)
    place = m.mics_m[arm] + away_m * m.axes[arm]
    return 20 * np.log10(rms(heard(m, Siren(wav), [tuple(place)] * 9)[arm, -4000:]))

@pytest.mark.parametrize("arm", range(4))
def test_twice_the_distance_is_six_decibels_less(bare, arm):
    levels = np.array([level_from(d, tone(5), arm) for d in (20, 40, 80, 160)])
    np.testing.assert_allclose(np.diff(levels), -20 * np.log10(2), atol=0.3)
    assert np.all(np.diff(levels) < -6) and np.diff(levels)[-1] < np.diff(levels)[0]   # air as well

def test_a_siren_has_the_level_that_is_stated(bare, monkeypatch):
    monkeypatch.setattr(mast, "horn_directivity", lambda cosine: np.ones_like(cosine))
    for level_db in (100.0, 110.0):
        m = silent_mast()
        wav = heard(m, Siren(tone(5), level_db), [tuple(m.mics_m[0] + (-35.0, 0, 0))] * 9)
        level = mast.FULL_SCALE_DB + 20 * np.log10(rms(wav[0, -4000:]))
        assert abs(level - (level_db - 20)) < 0.2                # ten times as far as SIREN_M

def west_levels(*ways):
    "Level at the western microphone in each step, of a hiss on each of these ways along y = 0, dB."
    found = []
    for way in ways:
        wav = heard(silent_mast(), Siren(hiss(30)), [(x, 0.0, 5.0) for x in way])[0]
        found.append(20 * np.log10(np.sqrt(np.mean(wav.reshape(-1, 4000) ** 2, axis=1))[4:]))
    return np.array(found)

def test_a_siren_that_stands_keeps_its_nose(bare):
    coming = [-60.0 + 10 * min(k, 3) for k in range(40)]                    # longer than MEMORY
    leaving = [-30.0 + max(3 - k, 0) for k in range(40)]
    front, back = west_levels(coming, leaving)
    assert np.ptp(front[3:]) < 1 and np.ptp(back[3:]) < 1
    assert 8 < front[-1] - back[-1] < 11                                    # its horn: 10 dB

def test_a_siren_that_brakes_looks_ahead(bare):
    "SUMO's last step before a stop line may be a few millimetres."
    way = [-20.0, -17, -14.5, -12.5, -11, -10, -9.3, -9.0025] + [-9.0] * 40
    levels, = west_levels(way)
    assert np.ptp(levels[5:]) < 1

def test_a_siren_that_reverses_rewrites_nothing(bare):
    way = [-140.0 - 5 * max(3 - k, 0) for k in range(20)] + [-140.0 - 0.5 * k for k in range(12)]
    levels, = west_levels(way)
    assert np.abs(levels[4:18] - levels[10]).max() < 1             # its sound is on its way, 0.4 s
    assert levels[18] > levels[10] - 4                             # and half of this step, too
    assert levels[10] - levels[-1] > 8

def test_a_siren_that_never_moved_faces_nobody(bare):
    wav = heard(silent_mast(), Siren(hiss(30)), [(0.0, 30.0, 5.0)] * 20)
    assert abs(20 * np.log10(rms(wav[0, -8000:]) / rms(wav[2, -8000:]))) < 1

@pytest.mark.parametrize("arm", range(4))
def test_what_stands_at_a_stop_line_is_in_front_of_its_microphone(arm):
    stop_m = load_junction("A").stop_m[ARMS[arm]]
    m = silent_mast()
    for x, y in stop_m:
        assert (np.array([x, y, 0]) - m.mics_m[arm]) @ m.axes[arm] > 1

def test_with_all_its_echoes_a_street_fades_with_distance_too():
    near, far = (level_from(d, hiss(5)) for d in (60, 120))
    assert 3 < near - far < 9

def test_the_louder_siren_is_the_louder_sound_and_nothing_else():
    quiet, loud = (heard(silent_mast(), Siren(tone(5), db), [(-80, -2)] * 6) for db in (90, 96))
    np.testing.assert_allclose(loud, quiet * 10 ** (6 / 20), atol=1e-5)

def test_whoever_is_nearer_and_in_front_hears_more():
    for arm, (x, y) in enumerate(((-80, -2), (-2, 80), (80, 2), (2, -80))):
        wav = heard(silent_mast(), Siren(hiss(5)), [(x, y)] * 9)[:, -8000:]
        assert np.argmax((wav ** 2).mean(1)) == arm

def test_a_microphone_hears_fifteen_decibels_less_behind(bare):
    front, behind = (level_from(d, tone(5)) for d in (50, -50))
    assert abs(front - behind - 15) < 0.01

def test_houses_take_away_what_they_say(bare):
    def level(hidden):
        m, s, blocks = silent_mast(), Siren(tone(5)), []
        for _ in range(9):
            s.move((-80.0, -2.0, 2.0), hidden)
            blocks.append(m.block(NOBODY, [s]))
        return 20 * np.log10(rms(blocks[-1][0]))
    assert abs(level(0.0) - level(12.0) - 12) < 0.01

def braking():
    "An ambulance from the west that brakes, turns north and speeds up again."
    speed = np.concatenate([np.full(16, 12.0), np.linspace(12, 4, 14), np.full(12, 4.0),
                            np.linspace(4, 12, 14), np.full(10, 12.0)])
    way = np.cumsum(speed) * STEP_S - 90
    bend = np.clip((way + 4) / (2 * np.pi), 0, 1) * np.pi / 2
    corner = 4 * np.stack([np.sin(bend), 1 - np.cos(bend)], axis=1) + (-4, -2)
    before, after = np.minimum(way + 4, 0), np.maximum(way + 4 - 2 * np.pi, 0)
    return corner + np.stack([before, after], axis=1)

def above_3khz(wav, at):
    "Share of the energy of 16 ms around a sample that lies above 3 kHz, dB."
    power = np.abs(np.fft.rfft(wav[at - 128:at + 128] * np.hanning(256))) ** 2
    return 10 * np.log10((power[48:].sum() + 1e-12) / power.sum())

def steady():
    "An ambulance that passes the mast at 50 km/h."
    return [(-100 + 3.5 * k, -2.0) for k in range(60)]

@pytest.mark.parametrize("way, most_db", [(steady, -80), (braking, -30)])
def test_a_siren_that_moves_never_clicks(way, most_db):
    wav = heard(silent_mast(), Siren(tone(20)), way())[:, 8 * 4000:]
    borders = np.arange(4000, wav.shape[1], 4000)
    shares = {shift: np.array([[above_3khz(w, at - shift) for at in borders] for w in wav])
              for shift in (0, 2000)}
    assert shares[0].max() < most_db and abs(np.median(shares[0] - shares[2000])) < 4

def test_a_siren_that_comes_is_higher_than_one_that_leaves(bare):
    def pitch(x, speed):
        wav = heard(silent_mast(), Siren(tone(20, 1000.0)),
                    [(x + speed * STEP_S * k, -2.0) for k in range(16)])[0, -16000:]
        return np.abs(np.fft.rfft(wav * np.hanning(16000))).argmax()
    c = mast.speed_of_sound_mps(Weather().temperature_c)
    assert pitch(-150, 15) == round(1000 / (1 - 15 / c))
    assert pitch(-90, -15) == round(1000 / (1 + 15 / c)) and pitch(-90, 0) == 1000

def test_loud_as_it_may_be_a_waveform_stays_one():
    m = Mast(np.random.default_rng(0), seconds=1, weather=Weather(5.0, 90.0, 10, 90.0),
             street_db=115.0, confusable=36000.0)
    places = np.array([(-12.0, 0.0), (0.0, 12.0), (9.0, 9.0)])
    cars = Vehicles(tuple("abc"), places, np.full(3, 30.0))
    wav = heard(m, Siren(hiss(5), 140.0), [(-14, 0), *[(-10 + k, 0) for k in range(7)]], cars)
    assert wav.dtype == np.float32 and np.abs(wav).max() == 1 and np.isfinite(wav).all()

def test_a_car_is_heard_where_it_is():
    def levels(x, speed):
        cars = Vehicles(("a",), np.array([(x, -2.0)]), np.array([speed]))
        wav = heard(silent_mast(), None, [()] * 5, cars)[:, 4000:]
        return 10 * np.log10((wav.astype(float) ** 2).mean(1) + 1e-15)
    assert levels(-30.0, 10.0).argmax() == 0 and levels(30.0, 10.0).argmax() == 2
    np.testing.assert_allclose(levels(-30.0, traffic.LIMIT_MPS) - levels(-30.0, 0.0),
                               np.ptp(mast.CAR_DB), atol=0.01)
    assert levels(-149.0, 10.0).max() > -100 > levels(-152.0, 10.0).max()

def test_a_mast_that_cannot_stand_there_is_refused():
    for place in ((0.0, 100.0 + 1e4), (-150.0, 150.0), (np.nan, 0.0)):
        with complains("stands on no street"): silent_mast(centre_m=place)
    silent_mast(centre_m=(300.0, 0.0))
    for wind in (3, -5, np.nan):
        with complains("wind_mps is one of 0, 5, 10", wind):
            silent_mast(weather=Weather(wind_mps=wind))
    with complains("humidity"):
        heard(silent_mast(weather=Weather(humidity_percent=0.0)), Siren(tone(2)), [(-50, 0)] * 4)

# ---- levels of tones

def block(frequency_hz, *levels_db, noise=0.0, seed=0):
    "A tone at each microphone, of these levels, in noise."
    gain = 10 ** ((np.array(levels_db, float) - mast.FULL_SCALE_DB) / 20)
    hum = np.random.default_rng(seed).normal(0, max(noise, 1e-9), (len(levels_db), 4000))
    return gain[:, None] * tone(0.25, frequency_hz) + hum

@QUICK
@given(st.floats(450, 3900), st.lists(st.floats(60, 110), min_size=4, max_size=4))
def test_a_tone_has_its_level_at_every_microphone(frequency_hz, levels_db):
    found = tone_levels(block(frequency_hz, *levels_db))
    np.testing.assert_allclose(found, levels_db, atol=0.2)
    np.testing.assert_allclose(found - found[0], np.subtract(levels_db, levels_db[0]), atol=0.1)
    louder = tone_levels(10 ** 0.3 * block(frequency_hz, *levels_db))
    np.testing.assert_allclose(louder - found, 6, atol=0.1)

@pytest.mark.parametrize("noise_db", [80, 85, 88])
def test_noise_at_one_microphone_does_not_count(noise_db):
    "A lorry at the wrong microphone that is louder than the siren is at the right one."
    sweep = np.sin(2 * np.pi * np.cumsum(np.linspace(800, 1600, 4000)) / SR) * 2 ** 0.5
    gain = 10 ** ((np.array([[80], [74], [70], [60]]) - mast.FULL_SCALE_DB) / 20)
    siren = gain * sweep + np.random.default_rng(2).normal(0, 1e-4, (4, 4000))
    lorry = np.random.default_rng(1).normal(0, 10 ** ((noise_db - mast.FULL_SCALE_DB) / 20), 4000)
    wrong = siren + np.array([[0], [0], [0], [1]]) * lorry
    assert tone_levels(wrong).argmax() == 0 and rms(wrong[3]) > 0.99 * rms(wrong[0])
    np.testing.assert_allclose(tone_levels(wrong)[:3], tone_levels(siren)[:3], atol=1)

def test_what_lies_out_of_the_band_does_not_count():
    for frequency_hz in (100, 300, 5000):
        assert tone_levels(block(frequency_hz, 100, 60, 60, 60)).max() < 60

# ---- rules of asking

LEVELS = st.lists(st.tuples(*[st.floats(50, 95)] * 4), min_size=20, max_size=20)

def course(seconds, level_of, score_of=lambda t: 0.9, requester=None):
    "What is asked for in each step, where `level_of(t)` gives the levels of all arms."
    r = requester or Requester()
    times = np.arange(1, round(seconds / STEP_S) + 1) * STEP_S
    return [r.push(t, [[score_of(t)] * 4] * 2, np.asarray(level_of(t), float)) for t in times]

def passing(t, at=20.0, speed=14.0, source_db=112.0, arms=(0, 2), start=0.0):
    "Levels of a siren that comes from one arm and leaves by another."
    s = (t - start - at) * speed
    front = 1 / (1 + np.exp(s / 6))                               # who hears it from the front
    away = 20 * np.log10(np.hypot(s, 6))
    gains = np.full(4, 0.5)
    gains[arms[0]], gains[arms[1]] = 0.35 + 0.65 * front, 1 - 0.65 * front
    return source_db - away + 20 * np.log10(gains)

@QUICK
@given(LEVELS, st.integers(0, 2 ** 31), st.floats(0.05, 0.9), st.integers(3, 12))
def test_laws_of_asking(levels, seed, often, hold):
    rules = Rules(timeout_s=20.0)
    r, rng = Requester(rules), np.random.default_rng(seed)
    scores, means, began, was, confirmed = [], [], None, None, -np.inf
    for k in range(20 * hold):
        t, level = (k + 1) * STEP_S, np.array(levels[k // hold])
        new = (rng.uniform(size=(2, 4)) < often * (k // 60 % 2 == 0)).astype(float)
        scores += list(new >= rules.threshold)
        means = [*means, level][-round(rules.mean_s / STEP_S):]
        if new.any(): confirmed = t
        mean, arm = np.mean(means, axis=0), r.push(t, new, level)
        if arm and not was:
            began = t
            assert mean.max() >= rules.level_db
            assert mean[ARMS.index(arm)] > mean.max() - rules.moves_db
            assert np.sum(scores[-rules.n:], axis=0).max() >= rules.k
        if arm and was and arm != was:
            assert arm == ARMS[mean.argmax()]
            assert mean.max() >= mean[ARMS.index(was)] + rules.moves_db
        if arm:
            assert t - began <= rules.timeout_s and t - confirmed <= rules.unheard_s
        was = arm

@pytest.mark.parametrize("arms", [(a, b) for a in range(4) for b in range(4) if a != b])
def test_a_siren_that_passes_is_served_and_then_forgotten(arms):
    asked = course(60, lambda t: passing(t, arms=arms))
    changes = [(t * STEP_S, b) for t, (a, b) in enumerate(zip([None, *asked], asked)) if a != b]
    (begins, arm), (ends, none) = changes                         # one request, and only one
    assert arm == ARMS[arms[0]] and none is None and 8 < begins < 18 and 20 < ends < 25

def test_far_rare_or_unsure_is_not_asked_for():
    assert not any(course(40, lambda t: passing(t, source_db=85.0)))
    assert not any(course(40, passing, lambda t: 0.39))
    assert not any(course(40, passing, lambda t: 0.9 * (t % 2 == 0)))        # 2 of 16 scores
    assert any(course(40, passing, lambda t: 0.41))

def test_scores_of_two_microphones_do_not_add_up():
    r = Requester()
    for k in range(40):
        row = [[0.9, 0, 0, 0], [0, 0.9, 0, 0]] if k % 3 == 0 else [[0] * 4] * 2
        assert r.push(k * STEP_S, row, np.full(4, 90.0)) is None

def test_a_siren_that_stops_sounding_is_let_go():
    asked = course(40, lambda t: passing(t, at=60.0, source_db=135.0), lambda t: 0.9 * (t < 12))
    last = max(k for k, a in enumerate(asked) if a)
    assert any(asked) and 12 <= (last + 1) * STEP_S <= 12 + Rules().unheard_s + STEP_S

def test_a_siren_that_never_leaves_is_let_go_in_the_end():
    asked = course(200, lambda t: [80, 60, 60, 60])
    begins = asked.index("W")
    n = asked[begins:].index(None)
    assert abs(n * STEP_S - Rules().timeout_s) <= 2 * STEP_S

def test_a_wrong_arm_is_corrected():
    asked = course(20, lambda t: [78, 76, 70, 70] if t < 8 else [78, 86, 70, 70])
    assert [*dict.fromkeys(asked)] == [None, "W", "N"]
    moved = asked.index("N") * STEP_S
    assert 8 + Rules().moves_s <= moved <= 8 + Rules().moves_s + Rules().mean_s + 2 * STEP_S
    short = course(20, lambda t: [78, 76, 70, 70] if not 8 <= t < 9.5 else [78, 86, 70, 70])
    assert {*short} == {None, "W"}                                # too short to be believed

def test_a_request_that_was_sure_of_its_arm_stays_there():
    "Another siren comes near: first come, first served."
    assert {*course(20, lambda t: [78, 73, 70, 70] if t < 8 else [78, 86, 70, 70])} == {None, "W"}

def test_a_request_that_has_long_been_unsure_moves():
    "A siren from the west falls silent; one from the north waits at red."
    def two(t): return [80, 70, 65, 65] if t < 10 else [80, 88, 78, 74]
    asked, sure_s = course(70, two), Rules().sure_s
    assert {*asked[:int((8 + sure_s) / STEP_S)]} == {None, "W"}
    assert asked[int((12 + sure_s) / STEP_S)] == "N"

def test_each_request_has_to_be_sure_of_its_own():
    def later(t): return passing(t) if t < 30 else [50] * 4 if t < 40 else (
        [60, 80, 78, 60] if t < 45 else [60, 80, 86, 60])
    asked = course(60, later, lambda t: 0.9 * (not 30 <= t < 40))
    assert [*dict.fromkeys(asked)] == [None, "W", "N", "E"]

def test_a_dip_moves_nothing():
    def dips(t):
        return [76, 74, 60, 60] if t < 8 else [68, 67, 60, 60] if t < 16 else [73, 75, 60, 60]
    asked = course(40, dips)
    assert {*asked[:int(19 / STEP_S)]} == {None, "W"}

def test_a_microphone_that_fails_for_a_moment_makes_nothing_sure():
    fails = lambda t: [np.nan] * 4 if t == 5 else [78, 76, 60, 60] if t < 10 else [78, 86, 60, 60]
    assert "N" in course(20, fails)

def test_echoes_under_the_mast_move_nothing():
    def stands(t): return [71, 67.5, 62, 66] if t < 6 else [78, 79, 77, 79.5]
    assert {*course(50, stands)} == {None, "W"}
    late = course(50, stands, lambda t: 0.9 * (t > 20))          # confirmed only where it stands
    assert {*late} == {None, "W"} and late.index("W") * STEP_S > 20
    assert "S" in course(50, lambda t: [71, 67.5, 62, 66] if t < 6 else [78, 79, 77, 81])

def test_after_a_time_out_the_plan_goes_on_for_a_cycle():
    rules = Rules()
    asked = course(240, lambda t: [80, 60, 60, 60])
    begins = [t * STEP_S for t, (a, b) in enumerate(zip([None, *asked], asked)) if b and not a]
    ends = [t * STEP_S for t, (a, b) in enumerate(zip([None, *asked], asked)) if a and not b]
    assert len(begins) >= 2 and abs(ends[0] - begins[0] - rules.timeout_s) <= 2 * STEP_S
    assert rules.rest_s <= begins[1] - ends[0] <= rules.rest_s + 2 * STEP_S

def test_a_siren_after_a_silence_is_asked_for_at_once():
    "Whatever was heard too long before."
    def later(t): return [80, 60, 60, 60] if t < 95 else [40] * 4 if t < 105 else [50, 90, 50, 50]
    asked = course(115, later, lambda t: 0.9 * (not 95 <= t < 105))
    assert "N" in asked[int(105 / STEP_S):int(108 / STEP_S)]

def test_after_a_request_a_siren_that_only_leaves_asks_for_nothing():
    asked = course(90, lambda t: passing(t, speed=5.0))           # it is heard for a long time yet
    ended = next(k for k, (a, b) in enumerate(zip(asked, asked[1:])) if a and not b)
    assert passing(ended * STEP_S + 2, speed=5.0).max() > Rules().level_db      # near, and heard
    assert not any(asked[ended + 1:])

def test_a_second_siren_is_served():
    later = lambda t: np.maximum(passing(t), passing(t, start=25.0, arms=(1, 3)))
    asked = course(80, later)
    begins = [b for a, b in zip([None, *asked], asked) if b and a != b]
    assert begins == ["W", "N"] and asked[-1] is None

def test_a_second_siren_that_stands_near_is_served_too():
    def two(t): return np.maximum(passing(t), [50, 82 if t > 15 else 50, 50, 50])
    asked = course(60, two)
    assert [*dict.fromkeys(asked)][:3] == [None, "W", "N"]
    assert asked.index("N") * STEP_S < 20 + 15

def test_a_second_siren_is_served_where_it_is_louder_than_what_was_left():
    def two(t): return passing(t) if t < 24 else [60] * 4 if t < 27 else [50, 75, 50, 50]
    asked = course(40, two)
    assert [*dict.fromkeys(asked)] == [None, "W", "N"]            # though it never is very near

def test_after_a_silence_a_siren_need_not_be_louder_than_the_last():
    def later(t): return passing(t) if t < 24 else [73] * 4 if t < 34 else [76, 50, 50, 50]
    for silent_s, asks in ((10, True), (0, False)):
        asked = course(45, later, lambda t: 0.9 * (not 24 <= t < 24 + silent_s))
        assert ("W" in asked[30 * 4:]) == asks

def test_after_a_silence_everything_is_as_at_first():
    r = Requester()
    first = course(60, passing, requester=r)
    course(10, lambda t: [40] * 4, lambda t: 0.0, r)
    r2 = Requester()
    assert course(60, passing, requester=r2) == first
    for t in np.arange(60, 75, STEP_S): r2.push(t, [[0] * 4] * 2, [40.0] * 4)
    again = [r2.push(75 + t, [[0.9] * 4] * 2, passing(t))
             for t in np.arange(1, 241) * STEP_S]
    assert again == first

class Loud:
    "An ear for tests: hears a siren where a microphone is loud."
    def stream(self, sr):
        assert sr == SR
        return SimpleNamespace(push=lambda wav: SimpleNamespace(
            probability=np.full(2, float(rms(wav) > 0.003))))

def test_an_ear_hears_four_microphones_each_with_its_own_stream():
    ear = Ear(Loud())
    scores, levels = ear.listen(block(1000, 80, 60, 60, 85))
    assert scores.shape == (2, 4) and scores.all(0).tolist() == [True, False, False, True]
    assert levels.argmax() == 3 and ear.probability.tolist() == [1, 0, 0, 1]
    found = [ear.push(k * STEP_S, block(1000, 80, 60, 60, 85)) for k in range(12)]
    assert found[0] is None and found[-1] == "S"

# ---- runs

@pytest.fixture
def short(monkeypatch):
    "Runs that take less time."
    monkeypatch.setattr(junction, "WARM_UP_S", 60.0)
    monkeypatch.setattr(junction, "AFTER_S", 120.0)
    monkeypatch.setattr(junction, "PASSED_S", 5.0)

ORACLE = Policy("oracle", range_m=300.0)
AT_RED = 3        # a seed whose ambulance meets a red light

def test_a_deaf_ear_changes_nothing(short):
    deaf, nobody = (Run(Case(), p, AT_RED).finish()
                    for p in (Policy("deaf", threshold=1.0), Policy("none")))
    assert deaf == nobody and nobody["lost_s"] > 5 and nobody["others_s"] > 0
    assert nobody["asked_m"] is None and nobody["right"] is None and nobody["useless"] == 0

def test_an_ear_that_hears_saves_time_and_the_same_seed_gives_the_same_row(short):
    rows = [Run(Case(), Policy("loud", threshold=0.5, detector=Loud()), AT_RED).finish()
            for _ in range(2)]
    nobody = Run(Case(), Policy("none"), AT_RED).finish()
    assert rows[0] == rows[1] and rows[0]["right"] and rows[0]["lost_s"] < nobody["lost_s"] - 3
    assert rows[0]["asked_m"] > 50

def test_an_oracle_saves_time(short):
    saved = []
    for seed in range(6):
        nobody, oracle = (Run(Case(), p, seed).finish() for p in (Policy("none"), ORACLE))
        saved.append(nobody["lost_s"] - oracle["lost_s"])
        assert oracle["right"] and 250 < oracle["asked_m"] <= 300 and oracle["useless"] == 0
    assert np.mean(saved) > 4 and min(saved) > -1

def test_the_same_seed_gives_the_same_run(short):
    one, two, other = (Run(Case(second="northA"), ORACLE, s).finish() for s in (5, 5, 6))
    assert one == two != other and one["second_lost_s"] is not None

def when_asked(run):
    "When something is first asked for."
    steps = run.steps()
    found = next(t for t, _, _, arm in steps if arm)
    steps.close()
    return found

def test_a_request_with_latency_comes_later(short):
    times = [when_asked(Run(Case(latency_s=s), ORACLE, AT_RED)) for s in (0.0, 1.0, 4.0)]
    assert np.diff(times).tolist() == [1.0, 3.0]

def test_requests_without_a_cause_are_made_as_often_as_is_said(short):
    false = junction._False(0, 20.0)
    arms = [false.at(k * STEP_S) for k in range(round(50 * 3600 / STEP_S))]
    begins = sum(b is not None and a is None for a, b in zip([None, *arms], arms))
    assert abs(begins / 50 - 20) < 3 and {*arms} == {None, *ARMS}
    row = Run(Case(), Policy("none, false", false_per_hour=200.0), 1).finish()
    assert row["useless"] > 0 and row["held_s"] > 0

def test_a_siren_elsewhere_leaves_no_ambulance(short):
    row = Run(Case(elsewhere=True), ORACLE, 0).finish()
    assert row["lost_s"] is None and row["asked_m"] is None and row["others_s"] > 0

def test_a_run_that_cannot_be_is_refused_and_the_next_one_runs(short):
    for case in (Case(end="nowhere"), Case(start="northB", end="southB"), Case(second="nowhere")):
        with complains("nowhere" if "nowhere" in case else "misses junction A"):
            Run(case, Policy("none"), 0).finish()
    assert Run(Case(), Policy("none"), 0).finish()["lost_s"] is not None

def test_ambulances_enter_at_every_moment_of_the_cycle():
    at = np.array([junction.entry_s(s) for s in range(100, 140)])
    assert np.all(at % STEP_S == 0) and at.min() >= junction.WARM_UP_S
    assert np.diff(np.sort(at)).max() < 4 and np.ptp(at) > 55

# ---- the table and the experiment

CHEAP = [("base", "", p, s) for s in (100, 101) for p in ("none", "oracle 300 m")][:3]

def rows_of(keys):
    work = experiment.junction_worker(None, [])
    return [row for k in keys for row in work(list(k), None)]

@pytest.fixture
def planned(monkeypatch, tmp_path):
    "An experiment of three cheap runs, without recordings."
    monkeypatch.setenv("SIRENBOOK_DATA", str(tmp_path / "nothing"))
    monkeypatch.setattr(experiment, "find_dataset", lambda name: tmp_path / name)
    monkeypatch.setattr(experiment, "planned", lambda *a, **k: list(CHEAP))
    monkeypatch.setattr(junction, "WARM_UP_S", 20.0)
    monkeypatch.setattr(junction, "AFTER_S", 60.0)
    return tmp_path

def in_process(seen=None, stop_after=np.inf):
    "`run_workers` without processes, which somebody stops."
    def run_workers(make, arguments, items, **kwargs):
        work = experiment.junction_worker(*arguments)
        for n, item in enumerate(items):
            if n == stop_after: raise KeyboardInterrupt
            if seen is not None: seen.append(tuple(item))
            yield work(item, None)
    return run_workers

@pytest.mark.filterwarnings("ignore::sirenbook.errors.SirenbookWarning")
def test_an_experiment_that_is_stopped_resumes(planned, monkeypatch):
    table = planned / "junction.csv"
    monkeypatch.setattr(experiment, "run_workers", in_process(stop_after=2))
    with pytest.raises(KeyboardInterrupt, match="2 of 3 runs done.*resume"):
        experiment.run(None, planned, workers=1)
    kept, text = load_runs(table), table.read_text()
    assert [tuple(r.values())[:4] for r in kept] == CHEAP[:2]
    monkeypatch.setattr(experiment, "run_workers", in_process(seen := []))
    experiment.run(None, planned, workers=1)
    rows = load_runs(table)
    assert seen == CHEAP[2:] and rows[:2] == kept and table.read_text().startswith(text)
    assert [tuple(r.values())[:4] for r in rows] == CHEAP
    experiment.run(None, planned, workers=1)
    assert seen == CHEAP[2:] and load_runs(table) == rows         # nothing is left to do
    assert rows == [{k: r[k] for k in rows[0]} for r in rows_of(CHEAP)]       # as a run gives them

@pytest.mark.filterwarnings("ignore::sirenbook.errors.SirenbookWarning")
def test_the_program_runs_the_experiment(planned, monkeypatch, capsys):
    monkeypatch.setattr(experiment, "planned", lambda *a, **k: [("range", "300", "oracle", 100)])
    assert cli.main(["experiment", "junction", "--out", str(planned)]) == 0
    (row,) = load_runs(planned / "junction.csv")                  # by a process of its own
    assert row["asked_m"] <= 300 and row["right"] and "junction" in capsys.readouterr().out

@pytest.mark.filterwarnings("ignore::sirenbook.errors.SirenbookWarning")
def test_a_run_that_fails_ends_the_experiment_in_a_sentence(planned, monkeypatch):
    monkeypatch.setattr(experiment, "run_workers", lambda *a, **k: iter(
        [rows_of(CHEAP[:1]), SirenbookFileError("the disk: cannot be read")]))
    with complains("the disk", kind=SirenbookFileError): experiment.run(None, planned, workers=1)
    assert len(load_runs(planned / "junction.csv")) == 1

def test_what_is_not_at_hand_is_said_and_left_out(planned, monkeypatch):
    asked = []
    monkeypatch.setattr(experiment, "planned", lambda *a, **k: asked.append(a) or CHEAP[:1])
    monkeypatch.setattr(experiment, "run_workers", in_process())
    with pytest.warns(match="YAMNet is not at hand"), pytest.warns(match="no real recordings"):
        experiment.run(None, planned, workers=1)
    assert asked == [(False, False)]

def test_the_plan_of_the_experiment():
    for yamnet in (False, True):
        for recordings in (False, True):
            keys = experiment.planned(yamnet, recordings)
            assert len({*keys}) == len(keys)
            assert any(k[2] == "YAMNet" for k in keys) == yamnet
            assert any(k[0] == "recordings" for k in keys) == recordings
    for part, value, policy, seed in keys:                 # each can be compared with nobody asking
        nobody = (part, value, "none", seed) in keys or ("base", "", "none", seed) in keys
        assert nobody or part == "alone"
        if part in experiment.PARTS: Case(**experiment.PARTS[part][value])
        elif part not in ("base", "alone"): assert part in experiment.ORACLE
    assert {s for *_, s in keys}.isdisjoint(range(experiment.FIRST))

def test_a_table_of_something_else_is_refused(tmp_path):
    path = tmp_path / "junction.csv"
    good = ",".join(junction.JUNCTION_COLUMNS) + "\nbase,,none,100,1.5,,20.0,,,0,0.0\n"
    path.write_text(good)
    assert load_runs(path)[0]["lost_s"] == 1.5 and load_runs(path)[0]["right"] is None
    for text in ("", "a,b\n1,2\n", good[:-5], good.replace("1.5", "fast"), good + "base,,none\n",
                 good.replace("lost_s", "Lost_s"), good.replace("100", "1.5")):
        path.write_text(text)
        with complains(path, kind=SirenbookFileError): load_runs(path)
    with complains("nosuch.csv"): load_runs(tmp_path / "nosuch.csv")

def run_row(seed, policy="none", lost_s=10.0, part="base", value="", **more):
    return dict.fromkeys(junction.JUNCTION_COLUMNS) | dict(
        part=part, value=value, policy=policy, seed=seed, lost_s=lost_s, others_s=20.0, useless=0,
        held_s=0.0) | more

def test_runs_are_compared_with_the_same_seed():
    rows = [run_row(s, lost_s=10.0 + s) for s in range(8)]
    rows += [run_row(s, "ear", 10.0 + s - 3, others_s=21.0, asked_m=100.0 + s, right=s > 1)
             for s in range(6)][::-1]
    found = compare_runs(rows, "ear")
    assert found["n"] == 6 and found["saved_s"] == (3, 3, 3) and found["others_s"] == (1, 1, 1)
    assert found["asked_m"] == 102.5 and found["asked"] == 1 and np.isclose(found["right"], 4 / 6)
    own = [run_row(s, "none", 30.0, "way", "north") for s in range(4)]
    mine = [run_row(s, "ear", 10.0, "way", "north") for s in range(4)]
    assert compare_runs(rows + own + mine, "ear", "way", "north")["saved_s"] == (20, 20, 20)
    assert compare_runs(rows + own[:0] + mine[:1], "ear", "way", "north")["saved_s"] == (0, 0, 0)
    for name, at in (("nobody", ()), ("ear", ("way", "south"))):
        with complains(repr(name), "compared"): compare_runs(rows, name, *at)

def test_an_interval_holds_its_mean():
    values = np.random.default_rng(0).normal(5, 2, 40)
    mean, low, high = mean_interval(values)
    assert low < mean < high and np.isclose(mean, values.mean())
    assert np.isclose(high - low, 2 * 1.96 * values.std() / 40 ** 0.5, rtol=0.1)
    assert mean_interval([3]) == (3, 3, 3) and np.isnan(mean_interval([])).all()

def test_the_neighbours_are_coordinated():
    "A car at the green wave's speed, that leaves A at green, finds green at B, C and D."
    for n, plan in GREEN_WAVE.items():
        x = load_junction(n).centre_m[0]
        assert abs(x / traffic.LIMIT_MPS - plan.offset_s) < 0.5
        stage, left_s = plan.wanted(x / traffic.LIMIT_MPS + 1.0)
        assert stage == "WE" and left_s > 25
