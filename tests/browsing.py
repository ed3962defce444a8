"""Pages in a headless browser."""

import re
import shutil
import subprocess

import pytest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")


def browsed(html: str, tmp_path, width: int = 1366, height: int = 768) -> str:
    """The page as a browser has it once its scripts have run."""
    file = tmp_path / "page.html"
    file.write_text(html)
    ran = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},{height}", "--dump-dom",
         f"--user-data-dir={tmp_path / 'profile'}", file.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return ran.stdout


def with_script(html: str, script: str, is_allowed: bool = True) -> str:
    """The page with a script of ours at its end, which the page's own policy forbids."""
    if is_allowed:
        html = re.sub("<meta [^>]*Content-Security-Policy[^>]*>", "", html)
    return html.replace("</body>", f"<script>{script}</script></body>")
