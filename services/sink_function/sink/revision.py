"""The digest of the function's code, in the events it writes: what `tweets doctor` compares.

Reader and function are deployed apart and share no module, so these lines stand in both;
tests/test_revision.py holds them to one answer. A variable of the deployment would need a new
build of the function, or a restart of the reader, for a commit that changed neither.
"""

from __future__ import annotations

import hashlib
from pathlib import Path


def code_digest(package: Path) -> str:
    """First 12 hex digits of a SHA-256 over names and bytes of a package's *.py and *.json files.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256()
    files = {
        path.relative_to(package).as_posix(): path
        for pattern in ("*.py", "*.json")
        for path in package.rglob(pattern)
        if "__pycache__" not in path.parts
    }
    for name, path in sorted(files.items()):
        content = path.read_bytes()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:12]
