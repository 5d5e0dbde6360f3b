"""The page is one file, and its policy lets its own script and style run and nothing else."""

import base64
import hashlib
import re

from fgcme.report.theme import DARK, LIGHT
from fgcme.server.page import page


def test_the_policy_names_the_script_and_the_style_by_their_hashes() -> None:
    text, policy = page()
    for element in ("script", "style"):
        (content,) = re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}';" in policy
    assert "default-src 'none'" in policy and "unsafe" not in policy


def test_the_page_loads_nothing_and_has_nothing_that_its_policy_would_stop() -> None:
    text, _ = page()
    assert "//" not in re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE)
    assert not re.search(r"<[^>]*\s(style|on\w+)=", text)
    assert "innerHTML" not in text


def test_the_page_has_the_colours_of_the_reports() -> None:
    text, _ = page()
    for theme in (LIGHT, DARK):
        for colour in (theme.ground, theme.ink, theme.muted, theme.grid, theme.first, theme.cool, theme.warm):
            assert colour in text
