"""The benchmarks that students are scored on: where their data are on the Hub, and how they are read and scored.

A benchmark is one entry of `BENCHMARKS`; `benchmark("masakhaner2", "sw", "test")` makes a recipe's source of it. Of a
task's test sets in a language `bistill new-pair` takes the first unless another is named: a newer release stands before
the one that it follows.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ..errors import InputError
from ..languages import other_code
from ..sources import LabelledSource

_CONVERTED = "refs/convert/parquet"
"""Where the Hub keeps Parquet files of data sets that are scripts."""

_NLI_LABELS = {"0": "entailment", "1": "neutral", "2": "contradiction"}
_NER_LABELS = {"0": "O", "1": "B-PER", "2": "I-PER", "3": "B-ORG", "4": "I-ORG", "5": "B-LOC", "6": "I-LOC"}
# English training data have no dates.
_NO_DATES = {**_NER_LABELS, "7": "O", "8": "O", "DATE": "O"}
_THREE_SPLITS = {"train": "train", "dev": "validation", "test": "test"}


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Labelled data of one task in several languages.

    Attributes:
        name: What it is called here.
        task: Name of the task.
        dataset: Hub id.
        languages: For each language, by the code that the data set uses, what says which part is its own: the
            configuration, or the folder (`in_folders`), or the beginning of the examples' ids (`in_ids`).
        splits: The Hub's name of each split.
        licence: As the Hub or the authors name it.
        revision: Branch or commit of the data set; None for its main branch.
        config: The configuration, where it is the same for all languages.
        in_folders: The languages are folders of the repository, not configurations.
        in_ids: The languages are told apart by the examples' ids alone.
        columns: As in `LabelledSource`.
        label_map: As in `LabelledSource`. Numbers are there for tables that do not name their labels.
        answers_by_language: Whether answers are compared by MLQA's rules for their language.
        unverified: The attributes that no documentation at hand confirms.
    """

    name: str
    task: str
    dataset: str
    languages: Mapping[str, str]
    splits: Mapping[str, str]
    licence: str
    revision: str | None = None
    config: str | None = None
    in_folders: bool = False
    in_ids: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)
    label_map: Mapping[str, str] = field(default_factory=dict)
    answers_by_language: bool = False
    unverified: tuple[str, ...] = ()

    def source(
        self, language: str, split: str, *, file: str | os.PathLike[str] | None = None, revision: str | None = None
    ) -> LabelledSource:
        """Describe one split in one language; see `benchmark`."""
        code, split = self._code(language), self._split(split)
        part = self.languages[code]
        if file is not None:
            place: dict[str, str | None] = {"path": os.fspath(file)}
        else:
            by_config = not self.in_folders and not self.in_ids
            place = {
                "dataset": self.dataset,
                "config": part if by_config else self.config,
                "data_dir": part if self.in_folders else None,
                "split": split,
                "revision": revision or self.revision,
            }
        return LabelledSource.model_validate(
            {
                **place,
                "columns": dict(self.columns),
                "label_map": dict(self.label_map),
                "where": {"id": f"{part}*"} if self.in_ids else {},
                "answer_language": code if self.answers_by_language else None,
            }
        )

    def _code(self, language: str) -> str:
        """The language's code in the data set, which may be the two-letter or the three-letter one."""
        if language in self.languages:
            return language
        if (code := other_code(language)) in self.languages:
            return str(code)
        raise InputError(
            f"{self.name} has no such language",
            field="language",
            value=language,
            remedy=f"choose one of {', '.join(self.languages)}, or name the data by a source of their own",
        )

    def _split(self, split: str) -> str:
        """The Hub's name of a split, which may be given as well."""
        if split not in (*self.splits, *self.splits.values()):
            raise InputError(
                f"{self.name} has no such split",
                field="split",
                value=split,
                remedy=f"choose one of {', '.join(self.splits)}",
            )
        return self.splits.get(split, split)


def benchmark(
    name: str,
    language: str,
    split: str,
    *,
    file: str | os.PathLike[str] | None = None,
    revision: str | None = None,
) -> LabelledSource:
    """Describe a split of a benchmark in one language, as recipes and `bistill eval` take it.

    Args:
        name: One of `BENCHMARKS`.
        language: The language's code, of ISO 639-1 or 639-3, whichever of them the data set itself uses.
        split: "train", "dev" or "test", or what the Hub calls it.
        file: A local copy to read instead: a table with the Hub's columns or another file that the task reads.
        revision: Branch, tag or commit of the data set, instead of the benchmark's own.

    Raises:
        InputError: there is no such benchmark, or it has no such language or split.
    """
    if name not in BENCHMARKS:
        raise InputError(
            "there is no such benchmark", field="benchmark", value=name, remedy=f"choose one of {', '.join(BENCHMARKS)}"
        )
    return BENCHMARKS[name].source(language, split, file=file, revision=revision)


def _same(codes: str, form: str = "{}") -> dict[str, str]:
    """Languages whose part of the data set is called by their code."""
    return {code: form.format(code) for code in codes.split()}


def _by_name(benchmarks: Iterable[Benchmark]) -> Mapping[str, Benchmark]:
    return MappingProxyType({each.name: each for each in benchmarks})


