"""Masked-language-model pre-training: from a recipe and a corpus to a model folder.

The engine is transformers' Trainer and accelerate: devices, DDP and FSDP2 under ``torchrun`` or
``accelerate launch``, mixed precision, schedules, checkpoints. A batch is a pack of whole
sequences without padding (`stemloop.data.packing.Schedule`); the schedule is one endless sequence
of packs, a pure function of the seed, so the number of the pack is all that a resumed run needs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import TrainingArguments
from transformers.trainer_callback import PrinterCallback

from stemloop.alphabet import RNAERNIE_TYPES
from stemloop.data.corpus import Corpus
from stemloop.data.masking import SampleMaker, make_sample
from stemloop.data.motifs import MotifSet, frequent_words
from stemloop.data.packing import Schedule
from stemloop.data.sampling import draw_members
from stemloop.errors import UsageError
from stemloop.models.build import checkpoint_gradients, compile_blocks, new_encoder
from stemloop.models.presets import PRESETS, Config, config_with
from stemloop.training.pack_trainer import FiniteSteps, PackedLM, PackTrainer, collate
from stemloop.training.pretrain_recipe import PretrainRecipe
from stemloop.training.pretrain_run import Records, agreed, open_run
from stemloop.weights.store import ALPHABETS, alphabet_of, load, save_model_dir


def recipe_config(recipe: PretrainRecipe) -> Config:
    """Configuration of the recipe's encoder: a preset, with the recipe's changes.

    Raises
    ------
    UsageError
        There is no such preset.
    WeightsError
        A changed value makes no network.
    """
    if recipe.model not in PRESETS:
        raise UsageError(f"unknown model {recipe.model!r}; known: {', '.join(PRESETS)}")
    preset = PRESETS[recipe.model]
    typed = recipe.masking.prompt and "[IND]" in ALPHABETS[preset.alphabet].ids
    longest = recipe.sampling.window + (4 if typed else 2)  # CLS, EOS; [IND] and the type
    return config_with(preset, {"max_length": longest, **recipe.overrides})


def load_motifs(recipe: PretrainRecipe, folder: Path | None, corpus: Corpus) -> MotifSet | None:
    """Read the recipe's motif files, and mine the corpus for frequent words if it says so."""
    if not recipe.masking.motif:
        return None
    files = recipe.motifs.files
    if files and folder is None:
        raise UsageError("the recipe names motif files: say where they are with --motifs")
    paths = [(folder or Path()) / name for name in files]
    found = MotifSet.load(paths, min_length=recipe.motifs.min_length) if paths else MotifSet()
    if recipe.motifs.frequent is None:
        return found
    wanted = recipe.motifs.frequent
    rows = draw_members(corpus, recipe.seed, 0, recipe.sampling.caps)[: wanted.sample]
    words = frequent_words(
        [corpus.sequence(int(row)) for row in rows],
        words=wanted.count,
        lengths=wanted.lengths,
        seed=recipe.seed,
    )
    return replace(found, frequent=(*found.frequent, *words))


