"""Evaluating `infra/`: time and memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time

from bench.child import ROOT, BenchError
from bench.results import Section, Spread, digits

_EVALUATE = """
from local.engine.program import checked_in_config, evaluate
config = {"gcp:project": "bench-project", "tweets:xBearerToken": "AAAA", **checked_in_config("dev")}
resources = len(evaluate("dev", config).resources)
"""
_IMPORT = "import pulumi; resources = 0\n"
_REPORT = """
import json, resource
used = resource.getrusage(resource.RUSAGE_SELF)
peak = next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]
print(json.dumps([resources, used.ru_utime + used.ru_stime, int(peak) / 1024]))
"""


def run(pairs: int) -> Section:
    """Measure it, each time in a new process, in turn with one that only imports pulumi."""
    section = Section(
        "The program: evaluating infra/ under Pulumi's mock engine, in a new process",
        ["", "seconds (range)", "CPU seconds", "peak MB"],
    )
    scripts = {"evaluate infra/": _EVALUATE, "import pulumi alone": _IMPORT}
    found: dict[str, list[list[float]]] = {name: [] for name in scripts}
    _process(_EVALUATE)  # so that all is compiled and in the page cache
    for _ in range(pairs):
        for name, script in scripts.items():
            found[name].append(_process(script))
    for name, runs in found.items():
        seconds, cpu, peak = ([run[at] for run in runs] for at in range(3))
        section.rows.append(
            [name, Spread.of(seconds).text(), digits(Spread.of(cpu).median), f"{max(peak):.0f}"]
        )
    ratios = [
        Spread.ratio(*([run[at] for run in runs] for runs in found.values())).text("x")
        for at in range(3)
    ]
    section.rows.append(["ratio", *ratios])
    resources = int(found["evaluate infra/"][0][3])
    section.data = {"runs": found, "resources": resources}
    section.notes.append(f"{pairs} processes of each in turn; {resources} resources.")
    return section


def _process(script: str) -> list[float]:
    """Seconds, CPU seconds, peak MB and resources of one new process."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", script + _REPORT], cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    seconds = time.monotonic() - began
    if done.returncode:
        raise BenchError(f"infra/ can't be evaluated: {done.stderr.strip().splitlines()[-1]}")
    resources, cpu, peak = json.loads(done.stdout)
    return [seconds, cpu, peak, resources]
