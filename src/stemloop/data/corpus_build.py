"""From raw files to a corpus for pre-training: read, clean, de-duplicate, cluster, split, write.

The build goes through stages, each of which leaves its result in ``OUTPUT/.partial`` and is then
marked as done: ``read`` (clean records, by hash of the sequence), ``unique`` (exact copies
dropped), ``clusters`` (MMseqs2), ``arrange`` (hold-outs chosen, records sorted by split and
cluster) and ``shards`` (Parquet). A build that was killed goes on when it is called again with the
same options, and ends with the same bytes. Shards and, last, the manifest take their places when
everything is ready. Memory does not grow with the sequences but for about 20 bytes for each.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import numpy as np

from stemloop.data.clusters import dense_numbers, fasta_entry, linclust, mmseqs_version
from stemloop.data.corpus_clean import BuildOptions, clean
from stemloop.data.corpus_folder import BuildState, claim, disk_errors, publish, spool
from stemloop.data.corpus_holdout import SPLITS, hold_out
from stemloop.data.corpus_inputs import read_records
from stemloop.data.corpus_shards import write_shards
from stemloop.data.corpus_sources import InputFile, Sources, list_inputs
from stemloop.data.corpus_store import BUCKETS, Buckets, Kept, Runs, bucket_path, read_kept, unique
from stemloop.data.manifest import FORMAT
from stemloop.data.rna_types import family_type
from stemloop.errors import InputError

STAGES = ("read", "unique", "clusters", "arrange", "shards")
#: Records between two marks while files are read.
CHECKPOINT = 500_000

Progress = Callable[[str, int, int | None], None]


def build_corpus(
    inputs: Sequence[str | Path],
    output: str | Path,
    sources: Sources | None = None,
    options: BuildOptions | None = None,
    *,
    threads: int = 1,
    force: bool = False,
    progress: Progress = lambda stage, done, total: None,
) -> dict[str, Any]:
    """Build a corpus, or go on with a build that was interrupted.

    Parameters
    ----------
    inputs : sequence of path
        Files and folders; ``-`` is standard input.
    output : path
        Folder to write.
    sources : Sources, optional
        What the inputs are (`stemloop.data.corpus_sources`).
    options : BuildOptions, optional
    threads : int
        CPU threads of the clustering; the result does not depend on them.
    force : bool
        Replace a corpus that is there, and drop an interrupted build.
    progress : callable
        Called with (stage, done, in all or None).

    Returns
    -------
    dict
        The manifest.

    Raises
    ------
    InputError
        An input is missing, damaged, or nothing in it is understood.
    OutputExistsError
        The folder holds a corpus, or something else, already.
    UsageError
        An interrupted build with other options or inputs is there; or MMseqs2 is missing.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     fasta = Path(folder, "two.fa")
    ...     _ = fasta.write_text(">a tRNA\\nACGUACGUACGUACGUACGU\\n>b\\nacgtacgtacgtacgtacgt\\n")
    ...     options = BuildOptions(clusterer="none")
    ...     manifest = build_corpus([fasta], Path(folder, "corpus"), options=options)
    >>> manifest["counts"]["train"]["by_type"], manifest["sources"][0]["dropped"]
    ({'tRNA': 1}, {'duplicate': 1})
    """
    options = options or BuildOptions()
    target = Path(output)
    tools = {"stemloop": installed("stemloop"), "python": platform.python_version()}
    tools["pyarrow"] = version("pyarrow")
    tools["mmseqs"] = mmseqs_version() if options.clusterer == "mmseqs" else None
    with claim(target, force) as folder, disk_errors(target):
        held = [spool(folder, force) if str(given) == "-" else given for given in inputs]
        rules, files, skipped = list_inputs(held, sources)
        plan = {
            "options": asdict(options),
            "created_with": tools,
            "sources": [rule.model_dump(mode="json") for rule in rules.sources],
            "files": [(f.name, f.rule, f.format, *_stamp(f.path)) for f in files],
        }
        state = BuildState(folder, plan, force)
        build = _Build(rules, files, options, folder, state, threads, progress)
        state.data.setdefault("skipped", [[s.name, s.reason, 1] for s in skipped])
        for name in STAGES:
            if name not in state.data["done"]:
                getattr(build, name)()
                state.data["done"].append(name)
                state.save()
        manifest = build.manifest(tools)
        publish(target, folder, manifest)
    return manifest


class _Build:
    """The stages."""

    def __init__(
        self,
        sources: Sources,
        files: list[InputFile],
        options: BuildOptions,
        folder: Path,
        state: BuildState,
        threads: int,
        progress: Progress,
    ) -> None:
        self._sources, self._files, self._options = sources, files, options
        self._partial, self._state = folder, state
        self._threads, self._progress = threads, progress

    def read(self) -> None:
        """Clean the records of all files into buckets."""
        data = self._state.data
        begun = data.setdefault("reading", {"file": 0, "record": 0, "sizes": None})
        tallies = data.setdefault("tallies", [{} for _ in self._sources.sources])
        hashes = data.setdefault("hashes", [])
        buckets = Buckets(self._partial / "read", begun["sizes"])
        total = begun.get("total", 0)

        def mark(file: int, record: int) -> None:
            buckets.flush()
            begun.update(file=file, record=record, sizes=buckets.sizes, total=total)
            self._state.save()

        for number, file in enumerate(self._files):
            if number < begun["file"]:
                continue
            rule, tally = self._sources.sources[file.rule], tallies[file.rule]
            passed = begun["record"] if number == begun["file"] else 0
            missed: dict[str, list[Any]] = {}
            records = read_records(file, rule, partial(_note, missed))
            for place, raw in enumerate(records):
                if place < passed:
                    continue  # in the buckets since before an interruption
                _count(tally, "read")
                if rule.max_records is not None and tally.get("used", 0) >= rule.max_records:
                    sequence, reason = None, "beyond max_records"
                else:
                    sequence, reason = clean(raw.sequence, self._options, rule.fraction)
                if sequence is None:
                    _count(tally, reason)
                else:
                    _count(tally, "used")
                    name = raw.id or f"{rule.name}_{tally['read']}"
                    buckets.add(Kept(name, file.rule, raw.type, raw.family, sequence))
                total += 1
                if total % 1000 == 0:
                    self._progress("records read", total, None)
                if total % CHECKPOINT == 0:
                    mark(number, place + 1)
            hashes.append([file.name, file.rule, _sha256(file.path)])
            data["skipped"] += missed.values()
            mark(number + 1, 0)
        self._progress("records read", total, None)

    def unique(self) -> None:
        """Drop exact copies; write the sequences for MMseqs2."""
        folder = self._partial / "unique"
        folder.mkdir(exist_ok=True)
        tallies = self._state.data["tallies"]
        dropped: Counter[int] = Counter()
        for number in range(BUCKETS):
            dropped += unique(
                bucket_path(self._partial / "read", number), bucket_path(folder, number)
            )
            self._progress("parts de-duplicated", number + 1, BUCKETS)
        for number, tally in enumerate(tallies):
            if dropped[number]:
                tally["duplicate"] = dropped[number]
        count = 0
        fasta = self._partial / "sequences.fasta"
        with open(fasta, "w", encoding="ascii") as out:
            for count, record in enumerate(read_kept(folder), 1):
                if self._options.clusterer == "mmseqs":
                    out.write(fasta_entry(count - 1, record.sequence))
        self._state.data["count"] = count
        if not count:
            raise InputError(f"no sequence is left; dropped: {_reasons(tallies)}")

    def clusters(self) -> None:
        """Cluster the distinct sequences."""
        shutil.rmtree(self._partial / "read", ignore_errors=True)
        count, options = self._state.data["count"], self._options
        self._progress("sequences clustered", 0, count)
        found = np.arange(count, dtype=np.int32)
        if options.clusterer == "mmseqs":
            found = linclust(
                self._partial / "sequences.fasta",
                self._partial / "mmseqs",
                count,
                identity=options.identity,
                coverage=options.coverage,
                max_length=options.max_length,
                threads=self._threads,
            )
        np.save(self._partial / "representatives.npy", found)
        self._progress("sequences clustered", count, count)

    def arrange(self) -> None:
        """Choose what is held out; sort the records by split, cluster and name."""
        shutil.rmtree(self._partial / "runs", ignore_errors=True)
        (self._partial / "sequences.fasta").unlink(missing_ok=True)
        folder, count = self._partial / "unique", self._state.data["count"]
        clusters, cluster_count = dense_numbers(np.load(self._partial / "representatives.npy"))
        names: dict[str, int] = {"": -1}
        codes = np.full(count, -1, np.int32)
        for number, record in enumerate(read_kept(folder)):
            codes[number] = names.setdefault(record.family, len(names) - 1)
        # The draw must not depend on which family came first.
        listed = sorted(name for name in names if name)
        place = np.full(len(names), -1, np.int32)
        for k, name in enumerate(listed):
            place[names[name]] = k
        held = hold_out(
            clusters,
            cluster_count,
            place[codes],
            listed,
            [family_type(name) for name in listed],
            cluster_fraction=self._options.hold_out_clusters,
            family_fraction=self._options.hold_out_families,
            seed=self._options.seed,
        )
        runs = Runs(self._partial / "runs")
        for number, r in enumerate(read_kept(folder)):
            key = f"{held.split[number]}\t{clusters[number]:010d}\t{r.id}\t{r.source}"
            runs.add(f"{key}\t{r.type}\t{r.family}\t{r.sequence}\n".encode())
            if number % 1000 == 0:
                self._progress("sequences arranged", number, count)
        runs.close()
        self._progress("sequences arranged", count, count)
        self._state.data["rows"] = np.bincount(held.split, minlength=len(SPLITS)).tolist()
        self._state.data["held_out"] = {
            "families": list(held.families),
            "families_eligible": held.eligible,
            "clusters": held.clusters,
        }

    def shards(self) -> None:
        """Write the Parquet files."""
        shutil.rmtree(self._partial / "unique", ignore_errors=True)
        data = self._state.data
        data["counts"], data["shards"] = write_shards(
            Runs(self._partial / "runs").merged(),
            self._partial / "shards",
            dict(zip(SPLITS, data["rows"], strict=True)),
            self._sources.names,
            self._options.shard_size,
            self._progress,
        )

    def manifest(self, tools: dict[str, Any]) -> dict[str, Any]:
        """What the manifest says."""
        data = self._state.data
        sources = []
        for number, rule in enumerate(self._sources.sources):
            tally = dict(data["tallies"][number])
            used, read = tally.pop("used", 0), tally.pop("read", 0)
            told = {k: getattr(rule, k) for k in ("name", "licence", "url", "records", "note")}
            told["files"] = [
                {"file": name, "sha256": digest}
                for name, source, digest in data["hashes"]
                if source == number
            ]
            kept = used - tally.get("duplicate", 0)
            sources.append(told | {"read": read, "kept": kept, "dropped": tally})
        return {
            "format": FORMAT,
            "created_with": tools,
            "options": asdict(self._options),
            "sources": sources,
            "skipped": [
                {"file": name, "reason": reason, "files": count}
                for name, reason, count in data["skipped"]
            ],
            "held_out": data["held_out"],
            "counts": data["counts"],
            "shards": data["shards"],
        }


def _count(tally: dict[str, int], key: str) -> None:
    tally[key] = tally.get(key, 0) + 1


def _note(missed: dict[str, list[Any]], name: str, reason: str) -> None:
    """Count archive members by reason; the first one's name stands for all."""
    missed.setdefault(reason, [name, reason, 0])[2] += 1


def _sha256(path: Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _reasons(tallies: list[dict[str, int]]) -> str:
    total: Counter[str] = Counter()
    for tally in tallies:
        total.update({key: n for key, n in tally.items() if key not in ("read", "used")})
    return ", ".join(f"{reason} {n}" for reason, n in total.most_common()) or "nothing was read"
