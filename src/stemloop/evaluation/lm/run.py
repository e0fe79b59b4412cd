"""The whole examination of one or more language models, part by part."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from stemloop.data.corpus import Corpus
from stemloop.data.sampling import draw_members
from stemloop.data.structures import read_labelled
from stemloop.errors import InputError, UsageError
from stemloop.evaluation.lm import plots
from stemloop.evaluation.lm.base_pairs import score_pairs, split_families
from stemloop.evaluation.lm.embeddings import of_families, place, score_embeddings
from stemloop.evaluation.lm.guesses import score
from stemloop.evaluation.lm.markov import SIDES, MarkovChain
from stemloop.evaluation.lm.model import LanguageModel
from stemloop.evaluation.lm.neighbours import NeighbourGuesser
from stemloop.evaluation.lm.rna_types import WordRegression, score_types, word_frequencies
from stemloop.evaluation.lm.sample import (
    Codes,
    Hidden,
    Rnas,
    draw,
    hide_single,
    hide_some,
    read_blocks,
)
from stemloop.evaluation.lm.settings import Settings
from stemloop.weights.locate import sha256_file

SCHEMA = "stemloop.language-model"
SCHEMA_VERSION = 1

PARTS = ("nucleotides", "types", "pairs", "embeddings")

TRAIN = "train"
VALIDATION_CLUSTERS, VALIDATION_FAMILIES = "validation_clusters", "validation_families"

#: The splits that were held out.
HELD_OUT = (VALIDATION_CLUSTERS, VALIDATION_FAMILIES)

#: Structures of the Rfam seeds inside the folder of the structure data.
RFAM_FILE = "derived/Rfam14.2_seed_projected_structures.csv.xz"


class Examination:
    """Samples, baselines and models of one report; each part is a method.

    Parameters
    ----------
    models : sequence of LanguageModel
        The first one is compared with all others.
    corpus : path
        Folder of the corpus.
    settings : Settings
        Sizes and seed.
    report : callable, optional
        Called with a line of progress now and then.

    Raises
    ------
    UsageError
        Two models of the same name.
    InputError, FormatError
        The corpus cannot be read.
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        corpus: str | Path,
        settings: Settings = Settings(),
        report: Callable[[str], None] | None = None,
    ) -> None:
        names = [model.name for model in models]
        if len(set(names)) < len(names):
            raise UsageError(f"two models of the same name: {', '.join(names)}")
        self.models = list(models)
        self.settings = settings
        self.say = report or (lambda line: None)
        self.train = Corpus.open(corpus, TRAIN)
        self.window = min(settings.window, *(model.longest for model in models))
        self.held_out: dict[str, Corpus] = {}
        for split in HELD_OUT:
            # A corpus may have been built without one of them.
            if any(s["file"].startswith(split) for s in self.train.manifest["shards"]):
                self.held_out[split] = Corpus.open(corpus, split)
        if not self.held_out:
            raise InputError("no held-out split", path=str(corpus), expected=" or ".join(HELD_OUT))

    def _draw(self, split: str, size: int, *, known: str | None = None) -> Rnas:
        by = "family" if split == VALIDATION_FAMILIES else self.settings.turns
        return draw(
            self.held_out[split],
            size,
            window=self.window,
            seed=self.settings.seed,
            by=by,
            known=known,
        )

    def obstacle(self, part: str, structures: str | Path | None) -> str | None:
        """Say why a part cannot be done, if so."""
        if part == "types" and not any(model.knows_types for model in self.models):
            return "the models' alphabets have no slot for a type"
        if part == "pairs" and structures is None:
            return "no structures were given"
        if part == "pairs" and VALIDATION_FAMILIES not in self.held_out:
            return "the corpus holds no families out"
        return None

    def nucleotides(self) -> dict[str, Any]:
        """Hidden nucleotides: 15 % at once, and one at a time, beside chains and neighbours."""
        s = self.settings
        chain = MarkovChain.fit(self._weighted())
        self.say("counted words of the training split")
        target = max(model.parameters for model in self.models)
        neighbours = NeighbourGuesser.fit(
            self._endless(), tokens=s.baseline_tokens, parameters=target, seed=s.seed
        )
        self.say("trained the network of ten neighbours")
        result: dict[str, Any] = {
            "baselines": {
                "markov": {"order": 5, "rows": len(self.train), "weights": "1 / size of cluster"},
                "neighbours": {
                    "window": 10, "parameters": neighbours.parameters, "tokens": neighbours.tokens,
                },
            }
        }  # fmt: skip

        def predictions(hidden: Hidden) -> dict[str, Any]:
            found: dict[str, Any] = {m.name: m.log_probabilities(hidden) for m in self.models}
            found |= {f"Markov {side}": chain.log_probabilities(hidden, side) for side in SIDES}
            found["ten neighbours"] = neighbours.log_probabilities(hidden)
            return found

        for split in self.held_out:
            rnas = self._draw(split, s.rnas)
            few = self._draw(split, s.single_rnas)
            tasks = {
                "masked": (rnas, hide_some(rnas, ratio=s.ratio, seed=s.seed)),
                "single": (few, hide_single(few, positions=s.single_positions, seed=s.seed)),
            }
            result[split] = {}
            for name, (sample, hidden) in tasks.items():
                result[split][name] = score(
                    sample, hidden, predictions(hidden), reference=self.models[0].name,
                    seed=s.seed, resamples=s.resamples,
                )  # fmt: skip
                self.say(f"guessed nucleotides of {split}: {name}")
        return result

    def _weighted(self) -> Iterator[tuple[Codes, np.ndarray[Any, Any]]]:
        """All of the training split, a cluster counting as one sequence."""
        _, cluster, sizes = np.unique(self.train.clusters, return_inverse=True, return_counts=True)
        weights = 1.0 / sizes[cluster]
        for codes, rows in read_blocks(self.train, range(len(self.train))):
            yield codes, weights[rows]

    def _endless(self) -> Iterator[Codes]:
        """Random members of random clusters of the training split, cropped, epoch after epoch."""
        epoch = 0
        while True:
            rows = draw_members(self.train, self.settings.seed, epoch)
            for codes, _ in read_blocks(
                self.train, rows, window=self.window, seed=self.settings.seed + epoch, size=256
            ):
                yield codes
            epoch += 1

    def types(self) -> dict[str, Any]:
        """RNA types from the slot, beside regressions on words."""
        s = self.settings
        able = [model for model in self.models if model.knows_types]
        # The slot learnt how frequent the types are in training; on a sample in which they are
        # equally frequent that costs it. So there is a regression of either kind.
        regressions = {
            f"words, {name}": WordRegression(
                draw(self.train, s.type_rnas, window=self.window, seed=s.seed, by=by, known="type")
            )
            for name, by in (("types equal", "type"), ("types as in the corpus", "cluster"))
        }
        self.say("fitted the regressions of types")
        result: dict[str, Any] = {"words": {k: r.trained_on for k, r in regressions.items()}}
        for split in self.held_out:
            rnas = self._draw(split, s.rnas, known="type")
            found: dict[str, Any] = {m.name: m.type_log_probabilities(rnas.sequences) for m in able}
            found |= {k: r.log_probabilities(rnas.sequences) for k, r in regressions.items()}
            result[split] = score_types(rnas, found, seed=s.seed, resamples=s.resamples)
            self.say(f"guessed types of {split}")
        return result

    def pairs(self, structures: str | Path) -> dict[str, Any]:
        """Base pairs of the held-out families from attention maps."""
        s = self.settings
        items = read_labelled(structures, id="name", family="rfam", kind="rfam_type")
        fit, test = split_families(
            items, self.held_out[VALIDATION_FAMILIES].family_names, fitted=s.fitted_pairs,
            size=s.pair_rnas, per_family=s.pair_family, longest=min(s.pair_longest, self.window),
            seed=s.seed,
        )  # fmt: skip
        models = [*self.models, self.models[0].untrained(seed=s.seed)]
        result = score_pairs(models, fit, test, seed=s.seed, resamples=s.resamples)
        self.say("scored base pairs")
        return result

    def embeddings(self, folder: Path | None = None, *, force: bool = False) -> dict[str, Any]:
        """Neighbours of mean embeddings; maps are drawn into `folder`."""
        s = self.settings
        result: dict[str, Any] = {}
        for split, corpus in self.held_out.items():
            try:
                # Many more than are kept: families are chosen by how many clusters they have.
                drawn = draw(
                    corpus, 30 * s.family_rnas, window=self.window, seed=s.seed, by="family",
                    known="family",
                )  # fmt: skip
                rnas = of_families(drawn, members=s.family_members, size=s.family_rnas)
            except InputError as error:
                result[split] = {"skipped": str(error)}
                continue
            vectors: dict[str, Any] = {m.name: m.embeddings(rnas.sequences) for m in self.models}
            vectors["untrained"] = self.models[0].untrained(seed=s.seed).embeddings(rnas.sequences)
            vectors["words of 4"] = word_frequencies(rnas.sequences, longest=4)[:, -256:]
            result[split] = score_embeddings(rnas, vectors, seed=s.seed, resamples=s.resamples)
            self.say(f"compared embeddings of {split}")
            if folder is not None:
                shown = {
                    k: place(vectors[k], seed=s.seed) for k in (self.models[0].name, "words of 4")
                }
                plots.scatter(folder / f"tsne-{split}.png", shown, rnas, force=force)
                self.say(f"drew {folder / f'tsne-{split}.png'}")
        return result


