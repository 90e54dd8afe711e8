"""Exact match and F1 of answers cut out of a text, by the rules of SQuAD 1.1 or MLQA: a metric module for `evaluate`.

The file imports nothing of the package around it, so that `evaluate.load` on its path works anywhere, offline.
"""

import re
import string
import unicodedata
from collections import Counter

import datasets
import evaluate

_DESCRIPTION = """\
Exact match and F1 of extractive question answering, as SQuAD 1.1 defines them. Answers are compared in lower case,
without ASCII punctuation, without the English articles a, an and the, with runs of white space made one space. Exact
match is 1 where prediction and gold answer are then equal. F1 is the harmonic mean of precision and recall over the
words of the two, words counted as often as they occur in both. Of several gold answers the best counts, for each of the
two scores by itself. TyDi QA's gold passage task and XQuAD are scored in the same way.
"""

_INPUTS = """
Args:
    predictions (`list` of `str`): one answer a question.
    references (`list` of `list` of `str`): the gold answers of each question, one at least.
    language (`str`, optional): the answers' language, one of MLQA's, to compare them by its rules instead of SQuAD's.

Returns:
    A dictionary of floats: "f1" and "exact_match", means over the questions in [0, 1], and "number", the questions.

Raises:
    ValueError: a question has no gold answer, or the language is none of MLQA's.

Example:
    >>> metric = SpanAnswers()
    >>> scores = metric.compute(predictions=["the Kenyan coast"], references=[["coast of Kenya", "Kenyan coast!"]])
    >>> scores["f1"], scores["exact_match"], scores["number"]
    (1.0, 1.0, 1.0)
"""

_CITATION = """\
@inproceedings{rajpurkar-etal-2016-squad,
  title = {{SQ}u{AD}: 100,000+ Questions for Machine Comprehension of Text},
  author = {Rajpurkar, Pranav and Zhang, Jian and Lopyrev, Konstantin and Liang, Percy},
  booktitle = {Proceedings of the 2016 Conference on Empirical Methods in Natural Language Processing},
  year = {2016},
  url = {https://aclanthology.org/D16-1264},
}
@inproceedings{lewis-etal-2020-mlqa,
  title = {{MLQA}: Evaluating Cross-lingual Extractive Question Answering},
  author = {Lewis, Patrick and Oguz, Barlas and Rinott, Ruty and Riedel, Sebastian and Schwenk, Holger},
  booktitle = {Proceedings of the 58th Annual Meeting of the Association for Computational Linguistics},
  year = {2020},
  url = {https://aclanthology.org/2020.acl-main.653},
}
"""

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")


def _words(*words: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(words)})\b")


# What MLQA's evaluation takes out. In Arabic it is the article's two letters wherever they stand, inside words too. In
# Vietnamese they are classifiers and particles. Hindi and Chinese have no articles.
_ARTICLES = {
    "ar": re.compile("\u0627\u0644"),
    "de": _words("ein", "eine", "einen", "einem", "eines", "einer", "der", "die", "das", "den", "dem", "des"),
    "en": _ARTICLE,
    "es": _words("un", "una", "unos", "unas", "el", "la", "los", "las"),
    "hi": None,
    "vi": _words("của", "là", "cái", "chiếc", "những"),
    "zh": None,
}
_CHINESE = re.compile("([\u4e00-\u9fa5])")

LANGUAGES = tuple(_ARTICLES)
"""The languages whose answers can be compared as MLQA does."""


class SpanAnswers(evaluate.Metric):
    """Exact match and F1 of SQuAD 1.1; `inputs_description` says what goes in and comes out."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": text, "references": datasets.Sequence(text)}),
            reference_urls=["https://aclanthology.org/D16-1264", "https://aclanthology.org/2020.acl-main.653"],
        )

    def _compute(
        self, predictions: list[str], references: list[list[str]], language: str | None = None
    ) -> dict[str, float]:
        for row, answers in enumerate(references):
            if not answers:
                raise ValueError(f"question {row} has no gold answer")
        number = len(predictions)
        pairs = list(zip(predictions, references, strict=True))
        return {
            "f1": sum(f1(*pair, language) for pair in pairs) / number,
            "exact_match": sum(exact_match(*pair, language) for pair in pairs) / number,
            "number": float(number),
        }


def f1(prediction: str, answers: list[str], language: str | None = None) -> float:
    """Return the best F1 over words of a prediction against a question's gold answers, in [0, 1].

    As in SQuAD 1.1's own script, an answer of articles and punctuation alone has no word, and F1 0 with any other.
    """
    words = normalised(prediction, language).split()
    return max(_f1(words, normalised(answer, language).split()) for answer in answers)


def exact_match(prediction: str, answers: list[str], language: str | None = None) -> float:
    """Return 1 where a prediction equals one of a question's gold answers, apart from what `normalised` removes."""
    return float(normalised(prediction, language) in {normalised(answer, language) for answer in answers})


def normalised(answer: str, language: str | None = None) -> str:
    """Lower an answer's case, take punctuation and then articles out of it, and make white space single spaces.

    Args:
        answer: The answer.
        language: Without one the rules are SQuAD's: ASCII punctuation, English articles. With one they are MLQA's:
            Unicode's punctuation and the symbols of ASCII, the language's articles, Chinese cut into its characters.

    Raises:
        ValueError: MLQA has no such language.
    """
    if language is None:
        return " ".join(_ARTICLE.sub(" ", answer.lower().translate(_NO_PUNCTUATION)).split())
    if language not in _ARTICLES:
        raise ValueError(f"{language!r} is not a language of MLQA, which are {', '.join(LANGUAGES)}")
    text = "".join(character for character in answer.lower() if not _is_punctuation(character))
    articles = _ARTICLES[language]
    if articles is not None:
        text = articles.sub(" ", text)
    if language == "zh":
        text = _CHINESE.sub(r" \1 ", text)
    return " ".join(text.split())


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character).startswith("P")


def _f1(words: list[str], gold: list[str]) -> float:
    common = sum((Counter(words) & Counter(gold)).values())
    return 2 * common / (len(words) + len(gold)) if common else 0.0
