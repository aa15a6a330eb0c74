"""Measures one peer on some cells, in the peer's own Python: what peers.py starts.

    worker.py PEER THREADS

Reads jobs from standard input, a JSON object a line: {index, case, kernels: {layout: path}}. Writes a line
before each, {"begin": index}, and one after, {"index": index, "result": {...}}; first of all {"version": ...}.
Libraries that print to standard output do so on standard error.
"""

import gc
import importlib
import json
import math
import os
import sys
import time

import cases
import measure
import ours
import problem as problems

NEAR = 1.3  # variants this near the fastest are timed again,
LONG = 0.3  # but those that take so many seconds less often: their first call says enough


def try_variants(problem, variants):
    """The fastest right variant, as (its entry, run, output), and what became of each."""
    tried, right = [], []
    for label, layout, build in variants:
        entry = {"label": label, "layout": layout}
        tried.append(entry)
        try:
            run, output = build()
            measure.rest()  # the variant before may have threads of its own that still watch for work
            first = measure.burst(run, 1)[0]
            entry["error"] = problem.error(output(), layout)
            if entry["error"] > problem.tolerance:
                entry["failed"] = f"wrong: off by {entry['error']:.1e} of the largest element"
                continue
            best = min((other["seconds"] for other, _, _ in right), default=math.inf)
            entry["seconds"] = first
            if first < LONG or first < NEAR * best:
                entry["seconds"] = measure.quick_seconds(run)
        except Exception as error:  # a peer may raise anything; its other variants may work
            entry["failed"] = f"{type(error).__name__}: {str(error)[:200]}"
            continue
        right.append((entry, run, output))
    if not right:
        return None, tried
    # What is near the best gets a second, longer look.
    limit = NEAR * min(entry["seconds"] for entry, _, _ in right)
    right = [candidate for candidate in right if candidate[0]["seconds"] <= limit]
    for entry, run, _ in right if len(right) > 1 and limit < LONG else []:
        measure.rest()
        entry["seconds"] = min(entry["seconds"], measure.quick_seconds(run, 0.1))
    return min(right, key=lambda candidate: candidate[0]["seconds"]), tried


def our_side(problem, layout, kernels, threads):
    case = problem.case
    if layout not in kernels:
        raise RuntimeError("ours: no kernel could be made")
    library = ours.Library(kernels[layout], case.kernel_name(layout))
    kernel = ours.Kernel(library, threads, case.steps)
    run, output = problems.our_call(problem, layout, kernel)
    run()
    error = problem.error(output, layout)
    if error > problem.tolerance:
        raise RuntimeError(f"ours is wrong: off by {error:.1e} of the largest element")
    return library, kernel, run, error


def measured(peer, case, kernels, threads):
    problem = problems.Problem(case)
    variants = peer.variants(problem, threads)
    if not variants:
        return {"absent": True}
    best, tried = try_variants(problem, variants)
    if best is None:
        return {"failed": tried[0]["failed"], "variants": tried}
    chosen, run, output = best
    label, layout = chosen["label"], chosen["layout"]
    library, kernel, our_run, our_error = our_side(problem, layout, kernels, threads)
    try:
        estimates = (measure.quick_seconds(our_run), chosen["seconds"])
        arguments = (our_run, run, lambda: library.limit(case.limit.encode(), threads), estimates)
        rounds = measure.in_turn(*arguments)
        if measure.is_close(rounds):
            rounds += measure.in_turn(*arguments)
    finally:
        kernel.close()
    error = problem.error(output(), layout)
    if error > problem.tolerance:
        return {"failed": f"{label}: wrong after being timed: off by {error:.1e}", "variants": tried}
    return {"variant": label, "layout": layout, "errors": {"ours": our_error, "theirs": error},
            **measure.summary(rounds, case.work, case.steps), "variants": tried}


def main():
    name, threads = sys.argv[1], int(sys.argv[2])
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def send(message):
        channel.write(json.dumps(message) + "\n")
        channel.flush()
    peer = importlib.import_module(f"peer_{name}")
    send({"version": peer.VERSION})
    for line in sys.stdin:
        job = json.loads(line)
        send({"begin": job["index"]})
        start = time.perf_counter()
        try:
            result = measured(peer, cases.Case(**job["case"]), job["kernels"], threads)
        except Exception as error:
            result = {"failed": f"{type(error).__name__}: {str(error)[:300]}"}
        send({"index": job["index"], "result": {**result, "took": time.perf_counter() - start}})
        gc.collect()


if __name__ == "__main__":
    main()
