"""The walk through the console: each step is a function that fails by an assertion."""

import json
import multiprocessing
import re
import statistics
import time
import traceback

from confluent_kafka import Consumer, TopicPartition
from playwright.sync_api import sync_playwright

import page
import stage

VIEWS = ["overview", "cluster", "topics", "groups", "storage", "cache", "latency", "events", "security"]
ODD_GROUP = "<b>odd</b> group/\"1\""
BUSY, RATE = 30, 1500


class Walk:
    """What the steps share."""

    def __init__(self, broker, admin, names, out, options):
        self.broker, self.admin, self.names, self.out, self.options = broker, admin, names, out, options
        self.quiet = names[41]
        self.context = self.page = None
        self.complaints = []

    def open(self, chromium):
        self.browser = chromium
        self.context = chromium.new_context(viewport={"width": 1360, "height": 860}, color_scheme="light")
        self.page = self.context.new_page()
        self.page.on("console", lambda it: it.type in ("error", "warning") and self.complain("console: " + it.text))
        self.page.on("pageerror", lambda it: self.complain("script: %s" % it))
        self.page.on("dialog", lambda it: (self.complaints.append("a dialog of a script: " + it.message), it.dismiss()))
        self.page.goto(self.broker.url + "/")

    def complain(self, text):
        # A refused login is told of by the browser too.
        if "401" not in text:
            self.complaints.append(text)

    def go(self, place, live=True):
        self.page.evaluate("(to) => { location.hash = to; }", "#/" + place)
        self.page.wait_for_function("(to) => location.hash === to", arg="#/" + place)
        if live:
            self.page.wait_for_selector(".live.on", timeout=20000)

    def picture(self, name):
        self.out.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=self.out / (name + ".png"))

    def rows(self, label):
        """The cells of a table, by its label."""
        return self.page.locator('table[aria-label="%s"] tbody tr' % label).evaluate_all(
            "rows => rows.map((row) => [...row.cells].map((cell) => cell.innerText.trim()))")

    def until(self, what, done, seconds=20):
        stage.wait(what, done, seconds)


def number(text):
    return int(re.sub(r"[^0-9-]", "", text))


def every_view_opens(walk):
    """Each view shows its data, without a complaint of the browser, every text is readable, everything has a name."""
    places = VIEWS + ["topics/" + walk.names[0], "topics/%s/messages" % walk.quiet, "topics/%s/settings" % walk.names[9], "groups/analytics", "login"]
    for scheme in ["light", "dark"]:
        walk.page.emulate_media(color_scheme=scheme)
        for place in places:
            walk.go(place, live=place != "login")
            walk.page.wait_for_timeout(150 if walk.options.quick else 600)
            page.check_contrast(walk.page, "%s, %s" % (place, scheme))
            page.check_names(walk.page, place)
            assert walk.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "%s is wider than the window" % place
            walk.picture("%s-%s" % (scheme, place.replace("/", "-")))
    walk.page.emulate_media(color_scheme="light")
    walk.page.set_viewport_size({"width": 480, "height": 800})
    for place in ["overview", "topics", "topics/%s/messages" % walk.quiet]:
        walk.go(place)
        assert walk.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "%s is wider than a small window" % place
    walk.picture("narrow-messages")
    walk.page.set_viewport_size({"width": 1360, "height": 860})


def overview_counts_what_kafka_counts(walk):
    walk.go("overview")
    told = walk.admin.list_topics(timeout=20)
    topics, partitions = len(told.topics), sum(len(it.partitions) for it in told.topics.values())
    walk.page.wait_for_selector("text=%s topics, %s partitions" % (format(topics, ","), format(partitions, ",")))

    def records():
        found = re.search(r"^kafscale_produce_records_total (\d+)$", walk.broker.get("/metrics"), re.M)
        return int(found.group(1)), time.monotonic()

    (first, began), _ = records(), time.sleep(6)
    last, ended = records()
    rate = (last - first) / (ended - began)
    shown = walk.broker.api("overview")["data"]["now"]["records_in"]
    assert rate > 50 and 0.4 < shown / rate < 2.5, "%s records/s are shown, %.0f were counted" % (shown, rate)
    assert walk.page.locator(".chart path.line").count() >= 4
    assert len(walk.rows("Shards")) == 2


