"""What people write between the markers of a card is in the next card byte for byte, or the rendering is refused."""

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bistill_hub.cards.sections import keep_sections, read_section, read_sections
from bistill_hub.errors import InputError

NAMES = ("limits", "contributors", "history-2")


def section(name, text):
    return f"<!-- bistill:keep {name} -->\n{text}<!-- bistill:end {name} -->\n"


def card(sections, before="# A pair\n\nNumbers.\n\n", after="\n## Citation\n"):
    return "---\nlicense: mit\n---\n" + before + "\n".join(section(*each) for each in sections.items()) + after


OLD = card({"limits": "Only *newspapers*.\r\n\r\nTwo spaces  \n\u2028 and a separator\x0b\n"}, before="# Old numbers\n")
NEW = card({"limits": "To be written.\n"})


def test_the_old_text_stands_in_the_new_card():
    kept = keep_sections(OLD, NEW)
    assert kept == NEW.replace(
        "To be written.\n", "Only *newspapers*.\r\n\r\nTwo spaces  \n\u2028 and a separator\x0b\n"
    )
    assert "Old numbers" not in kept


def test_a_section_is_read_without_its_markers():
    assert read_section(OLD, "limits") == "Only *newspapers*.\r\n\r\nTwo spaces  \n\u2028 and a separator\x0b\n"
    with pytest.raises(InputError, match=r"README.md: section = 'history': the card has the sections limits\."):
        read_section(OLD, "history", file="README.md")


def test_a_section_that_only_the_new_card_has_keeps_the_template_s_text():
    assert keep_sections("# A card without markers\n", NEW) == NEW


def test_a_section_that_the_template_no_longer_has_is_appended():
    old = card({"limits": "Few.\n", "history-2": "Made in May.", "contributors": ""}).replace("May.<!--", "May.\n<!--")
    kept = keep_sections(old, NEW)
    assert kept == NEW.replace("To be written.", "Few.") + "\n" + section(
        "history-2", "Made in May.\n"
    ) + "\n" + section("contributors", "")


def test_an_empty_section_is_kept_empty():
    assert read_section(keep_sections(card({"limits": ""}), NEW), "limits") == ""


def test_a_carriage_return_file_keeps_its_section():
    old = OLD.replace("\r\n", "\n").replace("\n", "\r\n")
    assert read_section(keep_sections(old, NEW), "limits") == read_section(old, "limits")


@pytest.mark.parametrize(
    "example",
    [
        "```html\n<!-- bistill:end limits -->\n<!-- bistill:keep limits -->\n```\n",
        "~~~~\n~~~\n```\n<!-- bistill:keep other -->\n~~~~~  \n",
        "   ````\n```\n<!-- bistill:end limits -->\n````\n",
        "```\n<!--bistill: whatever-->\n```\n",
    ],
)
def test_markers_in_a_section_s_code_fences_are_examples(example):
    old = card({"limits": f"Write:\n{example}Done.\n"})
    kept = keep_sections(old, NEW)
    assert read_section(kept, "limits") == f"Write:\n{example}Done.\n"
    assert keep_sections(kept, NEW) == kept


def test_inline_code_that_looks_like_a_fence_opens_none():
    old = card({"limits": "``` not a fence `` ```\n"})
    assert read_section(keep_sections(old, NEW), "limits") == "``` not a fence `` ```\n"


def test_an_example_of_the_template_is_no_section():
    example = "```\n<!-- bistill:keep example -->\n<!-- bistill:end example -->\n```\n"
    assert (
        keep_sections(OLD.replace("# Old numbers\n", example), NEW.replace("Numbers.\n", example)).count("example") == 2
    )


