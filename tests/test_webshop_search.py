import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_3spo.environments.webshop.search import analysis
from trl_3spo.environments.webshop.search.analysis import analyze, tokenize
from trl_3spo.environments.webshop.search.index import SearchIndex, stored_length
from trl_3spo.environments.webshop.search.porter import stem

# From the examples of Porter's paper, taken through all of its steps by hand.
STEMS = """
caresses caress, ponies poni, ties ti, cats cat, feed feed, agreed agre, plastered plaster, motoring motor, sing sing,
conflated conflat, troubled troubl, sized size, hopping hop, tanned tan, falling fall, hissing hiss, fizzed fizz,
failing fail, filing file, happy happi, sky sky, relational relat, conditional condit, rational ration, valenci valenc,
digitizer digit, radicalli radic, vileli vile, analogousli analog, vietnamization vietnam, operator oper,
feudalism feudal, decisiveness decis, hopefulness hope, callousness callous, formaliti formal, sensitiviti sensit,
sensibiliti sensibl, triplicate triplic, formative form, formalize formal, electriciti electr, hopeful hope,
goodness good, revival reviv, allowance allow, inference infer, airliner airlin, gyroscopic gyroscop, adjustable adjust,
irritant irrit, replacement replac, adjustment adjust, dependent depend, adoption adopt, communism commun,
activate activ, homologous homolog, effective effect, bowdlerize bowdler, probate probat, rate rate, cease ceas,
controll control, roll roll
"""


@pytest.mark.parametrize("pair", [entry.split() for entry in STEMS.split(",")], ids=lambda pair: pair[0])
def test_stems_of_porters_paper(pair: list[str]) -> None:
    assert stem(pair[0]) == pair[1]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("us", "us"),  # two letters stay
        ("technology", "technolog"),  # logi -> log
        ("possibly", "possibl"),  # bli -> ble
        ("assembly", "assembl"),
        ("yes", "ye"),  # a leading y is a consonant
        ("abilities", "abil"),
        ("12oz", "12oz"),
        ("日本語", "日本語"),
        ("cafés", "café"),
    ],
)
def test_stems_as_lucene_has_them(word: str, expected: str) -> None:
    assert stem(word) == expected


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("men's t-shirt, 3.5oz & more", "men's t shirt 3.5oz more"),
        ("a.b.c a:b a'b a.1 1.a", "a.b.c a:b a'b a 1 1 a"),
        ("1,000.5 1;2 1'2 10:30 3/4", "1,000.5 1;2 1'2 10 30 3 4"),
        ("foo_bar __x y__ _ a_1", "foo_bar __x y__ a_1"),
        ('x1.5y 5"x7" c++ .5', "x1.5y 5 x7 c 5"),
        ("wow!!! (hey) – —", "wow hey"),
    ],
)
def test_words_and_numbers(text: str, tokens: str) -> None:
    assert tokenize(text) == tokens.split()
    # The rules for all of Unicode agree with those for ASCII.
    assert tokenize(f"é {text}") == ["é", *tokens.split()]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("men’s café na\u0308ive", ["men’s", "café", "na\u0308ive"]),
        ("日本語 カタカナ ひら", ["日", "本", "語", "カタカナ", "ひ", "ら"]),
        ("한국어 ไทย", ["한국어", "ไทย"]),
        ("1⁄2 x½", ["1⁄2", "x"]),
        ("so 😀👍🏽 good™", ["so", "😀", "👍🏽", "good", "™"]),
        ("★★☆ ♥♡ ✓✔ ●", ["★", "★", "♥", "♡", "✔"]),  # pictures as Unicode saw them before version 16
        ("a¸b", ["a", "b"]),
        ("👨\u200d👩\u200d👧 🇩🇪🇫🇷 1️⃣#️⃣", ["👨\u200d👩\u200d👧", "🇩🇪", "🇫🇷", "1️⃣", "#️⃣"]),
    ],
)
def test_words_of_other_scripts_and_emoji(text: str, tokens: list[str]) -> None:
    assert tokenize(text) == tokens


@given(st.text(alphabet=st.characters(max_codepoint=127), max_size=60))
def test_both_sets_of_rules_agree_on_ascii(text: str) -> None:
    assert analysis._ASCII_TOKEN.findall(text) == analysis._TOKEN.findall(text)


def test_long_words_are_cut() -> None:
    assert [len(token) for token in tokenize("a" * 600 + " b")] == [255, 255, 90, 1]


def test_analysis() -> None:
    assert analyze("the men's shoes and women’s t-shirts are not for us, the dog's") == (
        ["men", "shoe", "women", "t", "shirt", "us", "dog"]
    )


def test_stored_lengths() -> None:
    # Exact to 39; then 24 plus four significant bits of what is above 24.
    assert [stored_length(n) for n in range(40)] == list(range(40))
    assert [stored_length(n) for n in (40, 41, 42, 55, 56, 59, 60, 87, 88)] == [40, 40, 42, 54, 56, 56, 60, 84, 88]


def search(texts: list[str], query: str, limit: int = 50) -> list[int]:
    return list(SearchIndex(lambda: texts).search(query, limit))


