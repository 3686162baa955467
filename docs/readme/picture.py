"""The picture of the README: two figures of a run side by side, as ``satlens audit`` wrote them.

satlens audit tiny --out runs/tiny
python docs/readme/picture.py runs/tiny
"""

import sys
from pathlib import Path

from PIL import Image

FIGURES = ("survival", "against_nulls")
HERE = Path(__file__).parent


def main() -> None:
    """Entry point."""
    folder = Path(sys.argv[1]) / "figures"
    parts = [Image.open(folder / f"{name}.png").convert("RGB") for name in FIGURES]
    whole = Image.new(
        "RGB", (sum(one.width for one in parts), max(one.height for one in parts)), "white"
    )
    left = 0
    for one in parts:
        whole.paste(one, (left, 0))
        left += one.width
    whole.quantize(64).save(HERE / "tiny.png", optimize=True)


if __name__ == "__main__":
    main()
