"""The page of a run in a browser: it shows what was recorded, whatever stands in it, and asks for nothing."""

import json
import re

import browser
import pytest
from view_runs import HOSTILE, large_run, record, small_run, step, write_run

from trl_3spo.cli import main
from trl_3spo.recording.files import append_line
from trl_3spo.recording.reading import read_run
from trl_3spo.view.chart import kind_series, success_series
from trl_3spo.view.data import fitting
from trl_3spo.view.page import as_script, write_page


@pytest.fixture(scope="module")
def chromium():
    if browser.CHROMIUM is None and not browser.IS_REQUIRED:
        pytest.skip("needs Chromium: apt-get install chromium")
    with browser.browser() as running:
        yield running


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = small_run(tmp_path_factory.mktemp("small"))
    write_page([folder], folder / "view.html")
    return folder / "view.html"


@pytest.fixture
def page(chromium, small):
    with browser.opened(chromium, small) as (page, complaints):
        yield page
        assert complaints == []


def rows(page):
    return [" ".join(text.split()) for text in page.locator("[role=treeitem] .action").all_inner_texts()]


def current(page):
    return page.locator("[role=treeitem][aria-selected=true] .text").inner_text()


def test_it_loads_with_counts_and_charts(page):
    assert page.locator("#summary").inner_text() == "run run: 2 search trees, 2 evaluated episodes, 14 states"
    sizes = page.eval_on_selector_all(".chart img", "images => images.map(x => x.naturalWidth)")
    assert len(sizes) == 2
    assert min(sizes) > 0, "the policy lets the charts be shown"
    assert page.locator(".chart table tbody tr").count() == 4
    assert "60.0%" in page.locator(".chart table").first.text_content()
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.locator("[role=tree]").get_attribute("aria-labelledby")


def test_a_tree_is_walked_through_by_keys(page):
    assert rows(page) == ["▾ 0 ● start", "▸ 1 ◆ go south", "▾ 1 ● go north", "2 ● open the drawer"]
    page.get_by_role("tree").focus()
    assert current(page) == "go north"
    page.keyboard.press("ArrowUp")
    assert current(page) == "go south"
    page.keyboard.press("ArrowRight")
    assert rows(page)[2] == "2 ● look"
    page.keyboard.press("ArrowRight")
    assert current(page) == "look"
    page.keyboard.press("ArrowLeft")
    assert current(page) == "go south"
    page.keyboard.press("ArrowLeft")
    assert rows(page)[1].startswith("▸")
    page.keyboard.press("End")
    assert current(page) == "open the drawer"
    page.keyboard.press("Home")
    page.keyboard.press("ArrowLeft")
    assert rows(page) == ["▸ 0 ● start"]
    active = page.get_by_role("tree").get_attribute("aria-activedescendant")
    row = page.locator(f"#{active}")
    assert row.get_attribute("aria-expanded") == "false"
    assert row.get_attribute("aria-level") == "1"


def test_a_tree_is_walked_through_with_the_mouse(page):
    page.locator(".twist", has_text="▸").click()
    assert rows(page)[2] == "2 ● look"
    page.locator("[role=treeitem]", has_text="look").click()
    assert "success after 1 step" in page.locator(".ending").inner_text()
    page.get_by_role("button", name="Close all").click()
    assert len(rows(page)) == 3
    page.get_by_role("button", name="Open all").click()
    assert len(rows(page)) == 5


def test_a_step_tells_what_it_earned(page):
    page.locator("[role=treeitem]", has_text="go north").click()
    facts = page.locator(".facts").inner_text().replace("\n", " ")
    assert "reward 0.25 = novelty 0.05, score 0.20" in facts
    assert "S 0.75 → 0.50" in facts
    assert "p 0.25 after 3.0 visits" in facts
    page.get_by_text("All 2 samples in this state").click()
    assert page.locator(".step table tbody tr").count() == 2
    page.get_by_text("Prompt, 1 message").click()
    page.locator(".step details", has_text="Your task: find the key").wait_for()