def test_scores_by_hand() -> None:
    # N = 3 (the stop words and the empty text do not count), average length 2; n(red) = 2, n(shoe) = 2.
    texts = ["red shoe", "the of", "shoe shoe shoe", "red", ""]
    idf = math.log(1 + 1.5 / 2.5)
    red_shoe = 2 * idf / (1 + 0.9 * (0.6 + 0.4 * 2 / 2))
    shoes = idf * 3 / (3 + 0.9 * (0.6 + 0.4 * 3 / 2))
    red = idf / (1 + 0.9 * (0.6 + 0.4 * 1 / 2))
    assert red_shoe > shoes > red
    assert search(texts, "red shoes") == [0, 2, 3]
    built = SearchIndex(lambda: texts)
    terms = [built._postings.terms[term] for term in ("red", "shoe")]
    (_, red_scores), (_, shoe_scores) = [built._score_term(term, 1) for term in terms]
    assert red_scores[0] + shoe_scores[0] == pytest.approx(red_shoe, rel=1e-6)
    assert (shoe_scores[1], red_scores[1]) == (pytest.approx(shoes, rel=1e-6), pytest.approx(red, rel=1e-6))


def test_a_repeated_word_weighs_more() -> None:
    texts = ["red lamp", "blue shoe"]
    assert search(texts, "red shoe") == [0, 1]
    assert search(texts, "red shoe shoe") == [1, 0]


def test_nothing_is_found_for_unknown_and_stop_words() -> None:
    for query in ("", " ", "lamp", "the of", "!?", "\ud800"):
        assert search(["red shoe", "blue"], query) == []
    assert search([], "shoe") == []
    assert search(["", "the"], "the") == []


WORDS = st.sampled_from(["red", "shoe", "shoes", "running", "blue", "the", "lamp", "men's", "3.5", "oz", "light"])
TEXTS = st.lists(st.lists(WORDS, max_size=60).map(" ".join), max_size=70)


def reference(texts: list[str], query: str, limit: int) -> list[int]:
    """Rank as the formula says, one document and one term after the other, in single precision where Lucene has it."""
    f = np.float32
    documents = [Counter(analyze(text)) for text in texts]
    filled = [document for document in documents if document]
    if not filled:
        return []
    mean_length = f(sum(document.total() for document in filled) / len(filled))
    ranked = []
    for position, document in enumerate(documents):
        length = f(stored_length(document.total()))
        inverse_norm = f(1) / (f(0.9) * ((f(1) - f(0.4)) + f(0.4) * length / mean_length))
        score = 0.0
        for term, query_frequency in Counter(analyze(query)).items():
            num_with_term = sum(term in other for other in documents)
            weight = f(query_frequency) * f(math.log(1 + (len(filled) - num_with_term + 0.5) / (num_with_term + 0.5)))
            score += float(weight - weight / (f(1) + f(document[term]) * inverse_norm)) if document[term] else 0.0
        ranked += [(-f(score), position)] if score else []
    return [position for _, position in sorted(ranked)][:limit]


@given(TEXTS, st.lists(WORDS, max_size=8).map(" ".join), st.sampled_from([1, 3, 50]))
def test_order_is_that_of_a_straightforward_reference(texts: list[str], query: str, limit: int) -> None:
    assert search(texts, query, limit) == reference(texts, query, limit)


def test_ties_go_to_the_first_text_also_at_the_limit() -> None:
    texts = ["red shoe"] * 40 + ["shoe"] * 40
    assert search(texts, "shoe") == [*range(40, 80), *range(10)]


def test_queries_have_a_largest_number_of_terms() -> None:
    query = " ".join(f"w{number}" for number in range(1024))
    assert search(["w7"], f"{query} w7") == [0]
    with pytest.raises(ValueError, match="1025 distinct terms; at most 1024"):
        search(["w7"], f"{query} one")


def test_cache_gives_the_same_index_and_is_found_by_content(tmp_path: Path) -> None:
    texts = ["red shoe", "blue shoe", "", "zebra ünïcode 日本 \ud800 x"]
    calls = []

    def give() -> list[str]:
        calls.append(1)
        return texts

    first = SearchIndex(give, tmp_path / "new" / "folder")
    second = SearchIndex(give, tmp_path / "new" / "folder")
    assert len(calls) == 3  # hash, build; hash
    for query in ("shoe", "ünïcode 本", "red x"):
        assert first.search(query, 9) == second.search(query, 9) != ()
    texts = ["shoe", "other"]
    assert SearchIndex(give, tmp_path / "new" / "folder").search("other", 9) == (1,)
    assert len(list((tmp_path / "new" / "folder").iterdir())) == 2


def test_cache_of_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        assert SearchIndex(list, tmp_path).search("shoe", 9) == ()


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_damaged_cache_says_what_to_do(content: bytes | None, tmp_path: Path) -> None:
    SearchIndex(lambda: ["red shoe"], tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-40] if content is None else content)
    with pytest.raises(ValueError, match=rf"{path.name} is damaged .*delete it"):
        SearchIndex(lambda: ["red shoe"], tmp_path)
