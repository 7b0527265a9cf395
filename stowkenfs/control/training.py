"""Training as people ask for it: substrings, dictionaries, and what is rewritten with them."""

from typing import TYPE_CHECKING

from stowkenfs.control.format import format_count, format_problems, format_size
from stowkenfs.control.kinds import JobKind, Outcome, Progress, Values
from stowkenfs.control.words import REQUIRED, Word, whole, yes_or_no
from stowkenfs.errors import BadRequest, NotFound

if TYPE_CHECKING:
    from stowkenfs.vault.training.reports import (
        ActivationReport,
        DictionaryTrainingReport,
        SubstringCollection,
        SubstringCompaction,
        SubstringTraining,
    )
    from stowkenfs.vault.vault import Vault

COUNT_MAX = 1_000_000_000
NONE = "none"
"""Written instead of a dictionary's id: none is to be used."""

_SAMPLES = "how many segments are looked at"


# Substrings


def format_substring_training(
    done: "Outcome[SubstringTraining]", report: "SubstringTraining"
) -> str:
    """What a training found, in a few sentences."""
    lines = [
        f"Looked at {format_count(report.sampled, 'segment')} in {done.seconds:.1f} s, and found "
        f"{format_count(report.candidates, 'run') if report.candidates else 'no runs'} of tokens "
        "that come again and again.",
    ]
    promoted = len(report.promoted)
    if report.kept and promoted:
        lines += [
            f"{format_count(promoted, 'substring')} registered, in "
            f"{format_size(report.registry_bytes)}; with them the frames of these segments become "
            f"{format_size(report.saved_bytes)} smaller.",
            "What is stored from now on refers to them where that is smaller; compact with "
            "what=substrings rewrites the rest.",
        ]
    else:
        lines.append(f"Nothing was registered{_because(report.reason)}.")
    return "".join(f"{line}\n" for line in lines)


def _because(reason: str) -> str:
    return f": {reason.rstrip('.')}" if reason else ""


def _problems(report: "SubstringCompaction | SubstringCollection") -> str | None:
    return "there were problems; the report names them" if report.problems else None


async def _train_substrings(
    vault: "Vault", values: Values, progress: Progress
) -> "SubstringTraining":
    return await vault.substring_training(progress=progress, **values)


TRAIN_SUBSTRINGS: "JobKind[SubstringTraining]" = JobKind(
    file="train/substrings",
    title="train/substrings",
    words=(
        whole("samples", _SAMPLES, 1, COUNT_MAX, 500),
        whole("min_occurrences", "how often a run of tokens has to come there", 2, COUNT_MAX, 5),
    ),
    run=_train_substrings,
    told=format_substring_training,
    left="Nothing was registered.",
)


def format_substring_compaction(
    done: "Outcome[SubstringCompaction]", report: "SubstringCompaction"
) -> str:
    """What was rewritten, in a few sentences."""
    examined = format_count(report.segments_examined, "segment")
    lines = [
        f"Examined {examined} in {done.seconds:.1f} s: "
        f"{report.segments_rewritten:,} rewritten, {report.segments_skipped:,} skipped that "
        "referred to others before.",
    ]
    if report.kept:
        lines.append(
            f"Frames take {format_size(report.bytes_saved)} less, what is stored "
            f"{format_size(report.stored_bytes_saved)} less; {format_size(report.registry_bytes)} "
            "of substrings are kept for them."
        )
    else:
        lines.append(f"Nothing was rewritten{_because(report.reason)}.")
    return "".join(f"{line}\n" for line in lines) + format_problems(report.problems)


async def _compact_substrings(
    vault: "Vault", _values: Values, progress: Progress
) -> "SubstringCompaction":
    return await vault.compact_substrings(progress=progress)


COMPACT_SUBSTRINGS: "JobKind[SubstringCompaction]" = JobKind(
    file="compact",
    title="compact substrings",
    what="substrings",
    run=_compact_substrings,
    told=format_substring_compaction,
    damage=_problems,
    left="What was rewritten until then is kept, and the next run goes on from there.",
)


