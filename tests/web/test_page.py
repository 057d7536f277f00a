"""The page in a real browser. Screenshots are left in build/ for people to look at."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, WebSocket, expect, sync_playwright

from streamer.flow.ledger import Ledger
from streamer.status import Load, SourceState
from streamer.types import CameraChange
from streamer.web.access import Access
from streamer.web.live import LiveView
from streamer.web.server import HttpServer
from tests.web.synthetic import Machine, Playing, outcome, until

pytestmark = pytest.mark.browser

expect.set_options(timeout=20_000)  # two cores may have much else to do

BUILD = Path(__file__).resolve().parents[2] / "build"

HASH = """camera => {
  const canvas = document.querySelector(`[data-camera="${camera}"] canvas`);
  if (!canvas) return 0;  // the camera is not on the page yet
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let hash = 0;
  for (let i = 0; i < data.length; i += 4) hash = (hash * 31 + data[i]) | 0;
  return hash;
}"""
VIVID = """camera => {
  // Pixels of a strong colour: the background and the square are grey, only boxes are not.
  const canvas = document.querySelector(`[data-camera="${camera}"] canvas`);
  if (!canvas) return -1;  // the camera is not on the page yet
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let vivid = 0;
  for (let i = 0; i < data.length; i += 4) {
    const high = Math.max(data[i], data[i + 1], data[i + 2]);
    if (high - Math.min(data[i], data[i + 1], data[i + 2]) > 90) vivid += 1;
  }
  return vivid;
}"""

BRIGHT = VIVID.replace("high - Math.min(data[i], data[i + 1], data[i + 2]) > 90", "high > 240")
"""Pixels of the white square, which only a picture has."""

VIVID_IN = VIVID.replace("camera =>", "selector =>").replace(
    '`[data-camera="${camera}"] canvas`', "selector"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails the test when its console shows an error."""
    page = browser.new_page(viewport={"width": 1280, "height": 860})
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on(
        "console",
        lambda said: (
            troubles.append(said.text)
            # a refused WebSocket, while the server is away, is no fault of the page
            if said.type == "error"
            and "ERR_CONNECTION_REFUSED" not in said.text
            and "HTTP Authentication failed" not in said.text
            and "401 (Unauthorized)" not in said.text
            else None
        ),
    )
    yield page
    page.close()
    assert troubles == []


def wall(live: LiveView, machine: Machine, bind: str = "127.0.0.1:0") -> HttpServer:
    return HttpServer(bind, live=live, status=machine.status, metrics=machine.metrics)


def tile(page: Page, camera: str):
    return page.locator(f'[data-camera="{camera}"]')


def frame(page: Page, camera: str) -> int:
    return int(tile(page, camera).get_attribute("data-frame") or -1)


def save(page: Page, name: str, **options: bool) -> None:
    BUILD.mkdir(exist_ok=True)
    (BUILD / f"{name}.png").write_bytes(page.screenshot(**options))