def topics_are_searched_sorted_and_paged(walk):
    walk.go("topics")
    total = len(walk.admin.list_topics(timeout=20).topics)
    walk.page.wait_for_selector("text=1–50 of %s topics" % format(total, ","))
    walk.page.get_by_role("button", name="Next").click()
    walk.page.wait_for_selector("text=51–100 of")
    expected = sorted(walk.admin.list_topics(timeout=20).topics)[50]
    assert walk.rows("Topics")[0][0] == expected
    walk.page.locator(".search").fill("orders.eu-0")
    wanted = [name for name in walk.names if "orders.eu-0" in name]
    walk.until("the search", lambda: [row[0] for row in walk.rows("Topics")] == sorted(wanted))
    walk.page.locator(".search").fill("")
    walk.page.get_by_role("button", name="Produced").click()
    walk.until("the busiest come first", lambda: walk.rows("Topics")[0][0] in walk.names[:BUSY])
    rates = [row["bytes_in"] or 0 for row in walk.broker.api("topics?sort=in&order=desc&per=20")["data"]["rows"]]
    assert rates == sorted(rates, reverse=True) and rates[0] > 0, rates
    times = []
    for _ in range(20):
        began = time.monotonic()
        walk.broker.api("topics?sort=in&order=desc&per=50")
        times.append((time.monotonic() - began) * 1000)
    print("    topics: %.0f ms in the median, %.0f ms at least, of %d topics" % (statistics.median(times), min(times), total))
    assert min(times) < 100, times


def partitions_end_where_kafka_says(walk):
    walk.go("topics/" + walk.quiet)
    consumer = Consumer({**stage.CLIENT, "bootstrap.servers": walk.broker.kafka, "group.id": "none"})
    low, high = consumer.get_watermark_offsets(TopicPartition(walk.quiet, 0), timeout=20)
    consumer.close()
    walk.until("the watermarks", lambda: [number(it) for it in walk.rows("Partitions of " + walk.quiet)[0][3:5]] == [low, high])
    walk.go("topics/%s/settings" % walk.names[9])
    walk.until("the settings", lambda: ["cleanup.policy", "compact", "set"] in [row[:3] for row in walk.rows("Settings of " + walk.names[9])])


def messages_are_what_a_consumer_reads(walk):
    consumer = Consumer({**stage.CLIENT, "bootstrap.servers": walk.broker.kafka, "group.id": "none", "enable.auto.commit": False})
    consumer.assign([TopicPartition(walk.quiet, 0, 0)])
    truth, end = [], time.monotonic() + 30
    while len(truth) < 203 and time.monotonic() < end:
        truth += [it for it in consumer.consume(203, 1.0) if it.error() is None]
    consumer.close()
    assert len(truth) == 203
    told = walk.broker.api("topics/%s/messages?from=earliest&limit=200&preview=4096" % walk.quiet)["data"]["records"]
    for row, record in zip(told, truth):
        assert row["offset"] == record.offset() and row["timestamp_ms"] == record.timestamp()[1]
        assert row["value"]["text"].encode() == record.value() and row["key"]["text"].encode() == record.key()
        assert [it["name"] for it in row["headers"]] == ["trace", "raw"]
    walk.go("topics/%s/messages" % walk.quiet)
    walk.page.wait_for_selector("details.record")
    values = walk.page.locator("details.record")
    values.nth(0).locator("summary").click()
    pre = walk.page.locator('details[open] pre[aria-label="Value"]')
    assert pre.inner_text() == "<img src=x onerror=alert(1)><script>alert(2)</script>", pre.inner_text()
    values.nth(0).locator("summary").click()
    values.nth(1).locator("summary").click()
    assert "00000010  10 11 12 13" in pre.inner_text(), "bytes are shown as digits"
    values.nth(1).locator("summary").click()
    values.nth(2).locator("summary").click()
    assert pre.inner_text() == "null"
    values.nth(2).locator("summary").click()
    values.nth(3).locator("summary").click()
    assert pre.inner_text() == json.dumps(json.loads(truth[199].value()), indent=2, ensure_ascii=False).replace('": ', '": '), pre.inner_text()
    walk.page.locator("main form select").nth(2).select_option("hex")
    assert pre.inner_text().startswith("00000000  7b 22 69 64"), pre.inner_text()[:40]
    walk.page.locator("main form select").nth(2).select_option("text")
    assert pre.inner_text() == truth[199].value().decode()
    walk.page.get_by_role("textbox", name="Key").fill("key-7")
    walk.page.locator("main form select").nth(0).select_option("earliest")
    walk.page.get_by_role("button", name="Read").click()
    walk.page.wait_for_selector("text=10 shown")
    walk.picture("light-messages-of-a-key")


