"""Tokens and rights that are taken away, in virtual time: nothing is believed for longer than its ten seconds."""

import pytest

from collector.kube.auth import Authenticator, Authorizer, Lifetimes
from collector.kube.auth_attributes import Attributes
from collector.kube.auth_cache import MOST
from collector.kube.auth_config import AuthConfig
from collector.kube.auth_reviews import AccessStatus, ReviewedUser, TokenStatus
from collector.kube.auth_user import ANONYMOUS, User

BEARER = {"authorization": ["Bearer secret"]}
PODS = Attributes("list", group="metrics.k8s.io", version="v1beta1", namespace="team", resource="pods")


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Reviews:
    """The API server: knows a token and a right, and takes `slow` virtual seconds to say so."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.known = self.allowed = True
        self.slow = 0.0
        self.specs: list[dict] = []

    async def token(self, _token: str) -> TokenStatus:
        verdict = TokenStatus(True, ReviewedUser("jane", groups=["devs"])) if self.known else TokenStatus()
        self.clock.now += self.slow
        return verdict

    async def access(self, spec: dict) -> AccessStatus:
        self.specs.append(spec)
        verdict = AccessStatus(self.allowed and spec["resourceAttributes"].get("namespace") == "team")
        self.clock.now += self.slow
        return verdict


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reviews(clock) -> Reviews:
    return Reviews(clock)


def authenticator(reviews: Reviews) -> Authenticator:
    return Authenticator(AuthConfig(None, None, None), reviews, 10.0, clock=reviews.clock)  # type: ignore[arg-type]


def authorizer(reviews: Reviews) -> Authorizer:
    return Authorizer(reviews, Lifetimes(10.0, 10.0), clock=reviews.clock)  # type: ignore[arg-type]


@pytest.mark.parametrize("slow", [0.0, 7.0])
async def test_a_revoked_token_is_refused_within_ten_seconds_of_when_it_was_good(clock, reviews, slow):
    found, begun = authenticator(reviews), clock.now
    reviews.slow = slow
    assert (await found.authenticate(None, BEARER)).name == "jane"
    reviews.known = False
    clock.now = begun + 9.9
    assert (await found.authenticate(None, BEARER)).name == "jane"
    clock.now = begun + 10
    assert await found.authenticate(None, BEARER) is None
    assert await found.authenticate(None, {}) == ANONYMOUS


@pytest.mark.parametrize("slow", [0.0, 7.0])
async def test_a_right_withdrawn_is_refused_within_ten_seconds_and_so_is_one_given_believed(clock, reviews, slow):
    asked, jane, begun = authorizer(reviews), User("jane"), clock.now
    reviews.slow = slow
    assert (await asked.authorize(jane, PODS)).allowed
    reviews.allowed = False
    clock.now = begun + 9.9
    assert (await asked.authorize(jane, PODS)).allowed
    clock.now = begun + 10
    assert not (await asked.authorize(jane, PODS)).allowed
    reviews.allowed = True
    clock.now = begun + 20
    assert (await asked.authorize(jane, PODS)).allowed


async def test_a_right_in_one_namespace_is_none_in_another_nor_for_another_user(reviews):
    asked = authorizer(reviews)
    other = Attributes("list", group="metrics.k8s.io", version="v1beta1", namespace="other", resource="pods")
    everywhere = Attributes("list", group="metrics.k8s.io", version="v1beta1", resource="pods")
    verdicts = [(await asked.authorize(User("jane"), what)).allowed for what in (PODS, other, everywhere, PODS)]
    assert verdicts == [True, False, False, True]
    assert len(reviews.specs) == 3
    await asked.authorize(User("jane", ("devs",)), PODS)  # other groups are another question
    assert len(reviews.specs) == 4


async def test_what_strangers_ask_for_takes_little_room(reviews):
    asked = authorizer(reviews)
    for i in range(MOST + 50):
        await asked.authorize(User("x" * 10_000), Attributes("get", resource="y", name=str(i)))
    assert len(asked._verdicts) == MOST
    assert {len(key) for key in asked._verdicts._known} == {32}


async def test_verdicts_that_count_no_more_are_let_go(clock, reviews):
    asked = authorizer(reviews)
    for i in range(100):
        await asked.authorize(User("x"), Attributes("get", resource="y", name=str(i)))
    clock.now += 11
    await asked.authorize(User("x"), PODS)
    assert len(asked._verdicts) == 1
