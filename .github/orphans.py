"""Print stacks=[...]: the stacks pr-N whose pull request is closed or has no label pr-stack.

Ends with an error, and names none, where pulumi or GitHub does not answer: a stack that is asked
about in vain is not destroyed.
"""

import json
import os
import re
import subprocess
import sys
from typing import Any


def answer(*command: str) -> Any:
    """What a command line tool prints as JSON; ends with one line where it fails."""
    asked = " ".join(command)
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode == 0:
            return json.loads(done.stdout)
        why = " ".join(done.stderr.split())[-500:] or f"exit code {done.returncode}"
    except (OSError, ValueError) as error:
        why = str(error)
    sys.exit(f"sweep: `{asked}` gives no answer, so nothing is destroyed: {why}")


def wanted(number: str) -> bool:
    """Whether the pull request still asks for its stack."""
    repository = os.environ["GITHUB_REPOSITORY"]
    request = answer("gh", "pr", "view", number, "--repo", repository, "--json", "state,labels")
    labels = {label["name"] for label in request["labels"]}
    return request["state"] == "OPEN" and "pr-stack" in labels


if __name__ == "__main__":
    found = answer("pulumi", "stack", "ls", "--project", "tweets", "--json")
    names = [stack["name"].rpartition("/")[2] for stack in found]
    stacks = [name for name in names if re.fullmatch(r"pr-[0-9]+", name)]
    print("stacks=" + json.dumps([name for name in stacks if not wanted(name[3:])]))
