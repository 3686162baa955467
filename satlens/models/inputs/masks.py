"""Which positions of a document count for a masked language model.

    a document that holds [MASK]     the positions of [MASK], and no other
    a document that holds none       every position but [CLS] and [SEP]

The answer of a masked language model is what it fills in, and it is asked only where the text holds its
mask token. At a word that it reads, its output mostly repeats the word: another question, and the question of
17 positions in 20 where 15 % are masked. So who puts a mask into a document asks for what stands there;
who puts none asks about every position. The rule looks at one document at a time, so it is the same in
shards, streams and batches of any size; a corpus of both kinds is told (`Batches.note`).
`satlens.models.with_masks` sets another rule, `satlens.models.mask_documents` masks plain text.
"""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool, Int
from torch import Tensor

from satlens.errors import InputError

RULES = {
    "auto": "the masked positions of documents with masks, every position of others",
    "masked": "the masked positions, and a document without one is refused",
    "all": "every position",
}


@dataclass(frozen=True)
class Masks:
    """The mask token of a model, and the rule: a key of `RULES`."""

    id: int | None = None
    """None: no token is known as the mask, and every position counts."""
    name: str = "[MASK]"
    rule: str = "auto"

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            choices = "; ".join(f"{rule!r}: {meaning}" for rule, meaning in RULES.items())
            raise InputError(f"The rule {self.rule!r} is not known. Choices: {choices}.")

    @staticmethod
    def of(tokenizer: Any, bidirectional: bool) -> "Masks":
        """The tokenizer's mask token; none for a model that reads from left to right."""
        token = getattr(tokenizer, "mask_token_id", None) if bidirectional else None
        return Masks() if token is None else Masks(int(token), str(tokenizer.mask_token))

    def counted(self, ids: Int[Tensor, " pos"], index: int) -> Bool[Tensor, " pos"] | None:
        """Where a document counts because of its masks; None where it counts whole.

        Raises:
            InputError: the rule is "masked" and the document holds none.
        """
        if self.id is None or self.rule == "all":
            return None
        masked = ids == self.id
        if bool(masked.any()):
            return masked
        if self.rule == "masked":
            raise InputError(
                f"Document {index} holds no {self.name} (id {self.id}), and only masked positions are to "
                "count. Leave it out, or mask its text with satlens.models.mask_documents."
            )
        return None


def mask_note(masked: int, documents: int) -> str:
    """What is said of a corpus in which only some documents hold masks."""
    return (
        f"{masked} of {documents} documents hold masks and count there alone; of the other "
        f"{documents - masked} every position counts, where the model reads the word that it is asked for. "
        'satlens.models.with_masks(model, rule="masked") refuses them.'
    )
