"""What a server says where no handler speaks: refusals, and what becomes of a handler's error.

`Manner` speaks as Heapster's own API did (behaviour reference, 8.1); `status` has that of Kubernetes' API servers.
"""

from collector.api.negotiation import json_accepted
from collector.api.route import Answer, Request, RequestError, text_answer


class Manner:
    """Bare texts, and Heapster's way of compressing below its API roots."""

    own_compression = True
    """Whether answers below API roots are compressed as Heapster's API compressed them."""

    def not_found(self, _request: Request, *, api: bool) -> Answer:
        """No route has this path; `api` says whether it lies below an API root."""
        if api:
            return text_answer("404: Page Not Found", 404)
        return text_answer("404 page not found\n", 404, **{"X-Content-Type-Options": "nosniff"})

    def wrong_method(self, _request: Request, allowed: str) -> Answer:
        """The path has routes, but only for the methods `allowed`."""
        return text_answer("405: Method Not Allowed", 405, Allow=allowed)

    def unacceptable(self, request: Request) -> Answer | None:
        """The refusal of a client that does not take JSON; None for all others."""
        if json_accepted(request.headers.get("Accept", "")):
            return None
        return text_answer("406: Not Acceptable", 406)

    def refused(self, _request: Request, error: RequestError) -> Answer:
        """A handler has refused the request."""
        return text_answer(str(error), error.status)

    def failed(self, _request: Request) -> Answer:
        """A handler has failed; why is in the log."""
        return text_answer("500: Internal Server Error", 500)


HEAPSTER = Manner()
