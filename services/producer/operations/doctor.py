"""`tweets doctor`: is it right in production? A line a check, with what was seen and what to do."""

import argparse
import json
from dataclasses import asdict, dataclass

from operations.errors import explained
from operations.examination import FAIL, OK, WARN, Examination
from operations.settings import Settings
from operations.text import harmless, tell

_CODES = {OK: 0, WARN: 1, FAIL: 2}


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        state: ok, warn or fail.
        seen: what was seen, with its figures.
        todo: what to do about it; empty where there is nothing to do.
    """

    check: str
    state: str
    seen: str
    todo: str = ""


def doctor(settings: Settings, options: argparse.Namespace) -> int:
    """Print every check's finding; return 0 where all is well, 1 for warnings, 2 for a failure."""
    examination = Examination(settings)
    findings = []
    for name, check in examination.checks:
        try:
            state, seen, todo = check()
        except Exception as error:
            if (explanation := explained(error)) is None:
                raise
            state, seen, todo = FAIL, explanation[0], "mend this first: the check could not be made"
        findings.append(Finding(name, state, seen, "" if state == OK else todo))
        if not options.json:
            _print(findings[-1])
    worst = max((finding.state for finding in findings), key=_CODES.__getitem__)
    if options.json:
        print(json.dumps({"state": worst, "checks": [asdict(item) for item in findings]}, indent=2))
    elif worst != OK:
        tell(f"to look at: {sum(item.state != OK for item in findings)} of {len(findings)} checks")
    return _CODES[worst]


def _print(finding: Finding) -> None:
    print(f"{finding.state:<5} {finding.check:<12} {harmless(finding.seen)}", flush=True)
    if finding.todo:
        print(f"{'':<18} -> {harmless(finding.todo)}", flush=True)
