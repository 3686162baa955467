"""What a run counts, in words: tokens of documents, or images, or frames of recordings.

Captions and tables are written of documents and tokens. Where results.json names other things under
"corpus", `Nouns.said` puts their words there; the token that a rank ends up with is then a label.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from satlens.report.words import count

_WORDS = re.compile(
    r"(?P<article>\b[Aa]n? )?(?P<before>\b(?:final|unlikely) )?\b(?P<word>[Tt]oken|[Dd]ocument)(?P<s>s?)\b"
    r"(?P<after> at this rank)?"
)


class Nouns(NamedTuple):
    """The words for a document, for one of its positions that count, and for what a rank holds."""

    document: str = "document"
    position: str = "token"
    answer: str = "token"

    @staticmethod
    def of(corpus: Mapping[str, Any]) -> "Nouns":
        """The words for what was read; a document with a single position is counted by itself.

        >>> Nouns.of({"documents": 9, "tokens": 9, "document": "image", "position": "class token"})
        Nouns(document='image', position='image', answer='label')
        >>> Nouns.of({"documents": 9, "tokens": 450, "document": "recording", "position": "frame"})
        Nouns(document='recording', position='frame', answer='label')
        >>> Nouns.of({"documents": 9, "tokens": 450})
        Nouns(document='document', position='token', answer='token')
        """
        document = corpus.get("document") or "document"
        position = corpus.get("position") or "token"
        written = position.endswith("token") and position != "class token"
        if not written and corpus["documents"] == corpus["tokens"]:
            position = document
        return Nouns(document, position, "token" if written else "label")

    def said(self, text: str) -> str:
        """The text with these words in place of document and token.

        >>> Nouns("image", "image", "label").said("Tokens fixed: a token holds its final token.")
        'Images fixed: an image holds its final label.'
        """
        return text if self == Nouns() else _WORDS.sub(self._word, text)

    def sentence(self) -> str:
        """What a page says of its words, in front of the texts that are the same for every model.

        >>> Nouns("recording", "frame", "label").sentence()
        ' Where a sentence says document or token, read recording or frame.'
        """
        if self.document == "document" or self.position == "token":
            return "" if self.document == "document" else f" A document is {_a(self.document)}."
        mine = " or ".join(dict.fromkeys([self.document, self.position]))
        return f" Where a sentence says document or token, read {mine}."

    def _word(self, found: re.Match[str]) -> str:
        word, before, after = found["word"], found["before"] or "", found["after"] or ""
        noun = self.document if word.lower() == "document" else self.position
        noun = self.answer if before or after else noun
        noun = noun.capitalize() if word[0].isupper() else noun
        said = f"{before}{noun}{found['s']}{after}"
        article = found["article"]
        return said if not article else _a(said, article[0])

    def deep(self, value: Any) -> Any:
        """`said` of every text in a structure of lists and dicts; keys stay."""
        if isinstance(value, dict):
            return {key: self.deep(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.deep(inner) for inner in value]
        return self.said(value) if isinstance(value, str) else value

    def counted(self, tokens: int, documents: int) -> list[str]:
        """How many positions of how many documents; once where they are the same.

        >>> Nouns().counted(2_000, 1), Nouns("image", "image", "label").counted(9, 9)
        (['2,000 tokens', '1 document'], ['9 images'])
        """
        positions = [count(tokens, self.position)] if self.position != self.document else []
        return [*positions, count(documents, self.document)]


def _a(words: str, article: str = "a") -> str:
    """With the article that the words want."""
    return f"{article}{'n' if words[0].lower() in 'aeiou' else ''} {words}"
