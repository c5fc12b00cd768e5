"""A page as its tests see it: headings, tables, links and words."""

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "input", "hr", "path", "use"}


class Outline(HTMLParser):
    """Reads a page into what the tests ask for, and notices tags that are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.stack, self.headings, self.tables, self.ids, self.links, self.tags = [], [], [], [], [], []
        self.unordered = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        if "id" in attrs:
            self.ids.append(attrs["id"])
        if tag == "a":
            self.links.append(attrs.get("href", ""))
        if tag not in VOID:
            self.stack.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append((int(tag[1]), ""))
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self.stack or self.stack[-1] != tag:
            self.unordered.append(tag)
        else:
            self.stack.pop()

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if "id" in dict(attrs):
            self.ids.append(dict(attrs)["id"])

    def handle_data(self, data):
        if "script" in self.stack or "style" in self.stack:
            return
        self.words += data
        if self.stack and re.fullmatch("h[1-6]", self.stack[-1]):
            self.headings[-1] = (self.headings[-1][0], self.headings[-1][1] + data)
        if "table" in self.stack and ("td" in self.stack or "th" in self.stack):
            self.tables[-1][-1][-1] += data
