#!/usr/bin/env python3
"""./dev bench peers: our kernels beside ONNX Runtime, OpenVINO, PyTorch and zentorch, and docs made from it.

Every peer runs in a process of its own Python environment (build/peers), with our kernel called through the C
ABI and the machine's peak measured in that same process, in turn. After every cell all is saved to the JSON file.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import sys

import cases as table
import environments
import fleet
import kernels as our_kernels
import plot
import report

ROOT = pathlib.Path(__file__).resolve().parents[2]


EXAMPLES = """examples:
  --list --cases 'bf16|decode'                  the names of some cells
  --cases 'decode' --threads 1 --keep --write-docs
                                                measures these again, and writes the docs with all others as they were
  --quick --cases 'bf16|decode' --threads 1     a few of bf16 and decode, in some minutes
"""


def arguments(words):
    parser = argparse.ArgumentParser(
        prog="./dev bench peers", description=__doc__.split("\n\n")[0], epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the cells with a star in cases.txt")
    parser.add_argument("--cases", metavar="REGEX", help="only cells whose name this matches somewhere")
    parser.add_argument("--peers", metavar="NAME,...", default=",".join(environments.PEERS))
    parser.add_argument("--threads", metavar="N,...", default="1,2")
    parser.add_argument("--resume", action="store_true",
                        help="measure only what the JSON file lacks or has as failed")
    parser.add_argument("--keep", action="store_true",
                        help="leave the other cells of the JSON file as they are, whatever code of ours made them")
    parser.add_argument("--report", action="store_true", help="measure nothing; show what the JSON file has")
    parser.add_argument("--write-docs", action="store_true",
                        help="write docs/peers.md, docs/peers.svg and the README's table from the JSON file")
    parser.add_argument("--json", metavar="FILE", type=pathlib.Path, default=ROOT / "build/bench/peers.json")
    parser.add_argument("--list", action="store_true", help="show the names of the cells and stop")
    options = parser.parse_args(words)
    options.peers = options.peers.split(",")
    unknown = set(options.peers) - set(environments.PEERS)
    if unknown:
        parser.error(f"--peers: there is no {', '.join(sorted(unknown))}; there are "
                     f"{', '.join(environments.PEERS)}")
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", options.threads):
        parser.error("--threads: numbers from 1, with commas between them")
    options.threads = [int(word) for word in options.threads.split(",")]
    return options


def chosen_cases(options):
    found = table.read_table(table.TABLE.read_text(encoding="utf-8"))
    if options.quick:
        found = [case for case in found if case.quick]
    if options.cases:
        found = [case for case in found if re.search(options.cases, case.name)]
    return found


def machine(made):
    """The processor, and what mha-gen takes it for."""
    targets = {json.loads((path.parent / case.kernel_name(layout) / "manifest.json").read_text())["targets"][0]
               for (case, layout), path in made.items() if not isinstance(path, RuntimeError)}
    return processor() + "".join(f" ({target})" for target in sorted(targets))


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def save(results, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    pending = path.with_suffix(f".{os.getpid()}")
    pending.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    pending.rename(path)


def fresh_results(generator, machine_words):
    return {"version": report.VERSION, "machine": machine_words, "generator": generator,
            "date": datetime.date.today().isoformat(), "peers": {}, "results": []}


def start_of(options, generator, machine_words, chosen):
    """What the results begin with: nothing; with --resume those of the same code on the same machine; with --keep
    the cells that are not measured now."""
    fresh = fresh_results(generator, machine_words)
    if not (options.resume or options.keep) or not options.json.exists():
        return fresh
    old = report.read(options.json)
    if options.keep:
        return kept_results(old, fresh, options, chosen)
    for key in ("machine", "generator"):
        if old[key] != fresh[key]:
            sys.exit(f"peers: {options.json} cannot be resumed: its {key} is another; leave out --resume")
    old["results"] = [entry for entry in old["results"] if "failed" not in entry]
    return old


def kept_results(old, fresh, options, chosen):
    """`fresh` with the old entries that are not to be measured again; chosen: the names of the cells that are."""
    if old["machine"] != fresh["machine"]:
        sys.exit(f"peers: {options.json} is of another machine; leave out --keep")
    for entry in old["results"]:
        entry.setdefault("date", old["date"])
    again = {(name, peer, threads) for name in chosen for peer in options.peers for threads in options.threads}
    fresh["peers"] = old["peers"]
    fresh["results"] = [entry for entry in old["results"]
                        if (entry["name"], entry["peer"], entry["threads"]) not in again]
    return fresh


def measure(options, cells):
    generator = our_kernels.Generator(ROOT / "build/release", ROOT / "build/bench/kernels")
    pairs = [(case, layout) for case in cells for layout in case.layouts()]
    fleet.note(f"{len(pairs)} kernels of ours")
    made = generator.make_all(pairs, len(os.sched_getaffinity(0)))
    for (case, layout), path in made.items():
        if isinstance(path, RuntimeError):
            fleet.note(f"{case.name}, {layout}: no kernel of ours: {path}")
    results = start_of(options, generator.version, machine(made), {case.name for case in cells})
    cpus = fleet.one_cpu_a_core(os.sched_getaffinity(0), fleet.siblings_of)
    done = {(entry["name"], entry["peer"], entry["threads"]) for entry in results["results"]}
    # Threads inside peers: should the run be cut short, what is there of a thread count is comparable.
    for threads in options.threads:
        if threads > len(cpus):
            fleet.note(f"{threads} threads: left out, this machine has {len(cpus)} cores for us")
            continue
        for peer in options.peers:
            info = results["peers"].setdefault(peer, {})
            info.pop("skipped", None)
            try:
                python = environments.python_of(peer, ROOT / "build/peers", fleet.note)
            except environments.Unavailable as reason:
                fleet.note(f"{peer}: skipped: {reason}")
                if all(entry["peer"] != peer for entry in results["results"]):
                    info["skipped"] = str(reason)
                save(results, options.json)
                continue
            wanted = [case for case in cells if (case.name, peer, threads) not in done]
            run_peer(options, results, peer, python, threads, cpus, wanted, made)
    return results


def run_peer(options, results, peer, python, threads, cpus, wanted, made):
    jobs = []
    for index, case in enumerate(wanted):
        paths = {layout: str(made[case, layout]) for layout in case.layouts()
                 if not isinstance(made[case, layout], RuntimeError)}
        jobs.append(fleet.job_of(index, case, paths))

    def take(index, result):
        case = wanted[index]
        entry = {"name": case.name, "op": case.op, "d_model": case.d_model, "heads": case.heads,
                 "kv_heads": case.kv_heads, "d_head": case.d_head, "dtype": case.dtype, "length": case.length,
                 "mask": case.mask, "steps": case.steps, "flops": case.flops, "limit": case.limit,
                 "date": datetime.date.today().isoformat(), "threads": threads, "peer": peer, **result}
        results["results"].append(entry)
        save(results, options.json)
        fleet.note(report.progress_line(entry))

    log = ROOT / "build/bench" / f"peers-{peer}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    fleet.run_jobs(
        lambda: fleet.Worker(python, peer, threads, cpus, log, ROOT / "build/bench/inductor"), jobs,
        lambda version: results["peers"][peer].update(version=version), take)


def write_docs(results):
    page, picture, readme = ROOT / "docs/peers.md", ROOT / "docs/peers.svg", ROOT / "README.md"
    page.write_text(report.page(results), encoding="utf-8")
    picture.write_text(plot.picture(results), encoding="utf-8")
    readme.write_text(report.between_marks(readme.read_text(encoding="utf-8"), report.readme_part(results)),
                      encoding="utf-8")
    for path in (page, picture, readme):
        fleet.note(f"wrote {path.relative_to(ROOT)}")


def main(words):
    options = arguments(words)
    cells = chosen_cases(options)
    if options.list:
        print("\n".join(case.name for case in cells))
        return 0
    if not cells:
        sys.exit("peers: no cell matches")
    results = report.read(options.json) if options.report else measure(options, cells)
    print(report.page(results))
    if options.write_docs:
        write_docs(results)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
