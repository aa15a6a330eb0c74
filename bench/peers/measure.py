"""Two functions timed against each other: bursts in turn, beside the machine's peak."""

import math
import statistics
import time

BURST_SECONDS = 0.03  # of calls without a break, for each side of a round
# A pool of threads watches for work after its last, and would take a CPU from the other side: libgomp's for 10 ms,
# ONNX Runtime's for 40 ms.
REST_SECONDS, IDLE_SECONDS, MOST_RESTS = 0.004, 0.0004, 100
CLOSE = 0.05  # a ratio so near 1 is measured over as many rounds again
ROUNDS = ((0.15, 7), (0.6, 5), (float("inf"), 3))  # for rounds of at most that many seconds


def burst(function, calls, clock=time.perf_counter):
    """Seconds of each of the calls. The first brings code and data back into the caches; where a call is
    so long that it hardly matters, it is left out."""
    if calls > 1:
        function()
    seconds = []
    for _ in range(calls):
        start = clock()
        function()
        seconds.append(clock() - start)
    return seconds


def quick_seconds(function, budget=0.04, clock=time.perf_counter):
    """The least of a few calls of a function that has run before, for choosing between variants."""
    least, spent, calls = float("inf"), 0.0, 0
    while spent < budget and calls < 200:
        seconds = burst(function, 1, clock)[0]
        least, spent, calls = min(least, seconds), spent + seconds, calls + 1
    return least


def rest(used=time.process_time, sleep=time.sleep):
    """Until all threads of the process sleep: a few ms pass in which hardly any CPU time is used."""
    for _ in range(MOST_RESTS):
        before = used()
        sleep(REST_SECONDS)
        if used() - before < IDLE_SECONDS:
            return


def in_turn(ours, theirs, peak, estimates, clock=time.perf_counter, resting=rest):
    """Rounds of a sample of the peak, a burst of ours and a burst of theirs, who take turns in going first.
    estimates: seconds of a call of each.

    A list of rounds {ours: [seconds], theirs: [seconds], peak: FLOP/s}."""
    calls = [max(1, round(BURST_SECONDS / max(estimate, 1e-7))) for estimate in estimates]
    length = sum(max(BURST_SECONDS, estimate) for estimate in estimates)
    count = next(count for limit, count in ROUNDS if length <= limit)
    sides = [("ours", ours, calls[0]), ("theirs", theirs, calls[1])]
    rounds = []
    for index in range(count):
        resting()
        sample = {"peak": peak()}
        for name, function, number in sides if index % 2 == 0 else sides[::-1]:
            resting()
            sample[name] = burst(function, number, clock)
        rounds.append(sample)
    return rounds


def round_ratios(rounds):
    """How many times as fast ours is, in each round: neighbours in time are compared."""
    return [statistics.median(sample["theirs"]) / statistics.median(sample["ours"]) for sample in rounds]


def is_close(rounds):
    """Whether the ratio is so near 1 that it deserves more rounds."""
    return abs(math.log(statistics.median(round_ratios(rounds)))) < CLOSE


def side_summary(rounds, side, work, steps, peak):
    """Of one step: seconds, the work of the median (GFLOP/s, of decode GB/s), percent of the peak."""
    every = [seconds / steps for sample in rounds for seconds in sample[side]]
    median = statistics.median(every)
    return {"median": median, "min": min(every), "calls": len(every), "gflops": work / median / 1e9,
            "percent": 100 * work / median / peak}


def summary(rounds, work, steps):
    peak = statistics.median(sample["peak"] for sample in rounds)
    medians = [[statistics.median(sample[side]) / steps for side in ("ours", "theirs")] for sample in rounds]
    return {
        "peak_gflops": peak / 1e9,
        "ours": side_summary(rounds, "ours", work, steps, peak),
        "theirs": side_summary(rounds, "theirs", work, steps, peak),
        "ratio": statistics.median(round_ratios(rounds)),
        "rounds": [[ours, theirs, sample["peak"]] for (ours, theirs), sample in zip(medians, rounds)],
    }
