"""Texts that an attacker would try, and how many of them each field gets."""

import os
from typing import Final

from hypothesis import strategies as st

from wsroute.api.grammar import Grammar

EXAMPLES: Final = int(os.environ.get("WSROUTE_HOSTILE_EXAMPLES", "8"))
"""Texts for each field; 10,000 before a release."""

NASTY: Final = (
    "", " ", "\t", "\n", "\r\n", "\0", "\x1b[31m", "\x7f", "\x85", "\u2028", "\u202e", "\ufeff", "\u200b", "\ud800",
    "é", "ａ", "١", "K", "ſ", "😀", "'", '"', "\\", '\\"', "\\\\", "\\n", "\\r\\n", ";", "{", "}", "{}", "#", "# x",
    "$", "$host", "${host}", "$http_authorization", "$1", "%0a", "%00", "%2e%2e", "~", "~*", "^~", "=", "@x", "*", "_",
    ".", "..", "../..", "/", "//", "/./", "/../", "?", "?a=b", "&", "|", "`id`", "$(id)", "{{ 7*7 }}", "{% raw %}",
    "{# x #}", '";', "';", '"; return 200; #', "} server { listen 81;", "\n}\nserver {", "; include /etc/passwd;",
    "unix:/tmp/x", "127.0.0.1", "::1", "[::1]", "10.0.0.1%eth0", "010.0.0.1", "1e3", "+1", "-1", "0", "0x10", "1_0",
    "NaN", "null", "true", "yes", "off", "auto", "Prefix\n", "prefix", "http://evil.test/", "//evil.test", "xn--",
    "xn--a", "a" * 64, "a" * 300, "/" + "a" * 1023, "a" * 5000, '"' * 2500, "\\" * 2500,
)  # fmt: skip

_ALPHABET: Final = "\"'\\${};#~^=@*?%()[]| \t\r\n\0/ab.-:_,<>"


def texts(example: object, grammar: Grammar | None = None) -> st.SearchStrategy[str]:
    """Any text, with a preference for what nearly fits and for what has broken others."""
    good = example if isinstance(example, str) else "harmless"
    choices = [
        st.text(max_size=40),
        st.text(st.characters(), max_size=10),  # halves of surrogate pairs included, as JSON may hold them
        st.text(st.sampled_from(_ALPHABET), max_size=20),
        st.sampled_from(NASTY),
        st.sampled_from(NASTY).map(lambda text: good + text),
        st.sampled_from(NASTY).map(lambda text: text + good),
        st.tuples(st.sampled_from(NASTY), st.integers(0, len(good))).map(lambda t: good[: t[1]] + t[0] + good[t[1] :]),
    ]
    if grammar is not None:
        choices.append(st.from_regex(grammar.pattern, fullmatch=True))
    return st.one_of(choices)