KEEP, END = "<!-- bistill:keep limits -->\n", "<!-- bistill:end limits -->\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (f"{KEEP}text\n", "section limits: it has no end"),
        (f"text\n{END}", "section limits: it ends and has not begun"),
        (f"{KEEP}{END}{KEEP}{END}", "section limits: it stands twice"),
        (f"{KEEP}{section('history', '')}{END}", "section history: it begins within limits"),
        (f"{KEEP}text\n{END.replace('limits', 'limit')}", "section limit: it ends and has not begun"),
        (f"{KEEP}```\ntext\n{END}", "section limits: it has no end.*close every code fence"),
        (f"```\n{KEEP}mine\n{END}```\n", "section limits: its markers stand in a code fence"),
        (f"~~~\n{KEEP}mine\n{END}", "section limits: its markers stand in a code fence"),
        (f"```\n{section('history', 'mine')}```\n", "section history: its markers stand in a code fence"),
        (f"{KEEP}mine {END}", "section limits = .*no marker, and like one"),
        (f" {KEEP}mine\n{END}", "markers = .*no marker, and like one"),
        (f"<!-- bistill:kepe limits -->\nmine\n{END}", "markers = .*no marker, and like one"),
        (f"<!-- Bistill:keep limits-->\nmine\n{END}", "markers = .*no marker, and like one"),
        ("<!-- bistill:keep Limits -->\n", "markers = .*no marker, and like one"),
        ("<!--bistill:keep limits -->\n", "markers = .*no marker, and like one"),
        ("<!-- bistill:keep limits --> text\n", "markers = .*no marker, and like one"),
    ],
)
def test_text_that_could_be_lost_is_refused(body, message):
    with pytest.raises(InputError, match=rf"(?s)^README.md: {message}"):
        keep_sections(body, NEW, file="README.md")


def test_a_wrong_template_is_refused_too():
    with pytest.raises(InputError, match="section limits: it has no end"):
        keep_sections(OLD, NEW.replace(END, ""))


def test_a_template_whose_last_fence_is_open_cannot_take_another_section():
    with pytest.raises(InputError, match="section history-2: the new card has no place"):
        keep_sections(card({"history-2": "Made.\n"}), NEW + "```\n")


def test_a_template_with_carriage_returns_alone_cannot_swallow_a_line():
    with pytest.raises(InputError, match="section limits: the new card has no place"):
        keep_sections(card({"limits": "\nfirst line is empty\n"}), NEW.replace("\n", "\r"))


lines = st.one_of(
    st.text(alphabet=st.characters(exclude_characters="\r\n")),
    st.sampled_from(["```", "~~~", "````  ", "  ```", KEEP.strip(), END.strip(), "text  ", "---", "# x", ""]),
)
texts = st.lists(st.tuples(lines, st.sampled_from(["\n", "\r\n", "\r"]))).map(lambda all: "".join(map("".join, all)))


def markdown_hides_its_end(text):
    """Whether a second, simpler reader finds a fence that is still open, or a marker's likeness outside fences."""
    fence = None
    for line in re.split(r"\r\n|\r|\n", text):
        opened = re.match(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})", line)
        if fence is None and opened:
            fence = opened[1]
        elif fence is None and re.search(r"<!--\s*bistill\s*:", line, re.IGNORECASE):
            return True
        elif fence and re.fullmatch(rf" {{0,3}}{fence[0]}{{{len(fence)},}}\s*", line):
            fence = None
    return fence is not None


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), texts), st.lists(st.sampled_from(NAMES), unique=True))
def test_what_was_edited_is_there_after_any_number_of_renderings(written, templated):
    assume(not any(markdown_hides_its_end(text) for text in written.values()))
    old = card(written, before="# Old\n")
    new = card(dict.fromkeys(templated, "To be written.\n"))
    kept = keep_sections(old, new)
    for name in NAMES:
        if name in written:
            assert read_section(kept, name) == written[name]
        elif name in templated:
            assert read_section(kept, name) == "To be written.\n"
        else:
            assert name not in read_sections(kept)
    assert "# Old" not in kept
    assert keep_sections(kept, new) == kept
    assert keep_sections(old, kept) == kept
    assert keep_sections(kept, kept) == kept


@settings(deadline=None)
@given(texts)
def test_any_text_is_kept_whole_or_refused(text):
    old = f"{KEEP}{text}{END}"
    try:
        kept = keep_sections(old, NEW)
    except InputError:
        assert markdown_hides_its_end(text)
    else:
        assert f"{KEEP}{text}{END}" in kept or markdown_hides_its_end(text)


@settings(deadline=None)
@given(texts)
def test_any_card_is_read_or_refused(text):
    try:
        kept = keep_sections(text, text)
    except InputError:
        assert re.search(r"<!--\s*bistill\s*:", text, re.IGNORECASE)
    else:
        assert kept == text