def pretrain(
    recipe: PretrainRecipe,
    corpus: str | Path,
    run: str | Path,
    *,
    motifs: str | Path | None = None,
    start: str | Path | None = None,
    workers: int = 0,
    parallel: str = "ddp",
    device: str | None = None,
    report: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """Train an encoder, or go on where an earlier call stopped.

    Parameters
    ----------
    recipe : PretrainRecipe
        What to do.
    corpus : path
        Folder made by ``stemloop corpus build``.
    run : path
        Folder of the run: checkpoints, ``metrics.jsonl``, ``model``.
    motifs : path, optional
        Folder of the recipe's motif files.
    start : path, optional
        Model folder whose weights to start from.
    workers : int
        Processes that make packs beside the training.
    parallel : {"ddp", "fsdp2"}
        How several processes share the work (see ``torchrun``).
    device : str, optional
        ``"cpu"`` keeps off an accelerator that is there.
    report : callable, optional
        Called with every line of the metrics.

    Returns
    -------
    pathlib.Path
        ``RUN/model``, a model folder.

    Raises
    ------
    UsageError
        The run's folder belongs to another recipe, or the packs of a step cannot be shared
        evenly among the processes.
    StemloopError
        The gradient stopped being finite.
    """
    run = Path(run)
    train = Corpus.open(corpus, "train")
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if recipe.batch.packs % world:
        raise UsageError(f"batch.packs {recipe.batch.packs} cannot be shared by {world} processes")
    last = open_run(run, recipe, train) if rank == 0 else None
    config = recipe_config(recipe)
    alphabet = alphabet_of(config, "recipe")
    torch.manual_seed(recipe.seed)
    encoder = new_encoder(config)
    if start is not None:
        encoder.load_state_dict(load(start).encoder.state_dict())
    if recipe.gradient_checkpointing:
        checkpoint_gradients(encoder)
    if recipe.compile:
        compile_blocks(encoder, cuda=device != "cpu" and torch.cuda.is_available())
    maker = make_sample(
        recipe.masking.options(), alphabet, load_motifs(recipe, _path(motifs), train)
    )
    schedule = _schedule(recipe, train, maker, recipe.steps * recipe.batch.packs)
    held = None
    if recipe.evaluate_packs:
        clusters = Corpus.open(corpus, "validation_clusters")
        held = _schedule(recipe, clusters, maker, recipe.evaluate_packs, caps=False)
    type_ids = [alphabet.ids[name] for name in RNAERNIE_TYPES if name in alphabet.ids]
    model = PackedLM(encoder, torch.tensor(type_ids, dtype=torch.int64))

    def save(checkpoint: Path, step: int) -> None:
        state = load_file(checkpoint / "model.safetensors")
        source = {
            "recipe": recipe.name, "step": step, "steps": recipe.steps, "seed": recipe.seed
        }  # fmt: skip
        inner = {key.removeprefix("encoder."): value for key, value in state.items()}
        save_model_dir(run / "model", config, inner, source=source, force=True)

    arguments = _arguments(recipe, run, world, workers, parallel, device)
    last = agreed(run, last)
    if parallel == "fsdp2":
        _shard_on_cpu(arguments)
    finite = FiniteSteps()
    trainer = PackTrainer(
        model=model,
        args=arguments,
        data_collator=collate,
        train_dataset=schedule,
        eval_dataset=held,
        callbacks=[finite, Records(run, save, report)],
        optimiser=recipe.optimiser,
    )
    trainer.remove_callback(PrinterCallback)  # `report` shows the progress
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    return run / "model"


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)


def _schedule(
    recipe: PretrainRecipe, corpus: Corpus, maker: SampleMaker, items: int, *, caps: bool = True
) -> Schedule:
    return Schedule(
        corpus,
        make_sample=maker,
        window=recipe.sampling.window,
        budget=recipe.batch.tokens,
        seed=recipe.seed,
        caps=recipe.sampling.caps if caps else {},
        items=items,
        specials=maker.specials,
    )


def _arguments(
    recipe: PretrainRecipe, run: Path, world: int, workers: int, parallel: str, device: str | None
) -> TrainingArguments:
    optimiser = recipe.optimiser
    fsdp: dict[str, Any] = {}
    if parallel == "fsdp2":
        wrap = {
            "fsdp_version": 2,
            "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "transformer_layer_cls_to_wrap": ["Block"],
            "state_dict_type": "FULL_STATE_DICT",
        }
        fsdp = {"fsdp": True, "fsdp_config": wrap}
    cpu = device == "cpu" or not torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(run),
        max_steps=recipe.steps,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=recipe.batch.packs // world,
        learning_rate=optimiser.learning_rate,
        weight_decay=optimiser.weight_decay,
        max_grad_norm=optimiser.clip,
        warmup_steps=optimiser.warm_up,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": optimiser.min_learning_rate / optimiser.learning_rate},
        bf16=recipe.precision == "bf16",
        use_cpu=cpu,
        seed=recipe.seed,
        dataloader_num_workers=workers,
        dataloader_pin_memory=not cpu,
        logging_steps=recipe.log_every,
        logging_nan_inf_filter=False,
        save_steps=recipe.save_every,
        save_total_limit=2,
        eval_strategy="steps" if recipe.evaluate_packs else "no",
        eval_steps=recipe.evaluate_every,
        average_tokens_across_devices=True,
        ddp_find_unused_parameters=False,
        remove_unused_columns=False,
        report_to=_reporters(),
        disable_tqdm=True,
        **fsdp,
    )


def _shard_on_cpu(arguments: TrainingArguments) -> None:
    """Accelerate shards parameters on accelerators only; on CPUs its state has to be told."""
    from accelerate import Accelerator
    from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

    if arguments.distributed_state.distributed_type is not DistributedType.MULTI_CPU:
        return
    half = "bf16" if arguments.bf16 else "no"
    state = Accelerator(cpu=True, mixed_precision=half).state
    arguments.distributed_state.distributed_type = state.distributed_type = DistributedType.FSDP
    state.fsdp_plugin = FullyShardedDataParallelPlugin(**arguments.fsdp_plugin_args)


def _reporters() -> list[str]:
    from importlib.util import find_spec

    return ["tensorboard"] if find_spec("tensorboard") else []
