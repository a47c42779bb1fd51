"""A study's report and the page before enrolment as readers have them: on a telephone and a desk, in both languages, in
the dark, on paper, by keys."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from commonward.apps.studies.look_page import render_look
from commonward.apps.studies.report import for_others, render
from commonward.apps.studies.words import LANGUAGES, words_in
from tests.apps.test_study_tables_page import counted, regressed
from tests.browser.conftest import Browser, Shown
from tests.lookkit import empty_look, heart_look, nasty_look, photograph_look
from tests.reportkit import bare, masked, nasty, open_study

Made = Callable[[], dict[str, Any]]


def tables() -> dict[str, Any]:
    """A study that counts and regresses, over columns with hostile names."""
    return masked(rule="sum", local={"statistics": counted(), "regression": regressed()})


def others() -> dict[str, Any]:
    """The open study as others are given it: matrix and plots are left out."""
    return for_others(open_study())


STUDIES: dict[str, Made] = {
    "open": open_study,
    "others": others,
    "masked": masked,
    "bare": bare,
    "nasty": nasty,
    "tables": tables,
}
LOOKS: dict[str, Made] = {
    "look-heart": heart_look,
    "look-photographs": photograph_look,
    "look-empty": empty_look,
    "look-nasty": nasty_look,
}
STUDIES |= LOOKS
every_study = pytest.mark.parametrize("made", STUDIES.values(), ids=STUDIES)
every_language = pytest.mark.parametrize("language", LANGUAGES)
WIDTHS = (320, 390, 1280)

OPEN_ALL = "document.querySelectorAll('details').forEach(each => each.open = true)"

OVERLAPS = """() => {
  const found = []
  for (const plot of document.querySelectorAll('svg[role=img]')) {
    const whole = plot.getBoundingClientRect()
    const texts = [...plot.querySelectorAll('text')].map(each => [each.textContent, each.getBoundingClientRect()])
    texts.forEach(([said, box], at) => {
      if (box.left < whole.left - 1 || box.right > whole.right + 1 || box.top < whole.top - 1 ||
          box.bottom > whole.bottom + 1) found.push('outside: ' + said)
      for (const [other, beside] of texts.slice(at + 1)) {
        const across = Math.min(box.right, beside.right) - Math.max(box.left, beside.left)
        const down = Math.min(box.bottom, beside.bottom) - Math.max(box.top, beside.top)
        if (across > 1 && down > 3) found.push(said + ' | ' + other)
      }
    })
  }
  return found
}"""

PALE = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true})
  const colour = said => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = said; canvas.fillRect(0, 0, 1, 1)
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data
    return [r, g, b, a / 255]
  }
  const over = (top, under) => [0, 1, 2].map(at => top[at] * top[3] + under[at] * (1 - top[3])).concat([1])
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map(each => each / 255).map(
      each => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4)
    return 0.2126 * x + 0.7152 * y + 0.0722 * z
  }
  const behind = each => {
    const layers = []
    for (; each; each = each.parentElement) layers.push(colour(getComputedStyle(each).backgroundColor))
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1])
  }
  const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  for (let node; (node = walk.nextNode());) {
    const each = node.parentElement
    if (!node.textContent.trim() || !each.getClientRects().length || each.closest('title')) continue
    const style = getComputedStyle(each), under = behind(each)
    const said = each instanceof SVGElement ? style.fill : style.color
    const [a, b] = [light(over(colour(said), under)), light(under)].sort((x, y) => y - x)
    const contrast = (a + 0.05) / (b + 0.05)
    if (contrast < 4.5) found.push(contrast.toFixed(2) + ': ' + node.textContent.trim().slice(0, 60))
  }
  return found
}"""


def shown(browser: Browser, made: Made, language: str = "en", **how: Any) -> Shown:
    rendered = render_look if made in LOOKS.values() else render
    return browser.shows(rendered(made(), language, 1_800_000_000_000), **how)


@every_language
@every_study
def test_a_report_fetches_nothing_runs_nothing_and_has_nothing_to_complain_of(
    browser: Browser, made: Made, language: str
) -> None:
    page = shown(browser, made, language)
    page.run(OPEN_ALL)
    assert [each.rpartition("/")[2] for each in page.asked] == ["page.html"], "itself, and no more"
    assert page.complained == []
    assert page.run("document.scripts.length + document.images.length") == 0
    assert page.run("performance.getEntriesByType('resource').length") == 0


@every_language
@every_study
def test_a_report_fits_what_it_is_read_on_and_no_text_of_a_plot_runs_into_another(
    browser: Browser, made: Made, language: str
) -> None:
    page = shown(browser, made, language)
    page.run(OPEN_ALL)
    for width in WIDTHS:
        page.page.set_viewport_size({"width": width, "height": 900})
        wide = page.run("document.documentElement.scrollWidth")
        assert wide <= width, f"{wide} at {width}"
        cut = page.run(
            "[...document.querySelectorAll('p, li, h1, h2, h3, dd, dt, .tile *, figcaption, summary')]"
            ".filter(each => each.getClientRects().length && each.getBoundingClientRect().right > innerWidth + 1)"
            ".map(each => each.textContent)"
        )
        assert cut == [], f"beyond the edge at {width}"
        assert page.run(OVERLAPS) == [], f"at {width}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@every_study