def format_substring_collection(
    _done: "Outcome[SubstringCollection]", report: "SubstringCollection"
) -> str:
    """What was dropped, in a sentence."""
    return (
        f"Dropped {report.substrings_dropped:,} of "
        f"{format_count(report.registry_size_before, 'substring')}, to which nothing referred: "
        f"{format_size(report.bytes_freed)} freed, {report.registry_size_after:,} left.\n"
        f"{format_problems(report.problems)}"
    )


async def _gc_substrings(
    vault: "Vault", _values: Values, progress: Progress
) -> "SubstringCollection":
    return await vault.gc_substrings(progress=progress)


GC_SUBSTRINGS: "JobKind[SubstringCollection]" = JobKind(
    file="gc",
    title="gc substrings",
    what="substrings",
    run=_gc_substrings,
    told=format_substring_collection,
    damage=_problems,
    left="What is referred to is all there.",
)


# Dictionaries


def format_dictionary_training(
    done: "Outcome[DictionaryTrainingReport]", report: "DictionaryTrainingReport"
) -> str:
    """What came of a training, in a few sentences."""
    lines = [
        f"Looked at {format_count(report.sampled, 'segment')} in {done.seconds:.1f} s, and tried "
        + format_count(report.tried, "dictionary", "dictionaries")
        + ".",
    ]
    if report.heldout_count:
        lines.append(
            f"{format_count(report.heldout_count, 'segment')} held out of the training take "
            f"{format_size(report.heldout_before)} without the best, "
            f"{format_size(report.heldout_after)} with it; all {format_size(report.stored_bytes)} "
            f"that are stored would take about {format_size(report.total_bytes)}, the dictionary "
            "counted."
        )
    if report.info is None:
        lines.append(f"No dictionary was kept{_because(report.reason)}.")
    else:
        lines.append(f"Kept: {report.info.id}, {format_size(report.info.size_bytes)}.")
        if report.activated:
            lines.append("It is active now: new texts use it.")
        else:
            why = _because(report.reason) or ": write its id to .stowken/dictionaries to use it"
            lines.append(f"It is not active{why}.")
    return "".join(f"{line}\n" for line in lines)


async def _train_dictionary(
    vault: "Vault", values: Values, progress: Progress
) -> "DictionaryTrainingReport":
    return await vault.train_dictionary(progress=progress, **values)


TRAIN_DICTIONARY: "JobKind[DictionaryTrainingReport]" = JobKind(
    file="train/dictionary",
    title="train/dictionary",
    words=(
        whole("samples", _SAMPLES, 1, COUNT_MAX, 200),
        yes_or_no("activate", "whether what is stored from then on may use it"),
    ),
    run=_train_dictionary,
    told=format_dictionary_training,
    left="No dictionary was added.",
)


def format_activation(_done: "Outcome[ActivationReport]", report: "ActivationReport") -> str:
    """What an activation changed, in a few sentences."""
    if report.id is None:
        return "No dictionary is active now. What was stored with one keeps it.\n"
    forced = ", although it costs more than it brings" if report.forced else ""
    return (
        f"Active now: {report.id}{forced}.\n"
        f"It takes {format_size(report.dictionary_bytes)} more, and would make the "
        f"{format_count(report.frames, 'frame')} that could use it, "
        f"{format_size(report.frames_bytes)}, about {format_size(report.estimated_saving)} "
        "smaller. What was stored with another one keeps that.\n"
    )


def _id(text: str) -> str | None:
    if text == NONE:
        return None
    if not text or text.strip("0123456789abcdef"):
        raise ValueError
    return text


async def _activate(vault: "Vault", values: Values, _progress: Progress) -> "ActivationReport":
    try:
        return await vault.activate_dictionary(values["id"], force=values["force"])
    except NotFound as error:
        raise BadRequest(str(error)) from error


ACTIVATE: "JobKind[ActivationReport]" = JobKind(
    file="dictionaries",
    title="activate",
    words=(
        Word(
            "id",
            "the dictionary to use from now on",
            "an id of the list, or none",
            _id,
            REQUIRED,
            bare=True,
        ),
        yes_or_no("force", "whether also if the vault becomes larger by it"),
    ),
    run=_activate,
    told=format_activation,
    left="The dictionary in use is the one of before.",
    measured=False,
    within="activation",
)