def groups_are_those_of_kafka(walk):
    told = walk.admin.list_consumer_groups(request_timeout=20).result()
    expected = {it.group_id: it.state.name for it in told.valid}
    walk.go("groups")
    walk.until("the groups", lambda: {row[0] for row in walk.rows("Consumer groups")} == set(expected))
    shown = {row[0]: row for row in walk.rows("Consumer groups")}
    assert ODD_GROUP in shown and shown["fraud-check"][2] == "2", shown
    walk.page.get_by_role("link", name=ODD_GROUP).click()
    walk.page.wait_for_selector("h1:has-text('odd')")
    walk.go("groups/analytics")
    described = walk.admin.describe_consumer_groups(["analytics"], request_timeout=20)["analytics"].result()
    walk.until("the members", lambda: walk.rows("Members of analytics")[0][-1] == described.members[0].member_id)


def the_store_memory_latency_and_events_are_shown(walk):
    walk.go("storage")
    walk.until("requests", lambda: number(walk.rows("Requests to the store")[0][2]) > 0)
    walk.go("cache")
    walk.until("squares", lambda: walk.page.locator(".squares button").count() >= BUSY)
    walk.page.locator('.squares button[tabindex="0"]').first.focus()
    walk.page.keyboard.press("ArrowRight")
    assert walk.page.evaluate("document.activeElement === document.querySelector('.squares').children[1]")
    assert "in memory" in walk.page.locator(".heat-detail").inner_text()
    walk.go("latency")
    walk.until("bars", lambda: walk.page.locator('section[aria-label="Produce"] rect').count() > 3)
    walk.go("events")
    walk.until("events", lambda: any("generation" in row[3] for row in walk.rows("Events")) and any("begun as broker" in row[3] for row in walk.rows("Events")))
    walk.go("security")
    walk.page.wait_for_selector("text=off: clients need not show who they are")
    walk.go("cluster")
    walk.until("the broker", lambda: walk.broker.kafka in walk.rows("Brokers")[0][2])


def the_keyboard_reaches_everything(walk):
    walk.go("overview")
    walk.page.reload()
    walk.page.wait_for_selector(".live.on")
    press, focused = walk.page.keyboard.press, lambda: walk.page.evaluate("document.activeElement.innerText")
    press("Tab")
    assert focused() == "Skip to content" and page.is_focus_visible(walk.page)
    press("Enter")
    assert walk.page.evaluate("document.activeElement.id") == "main"
    for key, place in [("t", "topics"), ("s", "storage"), ("m", "cache"), ("t", "topics")]:
        press("g")
        press(key)
        walk.page.wait_for_function("(to) => location.hash === to", arg="#/" + place)
    walk.page.wait_for_selector(".live.on")
    press("/")
    assert walk.page.evaluate("document.activeElement.type") == "search" and page.is_focus_visible(walk.page)
    walk.page.keyboard.type("orders.eu-0")
    walk.until("the search", lambda: all("orders.eu-0" in row[0] for row in walk.rows("Topics")))
    press("Escape")
    walk.page.locator(".search").focus()
    for _ in range(20):
        press("Tab")
        if walk.page.evaluate("!!document.activeElement.closest('tbody')"):
            break
    first, second = [row[0] for row in walk.rows("Topics")[:2]]
    assert focused() == first and page.is_focus_visible(walk.page)
    press("ArrowDown")
    assert focused() == second
    # Two looks later the focus is where it was.
    walk.page.wait_for_timeout(4500)
    assert focused() == second, "what is asked anew must not take the focus"
    press("Enter")
    walk.page.wait_for_function("(to) => location.hash === to", arg="#/topics/" + second)
    press("?")
    assert walk.page.locator("#help").is_visible()
    press("Escape")
    assert not walk.page.locator("#help").is_visible()