def examine(
    models: Sequence[LanguageModel],
    corpus: str | Path,
    *,
    structures: str | Path | None = None,
    parts: Collection[str] = PARTS,
    settings: Settings = Settings(),
    pictures: Path | None = None,
    force: bool = False,
    report: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Examine language models on the held-out parts of a corpus.

    Parameters
    ----------
    models : sequence of LanguageModel
        The first one is compared with all others.
    corpus : path
        Folder of the corpus.
    structures : path, optional
        CSV table of structures of Rfam families; without it there are no base pairs.
    parts : collection of str
        Of `PARTS`. A part that the models or the data do not allow is left out, and the report
        says why.
    settings : Settings
        Sizes and seed.
    pictures : pathlib.Path, optional
        Folder for the maps of embeddings.
    force : bool
        Replace pictures that are there.
    report : callable, optional
        Called with lines of progress.

    Returns
    -------
    dict
        The report, ready for JSON; see docs/evaluate-lm.md.

    Raises
    ------
    InputError, FormatError
        The corpus or the structures cannot be read.
    ExtraError
        Pictures are wanted and matplotlib is not installed.
    """
    began = time.monotonic()
    if pictures is not None:
        plots.require()
        pictures.mkdir(parents=True, exist_ok=True)
    exam = Examination(models, corpus, settings, report)
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "models": [
            {"name": m.name, "parameters": m.parameters, "alphabet": m.alphabet.name,
             "prompt": m.prompt, "sha256": m.sha256}
            for m in models
        ],
        "corpus": {
            "folder": Path(corpus).resolve().name,
            "manifest_sha256": sha256_file(Path(corpus) / "manifest.json"),
            "created_with": exam.train.manifest.get("created_with"),
            "counts": {name: len(c) for name, c in {TRAIN: exam.train, **exam.held_out}.items()},
            "families": {name: len(c.family_names) for name, c in exam.held_out.items()},
        },
        "settings": asdict(settings) | {"window": exam.window},
        "seconds": {},
    }  # fmt: skip
    for part in (p for p in PARTS if p in parts):
        start = time.monotonic()
        obstacle = exam.obstacle(part, structures)
        if obstacle is not None:
            result[part] = {"skipped": obstacle}
        elif part == "nucleotides":
            result[part] = exam.nucleotides()
        elif part == "types":
            result[part] = exam.types()
        elif part == "pairs":
            assert structures is not None
            result[part] = exam.pairs(structures) | {"structures_sha256": sha256_file(structures)}
        else:
            result[part] = exam.embeddings(pictures, force=force)
        result["seconds"][part] = round(time.monotonic() - start, 1)
    result["seconds"]["all"] = round(time.monotonic() - began, 1)
    result["versions"] = {n: version(n) for n in ("stemloop", "torch", "scikit-learn", "ViennaRNA")}
    return result
