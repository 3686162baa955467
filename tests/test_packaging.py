"""What is built from this repository: the wheel, the source distribution, what they say of themselves."""

import configparser
import datetime
import email
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from satlens.version import __version__

ROOT = Path(__file__).parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
pytestmark = pytest.mark.no_host


def build(source, out, *targets):
    asked = [sys.executable, "-m", "hatchling", "build", "-d", str(out)]
    for target in targets:
        asked += ["-t", target]
    done = subprocess.run(asked, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of a wheel and a source distribution, built as a package index asks for them."""
    pytest.importorskip("hatchling", reason="hatchling, which builds the package, is not installed")
    return build(ROOT, tmp_path_factory.mktemp("dist"), "sdist", "wheel")


@pytest.fixture(scope="module")
def wheel(built):
    with zipfile.ZipFile(built / f"satlens-{__version__}-py3-none-any.whl") as opened:
        yield opened


def metadata(wheel, name):
    return wheel.read(f"satlens-{__version__}.dist-info/{name}").decode()


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel):
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "satlens").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {
        "satlens/zoo/tiny/model.safetensors", "satlens/zoo/tiny/corpus.txt",
        "satlens/report/assets/page.html", "satlens/report/audit/schema.json",
    } <= package  # fmt: skip
    held = {name for name in wheel.namelist() if not name.startswith("satlens-")}
    assert held == package
    assert wheel.getinfo("satlens/zoo/tiny/model.safetensors").file_size > 1e6  # no pointer to it


def test_the_wheel_brings_the_command_and_the_fixture(wheel):
    entries = configparser.ConfigParser()
    entries.read_string(metadata(wheel, "entry_points.txt"))
    assert dict(entries["console_scripts"]) == {"satlens": "satlens.cli:main"}
    assert dict(entries["pytest11"]) == {"satlens": "satlens.pytest_plugin"}


def test_the_wheel_says_what_it_is(wheel):
    said = email.message_from_string(metadata(wheel, "METADATA"))
    assert (said["Name"], said["Version"]) == ("satlens", __version__)
    assert said["License-Expression"] == "MIT" and said["Requires-Python"] == ">=3.11"
    assert set(said.get_all("Provides-Extra")) == set(EXTRAS)
    assert "satlens.detect" in said.get_payload()  # the README


def test_the_source_distribution_builds_the_same_wheel(built, wheel, tmp_path):
    with tarfile.open(built / f"satlens-{__version__}.tar.gz") as packed:
        packed.extractall(tmp_path, filter="data")
    source = tmp_path / f"satlens-{__version__}"
    assert (source / "tests" / "test_packaging.py").is_file()
    again = build(source, tmp_path / "dist", "wheel") / Path(wheel.filename).name
    with zipfile.ZipFile(again) as opened:
        assert {i.filename: i.CRC for i in opened.infolist()} == {
            i.filename: i.CRC for i in wheel.infolist()
        }


def test_messages_name_extras_that_there_are():
    text = "".join(path.read_text() for path in (ROOT / "satlens").rglob("*.py"))
    named = set(re.findall(r"pip install ['\"]+satlens\[(\w+)\]", text))
    assert named == set(EXTRAS) - {"docs", "dev"}


def test_the_citation_is_one():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0" and cited["type"] == "software"
    assert {"message", "title", "authors", "license"} <= cited.keys()
    assert cited["version"] == __version__
    for work in (cited, *cited["references"]):
        assert work["title"] and work["authors"]
        for author in work["authors"]:
            assert author.keys() in ({"name"}, {"family-names", "given-names"})
    for reference in cited["references"]:
        assert reference["type"] in ("article", "conference-paper", "software")


def test_the_changelog_tells_of_this_version():
    heads = re.findall(r"^## \[(.+?)\](?: - (\S+))?$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert heads[0] == ("Unreleased", "")
    assert heads[1][0] == __version__
    for version, day in heads[1:]:
        assert re.fullmatch(r"\d+\.\d+\.\d+", version) and datetime.date.fromisoformat(day)
