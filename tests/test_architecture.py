"""What the documents say of the tree is true."""

import re
from pathlib import Path

import pytest

from services.api.explaining.codes import MEANINGS

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    "ARCHITECTURE.md",
    "MANUAL.md",
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "SCALING.md",
    "deploy/kubernetes/README.md",
    "deploy/runbook.md",
)
PROVEN = ("SECURITY.md", "SCALING.md", "deploy/runbook.md")  # what they promise has tests beside it


def named_paths(document):
    text = (ROOT / document).read_text()
    return sorted(set(re.findall(r"`((?:services|shared|tests|deploy)/[\w./]*)`", text)))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_that_a_document_names_exists(document):
    named = named_paths(document)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_between_documents_leads_somewhere(document):
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / document).read_text())
    assert [link for link in links if not (ROOT / document).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("document", PROVEN)
def test_every_test_that_a_document_names_exists(document):
    named = set(re.findall(r"`(test_\w+)`", (ROOT / document).read_text()))
    assert named
    text = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert named - set(re.findall(r"def (test_\w+)", text)) == set()


@pytest.mark.parametrize("suffix", [".lua", ".sql"])
def test_every_script_and_statement_says_what_it_is_for(suffix):
    files = [path for top in ("services", "shared") for path in (ROOT / top).rglob(f"*{suffix}")]
    assert files
    silent = [str(path.relative_to(ROOT)) for path in files if "--" not in path.read_text()[:200]]
    assert silent == []


def test_no_lua_or_sql_stands_in_python_strings():
    told = re.compile(r"redis\.call\(|\bINSERT INTO\b|\bCREATE TABLE\b", re.IGNORECASE)
    files = [path for top in ("services", "shared") for path in (ROOT / top).rglob("*.py")]
    assert [str(path.relative_to(ROOT)) for path in files if told.search(path.read_text())] == []


def test_the_manual_has_every_reason_that_an_explanation_can_have():
    told = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", (ROOT / "MANUAL.md").read_text(), re.MULTILINE))
    assert {code.value: said for code, said in MEANINGS.items()}.items() <= told.items()
