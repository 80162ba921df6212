"""What every view must keep: contrast, names, a focus that is seen."""

import stage

# Texts with less contrast than WCAG 2 AA asks for: 4.5, or 3 where they are large.
CONTRAST = """() => {
  const rgb = (text) => { const n = text.match(/[0-9.]+/g).map(Number); return [n[0], n[1], n[2], n[3] ?? 1]; };
  const light = ([r, g, b]) => { const f = (c) => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(rgb(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const found = new Map();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || element.closest('svg, script, noscript, .visually-hidden, :disabled') || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const under = behind(element);
    let ink = rgb(style.color);
    for (let at = element; at; at = at.parentElement) ink[3] *= Number(getComputedStyle(at).opacity);
    ink = over(ink, under);
    const [a, b] = [light(ink), light(under)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) found.set(`${element.tagName}.${element.className}`, `${ratio.toFixed(2)} ${walker.currentNode.textContent.trim().slice(0, 30)}`);
  }
  return [...found];
}"""

# What can be reached and has no name.
NAMELESS = """() => [...document.querySelectorAll('a[href], button, input, select, summary, nav, dialog[open], table')].filter((it) => it.checkVisibility() &&
  !(it.innerText?.trim() || it.getAttribute('aria-label') || it.getAttribute('aria-labelledby') || it.labels?.length)).map((it) => it.outerHTML.slice(0, 120))"""

FOCUS = """() => { const style = getComputedStyle(document.activeElement); return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2; }"""


def check_contrast(page, place):
    found = page.evaluate(CONTRAST)
    assert found == [], "%s: too little contrast: %s" % (place, found)


def check_names(page, place):
    found = page.evaluate(NAMELESS)
    assert found == [], "%s: without a name: %s" % (place, found)


def is_focus_visible(page):
    return page.evaluate(FOCUS)


def keep_picture(walk):
    """The picture of the README and the documentation: the overview under load, below 200 KB."""
    walk.go("overview")
    walk.until("five minutes of load are too long to wait for; forty seconds are enough",
               lambda: len([it for it in walk.broker.api("overview")["data"]["series"]["bytes_in"] if it > 0]) >= 20, 120)
    walk.page.wait_for_timeout(2500)
    place = stage.ROOT / "docs" / "images" / "console.png"
    place.parent.mkdir(exist_ok=True)
    walk.page.screenshot(path=place)
    assert place.stat().st_size < 200_000, place.stat().st_size
    print("  %s: %d bytes" % (place, place.stat().st_size), flush=True)
