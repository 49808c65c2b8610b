"""Sign-in with refresh tokens that change when they are used (OAuth 2.0, RFC 6749 section 6).

Such a token must outlive this process, and only one worker may use it at a time. Both are kept by one small file: its
newest tokens are written before they are used, and whoever renews them holds a lock that counts between threads and
between processes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import SecretStr

from connectors.wire import Auth, BasicAuth, ReadError, Request, Response, Wire, exact_json, parsed
from core.errors import Misconfigured, OutcomeUnknown, Unavailable
from core.ports import World

#: An access token this close to its end is renewed before it is used.
MARGIN = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a vendor granted. Instants are ISO text; ``refresh_expires_at`` is empty where the vendor does not say.

    ``consent`` tells from which first refresh token they descend, ``app`` with which credentials they were renewed.
    """

    access: str
    refresh: str
    expires_at: str
    refresh_expires_at: str
    consent: str
    app: str

    def __repr__(self) -> str:
        return f"Tokens(expires_at={self.expires_at!r})"


@dataclass(frozen=True, slots=True)
class TokenFile:
    """The newest tokens of one system, in a file that only its owner may read (mode 0600), replaced in one step."""

    system: str
    path: Path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone with the file, among all threads and processes of this machine. Misconfigured when it cannot be."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(f"{self.path}.lock", os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise self._unusable(error) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def load(self) -> Tokens | None:
        """The kept tokens; None when there are none, or when the file is not one of ours."""
        try:
            mode = self.path.stat().st_mode
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from None
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise Misconfigured(
                f"{self.system}: {self.path} is readable by others; run `chmod 600 {self.path}`", system=self.system
            )
        try:
            return Tokens(**parsed(text))
        except (ValueError, TypeError):
            return None

    def save(self, tokens: Tokens) -> None:
        """On the disk, whole, when this returns."""
        fresh = Path(f"{self.path}.new")
        try:
            fresh.unlink(missing_ok=True)
            handle = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(asdict(tokens), file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise self._unusable(error) from None

    def _unusable(self, error: OSError) -> Misconfigured:
        return Misconfigured(
            f"{self.system}: the token file {self.path} cannot be used ({error.strerror})", system=self.system
        )


@dataclass(frozen=True, slots=True)
class App:
    """An application at a vendor, where its tokens are renewed, and the refresh token that a consent gave it first."""

    login_url: str
    path: str
    client_id: str
    client_secret: SecretStr
    refresh_token: SecretStr


class RefreshedSession(Auth):
    """Bearer tokens of a vendor that rotates refresh tokens. Renews before the end, and once more on a 401.

    A new consent (another first refresh token) wins over what is kept; new credentials of the app are proved at once.
    When the kept token is refused, the first is tried once: a file may come from a backup. Renewing is apart from the
    call that needs it, so that its faults never make the outcome of a write unknown.
    """

    def __init__(self, app: App, file: TokenFile, world: World) -> None:
        self._app, self._file, self._world = app, file, world
        secret = app.client_secret.get_secret_value()
        self._login = Wire(
            file.system,
            app.login_url,
            world,
            auth=BasicAuth(app.client_id, secret),
            headers={"Accept": "application/json"},
            read_error=_sign_in_error(file.system),
        )
        self._consent = _fingerprint(app.refresh_token.get_secret_value())
        self._credentials = _fingerprint(f"{app.client_id}:{secret}")
        self._lock = threading.Lock()
        self._tokens: Tokens | None = None

    def auth_flow(self, request: Request) -> Generator[Request, Response, None]:
        tokens = self.tokens(ended=None)
        request.headers["Authorization"] = f"Bearer {tokens.access}"
        response = yield request
        if response.status_code == 401:
            request.headers["Authorization"] = f"Bearer {self.tokens(ended=tokens).access}"
            yield request

    def tokens(self, ended: Tokens | None) -> Tokens:
        """Tokens that can be used now; others than ``ended``, which the vendor refused."""
        with self._lock:
            if self._tokens is None or not self._good(self._tokens, ended):
                with self._file.locked():
                    kept = self._file.load()
                    kept = kept if kept and kept.consent == self._consent else None
                    if kept is None or not self._good(kept, ended):
                        kept = self._renewed(kept)
                        self._file.save(kept)
                self._tokens = kept
            return self._tokens

    def _good(self, tokens: Tokens, ended: Tokens | None) -> bool:
        alive = datetime.fromisoformat(tokens.expires_at) - MARGIN > self._world.clock()
        ours = tokens.app == self._credentials
        return alive and ours and (ended is None or tokens.access != ended.access)

    def _renewed(self, kept: Tokens | None) -> Tokens:
        first = self._app.refresh_token.get_secret_value()
        if kept is None or kept.refresh == first:
            return self._granted(first)
        try:
            return self._granted(kept.refresh)
        except Misconfigured:
            return self._granted(first)

    def _granted(self, refresh: str) -> Tokens:
        form = {"grant_type": "refresh_token", "refresh_token": refresh}
        try:
            answer = exact_json(self._login.read("POST", self._app.path, data=form))
            now, lives = self._world.clock(), answer.get("x_refresh_token_expires_in")
            return Tokens(
                access=str(answer["access_token"]),
                refresh=str(answer["refresh_token"]),
                expires_at=(now + timedelta(seconds=int(answer["expires_in"]))).isoformat(),
                refresh_expires_at=(now + timedelta(seconds=int(lives))).isoformat() if lives else "",
                consent=self._consent,
                app=self._credentials,
            )
        except (OutcomeUnknown, KeyError, TypeError, ValueError):
            raise Unavailable(f"{self._file.system}: the token endpoint gave no tokens") from None

    def close(self) -> None:
        self._login.close()


def _fingerprint(secret: str) -> str:
    """Tells two secrets apart without telling either."""
    return hashlib.sha256(secret.encode()).hexdigest()[:16]


def _sign_in_error(system: str) -> ReadError:
    """Reads a refusal of the token endpoint (RFC 6749 section 5.2): an error code, never the token."""

    def read(response: Response) -> Misconfigured | None:
        try:
            code = str(parsed(response.content)["error"])
        except (ValueError, KeyError, TypeError):
            return None
        if response.status_code >= 500 or response.status_code == 429:
            return None
        return Misconfigured(f"{system}: sign-in was refused ({code}); grant access again", system=system)

    return read
