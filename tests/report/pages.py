"""Reading a report the way a browser does."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br"}


class Checker(HTMLParser):
    """Tags that close what they open, and every address the page would fetch."""

    def __init__(self):
        super().__init__()
        self.open, self.sources, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parse(path):
    """(what the parser saw, the text in one line); a page that fetches anything or leaves a tag open is an error."""
    checker = Checker()
    checker.feed(path.read_text(encoding="utf-8"))
    assert not checker.open
    assert all(source.startswith("data:image/png;base64,") for source in checker.sources)
    return checker, " ".join(" ".join(checker.text).split())
