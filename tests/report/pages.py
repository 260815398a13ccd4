"""Reading a report the way a browser does."""

from html.parser import HTMLParser

from wedefense.report.render import png

VOID = {"meta", "img", "br"}
OFFLINE = ("#", "data:image/svg+xml;base64,", "data:audio/flac;base64,")


class Checker(HTMLParser):
    """Tags that close what they open, every address the page would fetch, what it says of its figures."""

    def __init__(self):
        super().__init__()
        self.open, self.sources, self.text, self.names = [], [], [], []
        self.figures, self.contents, self.sounds = [], [], 0

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.sources += [value for name, value in attrs if name in ("src", "href", "xlink:href")]
        self.names += [found["id"]] if "id" in found else []
        self.sounds += tag == "audio"
        if tag == "svg":
            self.figures.append(found["aria-label"])
        if tag == "a":
            self.contents.append(found["href"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)


def parse(path):
    """(what the parser saw, the text in one line); a page that fetches anything, leaves a tag open
    or points to what it lacks is an error."""
    checker = Checker()
    checker.feed(path.read_text(encoding="utf-8"))
    assert not checker.open
    assert all(source.startswith(OFFLINE) for source in checker.sources)
    assert len(set(checker.names)) == len(checker.names)
    assert {source[1:] for source in checker.sources if source.startswith("#")} <= set(checker.names)
    return checker, " ".join(" ".join(checker.text).split())


def drawn(figure):
    """The picture really renders, and says what is in it; its texts."""
    assert len(png(figure)) > 5000 and len(figure.get_label()) > 40
    texts = [text.get_text() for legend in [*figure.legends, *(a.get_legend() for a in figure.axes)] if legend
             for text in legend.get_texts()]
    return texts + [label for axes in figure.axes for label in (axes.get_xlabel(), axes.get_ylabel())]
