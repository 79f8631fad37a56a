"""What the chat takes from a client, and the sentence it answers to everything else."""

import json

import pytest

from examples.chat.app.messages import MESSAGE_BYTES, NAME_LENGTH, BadMessageError, Said, parse_said


def said(**fields: object) -> str:
    return json.dumps(fields, ensure_ascii=False)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (said(**{"from": "Ada", "text": "hi"}), Said("Ada", "hi")),
        (said(**{"from": "  Ada ", "text": " two\n\tlines\n"}), Said("Ada", "two\n\tlines")),
        (said(**{"from": "Ada", "text": "<b>&amp;</b>"}), Said("Ada", "<b>&amp;</b>")),
        (said(**{"from": "👩‍💻", "text": "naïve 日本 🎉"}), Said("👩‍💻", "naïve 日本 🎉")),
        (said(**{"from": "A" * NAME_LENGTH, "text": "hi", "more": [1]}), Said("A" * NAME_LENGTH, "hi")),
    ],
)
def test_takes(raw: str, expected: Said) -> None:
    assert parse_said(raw) == expected


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"{}", "Send JSON as text, not as a binary frame."),
        ("", "The message is not JSON."),
        ("{", "The message is not JSON."),
        ("[" * MESSAGE_BYTES, "The message is not JSON."),
        ("[]", 'The message must be a JSON object with "from" and "text".'),
        ("null", 'The message must be a JSON object with "from" and "text".'),
        (said(text="hi"), '"from" must be a text that is not empty.'),
        (said(**{"from": 7, "text": "hi"}), '"from" must be a text that is not empty.'),
        (said(**{"from": "Ada", "text": " \n "}), '"text" must be a text that is not empty.'),
        (said(**{"from": "A" * (NAME_LENGTH + 1), "text": "hi"}), '"from" is longer than 40 characters.'),
        (said(**{"from": "A\nda", "text": "hi"}), '"from" holds control characters.'),
        (said(**{"from": "Ada", "text": "a\x00b"}), '"text" holds control characters.'),
        (r'{"from": "Ada", "text": "\ud800"}', '"text" holds control characters.'),
        (said(**{"from": "Ada", "text": "x" * MESSAGE_BYTES}), "The message is longer than 4096 bytes."),
        (said(**{"from": "Ada", "text": "é" * (MESSAGE_BYTES // 2)}), "The message is longer than 4096 bytes."),
    ],
)
def test_refuses_with_a_sentence(raw: str | bytes, sentence: str) -> None:
    with pytest.raises(BadMessageError) as caught:
        parse_said(raw)
    assert str(caught.value) == sentence


def test_the_longest_message_is_taken() -> None:
    frame = said(**{"from": "Ada", "text": ""})
    assert len(parse_said(frame[:-2] + "x" * (MESSAGE_BYTES - len(frame)) + frame[-2:]).text) > 4000
