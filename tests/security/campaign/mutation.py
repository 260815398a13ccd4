"""Files as they might come: a good one with a few things wrong in it."""

import re

from hypothesis import strategies as st

TOKENS = [b"nan", b"inf", b"-1", b"0", b"1e999", b"9" * 30, b"9" * 5000, b"0x10", b"1_0", b"\0", b"\xff\xfe",
          b"\x1b[2J", b"\n", b"\r", b"\n\n", b" ", b"\t", b"=cmd", b",", b":", b"[", b"]", b"{", b"}", b'"',
          b"'", b"&a ", b"*a", b"!!int x", b"null", b"true", b"../", b"/etc/passwd", b"http://a/b", b"touch x |", b"- ",
          b"? ", b"#", b"bonafide", b"spoof", b"\xe2\x80\xa8", b"\xed\xb3\xbf", b"[" * 3000, b"{" * 3000, b"%", b"\\",
          b"\\u0000"]
_NUMBER = re.compile(rb"-?\d+\.?\d*(?:e-?\d+)?")
_NUMBERS = [b"0", b"-1", b"nan", b"inf", b"-inf", b"1e308", b"1e999", b"99999999999999999999", b"4294967296", b"0.5",
            b"x", b""]


@st.composite
def mutated(draw, good: bytes, text: bool = True) -> bytes:
    content = bytes(good)
    for _ in range(draw(st.integers(1, 3))):
        content = _changed(draw, content, text)
    return content


def _changed(draw, content: bytes, text: bool) -> bytes:
    place = draw(st.integers(0, max(len(content) - 1, 0)))
    size = draw(st.sampled_from([1, 2, 4, 8, 40, 1000]))
    how = draw(st.sampled_from(["put", "number", "line", "swap", "ends", "cut", "drop", "repeat", "flip"] if text
                               else ["flip", "flip", "cut", "drop", "repeat", "noise", "put"]))
    if how == "put":
        return content[:place] + draw(st.sampled_from(TOKENS)) + content[place:]
    if how == "cut":
        return content[:place]
    if how == "drop":
        return content[:place] + content[place + size:]
    if how == "repeat":
        return content[:place + size] + content[place:]
    if how == "noise":
        return content[:place] + draw(st.binary(min_size=1, max_size=16)) + content[place + size:]
    if how == "line" and (lines := content.split(b"\n")):
        line = draw(st.integers(0, len(lines) - 1))
        lines[line] = draw(st.sampled_from([b"", lines[-1], lines[0] + b" x", lines[line] * 2, b"x " + lines[line]]))
        return b"\n".join(lines)
    if how == "swap" and len(lines := content.split(b"\n")) > 2:
        one, other = draw(st.integers(0, len(lines) - 2)), draw(st.integers(0, len(lines) - 2))
        lines[one], lines[other] = lines[other], lines[one]
        return b"\n".join(lines)
    if how == "ends":
        return draw(st.sampled_from([content.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + content, content + b"\n\n",
                                     content.rstrip(b"\n"), content.replace(b" ", b"\t"), content.upper()]))
    if how == "number" and (found := list(_NUMBER.finditer(content))):
        number = draw(st.sampled_from(found))
        return content[:number.start()] + draw(st.sampled_from(_NUMBERS)) + content[number.end():]
    if content:
        return content[:place] + bytes([content[place] ^ (1 << draw(st.integers(0, 7)))]) + content[place + 1:]
    return b"x"
