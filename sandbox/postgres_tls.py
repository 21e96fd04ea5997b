"""TLS in front of a PostgreSQL server whose binaries were built without it.

To a client this is a server that takes encrypted connections only: it answers PostgreSQL's own request for
encryption, shows a certificate of a certificate authority made for the occasion, and hands what it decrypts
on to the real server.
"""

import asyncio
import contextlib
import ipaddress
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "127.0.0.1"

# The first message of a connection: its length, then one of these codes or a protocol version.
# https://www.postgresql.org/docs/current/protocol-message-formats.html
REQUEST_LENGTH = 8
SSL_REQUEST = 80877103
GSS_ENCRYPTION_REQUEST = 80877104

CHUNK = 65536


class TlsFront:
    """Take encrypted connections on a port of its own and hand them on to a server without TLS.

    Parameters
    ----------
    server_port
        The port on 127.0.0.1 of the server behind.
    directory
        An existing folder for the key and the certificate.

    Attributes
    ----------
    port
        The port on 127.0.0.1 that takes encrypted connections.
    ca_certificate
        The certificate authority to trust, in PEM.
    """

    def __init__(self, server_port: int, directory: Path) -> None:
        self._server_port = server_port
        self.ca_certificate, chain = make_certificates()
        file = directory / "tls.pem"
        file.write_text(chain)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(file)
        self.port = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="postgres-tls")
        self._loop: asyncio.AbstractEventLoop
        self._done: asyncio.Event

    def start(self) -> None:
        """Listen, in a thread, from when this returns."""
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        """Close every connection and end the thread."""
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._done = asyncio.Event()
        server = await asyncio.start_server(self._connection, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._done.wait()
        server.close()
        server.close_clients()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A client that does not trust the certificate, or goes away, ends its connection: no fault here.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if await self._encrypt(reader, writer):
                server_reader, server_writer = await asyncio.open_connection(HOST, self._server_port)
                await asyncio.gather(_hand_on(reader, server_writer), _hand_on(server_reader, writer))
        writer.close()

    async def _encrypt(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Agree with the client on encryption; ``False`` where it wants none."""
        while True:
            request = await reader.readexactly(REQUEST_LENGTH)
            length, code = int.from_bytes(request[:4]), int.from_bytes(request[4:])
            if length == REQUEST_LENGTH and code == GSS_ENCRYPTION_REQUEST:
                writer.write(b"N")
            elif length == REQUEST_LENGTH and code == SSL_REQUEST:
                writer.write(b"S")
                await writer.start_tls(self._context)
                return True
            else:
                writer.write(_refusal())
                await writer.drain()
                return False


async def _hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


def _refusal() -> bytes:
    """Return what a server that demands encryption says to a client that comes without."""
    fields = ("SFATAL", "VFATAL", "C28000", "Mno pg_hba.conf entry for host, no encryption")
    body = b"".join(field.encode() + b"\0" for field in fields) + b"\0"
    return b"E" + (len(body) + 4).to_bytes(4) + body


def make_certificates(days: int = 30) -> tuple[str, str]:
    """Make a certificate authority, and the key and certificate of 127.0.0.1 signed by it, in PEM.

    They end so many ``days`` from now; of those that have ended, days are negative.
    """
    authority_key = ec.generate_private_key(ec.SECP256R1())
    # No two authorities have one name: a client that trusts another must find this one unknown.
    serial_number = x509.random_serial_number()
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Authority {serial_number:x}"[:60])])
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    lifetime = (now - timedelta(days=30), now + timedelta(days=days))

    def certificate(
        subject: x509.Name, public_key: ec.EllipticCurvePublicKey, extension: x509.ExtensionType
    ) -> str:
        signed = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority_name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(lifetime[0])
            .not_valid_after(lifetime[1])
            .add_extension(extension, critical=True)
            .sign(authority_key, hashes.SHA256())
        )
        return signed.public_bytes(serialization.Encoding.PEM).decode()

    authority = certificate(
        authority_name, authority_key.public_key(), x509.BasicConstraints(ca=True, path_length=None)
    )
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(HOST))]
    signed = certificate(name, key.public_key(), x509.SubjectAlternativeName(names))
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return authority, private.decode() + signed
