"""Evaluating `infra/`: time, memory, and what its largest imports cost."""

from __future__ import annotations

import json
import re
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
_TIMED = re.compile(r"import time:\s*(\d+) \|\s*(\d+) \| +(\S+)")


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
    imports = _imports()
    section.data = {"runs": found, "imports_ms": imports, "resources": resources}
    largest = sorted(imports.items(), key=lambda item: -item[1])[:6]
    section.notes += [
        f"{pairs} processes of each in turn; {resources} resources.",
        "Largest imports, milliseconds of their own files (python -X importtime, which itself "
        "slows them): " + ", ".join(f"{name} {ms:.0f}" for name, ms in largest) + ".",
    ]
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


def _imports() -> dict[str, float]:
    """Package, or module of a provider's package, to ms that its own files take to import."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", _EVALUATE], cwd=ROOT, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    found: dict[str, float] = {}
    for line in done.stderr.splitlines():
        if match := _TIMED.match(line):
            parts = match[3].split(".")
            deep = parts[0] in ("pulumi_gcp", "pulumi_kubernetes")
            name = ".".join(parts[: 2 if deep else 1])
            found[name] = found.get(name, 0.0) + int(match[1]) / 1000
    return {name: round(ms, 1) for name, ms in found.items() if ms >= 1}
