"""The page for people: one file with its style and its script, which may load nothing else."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from importlib import resources


@functools.cache
def page() -> tuple[str, str]:
    """The page, and the policy by which a browser runs its own script and style and nothing else."""
    text = resources.files("fgcme.server").joinpath("page.html").read_text(encoding="utf-8")
    hashes = {name: _hash(text, name) for name in ("script", "style")}
    policy = (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; connect-src 'self'; "
        "media-src blob:; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return text, policy


def _hash(text: str, element: str) -> str:
    (content,) = re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