def test_every_word_stands_out_from_what_is_behind_it(browser: Browser, made: Made, scheme: str) -> None:
    page = shown(browser, made, scheme=scheme)
    page.run(OPEN_ALL)
    behind = page.run("getComputedStyle(document.body).backgroundColor")
    assert (behind == "rgb(243, 246, 247)") == (scheme == "light"), "the reader's own scheme is followed"
    assert page.run(PALE) == []


def test_letters_of_plots_can_be_read_on_a_telephone(browser: Browser) -> None:
    page = shown(browser, open_study, width=390)
    least = page.run(
        "Math.min(...[...document.querySelectorAll('figure svg[role=img] text')].map("
        "each => each.getBoundingClientRect().height))"
    )
    assert least >= 9.5, "letters of about nine points"


@every_language
@every_study
def test_who_cannot_see_a_plot_is_told_what_is_in_it(browser: Browser, made: Made, language: str) -> None:
    page = shown(browser, made, language)
    unnamed = page.run(
        "[...document.querySelectorAll('svg')].filter(each => each.getAttribute('aria-hidden') !== 'true' && "
        "(each.getAttribute('role') !== 'img' || each.getAttribute('aria-label').length < 20)).length"
    )
    assert unnamed == 0
    without = page.run(
        "[...document.querySelectorAll('figure')].filter("
        "each => !each.querySelector('table') && !each.parentElement.querySelector('table')).map(e => e.textContent)"
    )
    assert without == [], "every plot has its numbers in a table"
    levels = page.run("[...document.querySelectorAll('h1, h2, h3')].map(each => +each.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels)), "no heading is skipped"
    assert page.run("document.documentElement.lang") == {"en": "en", "zh": "zh-CN"}[language]
    assert page.run("[...document.querySelectorAll('thead th')].every(each => each.scope)")
    assert page.run("new Set([...document.querySelectorAll('[id]')].map(each => each.id)).size") == page.run(
        "document.querySelectorAll('[id]').length"
    )


def test_a_keyboard_reaches_every_link_every_table_and_the_numbers_of_every_plot(browser: Browser) -> None:
    page = shown(browser, open_study, width=390)
    wanted = page.run("document.querySelectorAll('a[href], summary, [tabindex=\"0\"]').length")
    hidden = page.run(
        "[...document.querySelectorAll('details:not([open]) [tabindex=\"0\"]')].length"
    )  # in what is folded away
    reached = set()
    for _ in range(wanted + 5):
        page.page.keyboard.press("Tab")
        at = page.run(
            "[...document.querySelectorAll('a[href], summary, [tabindex=\"0\"]')].indexOf(document.activeElement)"
        )
        if at >= 0:
            reached.add(at)
    assert len(reached) == wanted - hidden
    page.page.locator("summary").first.focus()
    page.page.keyboard.press("Enter")
    assert page.run("document.querySelector('details').open")


@pytest.mark.parametrize("made", [open_study, photograph_look], ids=["open", "look-photographs"])
@every_language
def test_a_report_prints_on_white_with_all_its_numbers(browser: Browser, made: Made, language: str) -> None:
    page = shown(browser, made, language, scheme="dark")
    page.page.emulate_media(media="print", color_scheme="dark")
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.run(PALE) == []
    folded = page.run(
        "[...document.querySelectorAll('details table, details dl')].filter("
        "each => each.getBoundingClientRect().height < 20).length"
    )
    assert folded == 0, "paper cannot be unfolded"
    printed = page.page.pdf(format="A4", print_background=True)
    assert printed.startswith(b"%PDF-") and len(printed) > 30_000


def test_what_others_wrote_does_nothing_and_is_shown_as_they_wrote_it(browser: Browser) -> None:
    for made in (nasty, nasty_look):
        page = shown(browser, made)
        assert page.complained == [] and page.run("document.querySelectorAll('script, img').length") == 0
        assert page.run("document.querySelector('h1').textContent") == made()["title"]


def test_the_checks_above_find_what_they_look_for(browser: Browser) -> None:
    page = shown(browser, masked)
    page.run("document.body.style.setProperty('--soft', '#9ab')")
    assert page.run(PALE), "pale letters"
    page.run("document.querySelectorAll('svg text').forEach(each => each.setAttribute('x', 200))")
    assert page.run(OVERLAPS), "letters upon letters"


@every_language
def test_the_page_before_enrolment_says_first_in_words_what_is_odd_and_that_it_names_patients(
    browser: Browser, language: str
) -> None:
    page = shown(browser, photograph_look, language)
    banners = page.run("[...document.querySelectorAll('.banner')].map(each => each.textContent)")
    text = words_in(language)
    assert banners == [text("synthetic-banner"), text("look-patients")]
    plain = page.page.locator(".plain")
    assert text("look-odd-count", count=6) in plain.inner_text() and text("look-held") in plain.inner_text()
    assert plain.bounding_box()["y"] < 700, "on the first screen of a desk"
    count = page.run("document.querySelectorAll('#odd li').length")
    assert count == 6 and page.run("[...document.querySelectorAll('#odd li span')].every(each => each.textContent)")
    assert page.run("document.querySelectorAll('#cameras tbody tr').length") == 3


def test_a_reader_sees_at_once_that_records_are_synthetic(browser: Browser) -> None:
    for language in LANGUAGES:
        page = shown(browser, open_study, language, width=390)
        banner = page.page.locator(".banner")
        assert banner.is_visible() and banner.bounding_box()["y"] < 600, "on the first screen of a telephone"
        assert page.run("document.title").startswith(words_in(language)("synthetic"))