# Configurations of WikiANN that are named by an ISO 639 code. Left out are those that are named as a Wikipedia is, such
# as zh-min-nan, and als, which there is Alemannic.
_WIKIANN = """
ace af am an ang ar arc arz as ast ay az ba bar be bg bn bo br bs ca cdo ce ceb ckb co crh cs csb cv cy da de diq dv el
en eo es et eu ext fa fi fo fr frr fur fy ga gan gd gl gn gu hak he hi hr hsb hu hy ia id ig ilo io is it ja jbo jv ka
kk km kn ko ksh ku ky la lb li lij lmo ln lt lv mg mhr mi min mk ml mn mr ms mt mwl my mzn nap nds ne nl nn no nov oc or
os pa pdc pl pms pnb ps qu rm ro ru rw sa sah scn sco sd si sk sl so sq sr su sv sw szl ta te tg th tk tl tr tt ug uk ur
uz vec vep vi vls vo wa war wuu xmf yi yo zea zh
"""

BENCHMARKS: Mapping[str, Benchmark] = _by_name(
    (
        Benchmark(
            name="xnli",
            task="nli",
            dataset="facebook/xnli",
            languages=_same("ar bg de el en es fr hi ru sw th tr ur vi zh"),
            splits=_THREE_SPLITS,
            licence="CC-BY-NC-4.0",
            label_map=_NLI_LABELS,
        ),
        Benchmark(
            name="americas_nli",
            task="nli",
            dataset="nala-cub/americas_nli",
            languages=_same("aym bzd cni gn hch nah oto quy shp tar"),
            splits={"dev": "validation", "test": "test"},
            licence="CC-BY-SA-4.0",
            label_map=_NLI_LABELS,
        ),
        Benchmark(
            name="multinli",
            task="nli",
            dataset="nyu-mll/multi_nli",
            languages={"en": "default"},
            splits={"train": "train", "dev": "validation_matched", "dev_mismatched": "validation_mismatched"},
            licence="CC-BY-3.0, CC-BY-SA-3.0, MIT and others, by genre",
            label_map=_NLI_LABELS,
        ),
        Benchmark(
            name="masakhaner2",
            task="ner",
            dataset="masakhane/masakhaner2",
            languages=_same("bam bbj ewe fon hau ibo kin lug luo mos nya pcm sna swa tsn twi wol xho yor zul"),
            splits=_THREE_SPLITS,
            licence="AFL-3.0 on the Hub, CC-BY-NC-4.0 in the authors' repository",
            revision=_CONVERTED,
            in_folders=True,
            label_map=_NO_DATES,
            unverified=("licence", "label_map"),
        ),
        Benchmark(
            name="masakhaner",
            task="ner",
            dataset="masakhane/masakhaner",
            languages=_same("amh hau ibo kin lug luo pcm swa wol yor"),
            splits=_THREE_SPLITS,
            licence="not named on the Hub",
            revision=_CONVERTED,
            in_folders=True,
            label_map=_NO_DATES,
            unverified=("licence",),
        ),
        Benchmark(
            name="wikiann",
            task="ner",
            dataset="unimelb-nlp/wikiann",
            languages=_same(_WIKIANN),
            splits=_THREE_SPLITS,
            licence="not named on the Hub",
            label_map=_NER_LABELS,
            unverified=("languages", "licence"),
        ),
        Benchmark(
            name="universal_ner",
            task="ner",
            dataset="BramVanroy/universal_ner",  # the authors' own repository is a script
            languages={
                "da": "da_ddt",
                "en": "en_ewt",
                "hr": "hr_set",
                "pt": "pt_bosque",
                "sk": "sk_snk",
                "sr": "sr_set",
                "sv": "sv_talbanken",
                "zh": "zh_gsd",
            },
            splits=_THREE_SPLITS,
            licence="CC-BY-SA-4.0",
            label_map=_NER_LABELS,
            unverified=("languages", "splits"),
        ),
        Benchmark(
            name="universal_ner_test_only",
            task="ner",
            dataset="BramVanroy/universal_ner",
            languages={
                "ceb": "ceb_gja",
                "de": "de_pud",
                "en": "en_pud",
                "pt": "pt_pud",
                "ru": "ru_pud",
                "sv": "sv_pud",
                "tl": "tl_trg",
                "zh": "zh_pud",
            },
            splits={"test": "test"},
            licence="CC-BY-SA-4.0",
            label_map=_NER_LABELS,
            unverified=("languages", "splits"),
        ),
        Benchmark(
            name="xquad",
            task="qa",
            dataset="google/xquad",
            languages=_same("ar de el en es hi ro ru th tr vi zh", "xquad.{}"),
            splits={"test": "validation"},
            licence="CC-BY-SA-4.0",
        ),
        Benchmark(
            name="tydiqa",
            task="qa",
            dataset="google-research-datasets/tydiqa",
            languages={
                "ar": "arabic-",
                "bn": "bengali-",
                "en": "english-",
                "fi": "finnish-",
                "id": "indonesian-",
                "ko": "korean-",
                "ru": "russian-",
                "sw": "swahili-",
                "te": "telugu-",
            },
            # The development set is what is tested on: the test set's answers are not public.
            splits={"train": "train", "test": "validation"},
            licence="Apache-2.0",
            config="secondary_task",
            in_ids=True,
        ),
        Benchmark(
            name="mlqa",
            task="qa",
            dataset="facebook/mlqa",
            languages=_same("ar de en es hi vi zh", "mlqa.{0}.{0}"),
            splits={"dev": "validation", "test": "test"},
            licence="CC-BY-SA-3.0",
            revision=_CONVERTED,
            in_folders=True,
            answers_by_language=True,
        ),
        Benchmark(
            name="squad",
            task="qa",
            dataset="rajpurkar/squad",
            languages={"en": "plain_text"},
            splits={"train": "train", "dev": "validation"},
            licence="CC-BY-SA-4.0",
            unverified=("licence",),
        ),
    )
)
"""By name, the benchmarks that are known; none of their data come with the package."""
