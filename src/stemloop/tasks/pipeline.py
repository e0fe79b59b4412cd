"""Folding as a transformers pipeline: ``pipeline("rna-secondary-structure", model=DIR)``.

A thin edge around `stemloop.tasks.structure`: the same models, settings and numbers as
``stemloop fold``. Imported when transformers' pipelines are (`stemloop.models.register`), so that
everything heavy stays inside the functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from transformers.pipelines import PIPELINE_REGISTRY, Pipeline

from stemloop.errors import InputError, UsageError
from stemloop.records import Result, SequenceRecord
from stemloop.weights.locate import bundled

if TYPE_CHECKING:
    from stemloop.tasks.structure import Folder
    from stemloop.tasks.structure_settings import FoldSettings

#: The task's name.
TASK = "rna-secondary-structure"


class FoldingModel:
    """A folding model with what a pipeline asks of a model.

    It stays on the CPU, where ViennaRNA is, whatever device a pipeline would like.

    Parameters
    ----------
    path : path
        Model directory: a folding model, or an encoder with a head for structure.
    config : PreTrainedConfig, optional
        What `AutoConfig` makes of it.
    """

    device: ClassVar[torch.device] = torch.device("cpu")
    dtype: ClassVar[torch.dtype] = torch.float32
    input_modalities: ClassVar[tuple[str, ...]] = ("text",)

    def __init__(self, path: Path, config: Any = None) -> None:
        self.path, self.config = path, config
        self._folders: dict[FoldSettings, Folder] = {}
        self.folder({})  # an unusable directory is an error now, not at the first RNA

    @classmethod
    def from_pretrained(cls, name: str, *, config: Any = None, **hub: Any) -> FoldingModel:
        """Read a model directory; a name on the hub is downloaded as transformers would do."""
        path = Path(name)
        if not path.is_dir():
            from huggingface_hub import snapshot_download

            known = ("revision", "token", "local_files_only", "cache_dir")
            path = Path(snapshot_download(name, **{k: hub[k] for k in known if k in hub}))
        return cls(path, config)

    def to(self, *_: object) -> FoldingModel:
        """Stay where it is."""
        return self

    def can_generate(self) -> bool:
        """It draws no sequences."""
        return False

    def settings(self, changes: Mapping[str, Any]) -> FoldSettings:
        """Settings of a call.

        Raises
        ------
        UsageError
            There is no such setting, or they make no sense.
        """
        from stemloop.tasks.structure_settings import FoldSettings

        known = {field.name for field in fields(FoldSettings)} - {"model"}
        if unknown := sorted(changes.keys() - known):
            raise UsageError(
                f"{TASK} has no setting {unknown[0]!r}; known: {', '.join(sorted(known))}"
            )
        values = dict(changes)
        if values.get("average") is not None:
            values["average"] = tuple(values["average"])
        return FoldSettings(model=str(self.path.resolve()), **values)

    def folder(self, changes: Mapping[str, Any]) -> Folder:
        """The model with some settings, ready for RNAs."""
        from stemloop.tasks.structure import Folder

        settings = self.settings(changes)
        if settings not in self._folders:
            self._folders[settings] = Folder(settings)
        return self._folders[settings]


class SecondaryStructurePipeline(Pipeline):
    """Sequences in, structures out.

    The input of a call is a sequence, a mapping with ``sequence`` and maybe ``id`` (a row of a
    dataset), a `SequenceRecord`, or a list of these: one dictionary each comes back. For a path of
    a FASTA file, a dataset or any other iterable it is an iterator over dictionaries.

    ``num_workers`` is the number of processes to fold in. Every RNA is folded by itself:
    ``batch_size`` is accepted and changes nothing. Other arguments, of `transformers.pipeline` or
    of a call, are settings of `FoldSettings`: ``decoder``, ``temperature``, ``probabilities``, ...

    Each dictionary has ``id``, ``sequence``, ``structure`` (dot-bracket), ``score`` (expected share
    of bases in the state drawn, 0 to 1), ``energy`` and ``ensemble_energy`` (kcal/mol; nan where a
    model has none), ``confidence`` (L,), and where asked for ``pair_probability`` (L, L) and
    ``samples``.
    """

    _load_tokenizer = _load_processor = False
    _load_feature_extractor = _load_image_processor = _load_video_processor = False

    model: FoldingModel

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Fold; see the class."""
        if isinstance(inputs, Path):
            from stemloop.formats.fasta import read_sequences

            inputs = (record for record in read_sequences(inputs))
        elif isinstance(inputs, list | tuple):
            if not inputs:
                return []
            inputs = list(inputs)
        elif not isinstance(inputs, str | Mapping | SequenceRecord):
            inputs = (item for item in inputs)
        return super().__call__(inputs, **options)

    def _sanitize_parameters(self, **settings: Any) -> tuple[dict, dict, dict]:
        self.model.settings(settings)
        return {}, settings, {}

    def preprocess(self, item: Any, index: int = 0) -> SequenceRecord:
        """A record of canonical letters."""
        from stemloop.tasks.structure_jobs import read_strands

        if isinstance(item, SequenceRecord):
            return item
        name = f"sequence{index + 1}"
        if isinstance(item, Mapping):
            name = str(item.get("id", name))
            item = item.get("sequence")
        if not isinstance(item, str):
            raise InputError(
                f"a sequence of type {type(item).__name__}", record=name,
                expected="text, a mapping with 'sequence', or a SequenceRecord",
            )  # fmt: skip
        return SequenceRecord(name, read_strands(item, record=name), index=index)

    def _forward(self, record: SequenceRecord, **settings: Any) -> Result:
        return self.model.folder(settings)(record)

    def postprocess(self, result: Result) -> dict[str, Any]:
        """A result as a dictionary."""
        values, structure = dict(result.values), result.structure
        assert structure is not None
        texts = {"sequence": result.record.sequence, "structure": structure.dot_bracket}
        if cut := int(values.pop("cut", 0)):
            texts = {key: f"{text[:cut]}&{text[cut:]}" for key, text in texts.items()}
        score = 1.0 - float(values["ensemble_defect"])
        return {"id": result.record.id, **texts, "score": score, **values, **result.arrays}

    def get_iterator(
        self,
        inputs: Iterable[Any],
        num_workers: int,
        batch_size: int,
        preprocess_params: dict[str, Any],
        forward_params: dict[str, Any],
        postprocess_params: dict[str, Any],
    ) -> Iterator[dict[str, Any]]:
        """Fold one after the other, or in processes."""
        from stemloop.tasks.structure import fold_stream

        records = (self.preprocess(item, index) for index, item in enumerate(inputs))
        if num_workers > 1:
            jobs = ((record,) for record in records)
            settings = self.model.settings(forward_params)
            results = fold_stream(jobs, settings, processes=num_workers)
        else:
            results = (self.forward(record, **forward_params) for record in records)
        return (self.postprocess(result) for result in results)


def register() -> None:
    """Make the task known to transformers; its default model is the one that ships."""
    if TASK not in PIPELINE_REGISTRY.get_supported_tasks():
        PIPELINE_REGISTRY.register_pipeline(
            TASK,
            pipeline_class=SecondaryStructurePipeline,
            pt_model=FoldingModel,
            default={"model": (str(bundled("fold-crf")), "main")},
            type="text",
        )