def a_hidden_tab_asks_nothing(walk):
    walk.go("overview")
    asked = []
    walk.page.on("request", lambda it: asked.append(it.url))
    hide = "(is) => { Object.defineProperty(document, 'hidden', { value: is, configurable: true }); document.dispatchEvent(new Event('visibilitychange')); }"
    walk.page.evaluate(hide, True)
    walk.page.wait_for_timeout(500)
    asked.clear()
    walk.page.wait_for_timeout(4500)
    assert asked == [], asked
    walk.page.evaluate(hide, False)
    walk.until("it asks again", lambda: walk.page.wait_for_timeout(50) or asked != [])


def committed(walk, group, topic, partitions):
    consumer = Consumer({**stage.CLIENT, "bootstrap.servers": walk.broker.kafka, "group.id": group})
    try:
        return [it.offset for it in consumer.committed([TopicPartition(topic, p) for p in range(partitions)], timeout=20)]
    finally:
        consumer.close()


def an_admin_logs_in_moves_offsets_and_logs_out(walk):
    topic = walk.quiet
    walk.go("groups/billing-backfill")
    assert not walk.page.get_by_role("button", name="Move offsets").is_visible()
    walk.page.get_by_role("link", name="Log in").click()
    walk.page.get_by_label("Name").fill(stage.USER)
    walk.page.get_by_label("Password").fill("wrong")
    walk.page.keyboard.press("Enter")
    walk.page.wait_for_selector("text=wrong name or password")
    walk.picture("light-login-refused")
    walk.page.get_by_label("Password").fill(stage.PASSWORD)
    walk.page.keyboard.press("Enter")
    walk.page.wait_for_selector(".user >> text=admin")
    cookies = walk.context.cookies()
    assert [(it["httpOnly"], it["sameSite"]) for it in cookies] == [(True, "Strict")], cookies
    assert walk.page.evaluate("document.cookie") == "", "no script sees it"
    walk.go("groups/billing-backfill")
    walk.page.get_by_role("button", name="Move offsets").click()
    walk.page.locator("dialog[open] select").nth(1).select_option("latest")
    walk.page.get_by_role("button", name="Show").click()
    walk.page.wait_for_selector('table[aria-label="What would be moved"] tbody tr')
    assert committed(walk, "billing-backfill", topic, 1) == [5], "nothing is moved before it is said"
    walk.picture("light-move-offsets")
    walk.page.get_by_role("button", name="Move", exact=True).click()
    walk.until("the offsets are moved", lambda: committed(walk, "billing-backfill", topic, 1) == [203])
    walk.until("it is shown", lambda: walk.rows("Offsets of billing-backfill")[0][5] == "0")
    walk.go("topics")
    walk.page.get_by_role("button", name="Create topic").click()
    walk.page.locator("dialog[open]").get_by_label("Name").fill("made-here")
    walk.page.locator("dialog[open]").get_by_label("Partitions").fill("3")
    walk.page.get_by_role("button", name="Create", exact=True).click()
    walk.page.wait_for_function("() => location.hash === '#/topics/made-here'")
    assert len(walk.admin.list_topics("made-here", timeout=20).topics["made-here"].partitions) == 3
    walk.page.get_by_role("button", name="Delete topic").click()
    walk.page.get_by_label("Name of the topic").fill("made-here")
    walk.page.get_by_role("button", name="Delete", exact=True).click()
    walk.page.wait_for_function("() => location.hash === '#/topics'")
    walk.until("it is gone", lambda: "made-here" not in walk.admin.list_topics(timeout=20).topics)
    walk.page.get_by_role("button", name="Log out").click()
    walk.page.wait_for_selector("text=read-only")
    assert not walk.page.get_by_role("button", name="Create topic").is_visible()


