"""JUnit XML, which every CI system reads: one suite of cases that pass, fail, are skipped or could not be asked.

Form: https://github.com/testmoapp/junitxml (2024), the part that GitHub's, GitLab's and Jenkins' readers share.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from xml.etree import ElementTree as ET

from advisor.files import replace_text

# What XML 1.0 can't hold, escaped or not.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Result(StrEnum):
    """How a case ended."""

    PASSED = "passed"
    FAILED = "failure"  # the answer is no
    ERROR = "error"  # there is no answer
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question and its answer."""

    group: str  # shown before the name
    name: str
    result: Result
    message: str = ""  # one line
    text: str = ""  # the whole story
    duration_seconds: float = 0.0


def junit_xml(suite: str, cases: Sequence[Case]) -> str:
    """The document, as text."""
    counts = {result: sum(case.result is result for case in cases) for result in Result}
    total = {
        "name": _clean(suite),
        "tests": str(len(cases)),
        "failures": str(counts[Result.FAILED]),
        "errors": str(counts[Result.ERROR]),
        "skipped": str(counts[Result.SKIPPED]),
        "time": f"{sum(case.duration_seconds for case in cases):.3f}",
    }
    root = ET.Element("testsuites", total)
    inside = ET.SubElement(root, "testsuite", total)
    for case in cases:
        _add(inside, case)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def write_junit(path: Path, suite: str, cases: Sequence[Case]) -> None:
    """Write the document, over an older one.

    Raises: AdvisorError where the file can't be written.
    """
    replace_text(path, junit_xml(suite, cases))


def _add(suite: ET.Element, case: Case) -> None:
    told = {
        "classname": _clean(case.group),
        "name": _clean(case.name),
        "time": f"{case.duration_seconds:.3f}",
    }
    element = ET.SubElement(suite, "testcase", told)
    if case.result is Result.PASSED:
        if case.text:
            ET.SubElement(element, "system-out").text = _clean(case.text)
        return
    inside = ET.SubElement(element, case.result.value, {"message": _clean(case.message)})
    inside.text = _clean(case.text or case.message)


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