def test_an_episode_is_replayed_step_by_step(page):
    steps = page.locator("article.step")
    page.get_by_role("button", name="First step").click()
    assert steps.count() == 0
    assert "You are in a room." in page.locator(".replay").inner_text()
    page.get_by_role("button", name="Next step").click()
    assert steps.count() == 1
    page.get_by_role("region", name="Conversation").focus()
    page.keyboard.press("ArrowRight")
    assert steps.count() == 2
    assert page.locator(".controls output").inner_text() == "step 2 of 2"
    assert page.get_by_role("button", name="Next step").is_disabled()
    assert "max steps after 2 steps" in page.locator(".ending").inner_text()
    page.keyboard.press("Home")
    assert steps.count() == 0


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("task", "AWAY", 1),
        ("part", "training", 2),
        ("part", "evaluation", 2),
        ("kind", "put", 1),
        ("outcome", "solved", 3),
        ("outcome", "unsolved", 1),
        ("reason", "max_steps", 3),
        ("from", "5", 2),
        ("to", "5", 2),
    ],
)
def test_filters(page, name, value, expected):
    field = page.locator(f"#filters [name={name}]")
    if field.evaluate("field => field.tagName") == "SELECT":
        field.select_option(value)
    else:
        field.fill(value)
    assert page.locator("[role=option]").count() == expected
    assert page.locator("#count").inner_text() == f"{expected} of 4 shown"
    page.get_by_role("button", name="Reset").click()
    page.locator("#count", has_text="4 of 4 shown").wait_for()


def test_nothing_found_is_no_error(page):
    page.locator("#filters [name=task]").fill("no such task")
    assert page.locator("#count").inner_text() == "0 of 4 shown"
    assert rows(page) == []


def test_a_task_is_followed_over_the_training(page):
    later = page.get_by_role("button", name="later ›")
    later.click()
    assert (
        page.locator("[role=option][aria-selected=true]").inner_text().split("\n")[-1].startswith("step 10 · training")
    )
    assert later.is_disabled()
    page.get_by_role("button", name="‹ earlier").click()
    assert page.get_by_role("tree").get_attribute("aria-activedescendant")


def test_a_click_survives_a_change_of_size_while_the_mouse_is_down(page):
    place = page.locator("#list-0-3").bounding_box()
    page.mouse.move(place["x"] + 20, place["y"] + 20)
    page.mouse.down()
    page.set_viewport_size({"width": 1440, "height": 800})
    page.evaluate("() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))")
    page.mouse.up()
    assert page.locator("#list-0-3").get_attribute("aria-selected") == "true"


def test_two_runs_stand_side_by_side(chromium, small, tmp_path):
    other = small_run(tmp_path / "other", "shout")
    write_page([small.parent, other], tmp_path / "two.html")
    with browser.opened(chromium, tmp_path / "two.html") as (page, complaints):
        assert page.get_by_role("tree").count() == 2
        assert "B: evaluation" in page.locator(".series").inner_text()
        page.locator("#list-0-3").click()
        assert page.locator("#list-1-3").get_attribute("aria-selected") == "true"
        assert "shout" in page.locator("[role=tree]").nth(1).inner_text()
        page.locator("#filters [name=follow]").uncheck()
        page.locator("#list-0-0").click()
        assert page.locator("#list-1-3").get_attribute("aria-selected") == "true"
        assert complaints == []


def test_hostile_text_is_text(chromium, tmp_path):
    text = HOSTILE + "x" * 1_000_000
    steps = [step(1, 0, text, observation=HOSTILE, action=HOSTILE)]
    run = write_run(tmp_path / HOSTILE[9:17], [record(steps, task=HOSTILE, kind=HOSTILE, panel=HOSTILE, phase="eval")])
    write_page([run], tmp_path / "view.html")
    with browser.opened(chromium, tmp_path / "view.html") as (page, complaints):
        assert page.title() != "broken"
        assert page.locator("img:not(.chart img)").count() == 0
        model = page.locator(".bubble.model pre").first
        assert model.inner_text().startswith("</script><script>document.title")
        assert len(model.text_content()) < 5000
        page.get_by_role("button", name=re.compile("^Show all 1,000,")).first.click()
        assert len(model.text_content()) == len(text)
        assert complaints == []


