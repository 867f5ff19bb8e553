"""``likeness calibrate`` on real faces: the LFW patches that scikit-image carries, and a public-domain portrait."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image, ImageOps
from skimage import data

from benchmarks.inputs.strangers import write_strangers
from pipelines.cli import main
from tests.conftest import KEY

PATCHES = 40


@dataclass
class Home:
    folder: Path

    def run(self, *arguments: str) -> Result:
        variables = {"LIKENESS_HOME": str(self.folder / "home"), "LIKENESS_KEY": KEY}
        return CliRunner().invoke(main, list(arguments), env=variables)

    def done(self, *arguments: str) -> Any:
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home, a folder of strangers, a list of pairs, and a portrait that is uploaded and registered."""
    folder = tmp_path_factory.mktemp("calibrate")
    write_strangers(folder / "strangers", PATCHES)
    portrait = Image.fromarray(data.astronaut())
    (folder / "uploads").mkdir()
    portrait.save(folder / "portrait.png")
    ImageOps.mirror(portrait).save(folder / "uploads" / "upload.jpg", quality=85)
    rows = [f"strangers/{i}.png,strangers/{j}.png,0,dim" for i in range(PATCHES) for j in range(i)]
    rows += ["portrait.png,uploads/upload.jpg,1,bright", "portrait.png,nothere.png,1,bright"]
    rows += [f"portrait.png,strangers/{i}.png,0,bright" for i in range(PATCHES)]
    (folder / "pairs.csv").write_text("\n".join(["a,b,same,group", *rows]), encoding="utf-8")
    home = Home(folder)
    home.done("init")
    return home


TARGETS = ("--fpir", "0.2", "--strong-fpir", "0.1", "--gallery", "1", "--confidence", "0.9")


def test_thresholds_from_strangers_are_put_in_force_and_stored_with_the_hits(place: Home) -> None:
    made = place.done("calibrate", "--impostors", str(place.folder / "strangers"), *TARGETS, "--use")
    assert made["photographs"] == PATCHES
    assert made["impostors"] == PATCHES * (PATCHES - 1) // 2
    assert made["complete"]
    assert made["in_force"]
    for band, target in (("review", 0.2), ("strong", 0.1)):
        assert made[band]["fpir_upper"] <= target
        assert made[band]["point"]["fmr"]["rate"] <= made[band]["point"]["fmr"]["upper"]
    assert made["review"]["point"]["threshold"] <= made["strong"]["point"]["threshold"]
    with Image.open(made["plot"]) as plot:
        assert plot.format == "PNG"

    place.done(
        "subject", "add", "--name", "Test E.", "--reference", str(place.folder / "portrait.png"), "--consent", "c"
    )
    place.done("sweep", "--source", f"directory:{place.folder / 'uploads'}")
    (hit,) = place.done("hits")
    assert hit["calibration_id"] == made["calibration_id"]
    assert hit["threshold"] == made["review"]["point"]["threshold"]
    status = place.done("status")
    assert status["calibration"]["calibration_id"] == made["calibration_id"]
    assert not status["gallery_outgrown"]
    assert place.run("verify").exit_code == 0

    (row,) = [row for row in place.done("calibration", "list") if row["in_force"]]
    assert row["calibration_id"] == made["calibration_id"]
    assert place.done("calibration", "stop")["threshold_source"].startswith("published")
    assert place.done("calibration", "use", made["calibration_id"])["calibration_id"] == made["calibration_id"]
    shown = place.run("calibration", "show", made["calibration_id"], "--plot", str(place.folder / "again.png"))
    assert "review" in shown.stdout
    assert (place.folder / "again.png").read_bytes() == Path(made["plot"]).read_bytes()


def test_labelled_pairs_give_both_error_rates_and_a_table_of_groups(place: Home) -> None:
    made = place.done("calibrate", "--pairs", str(place.folder / "pairs.csv"), *TARGETS)
    assert (made["mated"], made["dropped"]) == (1, {"missing": 1})
    assert made["review"]["fnmr"]["rate"] == 0.0
    assert [group["group"] for group in made["groups"]] == ["bright", "dim"]
    assert not made["in_force"]
    printed = place.run("calibrate", "--pairs", str(place.folder / "pairs.csv"), *TARGETS).stdout
    assert {"review", "strong", "bright", "dim", "FNMR"} <= set(printed.split())


def test_an_unsupported_target_ends_with_1_and_says_how_many_more_pairs_it_needs(place: Home) -> None:
    strangers = str(place.folder / "strangers")
    result = place.run(
        "calibrate", "--impostors", strangers, "--fpir", "0.2", "--strong-fpir", "1e-7", "--use", "--json"
    )
    assert result.exit_code == 1
    made = json.loads(result.stdout)
    assert made["strong"]["point"]["threshold"] is None
    assert made["review"]["point"]["threshold"] is not None
    assert not made["in_force"]
    assert "more" in result.stderr
    refused = place.run("calibration", "use", made["calibration_id"])
    assert refused.exit_code == 1
    assert "more comparisons" in refused.stderr


def test_thresholds_that_would_stop_every_run_are_printed_but_not_put_in_force(place: Home) -> None:
    strangers = str(place.folder / "strangers")
    before = place.done("status")["calibration"]["calibration_id"]
    lax = ("--fpir", "0.99", "--strong-fpir", "0.9", "--gallery", "1", "--confidence", "0.6")
    result = place.run("calibrate", "--impostors", strangers, *lax, "--use", "--json")
    assert result.exit_code == 1
    assert "canary" in result.stderr
    made = json.loads(result.stdout)
    assert made["complete"]
    assert not made["in_force"]
    assert place.done("status")["calibration"]["calibration_id"] == before


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--pairs", "pairs.csv", "--impostors", "strangers"),
        ("--impostors", "nowhere"),
        ("--impostors", "uploads", "--fpir", "0"),
        ("--impostors", "strangers", "--confidence", "0.5"),
        ("--impostors", "uploads"),  # one person
        ("--impostors", "strangers", "--fpir", "0.01", "--strong-fpir", "0.1"),
    ],
)
def test_wrong_usage_ends_with_2_and_without_a_traceback(place: Home, arguments: tuple[str, ...]) -> None:
    resolved = [
        str(place.folder / word) if word in ("pairs.csv", "strangers", "nowhere", "uploads") else word
        for word in arguments
    ]
    result = place.run("calibrate", *resolved)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_a_calibration_that_is_not_there_is_an_error_of_one_line(place: Home) -> None:
    result = place.run("calibration", "use", "cal_0")
    assert result.exit_code == 1
    assert result.stderr.strip() == "error: there is no such calibration"


def test_strangers_are_measured_without_putting_anything_in_force(place: Home, tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.done("init")
    made = home.done("calibration", "background", str(place.folder / "strangers"), *TARGETS, "--no-use")
    assert made["complete"]
    assert not made["in_force"]
    assert [row["in_force"] for row in home.done("calibration", "list")] == [False]
    used = home.done("calibration", "background", *TARGETS)
    assert used["in_force"]
    again = home.run("calibration", "background", *TARGETS, "--fpir", "0.3", "--no-use")
    assert again.exit_code == 0
    (line,) = [line for line in again.stderr.splitlines() if line.startswith("not in force")]
    (row,) = [row for row in home.done("calibration", "list") if row["in_force"]]
    assert row["calibration_id"] == used["calibration_id"], "what was in force before"
    assert home.done(*line.partition("likeness ")[2].split())["calibration_id"] != used["calibration_id"]
    refused = home.run("calibration", "background", "--forget", "--no-use")
    assert refused.exit_code == 2
