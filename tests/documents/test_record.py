import json

import pytest
from hypothesis import given

from stowkenfs.documents.payloads import PAYLOAD_BYTES_MIN
from stowkenfs.documents.record import (
    SLOT,
    Part,
    Payload,
    Record,
    Style,
    TokenList,
    encode_record,
    render,
)
from stowkenfs.ids import SegmentType
from tests.documents.strategies import DOCUMENTS, PATIENT

LONG = "This sentence is long enough to be a payload of its own."


def only_payload(record: Record) -> Payload:
    (payload,) = (value for value in record.values if isinstance(value, Payload))
    return payload


@PATIENT
@given(DOCUMENTS)
def test_any_bytes_come_back(content: bytes) -> None:
    record = encode_record(content, {})
    assert render(record.templates, record.values) == content
    assert record.length_bytes == len(content)


@PATIENT
@given(DOCUMENTS)
def test_records_keep_what_they_promise(content: bytes) -> None:
    record = encode_record(content, {})
    assert sum(template.count(SLOT) for template in record.templates) == len(record.values)
    for value in record.values:
        if isinstance(value, bytes):
            assert len(value) < PAYLOAD_BYTES_MIN
        elif isinstance(value, Payload):
            for part in value.parts:
                assert part.content
                if not part.binary:
                    part.content.decode()


def test_keys_stay_and_values_go() -> None:
    record = encode_record(b'{"a": 1, "b": [true, "x"], "c": {"d": null}}', {})
    assert record.templates == (b'{"a": \0, "b": [\0, "\0"], "c": ', b'{"d": \0}}')
    assert record.values == (b"1", b"true", b"x", b"null")


def test_objects_of_an_array_share_their_template() -> None:
    content = json.dumps([{"role": "user", "n": n} for n in range(50)]).encode()
    assert len(set(encode_record(content, {}).templates)) == 3


@pytest.mark.parametrize(
    ("written", "style"),
    [
        (LONG.encode(), Style.VERBATIM),
        (f"{LONG}\\n\u00e9\U0001f600".encode(), Style.MINIMAL),
        (f"{LONG}\\n\\u00e9\\ud83d\\ude00".encode(), Style.ASCII),
        (f"{LONG}\\n\\u00E9\\uD83D\\uDE00\\\\uabcd".encode(), Style.ASCII_UPPER),
        (f"{LONG}\\u003cb\\u003e \\u0026 \u00e9 \\u2028".encode(), Style.HTML_SAFE),
        (f"{LONG} a\\/b \u00e9".encode(), Style.MINIMAL_SLASH),
        (f"{LONG} a\\/b \\u00e9".encode(), Style.ASCII_SLASH),
    ],
)
def test_styles_are_recognized(written: bytes, style: Style) -> None:
    payload = only_payload(encode_record(b'{"k":"' + written + b'"}', {}))
    assert payload.style is style
    text = json.loads(b'"' + written + b'"')
    assert payload.parts == (Part(text.encode(), SegmentType.OTHER, binary=False),)


@pytest.mark.parametrize(
    "written",
    [
        f"{LONG}\\u00e9 \\/ /".encode(),  # no writer escapes only some slashes
        f"{LONG} \\ud800 a lone surrogate".encode(),
        f"{LONG}\\x".encode(),
        f"{LONG}\\n\na line end".encode(),
    ],
)
def test_what_no_style_writes_is_kept_as_written(written: bytes) -> None:
    payload = only_payload(encode_record(b'{"k":"' + written + b'"}', {}))
    assert payload == Payload(Style.VERBATIM, (Part(written, SegmentType.OTHER, binary=False),))


def test_invalid_utf8_is_binary() -> None:
    written = LONG.encode() + b"\xff\xfe"
    payload = only_payload(encode_record(b'{"k":"' + written + b'"}', {}))
    assert payload == Payload(Style.VERBATIM, (Part(written, SegmentType.OTHER, binary=True),))


def test_base64_is_decoded_when_canonical() -> None:
    # RFC 4648 section 10 has f, fo, foo ...: their encodings, repeated to be long enough.
    payload = only_payload(encode_record(b'{"k":"' + b"Zm9v" * 20 + b"Zm8=" + b'"}', {}))
    assert payload.style is Style.BASE64
    assert payload.parts == (Part(b"foo" * 20 + b"fo", SegmentType.OTHER, binary=True),)
    loose = only_payload(encode_record(b'{"k":"' + b"Zm9v" * 20 + b"Zm9=" + b'"}', {}))
    assert loose.style is Style.VERBATIM


def test_types_are_looked_up_by_text() -> None:
    text = f"{LONG}\nmore"
    content = json.dumps({"k": text}).encode()
    payload = only_payload(encode_record(content, {text: SegmentType.THINKING}))
    assert payload.parts == (Part(text.encode(), SegmentType.THINKING, binary=False),)


def test_arrays_of_token_ids() -> None:
    ids = tuple(range(4294967270, 4294967296))
    content = b'{"input_ids": [ ' + b", ".join(b"%d" % one for one in ids) + b' ], "n": 1}'
    record = encode_record(content, {})
    assert record.templates == (b'{"input_ids": [ \0 ], "n": \0}',)
    assert record.values == (TokenList(ids, b", ", SegmentType.OTHER), b"1")
    assert render(record.templates, record.values) == content


@pytest.mark.parametrize(
    "array",
    [
        ",".join(["1"] * 30) + ", 1",  # separators differ
        ",".join(["1"] * 30) + ",01",
        ",".join(["1"] * 30) + ",4294967296",
        ",".join(["1"] * 30) + ",-1",
        ",".join(["1"] * 30) + ",1.0",
    ],
)
def test_other_arrays_are_plain(array: str) -> None:
    content = f'{{"tokens": [{array}]}}'.encode()
    record = encode_record(content, {})
    assert not any(isinstance(value, TokenList) for value in record.values)
    assert render(record.templates, record.values) == content


def test_a_transcript_is_a_part_per_turn() -> None:
    text = "\n\nHuman: How long is a record?\n\nAssistant: As long as it takes.\n\nHuman: Oh."
    payload = only_payload(encode_record(json.dumps({"chosen": text}).encode(), {}))
    assert [(part.content, part.type) for part in payload.parts] == [
        (b"\n\nHuman: How long is a record?", SegmentType.USER_TURN),
        (b"\n\nAssistant: As long as it takes.", SegmentType.ASSISTANT_TURN),
        (b"\n\nHuman: Oh.", SegmentType.USER_TURN),
    ]


def test_growing_texts_share_their_parts() -> None:
    lines = [f"line {n * n} of a log that is saved again and again \u00e9\n" for n in range(9000)]
    shorter = "".join(lines[:7000])
    longer = "".join(lines)
    parts = [
        only_payload(encode_record(json.dumps({"k": text}).encode(), {})).parts
        for text in (shorter, longer)
    ]
    assert len(parts[0]) > 5
    assert parts[1][: len(parts[0]) - 1] == parts[0][:-1]
    assert all(len(part.content) <= 64 << 10 for part in parts[1])


def test_nul_outside_values_makes_it_raw() -> None:
    content = b'{"a":\0 1}'
    assert encode_record(content, {}) == Record(len(content), (b"\0",), (content,))
    long = b'{"a":\0 "' + LONG.encode() + b'"}'
    assert encode_record(long, {}).templates == (b"\0",)


def test_slots_and_values_must_agree() -> None:
    with pytest.raises(ValueError, match="1 slots for 2 values"):
        render([b'{"a":\0}'], [b"1", b"2"])