def test_steps_without_answer_or_action_are_said(chromium, tmp_path):
    steps = [step(1, 0, None), step(2, 1, ""), step(3, 2, "", unasked="prompt_overflow", action=None, is_final=True)]
    write_page([write_run(tmp_path, [record(steps)])], tmp_path / "view.html")
    with browser.opened(chromium, tmp_path / "view.html") as (page, complaints):
        assert [row.split()[-1] for row in rows(page)] == ["start", "?", "action)", "prompt_overflow)"]
        page.get_by_role("button", name="Last step").click()
        assert "not recorded" in page.locator(".bubble.model").first.inner_text()
        assert "(not asked: prompt_overflow)" in page.locator(".bubble.model").last.inner_text()
        assert complaints == []


def test_ten_thousand_nodes_stay_usable(chromium, tmp_path):
    run = large_run(tmp_path / "large", 10_000)
    write_page([run], tmp_path / "view.html")
    with browser.opened(chromium, tmp_path / "view.html") as (page, complaints):
        assert "10,000 states" in page.locator("#summary").inner_text()
        page.get_by_role("button", name="Open all").click()
        page.get_by_role("tree").focus()
        page.keyboard.press("End")
        assert page.locator("[role=treeitem][aria-selected=true]").inner_text().startswith("627")
        assert page.locator("[role=treeitem]").count() < 60, "only what is in sight is in the document"
        assert page.locator("article.step").count() <= 40
        for _ in range(20):
            page.keyboard.press("ArrowUp")
        assert complaints == []


def test_the_page_is_closed_to_everything_but_itself(small):
    source = small.read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', source)[1]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert not re.search(r"(src|href)=\"(?!data:)", source)
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(", source)


def test_data_cannot_end_its_element():
    assert as_script({"a": "</script>&\u2028<!--\ud800"}) == r'{"a":"\u003c/script\u003e\u0026\u2028\u003c!--\ud800"}'


def test_a_page_has_room_for_a_share_of_a_large_run(tmp_path):
    trees = read_run(large_run(tmp_path, 4000, size=100)).trees
    kept = fitting(trees, 1_000_000)
    assert sum(len(json.dumps(tree.episodes)) for tree in kept) > 900_000, (
        "where there is no evaluation its room is used"
    )
    assert 0 < len(kept) < len(trees)
    assert kept == fitting(trees, 1_000_000)
    assert fitting(trees, 10**9) == trees


def test_the_command_writes_the_page(tmp_path, capsys):
    run = small_run(tmp_path / "run")
    main(["view", str(run)])
    assert (run / "view.html").stat().st_size > 10_000
    assert "open it in a browser" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["view", str(tmp_path / "none")])
    assert "There are no records" in capsys.readouterr().err


def test_series_are_told_apart_by_panel_kind_and_run(tmp_path):
    panels = {"eval_seen_success_rate": 0.25, "eval_seen_success_rate/put": 0.5, "eval_seen_success_rate_low": 0.0}
    line = {"schema": 1, "run": "run", "step": 3, "time": 0.0, "metrics": panels | {"eval_success_rate": None}}
    run = small_run(tmp_path)
    append_line(run / "episodes" / "run-log-0.jsonl", line)
    found = read_run(run)
    assert success_series([found]) == {
        "evaluation": [(0.0, 0.2), (10.0, 0.6)],
        "evaluation (seen)": [(3.0, 0.25)],
        "training, running mean": [(0.0, 0.2), (10.0, pytest.approx(0.4))],
    }
    assert kind_series(found) == {"find": [(0.0, 0.2), (10.0, 0.6)], "put (seen)": [(3.0, 0.5)]}
    assert {name[:3] for name in success_series([found, found])} == {"A: ", "B: "}


def test_a_third_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="one, or two"):
        write_page([tmp_path] * 3, tmp_path / "view.html")


def test_without_pygal_it_says_what_to_install(tmp_path, monkeypatch):
    run = small_run(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "pygal", None)
    with pytest.raises(ImportError, match=r"trl_3spo\[view\]"):
        write_page([run], tmp_path / "view.html")