def a_broker_that_is_gone_is_told_of(walk):
    walk.go("overview")
    walk.broker.stop()
    walk.page.wait_for_selector(".live.lost", timeout=15000)
    assert "does not answer" in walk.page.locator("#notice").inner_text()
    assert float(walk.page.evaluate("getComputedStyle(document.getElementById('view')).opacity")) < 1, "it must not look as if it were of now"
    walk.picture("light-no-answer")
    walk.complaints = [it for it in walk.complaints if "ERR_CONNECTION" not in it and "ERR_EMPTY" not in it and "503" not in it]
    log = walk.broker.text_of_log()
    for word in ["panicked", "console has failed", "cannot be read"]:
        assert word not in log, "the broker's log says: %s" % word


STEPS = [
    overview_counts_what_kafka_counts, topics_are_searched_sorted_and_paged, partitions_end_where_kafka_says,
    messages_are_what_a_consumer_reads, groups_are_those_of_kafka, the_store_memory_latency_and_events_are_shown,
    the_keyboard_reaches_everything, a_hidden_tab_asks_nothing, every_view_opens, an_admin_logs_in_moves_offsets_and_logs_out,
    a_broker_that_is_gone_is_told_of,
]


def load(broker, names):
    jobs = [multiprocessing.Process(target=stage.produce_for_ever, args=(broker.kafka, names[:BUSY], RATE), daemon=True)]
    for group, topics in [("analytics", names[:BUSY]), ("fraud-check", names[:6]), ("fraud-check", names[:6])]:
        jobs.append(multiprocessing.Process(target=stage.consume_for_ever, args=(broker.kafka, group, topics), daemon=True))
    for job in jobs:
        job.start()
    return jobs


def run(binary, chromium, out, options):
    broker = stage.Broker(binary, KAFSCALE_SHARDS="2")
    jobs, failed = [], 0
    try:
        began = time.monotonic()
        names = stage.names(options.topics)
        admin = stage.create(broker, options.topics)
        stage.fill(broker, names[41:42])
        stage.idle_group(broker, "billing-backfill", names[41], 1)
        print("  %d topics after %.0f s" % (options.topics, time.monotonic() - began))
        jobs = load(broker, names)
        walk = Walk(broker, admin, names, out, options)
        stage.wait("the load has begun", lambda: sum(row["members"] or 0 for row in broker.api("groups")["data"]["rows"]) == 3, 60)
        time.sleep(5 if options.quick else 30)
        with sync_playwright() as playwright:
            walk.open(playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]))
            if options.picture:
                page.keep_picture(walk)
            stage.idle_group(broker, ODD_GROUP, names[41], 1)
            for step in STEPS:
                failed += carry_out(walk, step, options.only)
            walk.browser.close()
    finally:
        for job in jobs:
            job.kill()
        broker.process.kill()
        if failed == 0:
            broker.remove()
        else:
            print("  the broker's log: %s" % (broker.work / "log"))
    return failed


def carry_out(walk, step, only):
    if only not in step.__name__:
        return 0
    began = time.monotonic()
    try:
        walk.complaints.clear()
        step(walk)
        assert walk.complaints == [], walk.complaints
        print("  ok   %s, %.1f s" % (step.__name__, time.monotonic() - began), flush=True)
        return 0
    except Exception:
        traceback.print_exc()
        walk.picture("failed-" + step.__name__)
        print("  FAIL %s" % step.__name__, flush=True)
        return 1
