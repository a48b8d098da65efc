"""The check of prose finds what it is for, and nothing in code."""

import ast

from prose import as_markdown, num_words, problems, sentences

LONG = "word " * 26


def found(markdown):
    return [problem for _, problem in problems(markdown)]


def test_a_long_sentence_is_found_with_its_line():
    assert next(problems(f"# Title\n\nShort.\n\n{LONG}.\n"))[0] == 5
    assert found("word " * 25 + ".") == []
    assert found(f"{'word ' * 20}. {'word ' * 20}.") == []


def test_code_tables_headings_and_link_targets_may_be_long():
    table = f"| a |\n|---|\n| {LONG} |\n"
    assert found(f"# {LONG}\n\n    {LONG}\n\n{table}\n[x](http://{'a/' * 99}) `{LONG}`\n") == []


def test_items_of_a_list_are_sentences_of_their_own():
    assert found("\n".join(f"- {'word ' * 20}" for _ in range(3))) == []


def test_banned_phrases_are_found_in_paragraphs_and_cells_but_not_in_code():
    assert len(found("This is what became of it.")) == 1
    assert len(found("| a |\n|---|\n| the world |\n")) == 1
    assert found("`world` and `World`\n\n    world\n") == []


def test_sentences_end_at_full_stops_but_not_within_names():
    assert sentences("One. Two? (Three.) Chen et al. 2021 say 0.5.") == [
        "One.",
        "Two?",
        "(Three.",
        "Chen et al. 2021 say 0.5.",
    ]
    assert num_words("`x` takes 95 % – or more") == 5


def test_entries_of_a_docstring_are_paragraphs_without_names():
    docstring = ast.get_docstring(
        ast.parse(
            'def f():\n    """Do it.\n\n    Args:\n        a: First.\n        b (`int`):\n            Second.\n    """'
        ).body[0]
    )
    assert [line for line in as_markdown(docstring).splitlines() if line] == ["Do it.", "Args:", "First.", "Second."]
