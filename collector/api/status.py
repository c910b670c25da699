"""The manner of Kubernetes' API servers: objects in JSON, refusals as `Status` objects (behaviour reference, 8.9).

Source of words and fields: apimachinery's `api/errors` and apiserver's `negotiation`, as of Kubernetes 1.9.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from collector.api.jsontext import Layout
from collector.api.manner import Manner
from collector.api.metrics_writer import Sheet
from collector.api.route import Answer, Document, Request, RequestError
from collector.gotext import quoted

OBJECT: Final = Layout("", "  ")
"""How objects are laid out for people."""

_FOR_PEOPLE: Final = ("curl", "Wget", "Mozilla/5.0")
"""What the user agents of people's programs begin with."""

_TRUE: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})


class StatusError(RequestError):
    """A refusal with all that a `Status` says; `details` in the order of its fields."""

    def __init__(
        self,
        message: str,
        status: int,
        reason: str,
        details: Mapping[str, Document] | None = None,
        *,
        metadata: Mapping[str, Document] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, status)
        self.reason = reason
        self.details = details
        self.metadata = metadata or {}
        self.headers = headers or {}

    def document(self) -> Mapping[str, Document]:
        """The `Status` (Kubernetes API, meta/v1)."""
        head: dict[str, Document] = {"kind": "Status", "apiVersion": "v1", "metadata": self.metadata}
        document: dict[str, Document] = {**head, "status": "Failure"}
        document |= {"message": str(self), "reason": self.reason}
        if self.details is not None:
            document["details"] = self.details
        document["code"] = self.status
        return document


def not_found(group: str, resource: str, name: str) -> StatusError:
    """There is no such object."""
    details = {"name": name, "group": group, "kind": resource}
    return StatusError(f"{resource}.{group} {quoted(name)} not found", 404, "NotFound", details)


def not_supported(group: str, resource: str, action: str) -> StatusError:
    """The resource does not have this verb."""
    message = f"{action} is not supported on resources of kind {quoted(f'{resource}.{group}')}"
    return StatusError(message, 405, "MethodNotAllowed", {"group": group, "kind": resource})


def bad_request(message: str) -> StatusError:
    """The request is at fault."""
    return StatusError(message, 400, "BadRequest")


def expired(message: str, continuation: str = "") -> StatusError:
    """What was asked about is no longer remembered."""
    return StatusError(message, 410, "Expired", metadata={"continue": continuation} if continuation else None)


def invalid_options(faults: Sequence[tuple[str, str]]) -> StatusError:
    """List options that do not go together: (field, what is wrong) each."""
    causes: list[Document] = [
        {"reason": "FieldValueForbidden", "message": f"Forbidden: {fault}", "field": name} for name, fault in faults
    ]
    told = [f"{name}: Forbidden: {fault}" for name, fault in faults]
    text = told[0] if len(told) == 1 else f"[{', '.join(told)}]"
    details: dict[str, Document] = {"group": "meta.k8s.io", "kind": "ListOptions", "causes": causes}
    return StatusError(f'ListOptions.meta.k8s.io "" is invalid: {text}', 422, "Invalid", details)


def too_large_version(wanted: int, current: int) -> StatusError:
    """A version that will come, if ever, much later."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    details: dict[str, Document] = {"causes": [cause], "retryAfterSeconds": 1}
    message = f"Timeout: Too large resource version: {wanted}, current: {current}"
    return StatusError(message, 504, "Timeout", details, headers={"Retry-After": "1"})


def too_many(message: str, retry_after_s: int) -> StatusError:
    """There is no room for one more, now."""
    details = {"retryAfterSeconds": retry_after_s}
    return StatusError(message, 429, "TooManyRequests", details, headers={"Retry-After": f"{retry_after_s}"})


def sheet(request: Request) -> Sheet:
    """Two spaces a level for people, one line for programs, unless `?pretty` or `Accept` say otherwise."""
    stated = request.argument("pretty")
    if stated:
        return Sheet(OBJECT if stated in _TRUE else None)
    for_people = request.headers.get("User-Agent", "").startswith(_FOR_PEOPLE)
    return Sheet(OBJECT if for_people or media_parameters(request).get("pretty") == "1" else None)


def object_answer(request: Request, document: Document, status: int = 200, **headers: str) -> Answer:
    """`document` as a whole answer."""
    page = sheet(request)
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(f"{page.text(document)}{page.end}".encode(), status=status, headers=told)


def check_accept(request: Request) -> None:
    """Refuse a client that does not take JSON, or takes it only as a table or a stream of changes."""
    if request.headers.get("Accept") and not _media(request):
        raise not_acceptable()


def not_acceptable() -> StatusError:
    """The client takes nothing that there is."""
    return StatusError("only the following media types are accepted: application/json", 406, "NotAcceptable")


def media_parameters(request: Request) -> Mapping[str, str]:
    """The parameters of the first media type of `Accept` that can be given."""
    return next(iter(_media(request)), {})


def accepted(request: Request) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The media types of `Accept` in their order, each with its parameters."""
    for clause in request.headers.get("Accept", "").split(","):
        name, *rest = (part.strip() for part in clause.split(";"))
        yield name, {key.strip(): value.strip() for key, _, value in (part.partition("=") for part in rest)}


def is_json(name: str) -> bool:
    """Whether a media type admits JSON."""
    return name in {"application/json", "application/*", "*/*"}


def _media(request: Request) -> list[Mapping[str, str]]:
    """The parameters of those media types of `Accept` that can be given."""
    return [
        parameters
        for name, parameters in accepted(request)
        if is_json(name) and not parameters.keys() & {"as", "g", "v", "stream"}
    ]


class KubernetesManner(Manner):
    """Refusals as `Status` objects; outside of the API, the paths that there are."""

    own_compression = False

    def __init__(self, paths: tuple[str, ...]) -> None:
        self._paths = paths

    def index(self, status: int = 200) -> Answer:
        """The paths that there are."""
        return Answer(Sheet(OBJECT).text({"paths": self._paths}).encode(), status=status)

    def not_found(self, request: Request, *, api: bool) -> Answer:
        """Below the API a `Status`, elsewhere the paths that there are."""
        if not api:
            return self.index(404)
        return self.refused(
            request, StatusError("the server could not find the requested resource", 404, "NotFound", {})
        )

    def wrong_method(self, request: Request, allowed: str) -> Answer:
        """No route of this path takes the method."""
        message = "the server does not allow this method on the requested resource"
        return self._status(request, StatusError(message, 405, "MethodNotAllowed", {}), Allow=allowed)

    def unacceptable(self, request: Request) -> Answer | None:
        """See `check_accept`."""
        try:
            check_accept(request)
        except StatusError as error:
            return self.refused(request, error)
        return None

    def refused(self, request: Request, error: RequestError) -> Answer:
        """The error as a `Status`."""
        return self._status(request, error if isinstance(error, StatusError) else bad_request(str(error)))

    def failed(self, request: Request) -> Answer:
        """Why is in the log, not in the answer."""
        message = "Internal error occurred: see the collector's log"
        return self._status(request, StatusError(message, 500, "InternalError"))

    @staticmethod
    def _status(request: Request, error: StatusError, **headers: str) -> Answer:
        return object_answer(request, error.document(), error.status, **error.headers, **headers)
