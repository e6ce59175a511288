"""The report in a real browser, under an HTML validator and an accessibility checker.

    npm install --prefix FOLDER playwright-core html-validate axe-core
    BNRUN_WEB_TOOLS=FOLDER pytest tests/report/test_in_browser.py

It takes some ten seconds, so it runs only where the folder is named.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(os.environ.get("BNRUN_WEB_TOOLS", "")) / "node_modules"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SCRIPT = Path(__file__).with_name("check_page.cjs")


@pytest.mark.process
@pytest.mark.skipif("BNRUN_WEB_TOOLS" not in os.environ, reason="BNRUN_WEB_TOOLS names no folder")
@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node")
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_browser_validator_and_accessibility_checker_find_nothing(
    page: str, tmp_path: Path
) -> None:
    file = tmp_path / "report.html"
    file.write_text(page)
    done = subprocess.run(
        ["node", str(SCRIPT), str(file), str(tmp_path / "profile"), str(CHROMIUM)],
        env=os.environ | {"NODE_PATH": str(TOOLS)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
