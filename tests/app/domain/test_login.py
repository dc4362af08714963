from __future__ import annotations

import pytest

from app.domain.login import LOGIN_TTL_S, Answer, Login, redirect_uri

NOW = 1_900_000_000.0
URI = "https://llm.example.com/auth/google/callback"


def test_every_sign_in_is_unlike_every_other():
    one, two = (Login.begin(URI, None, NOW) for _ in range(2))
    assert not {one.state, one.nonce, one.verifier} & {two.state, two.nonce, two.verifier}
    assert len({one.state, one.nonce, one.verifier}) == 3
    assert one.digest != two.digest


def test_a_sign_in_has_ten_minutes():
    login = Login.begin(URI, None, NOW)
    assert (login.began_at, login.expires_at) == (NOW, NOW + LOGIN_TTL_S)


def test_the_verifier_is_as_long_as_pkce_asks():
    assert 43 <= len(Login.begin(URI, None, NOW).verifier) <= 128


def test_nothing_of_a_sign_in_is_ever_shown():
    login = Login.begin(URI, "sess_1", NOW)
    answer = Answer.of(login.state, "the-code", None, None)
    shown = f"{login} {login!r} {[login]} {answer} {answer!r}"
    assert not [secret for secret in (login.state, login.nonce, login.verifier, "the-code") if secret in shown]


def test_an_answer_has_what_has_its_form():
    state = Login.begin(URI, None, NOW).state
    assert Answer.of(state, "4/0Ab_c-d~", None, None) == Answer(state, "4/0Ab_c-d~")
    for text in ("", "x", state + "x", state[:-1], state[:-1] + "é", state[:-1] + "\n", state + "\n", None):
        assert Answer.of(text, "code", None, None).state is None
    for text in ("", "\x00", "ü", "a\r\nb", "x" * 4097, None):
        assert Answer.of(state, text, None, None).code is None


def test_the_public_url_decides_where_browsers_come_back_to():
    assert redirect_uri("https://llm.example.com", "127.0.0.1:8080") == URI


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8080", "127.1.2.3:1", "localhost:65535", "[::1]:8080", "[::1]"]
)
def test_without_it_this_machine_is_believed(host: str):
    assert redirect_uri(None, host) == f"http://{host}/auth/google/callback"
    assert redirect_uri(None, host.upper()) == redirect_uri(None, host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "example.com",
        "localhost.example.com",
        "127.0.0.1.example.com",
        "127.0.0.1@example.com",
        "example.com#localhost",
        "localhost:x",
        "localhost:",
        "localhost:123456",
        "127.999.0.1",
        "127.0.0.1/x",
        "0.0.0.0",
        "10.0.0.1:8080",
        "[::2]",
        "::1",
        "localhost\n",
        " localhost",
        "\u217cocalhost",
    ],
)
def test_without_it_nobody_else_is(host: str):
    assert redirect_uri(None, host) is None
