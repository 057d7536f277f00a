"""Every error is of one family, says its sentence, and keeps what it was made of."""

import inspect

import pytest

import streamer.errors as errors
from streamer.errors import (
    ConfigError,
    SourceLost,
    StageFailure,
    StageStuck,
    StreamerError,
)

CLASSES = [
    item
    for _, item in inspect.getmembers(errors, inspect.isclass)
    if issubclass(item, BaseException) and item.__module__ == errors.__name__
]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_is_a_streamer_error_and_in_the_table(kind):
    assert issubclass(kind, StreamerError)
    assert kind.__name__ in errors.__doc__ or kind is StreamerError


def test_config_error_keeps_and_joins_its_problems():
    error = ConfigError(["a: mend it", "b: mend it"])
    assert error.problems == ("a: mend it", "b: mend it")
    assert str(error) == "a: mend it\nb: mend it"


def test_source_lost_has_a_reason_and_a_text():
    error = SourceLost("auth", "the camera refused the login; check user and password")
    assert error.reason == "auth"
    assert str(error) == "the camera refused the login; check user and password"


def test_stage_stuck_names_the_threads():
    error = StageStuck(["infer-0", "publish:live"])
    assert error.names == ("infer-0", "publish:live")
    assert str(error).startswith("infer-0, publish:live did not end in time")


def test_stage_failure_is_a_group_and_a_streamer_error():
    inner = [LookupError("a"), SourceLost("eof", "b")]
    with pytest.raises(StreamerError) as caught:
        raise StageFailure("stages failed", inner)
    assert list(caught.value.exceptions) == inner
    with pytest.raises(ExceptionGroup) as rest:
        try:
            raise StageFailure("stages failed", inner)
        except* LookupError as found:
            assert found.exceptions == (inner[0],)
    assert rest.value.exceptions == (inner[1],)


def test_stage_failure_holds_no_bare_exits():
    with pytest.raises(TypeError):
        StageFailure("stages failed", [KeyboardInterrupt()])