def test_the_wall_moves_and_shows_what_was_found(page, live, machine, server):
    connections: list[WebSocket] = []
    page.on("websocket", lambda connection: connections.append(connection))
    with Playing(live, width=640, height=360):
        page.goto(f"http://{server.address}/")
        for camera in machine.cameras:
            expect(tile(page, camera)).to_have_attribute("data-look", "live")
        before = {camera: page.evaluate(HASH, camera) for camera in machine.cameras}
        for camera in machine.cameras:
            page.wait_for_function(
                f"([camera, before]) => ({HASH})(camera) !== before", arg=[camera, before[camera]]
            )
            assert page.evaluate(VIVID, camera) > 100, "the boxes are drawn"
        # One picture comes with each connection, also where none follows; this is more than one.
        shown = {camera: frame(page, camera) for camera in machine.cameras}
        for camera in machine.cameras:
            page.wait_for_function(
                "([camera, shown]) => +document.querySelector("
                "`[data-camera='${camera}']`).dataset.frame > shown + 9",
                arg=[camera, shown[camera]],
            )
        assert len(connections) == 1, "the wall moves of itself, and not by dialling again"
        expect(tile(page, "yard").locator(".count")).to_have_text("2 faces")
        expect(tile(page, "door").locator(".count")).to_have_text("1 face")
        expect(page).to_have_title("4 faces · streamer")
        expect(page.locator("#cameras")).to_have_text("3 of 3 cameras live")
        door = tile(page, "door")
        expect(door.locator(".fps")).to_have_text("11.8")
        expect(door.locator(".p95")).to_have_text("65 ms")
        expect(door.locator(".age")).to_have_text(re.compile(r"\d+ ms|\d s"))
        expect(door.locator(".word")).to_have_text("live")
        expect(door.locator("canvas")).to_have_attribute("aria-label", "door, 1 face")
        ratio = "e => e.clientWidth / e.clientHeight"
        assert abs(door.locator("canvas").evaluate(ratio) - 16 / 9) < 0.02
        hrefs = page.locator("nav a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
        assert hrefs == ["/metrics", "/api/v1/status"]


def test_a_camera_without_news_is_stale_in_words(page, live, machine, server):
    with Playing(live) as playing:
        page.goto(f"http://{server.address}/")
        door = tile(page, "door")
        expect(door).to_have_attribute("data-look", "live")
        playing.quiet.add("door")
        expect(door).to_have_attribute("data-look", "stale", timeout=10_000)
        expect(door.locator(".what")).to_contain_text("No new picture for")
        expect(door.locator(".when")).to_contain_text("since")
        expect(door.locator(".count")).to_have_text("\u2013 faces")
        expect(door.locator(".veil")).to_be_visible()
        assert "grayscale" in door.locator("canvas").evaluate("e => getComputedStyle(e).filter")
        expect(page.locator("#spoken")).to_have_text(r"door: No new picture for 3 s")
        expect(page).to_have_title("3 faces · streamer")
        expect(tile(page, "yard")).to_have_attribute("data-look", "live")
        playing.quiet.clear()
        expect(door).to_have_attribute("data-look", "live")
        expect(page.locator("#spoken")).to_have_text("door: live again")


def test_what_is_to_be_covered_or_of_another_camera_is_not_shown_any_longer(
    page, live, machine, server
):
    white = f"([camera, none]) => (({BRIGHT})(camera) === 0) === none"
    for camera in ("door", "yard"):
        live.write(outcome(camera, 1))
    page.goto(f"http://{server.address}/")
    for camera in ("door", "yard"):
        page.wait_for_function(white, arg=[camera, False])
        expect(tile(page, camera).locator(".p95")).to_have_text("65 ms")  # the status has come
    machine.changes["door"] = {"privacy": "box"}
    machine.changes["yard"] = {"url": "rtsp://***@other.example/stream"}
    for camera in ("door", "yard"):
        page.wait_for_function(white, arg=[camera, True])
        expect(tile(page, camera).locator(".what")).to_have_text("Waiting for the first picture")
        live.write(outcome(camera, 2))
    page.wait_for_function(white, arg=["yard", False])
    expect(tile(page, "door").locator(".what")).to_have_text("Waiting for the first picture")
    assert page.evaluate(BRIGHT, "door") == 0, "a bare picture that came late"


def test_a_camera_that_is_down_says_why_and_since_when(page, live, machine, server):
    since = time.monotonic() - 90
    retry_at = time.monotonic() + 240
    machine.changes["yard"] = {"source": SourceState("refused", since, "auth", retry_at=retry_at)}
    with Playing(live) as playing:
        playing.quiet.add("yard")
        live.write(outcome("hall", failed=True))
        playing.quiet.add("hall")
        page.goto(f"http://{server.address}/")
        yard = tile(page, "yard")
        expect(yard).to_have_attribute("data-look", "down")
        expect(yard.locator(".what")).to_have_text("The camera refuses us")
        expect(yard.locator(".when")).to_have_text(re.compile(r"since \S+ \((9|10|11)\d s\)"))
        expect(yard.locator(".why")).to_have_text(
            re.compile(r"user name or password is wrong; trying again in \d+ (s|min)")
        )
        expect(yard.locator(".word")).to_have_text("refused")
        expect(tile(page, "hall")).to_have_attribute("data-look", "failed")
        expect(tile(page, "hall").locator(".count")).to_have_text("\u2013 faces")


def test_a_camera_that_is_dialled_again_and_again_stays_down_since_it_was_lost(
    page, live, machine, server
):
    now = time.monotonic()
    live.write_change(CameraChange("yard", "live", now - 500, 0.0))
    live.write_change(CameraChange("yard", "backing_off", now - 130, 0.0, "reset"))
    machine.changes["yard"] = {"source": SourceState("connecting", now - 1, attempts=7)}
    with Playing(live):
        page.goto(f"http://{server.address}/")
        yard = tile(page, "yard")
        expect(yard).to_have_attribute("data-look", "down")
        expect(yard.locator(".what")).to_have_text("The camera is down")
        expect(yard.locator(".when")).to_have_text(re.compile(r"since \S+ \(2 min\)"))
        expect(yard.locator(".why")).to_have_text(
            "the camera broke the connection; trying again now"
        )


def test_a_lost_server_is_said_and_the_page_comes_back_by_itself(page, live, machine):
    server = wall(live, machine)
    with Playing(live) as playing:
        server.start()
        page.goto(f"http://{server.address}/")
        expect(tile(page, "hall")).to_have_attribute("data-look", "live")
        page.evaluate("now = performance.now(); performance.now = () => now")
        server.close()
        # By its clock, which stands, nothing is late: the end of the connection says it at once.
        expect(page.locator("#lost")).to_contain_text("Connection to streamer lost since")
        for camera in machine.cameras:
            expect(tile(page, camera)).to_have_attribute("data-look", "lost")
            expect(tile(page, camera).locator(".what")).to_have_text("Connection to streamer lost")
        expect(page).to_have_title("streamer")
        frozen = page.evaluate(HASH, "hall")
        assert frozen != 0
        written = playing.written
        until(lambda: playing.written > written + 30)
        assert page.evaluate(HASH, "hall") == frozen
        page.evaluate("delete performance.now")
        with wall(live, machine, server.address):
            expect(tile(page, "hall")).to_have_attribute("data-look", "live", timeout=15_000)
            expect(page.locator("#lost")).to_be_hidden()
            page.wait_for_function(
                f"([camera, before]) => ({HASH})(camera) !== before", arg=["hall", frozen]
            )


def test_a_page_that_must_log_in_again_goes_to_the_login(page, live, machine):
    access = Access(read=["r" * 24], wall_clock=time.time)
    server = wall(live, machine)
    with Playing(live):
        server.start()
        page.goto(f"http://{server.address}/#door")
        expect(page.locator("#stage")).to_be_visible()
        server.close()
        with HttpServer(
            server.address, live=live, status=machine.status, metrics=machine.metrics, access=access
        ):
            page.wait_for_url("**/login#door", timeout=20_000)
            page.emulate_media(color_scheme="dark")
            page.get_by_label("Token").fill("wrong" * 5)
            page.get_by_role("button", name="Log in").click()
            expect(page.locator("#wrong")).to_be_visible()
            assert page.evaluate(CONTRAST) == []
            box = page.locator("form").bounding_box()
            assert box is not None
            assert abs(box["x"] + box["width"] / 2 - 640) < 10, "in the middle"
            page.get_by_label("Token").fill("r" * 24)
            page.get_by_role("button", name="Log in").click()
            page.wait_for_url("**/#door")
            expect(page.locator("#stage")).to_be_visible()
            page.get_by_role("button", name="log out").click()
            page.wait_for_url("**/login*")


def test_nobody_logs_out_where_nobody_logs_in(page, server):
    page.goto(f"http://{server.address}/")
    expect(page.get_by_role("button", name="log out")).to_be_hidden()


def test_too_much_to_do_is_told_by_what_is_given_up(page, live, machine):
    loads = iter([Load(2, 0.75), Load(3, 0.75, frozenset({"yard", "hall"})), Load(1)])
    load = next(loads)
    status = lambda: replace(machine.status(), load=load)  # noqa: E731
    with HttpServer("127.0.0.1:0", live=live, status=status, metrics=machine.metrics) as server:
        page.goto(f"http://{server.address}/")
        words = page.locator("#load")
        expect(words).to_have_text("Overloaded (step 2): smaller pictures are looked at")
        load = next(loads)
        expect(words).to_have_text(
            "Overloaded (step 3): smaller pictures are looked at, 2 cameras are not looked at"
        )
        load = next(loads)
        expect(words).to_have_text("Overloaded (step 1)")


@pytest.mark.parametrize(
    ("count", "width", "height"), [(9, 390, 844), (9, 844, 390), (31, 1280, 720), (31, 1440, 720)]
)
def test_every_figure_stays_inside_its_tile(page, count, width, height):
    names = tuple(f"camera-{n:02}" for n in range(count))
    live, machine = LiveView(names), Machine(names)
    machine.changes = {name: {"latency_p95_s": 1.262} for name in names}
    down = SourceState("backing_off", time.monotonic() - 700, "refused")
    machine.changes[names[1]]["source"] = down
    page.set_viewport_size({"width": width, "height": height})
    with wall(live, machine) as server, Playing(live):
        page.goto(f"http://{server.address}/")
        first = tile(page, names[0])
        expect(first.locator(".p95")).to_have_text("1262 ms")
        expect(first).to_have_attribute("data-look", "live")
        words = page.locator(".bar :is(dd, dt, .word, .count)")
        outside = words.evaluate_all(
            """all => all.filter((word) => {
              const inner = word.getBoundingClientRect();
              const outer = word.closest(".tile").getBoundingClientRect();
              return inner.width && (inner.right > outer.right - 4 || inner.left < outer.left);
            }).map(word => word.textContent)"""
        )
        assert outside == []
        if width == 390:
            expect(tile(page, names[1]).locator(".why")).to_be_visible()


def test_a_server_that_only_goes_silent_is_noticed(page, live, machine, server):
    """A half-open connection: nothing comes, nothing says so."""
    muted = threading.Event()

    def between(route):
        upstream = route.connect_to_server()
        upstream.on_message(lambda message: None if muted.is_set() else route.send(message))
        route.on_message(upstream.send)

    page.route_web_socket("**/ws/live", between)
    with Playing(live):
        page.goto(f"http://{server.address}/")
        expect(tile(page, "door")).to_have_attribute("data-look", "live")
        muted.set()
        expect(tile(page, "door")).to_have_attribute("data-look", "lost", timeout=15_000)
        expect(tile(page, "door").locator(".p95")).to_have_text("\u2013")


def test_a_hidden_tab_asks_for_nothing_and_misses_nothing(page, live, machine, server):
    pictures: list[int] = []
    page.on(
        "websocket",
        lambda socket: socket.on(
            "framereceived", lambda data: pictures.append(1) if isinstance(data, bytes) else None
        ),
    )
    with Playing(live, fps=25):
        page.goto(f"http://{server.address}/")
        expect(tile(page, "door")).to_have_attribute("data-look", "live")
        # What a browser does when another tab is chosen; a headless one has no other tab.
        page.evaluate(
            """() => {
              Object.defineProperty(document, "hidden", { get: () => window.away });
              window.away = true;
              document.dispatchEvent(new Event("visibilitychange"));
            }"""
        )
        until(lambda: server.watching().viewers[0].sent > 0)
        page.wait_for_timeout(1000)  # what was on its way
        before, missed = len(pictures), server.watching().viewers[0].dropped
        page.wait_for_timeout(2000)
        assert len(pictures) == before
        assert server.watching().viewers[0].dropped == missed
        expect(page).to_have_title("3 faces · streamer")  # the status still knows
        page.evaluate("away = false; document.dispatchEvent(new Event('visibilitychange'))")
        until(lambda: page.evaluate("1") and len(pictures) > before + 6)


def test_one_camera_large_by_keys_mouse_and_address(page, live, machine, server):
    now = time.monotonic()
    live.write_change(CameraChange("yard", "live", now - 400, 0.0))
    live.write_change(CameraChange("yard", "backing_off", now - 300, 0.0, "reset"))
    live.write_change(CameraChange("yard", "live", now - 290, 0.0))
    stage, large = page.locator("#stage"), page.locator("#spot .tile")
    with Playing(live, width=640, height=360):
        page.goto(f"http://{server.address}/")
        expect(tile(page, "hall")).to_have_attribute("data-look", "live")
        page.keyboard.press("ArrowRight")  # the first one
        expect(tile(page, "door").locator(".name")).to_be_focused()
        page.keyboard.press("ArrowRight")
        expect(tile(page, "yard").locator(".name")).to_be_focused()
        page.keyboard.press("Enter")
        expect(stage).to_be_visible()
        expect(large).to_have_attribute("data-camera", "yard")
        expect(page).to_have_url(re.compile("#yard$"))
        expect(page.locator("#stage-state")).to_have_text(re.compile("live since .* \\(6. s\\)"))
        facts = page.locator("#facts")
        expect(facts).to_contain_text("1,23412.0 fps")
        expect(facts).to_contain_text("34 · 65 · 71 ms")
        expect(facts).to_contain_text("1 not looked at, 12 queue full (infer)")
        events = page.locator("#events li")
        expect(events.filter(has_text="The camera is down: the camera broke")).to_have_count(1)
        expect(events.filter(has_text="Live")).to_have_count(2)
        expect(events.filter(has_text="Face #1 seen")).to_have_count(1)
        fps = page.locator("#fps-chart")
        expect(fps).to_have_attribute(
            "aria-label", "Frames per second: now captured 12 fps, looked at 11.8 fps"
        )
        expect(page.locator("#latency-chart")).to_have_attribute(
            "aria-label", re.compile(r"published, p95 64.8 ms, on this page \d")
        )
        page.wait_for_function(f"() => ({VIVID_IN})('#fps-chart') > 20")  # the lines are drawn
        wide = "() => document.querySelector('#spot canvas').width"
        page.wait_for_function(f"() => ({wide})() > 600")
        page.wait_for_function(
            "() => document.querySelector('#spot .tile').dataset.width === '640'"
        )
        page.keyboard.press("ArrowRight")
        expect(large).to_have_attribute("data-camera", "hall")
        page.go_back()
        expect(large).to_have_attribute("data-camera", "yard")
        page.keyboard.press("Escape")
        expect(stage).to_be_hidden()
        assert page.locator("#wall .tile .name").all_inner_texts() == list(machine.cameras)
        expect(tile(page, "yard").locator(".name")).to_be_focused()
        tile(page, "door").click()
        expect(large).to_have_attribute("data-camera", "door")
        page.locator("#back").click()
        expect(stage).to_be_hidden()
        page.goto(f"http://{server.address}/#hall")
        expect(large).to_have_attribute("data-camera", "hall")
        machine.cameras = ("door", "yard")
        live.show(machine.cameras)
        expect(stage).to_be_hidden()  # that camera was removed
        expect(page.locator("#wall .tile")).to_have_count(2)


def test_boxes_and_theme_are_switched_and_remembered(page, live, server):
    ground = "getComputedStyle(document.body).backgroundColor"
    with Playing(live) as playing:
        page.goto(f"http://{server.address}/")
        page.wait_for_function(f"() => ({VIVID})('door') > 100")
        playing.quiet.update(live.cameras)
        page.keyboard.press("b")
        # The same picture without boxes. (An expression that is no function would be evaluated
        # again at each look, which the page's policy forbids.)
        page.wait_for_function(f"() => ({VIVID})('door') === 0")
        assert page.evaluate(BRIGHT, "door") > 100
        expect(page.locator("#boxes")).to_have_attribute("aria-pressed", "false")
        page.keyboard.press("b")
        page.wait_for_function(f"() => ({VIVID})('door') > 100")
        light = page.evaluate(ground)
        page.keyboard.press("t")
        dark = page.evaluate(ground)
        assert dark != light
        page.reload()
        assert page.evaluate(ground) == dark
        page.locator("#theme").click()
        assert page.evaluate(ground) == light


def test_every_control_has_a_name(page, live, server):
    with Playing(live):
        page.goto(f"http://{server.address}/")
        expect(tile(page, "door")).to_have_attribute("data-look", "live")
        for name in ("Boxes", "Dark or light", "Full screen", "Help and keys", "door", "yard"):
            expect(page.get_by_role("button", name=name, exact=True)).to_be_visible()
        expect(page.get_by_role("img", name="door, 1 face")).to_be_visible()
        page.get_by_role("button", name="Help and keys").click()
        expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
        page.get_by_role("button", name="Close").click()
        page.get_by_role("button", name="hall").click()
        expect(page.get_by_role("button", name="Back to all cameras")).to_be_visible()
        expect(page.get_by_role("img", name="Frames per second: now")).to_be_visible()
        expect(page.get_by_role("list", name="Events")).to_be_visible()


def test_names_are_text_never_markup(page):
    name = "<img src=x onerror=alert(1)> \"'&"
    live = LiveView([name])
    with wall(live, Machine((name,))) as server, Playing(live):
        page.goto(f"http://{server.address}/")
        expect(page.locator(".tile")).to_have_attribute("data-look", "live")
        expect(page.locator(".name")).to_have_text(name)
        assert page.locator("main img").count() == 0


@pytest.mark.parametrize("count", [1, 9, 64])
def test_any_number_of_cameras_fits(page, count):
    names = tuple(f"camera-{n:02d}" for n in range(count))
    live = LiveView(names)
    page.set_viewport_size({"width": 1920, "height": 1080})
    fps = 8 if count < 10 else 1
    with wall(live, Machine(names)) as server, Playing(live, fps=fps, width=640, height=360):
        page.goto(f"http://{server.address}/")
        for name in names:
            expect(tile(page, name)).to_have_attribute("data-look", "live", timeout=30_000)
        expect(page.locator("#cameras")).to_contain_text(f"{count} of {count}")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
        boxes = page.locator(".tile").evaluate_all(
            "all => all.map(e => e.getBoundingClientRect())"
            ".map(r => [r.left, r.top, r.right, r.bottom])"
        )
        assert len(boxes) == count
        for left, top, right, bottom in boxes:
            assert left >= 0 and top >= 48 and right <= 1920 and bottom <= 1080, "all in sight"
        assert all(right - left == boxes[0][2] - boxes[0][0] for left, _, right, _ in boxes)
        assert boxes[0][2] - boxes[0][0] > {1: 1500, 9: 480, 64: 150}[count]
        save(page, f"wall-{count:02d}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("where", "width", "height"), [("desk", 1440, 900), ("phone", 390, 844)])
def test_it_reads_well_in_light_and_dark_on_desk_and_phone(browser, scheme, where, width, height):
    machine = Machine(("front door", "yard", "parking deck 2, north", "old camera", "recording"))
    since = time.monotonic() - 133
    machine.changes["old camera"] = {
        "source": SourceState("backing_off", since, "stall", ""),
        "capture_fps": 0.0,
        "detect_fps": 0.0,
    }
    machine.changes["recording"] = {
        "ledger": Ledger(1_250_411, {"detected": 1_250_400}, 11, {}, 0, 0),
    }
    live = LiveView(machine.cameras)
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    try:
        with wall(live, machine) as server, Playing(live, width=1280, height=720) as playing:
            live.write(outcome("old camera", 3, at=since, width=1280, height=720))
            playing.quiet.add("old camera")
            page.goto(f"http://{server.address}/")
            expect(tile(page, "old camera")).to_have_attribute("data-look", "down")
            recording = tile(page, "recording")
            if where == "phone":  # it is out of sight: nothing is asked for, and nothing is said
                expect(recording).to_have_attribute("data-look", "unseen")
                expect(page.locator("#cameras")).to_have_text("4 of 5 cameras live")
                recording.scroll_into_view_if_needed()
            expect(recording).to_have_attribute("data-look", "live")
            page.evaluate("scrollTo(0, 0)")
            until(lambda: page.evaluate(VIVID, "yard") > 100)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert page.evaluate(CONTRAST) == []
            save(page, f"page-{where}-{scheme}", full_page=True)
            page.keyboard.press("2")
            expect(page.locator("#stage")).to_be_visible()
            expect(page.locator("#stage-name")).to_have_text("yard")
            expect(page.locator("#events li").first).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert page.evaluate(CONTRAST) == []
            save(page, f"one-{where}-{scheme}", full_page=True)
            page.keyboard.press("?")
            expect(page.locator("#help")).to_be_visible()
            assert page.evaluate(CONTRAST) == []
            page.keyboard.press("Escape")
            expect(page.locator("#help")).to_be_hidden()
        expect(page.locator("#lost")).to_be_visible()
        assert page.evaluate(CONTRAST) == []
        save(page, f"page-{where}-{scheme}-lost")
    finally:
        page.close()


CONTRAST = """() => {
  // WCAG 2.2, 1.4.3: text has 4.5:1 against what lies behind it. Words on pictures are apart:
  // their ground is the picture, darkened by a filter.
  const parse = text => text.match(/[0-9.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map(v => {
      v /= 255;
      return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = element => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  const text = "body *:not(script, template, .veil, .veil *, .head *)";
  for (const e of document.querySelectorAll(text)) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.getClientRects().length) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${e.className || e.tagName} ${ratio.toFixed(2)}`);
  }
  return poor;
}"""
