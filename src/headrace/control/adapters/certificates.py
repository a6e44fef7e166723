"""A private certificate authority and the control plane's server certificate (EC P-256, X.509 v3): made, and read."""

import datetime
import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from headrace.control.errors import CertificateError

CA_DAYS = 3650
SERVER_DAYS = 825
"""The longest that common clients take from a private CA."""
_EARLIER = datetime.timedelta(hours=1)
"""Certificates are valid from a little earlier, for machines whose clocks are behind."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class KeyPair:
    """A certificate and its key, both PEM."""

    certificate: bytes
    key: bytes


def make_ca(name: str, *, now_s: float) -> KeyPair:
    """A new CA, that may sign end certificates only."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = _usage(digital_signature=False, key_cert_sign=True, crl_sign=True)
    builder = (
        _certificate(subject, subject, key.public_key(), now_s, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _pair(builder.sign(key, hashes.SHA256()), key)


def make_server_certificate(ca: KeyPair, hosts: tuple[str, ...], *, now_s: float) -> KeyPair:
    """A server certificate for these names and addresses, signed by `ca`.

    Raises:
        CertificateError: no host, a host that is neither a name nor an address, or a CA that cannot be read.
    """
    if not hosts:
        raise CertificateError("a server certificate needs at least one host name or address")
    issuer, issuer_key = _load(ca)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])])
    names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
    builder = (
        _certificate(subject, issuer.subject, key.public_key(), now_s, SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True, key_cert_sign=False, crl_sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(names, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    return _pair(builder.sign(issuer_key, hashes.SHA256()), key)


def check_server_files(certificate: Path, key: Path, *, now_s: float) -> datetime.datetime:
    """Read a certificate and its key as a server would; gives the end of the certificate.

    Raises:
        CertificateError: one cannot be read, they do not fit, or the certificate is not in force at `now_s`.
    """
    chain, own_key = _pem(certificate, "listen.tls_certificate"), _pem(key, "listen.tls_key")
    try:
        first = x509.load_pem_x509_certificates(chain)[0]
    except ValueError:
        raise CertificateError(f"listen.tls_certificate: {certificate} holds no certificate in PEM") from None
    try:
        public = serialization.load_pem_private_key(own_key, password=None).public_key()
    except TypeError:
        raise CertificateError(f"listen.tls_key: {key} is locked with a password: store it without one") from None
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateError(f"listen.tls_key: {key} holds no private key in PEM") from None
    if public != first.public_key():
        raise CertificateError(f"listen.tls_key: {key} is not the key of the certificate {certificate}")
    begin, end = first.not_valid_before_utc, first.not_valid_after_utc
    if not begin.timestamp() <= now_s < end.timestamp():
        raise CertificateError(f"listen.tls_certificate: {certificate} is valid from {begin} to {end}, not now")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        raise CertificateError(f"listen.tls_certificate: OpenSSL does not take {certificate}: {error}") from None
    return end


def _pem(file: Path, setting: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        reason = f"cannot read {file}: {error.strerror}"
        raise CertificateError(f"{setting}: {reason}; `headrace init` makes a certificate and its key") from None


def _certificate(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, now_s: float, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.fromtimestamp(now_s, datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _usage(*, digital_signature: bool, key_cert_sign: bool, crl_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host.encode("idna").decode("ascii"))
    except (UnicodeError, ValueError):
        raise CertificateError(f"{host!r} is neither a host name nor an address") from None


def _load(ca: KeyPair) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        key = serialization.load_pem_private_key(ca.key, password=None)
        certificate = x509.load_pem_x509_certificate(ca.certificate)
    except (ValueError, TypeError) as error:
        raise CertificateError(f"the CA cannot be read: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError("the CA's key is not an elliptic-curve key")
    return certificate, key


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> KeyPair:
    return KeyPair(
        certificate=certificate.public_bytes(serialization.Encoding.PEM),
        key=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
