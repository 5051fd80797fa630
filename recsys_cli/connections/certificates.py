"""What OpenSSL has against a server's certificate, as sentences and hints."""

from __future__ import annotations

_NAME_IT = "use the name in the certificate as the host"


def distrusted(authorities: str) -> tuple[tuple[str, str, str], ...]:
    """Return by what OpenSSL says, the first that fits, what the server does and what to try.

    ``authorities``: the setting that names the file of those to trust.
    """
    return (
        ("Hostname mismatch", "shows a certificate for another host name", _NAME_IT),
        ("IP address mismatch", "shows a certificate for another address", _NAME_IT),
        ("certificate has expired", "shows a certificate that has expired", "renew it there"),
        (
            "CERTIFICATE_VERIFY_FAILED",
            "shows a certificate that is not trusted here",
            f"set {authorities} to the PEM file of the authority that signed it",
        ),
    )
