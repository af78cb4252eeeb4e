"""Certificates for servers under test, made on the spot."""

from __future__ import annotations

import ssl
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey


@lru_cache(maxsize=8)
def certified(name: str = "mail.example.test", end: datetime = datetime(2049, 1, 1)) -> tuple[x509.Certificate, Key]:
    """A self-signed certificate for a name, ending then (UTC), and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    made = made.serial_number(7).not_valid_before(end - timedelta(days=3650)).not_valid_after(end)
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return made.sign(key, SHA256()), key


def serving(folder: Path, name: str = "mail.example.test", end: datetime = datetime(2049, 1, 1)) -> ssl.SSLContext:
    """A server's TLS with such a certificate; its files go into `folder`."""
    made, key = certified(name, end)
    path = folder / "server.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + made.public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
