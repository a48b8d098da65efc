"""Full-text search that ranks as Lucene's BM25 does, to the last tie."""

import hashlib
import math
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import regex

from trl_3spo.environments.webshop.search.analysis import analyze

K1 = np.float32(0.9)
B = np.float32(0.4)
"""BM25's parameters in WebShop, which are Anserini's defaults."""

MAX_QUERY_TERMS = 1024
"""Distinct terms of a query, at most: Lucene's limit."""

_FORMAT = 1


class Postings(NamedTuple):
    """An inverted index.

    Args:
        terms: Number of every term.
        starts: Start of each term's postings and end of the last one's; shape (terms + 1,).
        documents: Positions of texts, ascending within a term; shape (postings,).
        saturations: Term frequency over length norm, in single precision as in Lucene; shape (postings,).
        num_documents: Texts with at least one term.
    """

    terms: dict[str, int]
    starts: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int32]
    saturations: npt.NDArray[np.float32]
    num_documents: int


def stored_length(length: int) -> int:
    """Return a document's length as Lucene keeps it in a byte: exact to 39, then with four significant bits."""
    rest = length - 24
    if rest < 16:
        return length
    shift = rest.bit_length() - 4
    return 24 + (rest >> shift << shift)


def build_postings(texts: Iterable[str]) -> Postings:
    """Index lower-case texts."""
    terms: dict[str, int] = {}
    term_numbers, documents, frequencies, lengths = array("i"), array("i"), array("i"), array("i")
    for number, text in enumerate(texts):
        words = analyze(text)
        counts = Counter(words)
        term_numbers.extend([terms.setdefault(word, len(terms)) for word in counts])
        documents.extend([number] * len(counts))
        frequencies.extend(counts.values())
        lengths.append(len(words))
    term_of_posting = np.asarray(term_numbers, np.int32)
    order = np.argsort(term_of_posting, kind="stable")
    document_of_posting = np.asarray(documents, np.int32)[order]
    inverse_norms, num_documents = _inverse_norms(lengths)
    return Postings(
        terms,
        np.concatenate([[0], np.cumsum(np.bincount(term_of_posting, minlength=len(terms)))]).astype(np.int64),
        document_of_posting,
        np.asarray(frequencies, np.float32)[order] * inverse_norms[document_of_posting],
        num_documents,
    )


def _inverse_norms(lengths: Sequence[int]) -> tuple[npt.NDArray[np.float32], int]:
    """Return 1 / (k1 · (1 − b + b · length / mean length)) of each text, and the number of texts with a length."""
    one = np.float32(1)
    num_documents = sum(length > 0 for length in lengths)
    mean_length = np.float32(sum(lengths) / num_documents) if num_documents else one
    stored = np.array([stored_length(length) for length in lengths], np.float32)
    relative: npt.NDArray[np.float32] = B * stored / mean_length
    return one / (K1 * ((one - B) + relative)), num_documents


class SearchIndex:
    """BM25 over texts.

    The score is `Σ w − w / (1 + tf · norm)` with `w = qtf · ln(1 + (N − n + ½) / (n + ½))`. It uses Lucene's mixture of
    single and double precision. norm comes from the length, kept in one byte. N counts texts with at least one term. If
    scores are equal, the earlier text comes first. This is Lucene's order if texts are in the order of their ids.

    Args:
        texts: Function that gives the lower-case texts in order. It is called again if the cache lacks the index.
        cache: Folder of stored indexes; a file's name is a hash of the texts.

    Raises:
        ValueError: The file in the cache is damaged.
    """

    def __init__(self, texts: Callable[[], Iterable[str]], cache: Path | None = None) -> None:
        self._postings = build_postings(texts()) if cache is None else _load_or_build(texts, cache)

    def search(self, query: str, limit: int) -> tuple[int, ...]:
        """Return the positions of the best texts for a lower-case query, best first.

        Raises:
            ValueError: The query has more distinct terms than Lucene takes.
        """
        counts = Counter(analyze(query))
        if len(counts) > MAX_QUERY_TERMS:
            raise ValueError(f"The query has {len(counts)} distinct terms; at most {MAX_QUERY_TERMS} are possible.")
        found = [(self._postings.terms[term], count) for term, count in counts.items() if term in self._postings.terms]
        if not found:
            return ()
        parts = [self._score_term(term, count) for term, count in found]
        documents = np.concatenate([part[0] for part in parts])
        scores = np.bincount(documents, np.concatenate([part[1] for part in parts])).astype(np.float32)
        return tuple(_best(scores, limit).tolist())

    def _score_term(self, term: int, count: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        postings = self._postings
        start, stop = postings.starts[term : term + 2].tolist()
        frequency = stop - start
        idf = np.float32(math.log(1 + (postings.num_documents - frequency + 0.5) / (frequency + 0.5)))
        weight = np.float32(count) * idf
        return postings.documents[start:stop], weight - weight / (np.float32(1) + postings.saturations[start:stop])


def _best(scores: npt.NDArray[np.float32], limit: int) -> npt.NDArray[np.intp]:
    """Return the numbers of the highest positive scores, the lower number first among equal ones."""
    num_others = len(scores) - limit
    threshold = np.partition(scores, num_others)[num_others] if num_others > 0 else np.float32(0)
    candidates = np.flatnonzero((scores >= threshold) & (scores > 0))
    return candidates[np.argsort(-scores[candidates], kind="stable")][:limit]


def _load_or_build(texts: Callable[[], Iterable[str]], folder: Path) -> Postings:
    digest = hashlib.sha256(f"{_FORMAT} {regex.__version__}".encode())
    for text in texts():
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    path = folder / f"index-{digest.hexdigest()[:24]}.npz"
    if path.is_file():
        return _load(path)
    postings = build_postings(texts())
    _save(path, postings)
    return postings


def _load(path: Path) -> Postings:
    try:
        with np.load(path) as file:
            terms = file["terms"].tobytes().decode("utf-8", "surrogatepass").split("\n")
            numbers = {term: number for number, term in enumerate(terms)} if terms != [""] else {}
            arrays = file["starts"], file["documents"], file["saturations"]
            return Postings(numbers, *arrays, int(file["num_documents"]))
    except (OSError, EOFError, KeyError, ValueError, BadZipFile) as error:
        raise ValueError(f"{path} is damaged ({error}); delete it, and the index is built again.") from error


def _save(path: Path, postings: Postings) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    terms = np.frombuffer("\n".join(postings.terms).encode("utf-8", "surrogatepass"), np.uint8)
    # Written beside it and renamed: another process may be looking for the same index.
    unfinished = path.with_name(f"{path.stem}.{os.getpid()}.npz")
    np.savez(unfinished, **(postings._asdict() | {"terms": terms}))
    unfinished.replace(path)
