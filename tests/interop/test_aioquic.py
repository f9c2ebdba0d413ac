# SPDX-License-Identifier: MIT
"""aioquic, a QUIC for asyncio, with both of its ends on endpoints of fastsock.aio.

Its `serve` and `connect` ask the running loop for endpoints, so the loop is one that makes ours.
"""

import asyncio
import datetime
import ipaddress
import random
import socket as stdlib
import sysconfig

import pytest

import fastsock.aio
from unit.endpoints import uvloop

try:
    from aioquic.asyncio import connect, serve
    from aioquic.quic.configuration import QuicConfiguration
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding
except ImportError as error:
    HAS_GIL = not sysconfig.get_config_var("Py_GIL_DISABLED")
    WHY = "" if HAS_GIL else ", which has wheels of the stable ABI only: not for free threading"
    pytest.skip(f"importing aioquic{WHY} gave: {error}", allow_module_level=True)

SIZE = 1 << 20  # bytes of the stream


def make_loop(name, made):
    """A loop whose datagram endpoints are ours; made gets their transports."""
    if name == "uvloop" and uvloop is None:
        pytest.skip("importing uvloop was tried, and it isn't installed")

    class Loop(uvloop.Loop if name == "uvloop" else asyncio.SelectorEventLoop):
        async def create_datagram_endpoint(self, *arguments, **keywords):
            found = await fastsock.aio.create_datagram_endpoint(*arguments, **keywords)
            made.append(found[0])
            return found

    return Loop()


@pytest.fixture(scope="module")
def identity():
    """A private key, and a certificate for 127.0.0.1 that it has signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fastsock test")])
    host = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([host]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


async def exchange(identity, data, made):
    """Send data over a stream to a server that sends it back: what came."""
    key, certificate = identity
    echoes = set()

    def answer(reader, writer):
        echoes.add(asyncio.ensure_future(echo(reader, writer)))

    async def echo(reader, writer):
        while block := await reader.read(65536):
            writer.write(block)
        writer.write_eof()

    server_side = QuicConfiguration(is_client=False, alpn_protocols=["echo"])
    server_side.private_key, server_side.certificate = key, certificate
    client_side = QuicConfiguration(is_client=True, alpn_protocols=["echo"])
    client_side.load_verify_locations(cadata=certificate.public_bytes(Encoding.PEM))
    server = await serve("127.0.0.1", 0, configuration=server_side, stream_handler=answer)
    port = made[0].get_extra_info("sockname")[1]
    async with connect("127.0.0.1", port, configuration=client_side) as client:
        reader, writer = await client.create_stream()
        writer.write(data)
        writer.write_eof()
        received = await reader.read()
    await asyncio.gather(*echoes)
    server.close()
    # The client's endpoint and the server's end in the next turns.
    while not all(transport.get_extra_info("discarded") == 0 for transport in made):
        await asyncio.sleep(0)
    return received


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_stream_over_quic_comes_back_as_it_was(loop, identity, no_descriptor_leak):
    if not stdlib.has_dualstack_ipv6():
        pytest.skip("aioquic's client takes a dual-stack socket, and there is no IPv6")
    data = random.Random(1).randbytes(SIZE)
    made = []
    with asyncio.Runner(loop_factory=lambda: make_loop(loop, made)) as runner:
        assert runner.run(exchange(identity, data, made)) == data
    assert len(made) == 2
