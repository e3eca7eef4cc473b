"""Print stacks=[...]: the stacks pr-N whose pull request is closed or has no label pr-stack.

Ends with an error, and names none, where pulumi or GitHub does not answer: a stack that is asked
about in vain is not destroyed.
"""

import json
import os
import re
import subprocess
from typing import Any


def answer(*command: str) -> Any:
    """What a command line tool prints as JSON."""
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


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
