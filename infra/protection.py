"""Whether a stack is protected, asked of the pulumi CLI before something destroys it.

`pulumi destroy` refuses a protected stack in its preview. Automation skips that preview, and then
everything that is not protected itself goes first, the reader among it. `python -m
infra.protection STACK` ends with 1 and a line where the stack is protected (destroy.yml). It needs
no package but Python's own.
"""

import json
import shutil
import subprocess
import sys


def run(*arguments: str) -> str:
    """What a pulumi command prints.

    Raises:
        SystemExit: there is no pulumi, or it refused: 2, and its words on standard error.
    """
    pulumi = shutil.which("pulumi")
    if pulumi is None:
        raise SystemExit(_told("there is no pulumi command: https://www.pulumi.com/docs/install/"))
    ran = subprocess.run(  # noqa: S603 - fixed commands; the stack's name is one argument
        [pulumi, *arguments, "--non-interactive"], capture_output=True, text=True, check=False
    )
    if ran.returncode:
        raise SystemExit(_told(f"pulumi {arguments[0]} {arguments[1]}: {ran.stderr.strip()}"))
    return ran.stdout


def why_protected(stack: str) -> str:
    """What protects a stack, in one line; empty where nothing does.

    Both must be off: the setting, since the next `up` would turn it on again, and the state, since
    it is what a destroy meets.

    Raises:
        SystemExit: pulumi cannot tell.
    """
    given = json.loads(run("config", "--json", "--stack", stack))
    value = str((given.get("tweets:protect") or {}).get("value", "not set"))
    if value != "false":
        set_it = f"pulumi config set tweets:protect false --stack {stack}"
        return f"tweets:protect is {value}; set it: {set_it}"
    state = json.loads(run("stack", "export", "--stack", stack)).get("deployment") or {}
    kept = [each["urn"] for each in state.get("resources") or [] if each.get("protect")]
    if kept:
        names = ", ".join(urn.rpartition("::")[2] for urn in kept)
        return f"its state protects {names}; let go of it first: pulumi up --stack {stack}"
    return ""


def _told(line: str) -> int:
    print(line, file=sys.stderr)
    return 2


def main(arguments: list[str]) -> int:
    """Say whether the one stack that is named may be destroyed."""
    if len(arguments) != 1:
        return _told("usage: python -m infra.protection STACK")
    (stack,) = arguments
    if why := why_protected(stack):
        print(f"Nothing was destroyed: the stack {stack} is protected: {why}", file=sys.stderr)
        return 1
    print(f"The stack {stack} is not protected.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
