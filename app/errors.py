"""Everything that can go wrong for a caller, and how it is told.

    ApiError                        status  type                        default code
    ├── InvalidRequest              400     invalid_request_error       None
    │   ├── InvalidJson             400     invalid_request_error       invalid_json
    │   └── UnsupportedParameter    400     invalid_request_error       unsupported_parameter
    ├── AuthenticationFailed        401     authentication_error        invalid_api_key
    ├── PermissionDenied            403     permission_error            None
    ├── NotFound                    404     not_found_error             not_found
    │   └── ModelNotFound           404     not_found_error             model_not_found
    ├── MethodNotAllowed            405     invalid_request_error       method_not_allowed
    ├── Conflict                    409     conflict_error              conflict
    ├── PayloadTooLarge             413     invalid_request_error       payload_too_large
    ├── UnsupportedMediaType        415     invalid_request_error       unsupported_media_type
    ├── RateLimited                 429     rate_limit_error            rate_limit_exceeded
    │   └── InsufficientQuota       429     insufficient_quota          insufficient_quota
    ├── ServerError                 500     server_error                internal_error
    │   └── EngineCrashed           500     server_error                engine_crashed
    └── ServiceUnavailable          503     service_unavailable_error   overloaded
        ├── ModelStarting           503     service_unavailable_error   model_starting
        ├── ModelFailed             503     service_unavailable_error   model_failed
        ├── ModelDisabled           503     service_unavailable_error   model_disabled
        ├── GatewayCrashed          503     service_unavailable_error   gateway_crashed
        ├── DatabaseUnavailable     503     service_unavailable_error   database_unavailable
        ├── ProviderUnavailable     503     service_unavailable_error   provider_unavailable
        └── NotConfigured           503     service_unavailable_error   not_configured

The wire form is OpenAI's: ``{"error": {"message", "type", "param", "code"}}``, all four always present,
string or null; inside a stream it is one ``data:`` event, after which the stream ends without ``[DONE]``.
Foreign exceptions (Ray's, vLLM's, MongoDB's) are turned into these at one seam each and never reach a caller.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from app.domain.limits import Standing


class ApiError(Exception):
    """A failure that the caller is told about.

    Args:
        message: What was wrong and what to do about it; no stack trace, no path, no secret.
        param: The request field to blame, as the caller would write it (``messages[0].content``), or None.
        code: A stable string for programs; None takes the class's own.
        headers: Extra response headers, such as ``Retry-After``.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    default_code: ClassVar[str | None] = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code if code is not None else self.default_code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The JSON body, OpenAI's shape."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def json(self) -> bytes:
        """The body as bytes."""
        return msgspec.json.encode(self.body())

    def event(self) -> bytes:
        """The error as one server-sent event: the last of its stream."""
        return b"data: " + self.json() + b"\n\n"


class InvalidRequest(ApiError):
    """The request can never succeed as it stands."""

    status = 400
    type = "invalid_request_error"
    default_code = None


class InvalidJson(InvalidRequest):
    """The body is not JSON that we accept."""

    default_code = "invalid_json"


class UnsupportedParameter(InvalidRequest):
    """A field that this API does not know, or knows and cannot honour."""

    default_code = "unsupported_parameter"


class AuthenticationFailed(ApiError):
    """Nobody, or nobody we know: always carries ``WWW-Authenticate``."""

    status = 401
    type = "authentication_error"
    default_code = "invalid_api_key"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message, code=code, headers={"WWW-Authenticate": 'Bearer realm="manta"'})


class PermissionDenied(ApiError):
    """Known, but not allowed."""

    status = 403
    type = "permission_error"
    default_code = None


class NotFound(ApiError):
    """No such route or resource (another tenant's counts as none)."""

    status = 404
    type = "not_found_error"
    default_code = "not_found"


class ModelNotFound(NotFound):
    """No model has this id or alias."""

    default_code = "model_not_found"


