"""The configuration that the demo gives the program: the stack's own file, made harmless."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from local.engine.program import ProgramError, checked_in_config
from local.machine.errors import BadInputError

# The account that a person would have to bring, and what only makes sense with one. Synthetic
# posts cost nothing, so no budget stops the demo; --config sets one to see it at work.
DEMO: dict[str, object] = {
    "gcp:project": "local-demo",
    "tweets:xBearerToken": "synthetic-token-of-the-demo",
    "tweets:postBudget": 0,
    "tweets:image": "",
}


def stack_config(stack: str, overrides: Mapping[str, object]) -> dict[str, object]:
    """The configuration of `Pulumi.<stack>.yaml` with a demo account, and `overrides` over both.

    Encrypted values stay out: only `pulumi` can open them, and the demo needs no secret.

    Raises:
        BadInputError: no such stack, or its file is not what Pulumi writes.
    """
    try:
        declared = checked_in_config(stack)
    except ProgramError as error:
        raise BadInputError(f"--stack {stack}: {error}") from error
    except (yaml.YAMLError, AttributeError, TypeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise BadInputError(
            f"Pulumi.{stack}.yaml is not a stack's configuration: {reason}"
        ) from error
    clear = {
        key: value
        for key, value in declared.items()
        if not (isinstance(value, dict) and "secure" in value)
    }
    return {**clear, **DEMO, **overrides}
