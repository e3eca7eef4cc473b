"""`tweets doctor`: is it right in production? A line a check, with what was seen and what to do."""

import argparse
import json

from operations.errors import explained
from operations.examination import FAIL, OK, WARN, Examination
from operations.settings import Settings
from operations.text import harmless, tell

_CODES = {OK: 0, WARN: 1, FAIL: 2}


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
        todo = "" if state == OK else todo
        findings.append({"check": name, "state": state, "seen": seen, "todo": todo})
        if not options.json:
            print(f"{state:<5} {name:<12} {harmless(seen)}", flush=True)
            if todo:
                print(f"{'':<18} -> {harmless(todo)}", flush=True)
    worst = max((finding["state"] for finding in findings), key=_CODES.__getitem__)
    if options.json:
        print(json.dumps({"state": worst, "checks": findings}, indent=2))
    elif worst != OK:
        wrong = sum(finding["state"] != OK for finding in findings)
        tell(f"to look at: {wrong} of {len(findings)} checks")
    return _CODES[worst]
