"""What ships is found in a checkout and in an installed wheel alike."""

from pathlib import Path

import pytest

from streamer import resources


@pytest.fixture
def wheel(monkeypatch, tmp_path):
    """An installation without a checkout around it."""
    package = tmp_path / "site-packages" / "streamer"
    (package / "assets" / "models").mkdir(parents=True)
    (package / "assets" / "models" / "registry.toml").write_text("of the wheel")
    monkeypatch.setattr(resources, "_PACKAGE", package)
    return package


@pytest.fixture
def checkout(wheel):
    """The same with a checkout around it, whose registry a person has edited."""
    models = wheel.parent / "models"
    models.mkdir()
    (models / "registry.toml").write_text("of the checkout")
    (wheel / "assets" / "models" / "registry.toml").unlink()
    (wheel / "assets" / "demo.mp4").write_text("pictures")
    return wheel.parent


def test_a_wheel_carries_its_assets(wheel):
    assert resources.repository() is None
    assert resources.resource("models/registry.toml").read_text() == "of the wheel"


def test_a_checkout_keeps_what_people_edit_at_its_top(checkout):
    assert resources.repository() == checkout
    assert resources.resource("models/registry.toml").read_text() == "of the checkout"
    assert resources.resource("demo.mp4").read_text() == "pictures"


@pytest.mark.parametrize("name", ["absent.mp4", "models", ""])
def test_what_does_not_ship_is_named(wheel, name):
    with pytest.raises(FileNotFoundError, match=f"^{name} does not ship .* reinstall$"):
        resources.resource(name)


def test_models_of_a_checkout_are_kept_in_it(checkout):
    assert resources.cache_folder() == checkout / "models"


def test_models_of_a_wheel_are_kept_in_the_cache_folder(wheel, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert resources.cache_folder() == tmp_path / "cache" / "streamer" / "models"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for ignored in ("", "relative/cache"):  # the XDG specification has relative paths ignored
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        expected = tmp_path / "home" / ".cache" / "streamer" / "models"
        assert resources.cache_folder() == expected


def test_this_checkout_is_found():
    top = Path(__file__).resolve().parent.parent
    assert resources.repository() == top
    assert resources.resource("models/registry.toml") == top / "models" / "registry.toml"
