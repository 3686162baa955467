"""The bundled model "tiny" and its corpus: a 16-block Llama of 3.7 million parameters.

``TINY`` is a Hugging Face folder, ready for ``AutoModelForCausalLM.from_pretrained(TINY)``;
its ``README.md`` is the model card.  ``CORPUS`` holds 64 short stories, separated by lines
``<|endoftext|>``, that were written for this package and are no part of the training data.
Importing this module imports nothing heavy; ``python -m satlens.zoo.train`` repeats the training.
"""

from pathlib import Path

TINY = Path(__file__).parent / "tiny"
CORPUS = TINY / "corpus.txt"
