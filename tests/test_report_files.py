"""The reports in `reports/` are what the rows say; writing them loses nothing of anybody's."""

import json
import shutil
from pathlib import Path

import pytest
from report_parts import measured, synthetic_card

from advisor.commands.report import report
from advisor.errors import AdvisorError, ExitCode
from advisor.profiles.environments import read_environment
from advisor.profiles.folders import profiles_folder
from advisor.profiles.probe import read_probes
from advisor.profiles.store import read_rows
from bench.accuracy.document import from_json
from bench.report.build import texts
from bench.report.reading import by_card, card_rows
from bench.report.write import write_report

REPORTS = Path(__file__).parent.parent / "reports"


@pytest.fixture(scope="module")
def shipped():
    """The rows that ship, by card."""
    return by_card(read_rows(profiles_folder()))


@pytest.fixture(scope="module")
def cards(shipped):
    """Every card with rows. Predictions are those of accuracy.json, which tests of its own hold to the estimator."""
    told = from_json(json.loads((REPORTS / "accuracy.json").read_text(encoding="utf-8")))
    made = {}
    for slug, rows in shipped.items():
        names = {row.environment for row in rows}
        environments = {name: read_environment(profiles_folder(), slug, name) for name in names}
        probes = read_probes(profiles_folder(), card=slug)
        made[slug] = card_rows(slug, rows, told.of(own=True).compared, environments, probes)
    return made


def test_each_card_has_its_reports_and_they_are_what_the_rows_say(cards):
    """`python -m bench.accuracy reports` and then `advisor report` write them; nobody edits them."""
    assert "h200" in cards
    for slug, card in cards.items():
        for ending, text in texts(card).items():
            path = REPORTS / f"{slug}{ending}"
            assert path.exists(), f"{path.name} is missing: `advisor report` writes it"
            assert text == path.read_text(encoding="utf-8"), (
                f"{path.name} is stale: `advisor report` writes it anew"
            )


def test_no_row_of_the_store_is_left_out(cards, shipped):
    """Each is in its card's count, and each that ran on the whole card has a prediction."""
    assert sum(map(len, shipped.values())) >= 18
    for slug, card in cards.items():
        assert {row.id for row in shipped[slug]} == {row.id for row in card.rows}
        assert {row.id for row in card.ran} <= set(card.figures)


def test_a_report_is_written_anew(tmp_path):
    """Ours is replaced without a question."""
    small, large = synthetic_card([measured()]), synthetic_card([measured(), measured(micro_batch=2)])
    write_report(texts(small), tmp_path / "h200")
    paths = write_report(texts(large), tmp_path / "h200")

    assert [tmp_path / "h200.md", tmp_path / "h200.html"] == paths
    assert list(texts(large).values()) == [path.read_text() for path in paths]


@pytest.mark.parametrize("content", [b"my notes on the H200", b"", b"\xff\xfe"])
def test_what_somebody_wrote_is_not_replaced(tmp_path, content):
    """And the file beside it is not written either."""
    mine = tmp_path / "h200.html"
    mine.write_bytes(content)
    with pytest.raises(AdvisorError, match="not made by"):
        write_report(texts(synthetic_card([measured()])), tmp_path / "h200")

    assert content == mine.read_bytes()
    assert not (tmp_path / "h200.md").exists()


def test_a_folder_without_rows_says_how_to_get_some(tmp_path):
    """The fix names the command."""
    with pytest.raises(AdvisorError) as caught:
        report(card=None, output=tmp_path / "out", profiles=tmp_path)

    assert "advisor bench" in caught.value.fix
    assert not (tmp_path / "out").exists()


def test_a_card_without_rows_is_named_with_those_that_have_some(tmp_path):
    """An alias of the catalog does, too."""
    with pytest.raises(AdvisorError) as caught:
        report(card="RTX 4090", output=tmp_path, profiles=profiles_folder())

    assert "rtx-4090" in caught.value.what
    assert "h200" in caught.value.why
    assert ExitCode.USAGE == caught.value.exit_code


def test_the_command_writes_one_card_and_says_where(tmp_path, capsys):
    """Of one real row: paths on stdout, progress on stderr."""
    (source,) = profiles_folder().glob("h200/*/mistral-7b-v0.3.jsonl")
    place = tmp_path / "profiles" / "h200" / source.parent.name
    place.mkdir(parents=True)
    for name in ("environment.json", source.name):
        shutil.copy(source.parent / name, place)
    report(card="NVIDIA H200", output=tmp_path / "out", profiles=tmp_path / "profiles")
    said = capsys.readouterr()

    assert [str(tmp_path / "out" / f"h200{e}") for e in (".md", ".html")] == said.out.split()
    assert "predicting" in said.err
    assert "mistral-7b-v0.3" in (tmp_path / "out" / "h200.md").read_text()
    assert "Predicted against measured" in (tmp_path / "out" / "h200.html").read_text()