class MethodNotAllowed(ApiError):
    """The route exists, with other methods."""

    status = 405
    type = "invalid_request_error"
    default_code = "method_not_allowed"


class Conflict(ApiError):
    """What is there stands against it; trying again changes nothing, and clients are told so.

    Args:
        retry_after_s: When trying again may change something after all; None: never.
    """

    status = 409
    type = "conflict_error"
    default_code = "conflict"

    def __init__(self, message: str, *, code: str | None = None, retry_after_s: int | None = None) -> None:
        again = {"x-should-retry": "false"} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        super().__init__(message, code=code, headers=again)


class PayloadTooLarge(ApiError):
    """The body is over the cap."""

    status = 413
    type = "invalid_request_error"
    default_code = "payload_too_large"


class UnsupportedMediaType(ApiError):
    """The body is not JSON by its own account."""

    status = 415
    type = "invalid_request_error"
    default_code = "unsupported_media_type"


class RateLimited(ApiError):
    """More than a limit has left, or ever has.

    Args:
        retry_after_s: When it fits, from now, as far as anybody knows. None: never, and clients are told so.
        standings: How the caller's limits stand.
    """

    status = 429
    type = "rate_limit_error"
    default_code = "rate_limit_exceeded"

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = 1.0,
        standings: tuple[Standing, ...] = (),
        code: str | None = None,
    ) -> None:
        if retry_after_s is None:
            headers = {"x-should-retry": "false"}
        else:
            milliseconds = max(1, math.ceil(retry_after_s * 1000))
            headers = {"Retry-After": str(-(-milliseconds // 1000)), "retry-after-ms": str(milliseconds)}
        super().__init__(message, code=code, headers=headers)
        self.standings = standings


class InsufficientQuota(RateLimited):
    """More than a budget has left."""

    type = "insufficient_quota"
    default_code = "insufficient_quota"


class ServerError(ApiError):
    """Our fault, and nothing the caller can mend."""


class EngineCrashed(ServerError):
    """The engine died while working on this request.

    When the payload itself is to blame, ``x-should-retry: false`` keeps SDKs from feeding it to the next replica.
    """

    default_code = "engine_crashed"


class ServiceUnavailable(ApiError):
    """Not now: retry after the seconds given in ``Retry-After``."""

    status = 503
    type = "service_unavailable_error"
    default_code = "overloaded"

    def __init__(self, message: str, *, retry_after_s: float = 1.0, code: str | None = None) -> None:
        super().__init__(message, code=code, headers={"Retry-After": str(max(1, math.ceil(retry_after_s)))})


class ModelStarting(ServiceUnavailable):
    """The model is on its way up and did not make it in the time a request waits."""

    default_code = "model_starting"


class ModelFailed(ServiceUnavailable):
    """The model could not be started."""

    default_code = "model_failed"


class ModelDisabled(ServiceUnavailable):
    """An admin switched the model off: only an admin's word brings it back, so clients are told not to try on."""

    default_code = "model_disabled"

    def __init__(self, message: str) -> None:
        super().__init__(message, retry_after_s=60)
        self.headers["x-should-retry"] = "false"


class GatewayCrashed(ServiceUnavailable):
    """The gateway died while working on this request: told by whoever stands before it, and trying again finds another.

    Where that is HAProxy, see ``deployments.front``.
    """

    default_code = "gateway_crashed"


class DatabaseUnavailable(ServiceUnavailable):
    """MongoDB did not answer in time: not the caller's fault, and never a 401."""

    default_code = "database_unavailable"


class ProviderUnavailable(ServiceUnavailable):
    """The OpenID provider that people sign in with does not do its part; how is in the log alone."""

    default_code = "provider_unavailable"


class NotConfigured(ServiceUnavailable):
    """This installation was not set up for it: only its operator can change that."""

    default_code = "not_configured"

    def __init__(self, message: str) -> None:
        super().__init__(message, retry_after_s=3600)
        self.headers["x-should-retry"] = "false"
