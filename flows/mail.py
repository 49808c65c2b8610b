"""SMTP e-mail as a notification block of Prefect, which brings none: ``prefect block register -m flows.mail``."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from typing import Literal

from prefect.blocks.abstract import NotificationBlock, NotificationError
from pydantic import Field, SecretStr

#: Seconds that a mail server may take to answer.
TIMEOUT = 20


class SmtpMail(NotificationBlock):
    """Sends each notification as one plain-text mail.

    ``encryption``: ``starttls`` (usual, port 587), ``tls`` (port 465), or ``none``, for a relay on this machine.
    """

    _block_type_name = "SMTP mail"
    _block_type_slug = "smtp-mail"

    host: str
    port: int = Field(default=587, ge=1, le=65535)
    encryption: Literal["starttls", "tls", "none"] = "starttls"
    username: str | None = None
    password: SecretStr | None = None
    sender: str
    recipients: list[str] = Field(min_length=1)

    async def notify(self, body: str, subject: str | None = None) -> None:
        """NotificationError, without what the server said: it may repeat addresses or credentials."""
        mail = EmailMessage()
        mail["From"], mail["To"] = self.sender, ", ".join(self.recipients)
        mail["Subject"] = f"Tieout: {subject or 'notification'}"
        mail.set_content(body)
        try:
            with self._server() as server:
                if self.username and self.password:
                    server.login(self.username, self.password.get_secret_value())
                refused = server.send_message(mail)
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise NotificationError(f"{self.host} did not take the mail ({type(error).__name__})") from None
        if refused:
            raise NotificationError(f"{self.host} refused {len(refused)} of {len(self.recipients)} recipients")

    @contextmanager
    def _server(self) -> Iterator[smtplib.SMTP]:
        trusted = ssl.create_default_context()
        if self.encryption == "tls":
            with smtplib.SMTP_SSL(self.host, self.port, timeout=TIMEOUT, context=trusted) as server:
                yield server
            return
        with smtplib.SMTP(self.host, self.port, timeout=TIMEOUT) as server:
            if self.encryption == "starttls":
                server.starttls(context=trusted)
            yield server
