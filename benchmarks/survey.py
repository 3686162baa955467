"""A survey of a million tokens on each engine: time, tokens per second, memory over time, bytes, statistics.

    python benchmarks/survey.py TEXT [TEXT ...] [--tokens 1000000] [--model tiny] [--out FOLDER]

The texts are read by turns, documents separated by ``<|endoftext|>``; without it, at blank lines.
Documents are taken until there are enough tokens. Each engine runs in a process of its own. Its memory and
that of its descendants (shared pages once; read from /proc: Linux) is sampled twice a second. The files
of all runs must be the same, byte by byte.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from satlens import load_model, survey
from satlens.report.survey_tables import survey_summary
from satlens.survey.store import file_sha256

RUNS = (("local", 1), ("local", 2), ("ray", 1), ("ray", 2))
JOB = """
import json, sys
from satlens import survey
if __name__ == "__main__":
    survey.run(**json.loads(sys.argv[1]))
"""
MARK = "<|endoftext|>"
SEPARATORS = (MARK, "\n\n", "\n \n")


def collect(texts: list[Path], tokens: int, tokenizer, path: Path) -> int:
    """The first documents of the texts, by turns, up to so many tokens, as JSON lines."""
    readers = []
    for text in texts:
        whole = text.read_text(encoding="utf-8", errors="ignore")
        separator = next((mark for mark in SEPARATORS if mark in whole), MARK)
        source = survey.open_source(text, separator=separator)
        readers.append(slot.text for slot in source.slots() if slot.text)
    found = 0
    with path.open("w", encoding="utf-8") as file:
        while readers and found < tokens:
            for reader in list(readers):
                document = next(reader, None)
                if document is None:
                    readers.remove(reader)
                    continue
                found += len(tokenizer(document, add_special_tokens=False, verbose=False).input_ids)
                file.write(json.dumps({"text": document}) + "\n")
    return found


def resident(pid: int) -> float:
    """Megabytes of a process and all its descendants."""
    total, todo = 0, [pid]
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        parents.setdefault(parent, []).append(int(stat.parent.name))
    while todo:
        one = todo.pop()
        todo += parents.get(one, [])
        try:
            status = Path(f"/proc/{one}/smaps_rollup").read_text()
        except OSError:
            continue
        total += int(status.partition("\nPss:")[2].split()[0])  # shared pages are counted once
    return total / 1024


def measure(settings: dict) -> dict:
    """One run: its seconds, and its memory every half second."""
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        script.write(JOB)
        script.flush()
        began, memory = time.monotonic(), []
        process = subprocess.Popen([sys.executable, script.name, json.dumps(settings)])
        while process.poll() is None:
            memory.append((round(time.monotonic() - began, 1), round(resident(process.pid))))
            time.sleep(0.5)
    if process.returncode:
        raise SystemExit(
            f"{settings['engine']} with {settings['workers']} ended {process.returncode}"
        )
    return {"seconds": time.monotonic() - began, "memory": memory}


def digest(out: Path) -> list[str]:
    return [file_sha256(path) for path in sorted(out.rglob("*.parquet"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--shards", type=int)
    parser.add_argument("--runs", nargs="+", default=[f"{e}:{w}" for e, w in RUNS])
    parser.add_argument("--out", type=Path, default=None, help="keep the surveys and results here")
    asked = parser.parse_args()
    folder = asked.out or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    corpus = folder / "corpus.jsonl"
    tokens = collect(asked.texts, asked.tokens, load_model(asked.model).tokenizer, corpus)
    print(f"{tokens:,} tokens, {corpus.stat().st_size:,} bytes\n")
    print(
        "| engine | workers | seconds | tokens/s | peak MB | MB at 1/4, 1/2, 3/4, end | bytes/token |"
    )
    print("|---|---|---|---|---|---|---|")
    results, digests = [], []
    for name in asked.runs:
        engine, workers = name.split(":")
        out = folder / f"{engine}-{workers}"
        settings = dict(model=asked.model, corpus=str(corpus), out=str(out), engine=engine,
                        workers=int(workers), shards=asked.shards)  # fmt: skip
        one = measure(settings)
        found = survey.open(out)
        mb = [megabytes for _, megabytes in one["memory"]]
        quarters = ", ".join(str(mb[(len(mb) - 1) * i // 4]) for i in range(1, 5))
        row = (engine, workers, f"{one['seconds']:.0f}", f"{found.tokens / one['seconds']:,.0f}",
               str(max(mb)), quarters, f"{found.bytes_per_token:.1f}")  # fmt: skip
        print(f"| {' | '.join(row)} |", flush=True)
        results.append({"engine": engine, "workers": int(workers), "tokens": found.tokens, **one})
        digests.append(digest(out))
    same = all(one == digests[0] for one in digests)
    print(f"\nfiles of all runs the same, byte by byte: {same}\n")
    began = time.monotonic()
    found.statistics()
    print(f"statistics from the shards: {time.monotonic() - began:.1f} s\n")
    print(survey_summary(found.read_statistics(), found.manifest, len(found.skipped)))
    (folder / "results.json").write_text(json.dumps(results))
    print(f"\n{folder}/results.json has the memory over time")
    if not same:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
