"""The examples of docs/PREDICT.md print what is shown below them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCUMENT = (Path(__file__).parents[2] / "docs" / "PREDICT.md").read_text()
EXAMPLES = re.findall(
    r"^<!-- runnable -->\n```python\n(.*?)^```\n\n```text\n(.*?)^```$",
    DOCUMENT,
    re.DOTALL | re.MULTILINE,
)


def test_each_example_shows_what_it_prints() -> None:
    assert len(EXAMPLES) == DOCUMENT.count("<!-- runnable -->") > 1


@pytest.mark.parametrize(("code", "shown"), EXAMPLES)
def test_an_example(code: str, shown: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == shown
