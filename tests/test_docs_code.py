"""The code on the pages runs as it is written there: the README's ten lines, and a page for each question."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/usage/*.md"))]


def code_of(page):
    return "\n".join(
        re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    )


WITH_CODE = [page for page in PAGES if code_of(page)]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    """What it loads comes from ``satlens.load_model``; what it saves goes to where it is run."""
    assert "load_model" in code_of(page)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code_of(page), str(page), "exec"), names)
    if page.name == "README.md":
        assert names["events"].layer.shape[1] == 5
        assert names["report"].verdict.verdict


def test_every_question_is_on_the_front_page_and_on_the_one_of_running_it():
    index, usage = ((ROOT / "docs" / name).read_text("utf-8") for name in ("index.md", "usage.md"))
    pages = sorted(ROOT.glob("docs/usage/*.md"))
    assert len(pages) >= 10 and len(WITH_CODE) >= len(pages)
    for page in pages:
        title = page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        assert f"\nusage/{page.stem}\n" in index
        assert f"| [{title}](usage/{page.name}) |" in usage
