"""Runs workers: one process for a peer and a thread count, started again behind a cell that it does not survive."""

import dataclasses
import json
import os
import pathlib
import queue
import subprocess
import sys
import threading

import environments

CELL_SECONDS = 240  # a worker that is silent for longer is given up


def one_cpu_a_core(allowed, siblings):
    """The allowed CPUs, one of each core, last first: the system's own work tends to sit on the first.
    siblings(cpu): the CPUs of its core."""
    chosen, taken = [], set()
    for cpu in sorted(allowed, reverse=True):
        if cpu not in taken:
            chosen.append(cpu)
            taken |= set(siblings(cpu))
    return chosen


def siblings_of(cpu):
    path = pathlib.Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        text = path.read_text()
    except OSError:
        return [cpu]
    cpus = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        cpus += range(int(first), int(last or first) + 1)
    return cpus


class Worker:
    def __init__(self, python, peer, threads, cpus, log, scratch):
        environment = environments.clean_environment()
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            environment[name] = str(threads)
        environment["TORCHINDUCTOR_CACHE_DIR"] = str(scratch)
        environment["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # no pool of processes beside the measurement
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        self.log = open(log, "a", encoding="utf-8")
        # The worker's threads inherit these CPUs.
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cpus[:threads])
        try:
            self.process = subprocess.Popen(
                [str(python), str(pathlib.Path(__file__).with_name("worker.py")), peer, str(threads)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, env=environment, text=True)
        finally:
            os.sched_setaffinity(0, before)
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(json.loads(line))
        self.lines.put(None)

    def next(self):
        """The next message, or None when there will be none."""
        try:
            return self.lines.get(timeout=CELL_SECONDS)
        except queue.Empty:
            self.process.kill()
            return None

    def send(self, job):
        try:
            self.process.stdin.write(json.dumps(job) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # next() then says that it has ended

    def close(self):
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        return self.process.returncode


def run_jobs(start, jobs, take_version, take_result):
    """Gives each job to a worker that start() makes; take_result(job index, result) for every one of them.

    A worker that dies or falls silent fails the cell it was at, and another is started for the rest; one
    that does not even start fails all."""
    remaining = list(jobs)
    while remaining:
        worker = start()
        hello = worker.next()
        if hello is None:
            code = worker.close()
            for job in remaining:
                take_result(job["index"], {"failed": f"the worker does not start (exit code {code})"})
            return
        take_version(hello["version"])
        while remaining:
            job = remaining.pop(0)
            worker.send(job)
            message = worker.next()
            while message is not None and "result" not in message:
                message = worker.next()
            if message is None:
                code = worker.close()
                take_result(job["index"], {"failed": f"the worker died or hung (exit code {code})"})
                break
            take_result(message["index"], message["result"])
        else:
            worker.close()


def note(text):
    print(f"peers: {text}", file=sys.stderr, flush=True)


def job_of(index, case, kernels):
    return {"index": index, "case": dataclasses.asdict(case), "kernels": kernels}
