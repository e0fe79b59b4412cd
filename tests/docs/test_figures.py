"""Figures in the pages are those of ``benchmarks/results``: each text here is built from a file."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
Shown = Iterator[tuple[str, str]]  # page, text that it must hold


@functools.cache
def result(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


README = "../README.md"
METHODS = ("model", "weight array")
LEAD = "model minus weight array"


def f(value: float, digits: int = 3) -> str:
    """A figure as the pages write it: .627, -.019."""
    return f"{value:.{digits}f}".replace("0.", ".", 1)


def between(score: dict[str, float]) -> str:
    """A figure with its interval: .575 [.550, .600]."""
    value = score["value"] if "value" in score else score["mean"]
    return f"{f(value)} [{f(score['low'])}, {f(score['high'])}]"


def with_zeros(scores: Iterable[dict[str, float]]) -> str:
    """Cells with their intervals: 0.753 [0.704, 0.784] | 0.913 [0.896, 0.936]."""
    return " | ".join("{value:.3f} [{low:.3f}, {high:.3f}]".format(**score) for score in scores)


def structures() -> Shown:
    page = "structure-accuracy.md"
    for seed in range(3):
        report = result(f"archiveii_family_fold_seed{seed}")
        strict, relaxed = (f(report["macro"][k]["mean"]) for k in ("f1", "relaxed_f1"))
        row = " | ".join(f(x["scores"]["f1"]["mean"]) for x in report["families"].values())
        yield page, f"| **`fold-crf`**, seed {seed} | **{strict}/{relaxed}** | {row} |"
        strata = report["strata"]["length"]
        row = " | ".join(f(strata[k]["scores"]["f1"]["mean"]) for k in ("short", "medium", "long"))
        yield page, f"| **`fold-crf`**, seed {seed} | {row} |"
        for peer in report["comparisons"]:
            if peer["peer"] == "RNAfold-MEA":
                score = peer["macro"]["f1"]
                yield page, f"+{between(score | {'mean': score['difference']})}"
    report = result("archiveii_family_fold_homologs_seed0")
    strict, relaxed = (report["macro"][k] for k in ("f1", "relaxed_f1"))
    row = " | ".join(f(x["scores"]["f1"]["mean"]) for x in report["families"].values())
    name = "**with homologous sequences**, seed 0"
    yield page, f"| {name} | **{f(strict['mean'])}/{f(relaxed['mean'])}** | {row} |"
    yield page, f"**{between(strict)}**, one end shifted **{f(relaxed['mean'])}**"
    strata = report["strata"]["length"]
    row = " | ".join(f(strata[k]["scores"]["f1"]["mean"]) for k in ("short", "medium", "long"))
    yield page, f"| {name} | {row} |"
    report = result("archiveii_family_fold_homologs_turner2004")
    strict, relaxed = (f(report["macro"][k]["mean"]) for k in ("f1", "relaxed_f1"))
    yield page, f"on a sample of {report['rnas']} of the RNAs"
    yield page, f"reach {strict}/{relaxed}"
    report = result("archiveii_random_homologs")
    strict, relaxed = (report["macro"][k] for k in ("f1", "relaxed_f1"))
    yield page, f"**{between(strict)}**, one end shifted **{f(relaxed['mean'])}**"
    row = " | ".join(f(x["scores"]["f1"]["mean"]) for x in report["families"].values())
    yield page, f"| {row} |"
    knotted = report["strata"]["pseudoknots"]["with"]["scores"]["f1"]["mean"]
    yield page, f"1,007 RNAs that have some are at {f(knotted)}"
    report = result("archiveii_family_fold_seed0")
    yield page, f"on the {report['rnas']:,} RNAs of ArchiveII"
    for peer in report["comparisons"]:
        ours, other = (f(peer["macro"][k]["peer"]) for k in ("f1", "relaxed_f1"))
        yield page, f"| {peer['peer']} | {ours}/{other} | "


def pseudoknots() -> Shown:
    (compared,) = (
        c for c in result("hybrid_pseudoknots_seed0")["comparisons"] if "mea" in c["peer"]
    )
    for name, of in (("with", 1007), ("without", 99)):
        score = compared["strata"]["pseudoknots"][name]["scores"]["f1"]
        yield "fold.md", f" | {of:,} | {f(score['peer'])} | {f(score['ours'])} | "


def classes() -> Shown:
    whole, frozen = result("ncrna_class"), result("ncrna_class_frozen")
    more = whole["further"]["de-duplicated"]
    ours, words = "`ncrna-class`", "words of 1 to 5, logistic regression"
    rows = [(f"{ours}: all of `stemloop-pico` fine-tuned", whole["methods"]["model"])]
    rows += [(ours, part["model"]) for part in (whole["unlike"], more["whole"], more["methods"])]
    for part in ("methods", "unlike"):
        rows.append(("head on frozen `stemloop-pico`", frozen[part]["model"]))
    letters = result("ncrna_class_letters")
    for part in ("methods", "unlike"):
        rows.append(("convolutions on the nucleotides, not pre-trained", letters[part]["model"]))
    every = (whole["methods"], whole["unlike"], more["whole"], more["methods"])
    rows += [(words, part["k-mers"]) for part in every]
    for name, score in rows:
        rest = f"{f(score['macro_f1']['value'])} | {f(score['mcc']['value'])}"
        yield "function.md", f"| {name} | {between(score['accuracy'])} | {rest} |"


def families() -> Shown:
    report, noisy = result("rfam_class"), result("rfam_class_noise")
    yield "function.md", f"the {report['unlike_records']} of them"
    for part, more in (
        (report["methods"], ""),
        (report["unlike"], ", unlike"),
        (noisy["methods"], ", noise of 200 %"),
        (noisy["unlike"], ", noise, unlike"),
    ):
        for method, name in (
            ("model", "head on frozen `stemloop-pico`"),
            ("k-mers", "words of 1 to 5, logistic regression"),
        ):
            score = part[method]
            rest = f"{f(score['macro_f1']['value'])} | {f(score['mcc']['value'])}"
            yield "function.md", f"| {name}{more} | {between(score['accuracy'])} | {rest} |"


def long_and_human() -> Shown:
    methods = result("lncrna_place")["methods"]
    for name, row in (
        ("model", "head on frozen `stemloop-pico`"),
        ("k-mers", "words of 1 to 5, logistic regression"),
    ):
        rest = " | ".join(f(methods[name][k]["value"]) for k in ("macro_f1", "mcc"))
        yield "function.md", f"| {row} | {between(methods[name]['accuracy'])} | {rest} |"
    model, array, words = (
        between(result("splice_human")["methods"][name]["accuracy"])
        for name in ("model", "weight array", "k-mers")
    )
    yield "function.md", f"of {model}, a weight array model {array}, words {words}."


def sharing() -> Shown:
    rows = result("bulk_scaling")["rows"]
    for task in ("fold", "embed"):
        mine = [row for row in rows if row["task"] == task and "per_second" in row]
        cells = " | ".join(f"{row['per_second']} ({row['seconds']} s)" for row in mine)
        yield "cluster.md", f"| {task}, {mine[0]['rnas']:,} RNAs | {cells} |"


def species_left_out() -> Shown:
    decoys = [result(f"splice_across_{s}")["decoys"] for s in ("arabidopsis", "worm", "fly")]
    for kind in ("donor n2", "donor n3", "acceptor n2", "acceptor n3"):
        cells = [[f(d[kind][m]["accuracy"]["value"]) for m in METHODS] for d in decoys]
        row = " | ".join(f"{ours} ({other})" for ours, other in cells)
        yield "function.md", f"| {kind.replace(' ', ', ')} | {row} |"


def types_as_guides() -> Shown:
    report = result("type_guided")
    names = {
        "no types": "no types",
        "most probable types": "the three most probable types (STACK)",
        "random types": "three random types",
    }
    for name, row in names.items():
        alone, both = (report["methods"][name + more] for more in ("", ", encoder too"))
        cells = (
            f"{between(x['test']['accuracy'])} | {x['cpu_seconds']:.0f}" for x in (alone, both)
        )
        yield "function.md", f"| {row} | {' | '.join(cells)} |"
    gaps = {
        name: [
            between(report["differences"][f"most probable types minus {name}{more}"])
            for more in ("", ", encoder too")
        ]
        for name in ("no types", "random types")
    }
    less, more = gaps["no types"]
    yield "function.md", f"no types: {less} on the frozen encoder, {more} with the encoder"
    yield "function.md", "types: {} and {}.".format(*gaps["random types"])


def ribosomes() -> Shown:
    methods = result("ribosome_load")["methods"]
    one = result("ribosome_load_one")["methods"]["model"]
    rows = {
        "`ribosome-load`": methods["model"],
        "one network instead of four": one,
        "gradient boosting": methods["boosting"],
        "ridge regression": methods["ridge"],
    }
    for name, score in rows.items():
        rest = " | ".join(f(score[k]["value"]) for k in ("pearson", "spearman", "mae"))
        yield "function.md", f"| {name} | {between(score['r2'])} | {rest} |"
    splice, load = (
        {row["name"]: row["scores"] for row in table["rows"]}
        for table in result("leaderboard/leaderboard")["tables"]
    )
    same = {
        "nucleotides": ("networks on the nucleotides", "network on the nucleotides"),
        "frozen `stemloop-pico`": ("frozen stemloop-pico",) * 2,
        "an encoder like it with random weights, frozen": ("the same untrained and frozen",) * 2,
        "gradient boosting; weight array model": ("boosting", "weight array"),
    }
    for name, (one, other) in same.items():
        row = f"{between(load[one]['r2'])} | {between(splice[other]['accuracy'])}"
        yield "function.md", f"| {name} | {row} |"


def interactions() -> Shown:
    protocols = result("mirna_target")["protocols"]
    names = {
        "model": "`mirna-target`",
        "duplex energy": "duplex energy",
        "duplex and opening energy": "duplex and opening energy",
        "cofold energy": "cofold energy",
        "seed and duplex": "*seed match and duplex, logistic regression*",
        "words of the first": "*words of the microRNA, gradient boosting*",
        "words of the second": "*words of the site*",
        "words of both": "*words of both*",
    }
    for method, name in names.items():
        areas = (
            protocols[f"{kind} decoys"]["all"]["methods"][method]["area"]
            for kind in ("matched", "random", "table")
        )
        row = with_zeros(areas)
        yield "interaction.md", f"| {name} | {row} |"
    columns = ("model", "duplex energy", "duplex and opening energy", "seed and duplex")
    for name, found in result("mirna_sets")["sets"].items():
        unseen = found["unseen"]
        areas = (unseen["methods"][method]["area"] for method in columns)
        row = with_zeros(areas)
        yield "interaction.md", f"| {name}, {unseen['pairs']} pairs | {row} |"
    kinds = ("matched", "random", "table")
    rows = {
        "model": "`mirna-target`",
        "model and 0.5 of it": "half of the regression added",
        "model and 1.0 of it": "all of it added",
        "seed and duplex": "*seed match and duplex* alone",
    }
    for method, name in rows.items():
        found = {k: v["methods"][method] for k, v in result("mirna_sets")["validation"].items()}
        areas = (*(found[kind]["area"] for kind in kinds), found["miRAW"]["within"])
        row = with_zeros(areas)
        yield "interaction.md", f"| {name} | {row} |"
    report = result("mirna_nets")
    names = {
        "cross-attention": "cross-attention, as `mirna-target`",
        "cross-attention, states": "cross-attention, states",
        "CNN and BiLSTM": "CNN and BiLSTM",
        "CNN and BiLSTM, states": "CNN and BiLSTM, states",
    }
    for net, name in names.items():
        chosen = report["nets"][net]["training"]["validation"]
        mean = sum(chosen[kind] for kind in kinds) / 3
        areas = (report["test"][kind]["methods"][net]["area"] for kind in kinds)
        row = with_zeros(areas)
        size = f"{report['nets'][net]['parameters']:,}"
        yield "interaction.md", f"| {name} | {size} | {mean:.3f} | {row} |"
    for net in list(names)[1:]:
        gaps = (report["test"][kind]["differences"][net] for kind in kinds)
        row = with_zeros(gaps)
        yield "interaction.md", f"| `mirna-target` minus {names[net]} | | | {row} |"


def language_model() -> Shown:
    page, report = "evaluate-lm.md", result("lm_pico")
    splits = ("validation_clusters", "validation_families")
    hidden, types, vectors = (
        [report[part][split] for split in splits] for part in ("nucleotides", "types", "embeddings")
    )
    guesses = [split["masked"]["all"]["methods"] for split in hidden]
    row = " | ".join(
        f"**{f(g['stemloop-pico']['accuracy']['value'])}** "
        + between(g["stemloop-pico"]["accuracy"]).split(" ", 1)[1]
        for g in guesses
    )
    yield page, f"| **stemloop-pico** | {row} |"
    for method, name in (("Markov both", "Markov chain, both sides"), ("ten neighbours",) * 2):
        row = " | ".join(f(g[method]["accuracy"]["value"]) for g in guesses)
        yield page, f"| {name} | {row} |"
    row = " | ".join(between(t["methods"]["stemloop-pico"]["accuracy"]) for t in types)
    yield page, f"| RNA type, type slot | {row} |"
    words = "words, types as in the corpus"
    row = " | ".join(f(t["methods"][words]["accuracy"]["value"]) for t in types)
    yield page, f"| RNA type, regression on {words} | {row} |"
    for method, name in (
        ("stemloop-pico", "purity of the nearest neighbour, by family"),
        ("words of 4", "the same, words of four letters"),
        ("untrained", "the same, untrained model"),
    ):
        row = " | ".join(f(v["methods"][method]["purity_1"]["value"]) for v in vectors)
        yield page, f"| {name} | {row} |"
    ours, chance, known = (
        f(report["pairs"]["methods"][m]["precision_L3"]["value"])
        for m in ("stemloop-pico", "chance", "RNAfold")
    )
    yield page, f"{ours} (chance {chance}, RNAfold {known})"


def splice() -> Shown:
    decoys, called = (result("splice")[key] for key in ("decoys", "called"))
    for site in ("donor", "acceptor"):
        rates = []
        for true in (f"{species} {site}" for species in ("arabidopsis", "worm", "fly")):
            shares = (
                [f(called[true][x][t]) for t in ("0.9", "0.99")] for x in (true, f"{true} n4")
            )
            rates.append(", ".join("/".join(pair) for pair in shares))
        yield "function.md", f"| {site} | {' | '.join(rates)} |"
        for kind in ("n2", "n3", "n4"):
            cells = [
                [f(decoys[f"{species} {site} {kind}"][m]["accuracy"]["value"]) for m in METHODS]
                for species in ("arabidopsis", "worm", "fly")
            ]
            row = " | ".join(f"{ours} ({other})" for ours, other in cells)
            yield "function.md", f"| {site}, {kind} | {row} |"
            if kind == "n4":
                continue
            ahead = (
                {k: 100 * v for k, v in decoys[f"{s} {site} {kind}"][LEAD]["accuracy"].items()}
                for s in ("arabidopsis", "worm", "fly")
            )
            row = " | ".join(f"+{x['value']:.1f} [{x['low']:.1f}, {x['high']:.1f}]" for x in ahead)
            yield "function.md", f"| {site}, {kind} | {row} |"


def generated() -> Shown:
    names = {"RF00059": "TPP", "RF00162": "SAM", "RF01734": "fluoride"}
    for family, name in names.items():
        for kind, of in result(f"rbm_family_{family}")["kinds"].items():
            row = f"{of['median']['cm_score']:.1f} | {100 * of['above_gathering']:.1f} %"
            yield (
                "rbm.md",
                f"| {name} ({family}) | {kind.replace('_', ' ')} | {row} | ".replace(
                    "| training |", "| training rows |"
                ),
            )
    machines = []
    for name, update in (
        ("rbm_sam_seed0", 3000), ("rbm_sam_pcd100_seed0", 1800),
        ("rbm_hgd_seed0", 603), ("rbm_hgd_pcd100_seed0", 603),
    ):  # fmt: skip
        report = result(name)
        (age,) = (one for one in report["ages"] if one["update"] == update)
        natural = report["natural"] if "pcd" not in name else {}
        machines.append((age["classification"], age["generation"]["10"], natural))
    row = " | ".join(f(labels["exact"]) for labels, _, _ in machines)
    yield "rbm.md", f"| label accuracy, exact posterior | {row} |"
    cells = []
    for _, made, natural in machines:
        cell, held = (
            f"{f(x['aai_truth'], 2)}, {f(x['aai_syn'], 2)}" if x else "" for x in (made, natural)
        )
        cells.append(cell + (f" ({held})" if held else ""))
    yield "rbm.md", f"| AAI of data, of samples | {' | '.join(cells)} |"
    for name in ("rbm_sam_seed0", "rbm_sam_seed1", "rbm_tpp_seed0", "rbm_fluoride_seed0"):
        last = result(name)["ages"][-1]
        made = last["generation"]["10"]
        # What a generator must reach after ten steps.
        assert all(abs(made[key] - 0.5) <= 0.1 for key in ("aai_truth", "aai_syn"))
        assert made["label_accuracy"] >= 0.9
        if name != "rbm_sam_seed0":
            yield "rbm.md", f"{f(made['aai_truth'], 2)} / {f(made['aai_syn'], 2)}"
        yield "rbm.md", f(made["label_accuracy"])
        yield "rbm.md", f(last["classification"]["exact"])


def serving() -> Shown:
    figures = result("serve_speed")["figures"]
    yield "serve.md", f"folded {figures['start_to_example_folded_s']:.1f} s after the start"
    yield "serve.md", f"{figures['rnas_a_second']:.0f} RNAs of 100 nt a second"


def pretraining() -> Shown:
    speeds = result("pretrain_throughput")["results"]
    rows = {
        "stemloop-packed-fp32": "`stemloop pretrain`",
        "peer-padded-batch16": "Trainer, padded batches of 16 in random order",
        "peer-padded-batch16-grouped": "Trainer, padded batches of 16 of similar lengths",
    }
    for key, name in rows.items():
        yield "pretrain.md", f"| {name} | {speeds[key]['tokens_per_second']:.0f} |"


def masking() -> Shown:
    names = {"base": "single nucleotides", "subsequence": "spans", "motif": "motifs"}
    runs = result("masking_comparison")["results"]
    for variant, name in (names | {"thirds": "a third each"}).items():
        one, two = (run for run in runs if run["variant"] == variant)
        row = f"| {name}"
        for split in ("validation_clusters", "validation_families"):
            for key in ("masked_accuracy", "loss"):
                pair = (f"{run[split][key]:.3f}".removeprefix("0") for run in (one, two))
                row += f" | {', '.join(pair)}"
        yield "masking.md", row + " | "


def speeds() -> Shown:
    for run in result("fold_long")["lengths"]:
        how = f"in windows of {run['window']:,}" if run["window"] else "whole"
        row = f"{run['cpu_seconds']:.0f} | {run['peak_mib'] / 1024:.1f}"
        yield "fold.md", f"| {run['length']:,} | {how} | {row} |"
    batch = result("fold_batch")
    seconds = f"{batch['wall_seconds']:.0f} seconds ({batch['cpu_seconds']:.0f} of CPU time)"
    yield "fold.md", f"{batch['rnas']:,} RNAs of {batch['length']} nt took {seconds}"
    steps = {step["line"]: step for step in result("walkthrough")["steps"]}
    install = steps[".venv/bin/pip install -c constraints.txt ."]
    fold = steps[".venv/bin/stemloop fold examples/rnas.fa"]
    page = steps["stemloop serve: start to the page"]
    yield "install.md", f"took {install['seconds']:.0f} s ({install['cpu_seconds']:.0f} s of CPU"
    yield "install.md", f"{fold['seconds']:.1f} s ({fold['cpu_seconds']:.1f} s)"
    yield "install.md", f"after {page['seconds']:.1f} s"
    for hidden, run in result("rbm_throughput")["hidden"].items():
        names = ("stemloop ff", "stemloop pcd", "stemloop pcd bf16", "rbms pcd", "annadca pcd")
        row = " | ".join(f(run[name]["cpu_seconds_an_update"]) for name in names)
        yield "rbm.md", f"| {hidden} | {row} |"


def motifs() -> Shown:
    kinds = result("motif_hits")["masking"]
    for kind, name in (("rfam_seeds", "Rfam seeds"), ("human_lncRNA", "human lncRNA")):
        shares = kinds[kind]["share_of_letters_inside_database_motifs_of_at_least"]
        for key, row in (("rnas", name), ("shuffled_rnas", "shuffled")):
            yield (
                "masking.md",
                f"| {row} | {' | '.join(f'{s[key] + 1e-9:.3f}' for s in shares.values())} |",
            )


def small_tests() -> Shown:
    for name, row in (("fold-crf", "`fold-crf`"), ("turner2004", "RNAfold MEA")):
        score = result(f"bprna_ts0/{name}")["report"]["macro"]
        rest = " | ".join(f(score[k]["mean"]) for k in ("relaxed_f1", "precision", "recall"))
        yield "structure-accuracy.md", f"| {row} | {between(score['f1'])} | {rest} |"
    areas = result("srna_targets")["area_within_srnas"]
    value, low, high = (f(areas["duplex energy"][k], 2) for k in ("value", "low", "high"))
    yield "interaction.md", f"{value} [{low}, {high}] for the duplex energy"


def openings() -> Shown:
    """What the README says, and the first lines of a page."""
    seeds = [f(result(f"archiveii_family_fold_seed{s}")["macro"]["f1"]["mean"]) for s in range(3)]
    (peer,) = (
        c
        for c in result("archiveii_family_fold_seed0")["comparisons"]
        if c["peer"] == "RNAfold-MEA"
    )
    texts = {
        f"F1 {', '.join(seeds)} (three trainings) on nine classes of RNA never seen; RNAfold "
        + f(peer["macro"]["f1"]["peer"]): "fold.md"
    }
    start = result("serve_speed")["figures"]["start_to_first_drawing_s"]
    texts[f"first drawing after {start:.1f} s"] = "serve.md"
    heads = result("ncrna_class")["methods"]
    ours, other = (f(heads[m]["accuracy"]["value"]) for m in ("model", "k-mers"))
    texts[f"accuracy {ours}; counts of words {other}"] = "function.md"
    loads = result("ribosome_load")["methods"]
    ours, other = (f(loads[m]["r2"]["value"]) for m in ("model", "boosting"))
    texts[f"R2 {ours}; gradient boosting {other}"] = "function.md"
    areas = result("mirna_target")["protocols"]["matched decoys"]["all"]["methods"]
    ours, other = (f(areas[m]["area"]["value"]) for m in ("model", "duplex energy"))
    texts[f"area {ours} on matched decoys; duplex energy {other}"] = "interaction.md"
    made = result("rbm_family_RF00162")["kinds"]["generated"]["above_gathering"]
    texts[f"{100 * made:.1f} % above Rfam's threshold"] = "rbm.md"
    guesses = result("lm_pico")["nucleotides"]["validation_clusters"]["masked"]["all"]["methods"]
    ours, other = (f(guesses[m]["accuracy"]["value"]) for m in ("stemloop-pico", "Markov both"))
    texts[f"guesses {ours} of hidden nucleotides; Markov chains {other}"] = "pretrain.md"
    for text, page in texts.items():
        yield page, text
        yield README, text
    helped = f(result("archiveii_family_fold_homologs_seed0")["macro"]["f1"]["mean"])
    yield README, f"with homologous sequences {helped}"
    yield "fold.md", f"[with homologous sequences](#with-homologs) {helped}"

    decoys = [result("splice")["decoys"][f"worm donor {kind}"] for kind in ("n2", "n3")]
    ours, other = (" and ".join(f(d[m]["accuracy"]["value"]) for d in decoys) for m in METHODS)
    yield README, f"decoys {ours}; weight array {other}"
    faster = result("embed_throughput")["ratios"]["stemloop-fp32 / peer-batch8"]["nt_per_second"]
    yield README, f"{faster:.1f} times as fast"


TABLES = [
    structures, pseudoknots, classes, families, species_left_out, types_as_guides, ribosomes,
    splice, interactions, language_model, pretraining, masking, motifs, generated, serving,
    speeds, small_tests, sharing, long_and_human, openings,
]  # fmt: skip


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_figures_are_those_of_the_results(table: Callable[[], Shown]) -> None:
    missing = [f"{page}: {text}" for page, text in table() if plain(text) not in content(page)]
    assert not missing, "\n".join(missing)


@functools.cache
def content(page: str) -> str:
    """Text of a page."""
    return plain((ROOT / "docs" / page).read_text())


def plain(text: str) -> str:
    """Text without line ends and emphasis."""
    return " ".join(text.replace("**", "").split())
